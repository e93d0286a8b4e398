//! Fits a recipe's batch into memory: smaller micro-batches, and more of them per update.

use super::estimate::noise;
use crate::data::{Batcher, Corpus, Limits};
use crate::error::Error;
use crate::feeds::Feeds;
use crate::memory::Guard;
use crate::ranks::Ranks;
use crate::session::Session;
use crate::settings::Settings;
use ir::artifact::Program;

/// Halves micro-batches until the largest one of `program` fits, and doubles how many make an update. What was done, in one line;
/// `None` where nothing had to be, or nothing would help, which the training itself then says.
pub(super) fn fit(
    (session, ranks): (&dyn Session, &Ranks),
    (feeds, program): (&Feeds, &Program),
    settings: &mut Settings,
    limits: &mut Limits,
    train: &Corpus,
) -> Result<Option<String>, Error> {
    let seed = settings.count("seed", 0)?;
    let longest = train
        .lengths
        .iter()
        .map(|n| *n.min(&limits.max_crop))
        .max()
        .unwrap_or(0);
    let own = parts_that_fit(session, (feeds, program), *limits, (train, longest, seed));
    // The smallest machine decides.
    let parts = ranks.gather(own)?.into_iter().max().unwrap_or(1);
    if parts == 1 {
        return Ok(None);
    }
    let accumulate = settings.count("accumulate", 1)? * parts as u64;
    let own = Limits {
        max_tokens: limits.max_tokens / parts,
        ..*limits
    };
    let text = format!(
        "a micro-batch of {} samples needs more memory than there is: it is split into {parts} of {}, and an update has {accumulate} \
         of them",
        limits.max_tokens, own.max_tokens
    );
    *limits = own;
    settings.force("max_tokens", own.max_tokens as f64);
    settings.force("accumulate", accumulate as f64);
    Ok(Some(text))
}

/// Of how many parts a micro-batch has to be so that each fits; 1 where nothing has to be done, or nothing would help.
fn parts_that_fit(
    session: &dyn Session,
    (feeds, program): (&Feeds, &Program),
    limits: Limits,
    (train, longest, seed): (&Corpus, usize, u64),
) -> usize {
    let mut parts = 1;
    loop {
        let own = Limits {
            max_tokens: limits.max_tokens / parts,
            ..limits
        };
        if parts > 1 && own.max_tokens < longest {
            return 1;
        }
        let sizes = |clips: &[usize], crop: usize| -> Vec<usize> {
            clips.iter().map(|i| train.lengths[*i].min(crop)).collect()
        };
        let plans = Batcher::new(train.lengths.clone(), own, seed, true).epoch(0);
        let largest = plans
            .iter()
            .map(|p| sizes(&p.clips, p.crop))
            .max_by_key(|s| s.len() * s.iter().max().copied().unwrap_or(0));
        let batch = largest.and_then(|sizes| noise(feeds, program, &sizes));
        let fits = batch.is_none_or(|b| {
            Guard::default()
                .check(session, &program.name, &b.inputs.refs(), "")
                .is_ok()
        });
        if fits {
            return parts;
        }
        parts *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Utterance;
    use crate::fake::FakeSession;
    use crate::feeds::Target;

    fn fitted(room: usize, longest: usize) -> (Option<String>, usize, u64) {
        let mut session = FakeSession::default();
        session.room = Some(room);
        let artifact = session.artifact().clone();
        let mut settings = Settings::new(&artifact, "pretrain").unwrap();
        settings.set("accumulate=3").unwrap();
        let mut limits = Limits {
            max_tokens: 16_000,
            max_batch: usize::MAX,
            max_crop: usize::MAX,
            crop_to_shortest: false,
        };
        let train = Corpus {
            utterances: vec![Utterance::default(); 100],
            lengths: (0..100).map(|i| longest - i).collect(),
        };
        let task = artifact.task("pretrain").unwrap();
        let feeds = Feeds::bind(&artifact, task, &settings, Target::default()).unwrap();
        let program = artifact.program("pretrain").unwrap();
        let told = fit(
            (&session, &Ranks::default()),
            (&feeds, program),
            &mut settings,
            &mut limits,
            &train,
        )
        .unwrap();
        assert_eq!(
            settings.count("max_tokens", 1).unwrap() as usize,
            if told.is_some() { limits.max_tokens } else { 1_400_000 }
        );
        (told, limits.max_tokens, settings.count("accumulate", 1).unwrap())
    }

    #[test]
    fn micro_batches_are_halved_until_they_fit_and_an_update_keeps_its_samples() {
        assert_eq!(fitted(16_000, 1000), (None, 16_000, 3));
        let (told, tokens, times) = fitted(5_000, 1000);
        assert_eq!((tokens, times), (4_000, 12));
        let told = told.unwrap();
        for part in ["16000", "4 of 4000", "12 of them"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        // A batch of one clip cannot be halved.
        assert_eq!(fitted(900, 1000), (None, 16_000, 3));
    }
}
