//! Warnings before training about a recipe that does not fit its data or this machine.

use crate::log::pace::duration;

/// A training takes this long before it is worth a warning: 7 days.
const LONG: f64 = 7.0 * 86_400.0;

/// What is known before training.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub task: String,
    /// Most of what it learns is meant to be learnt before, by another task.
    pub other_weights: bool,
    pub updates: u64,
    /// The last phase, where there are others before it: what says when it begins, that update, and its program.
    pub last_phase: Option<(String, u64, String)>,
    /// Updates of rising rate, where that is a number of updates.
    pub warmup: u64,
    pub accumulate: u64,
    /// Batches in an epoch.
    pub batches: u64,
    pub train_clips: usize,
    pub valid_clips: usize,
    /// Weights to start from were given, or the run goes on from its own.
    pub started: bool,
    /// Seconds that training will take.
    pub seconds: Option<f64>,
}

/// One sentence or two for each thing that does not fit.
pub fn warnings(f: &Facts) -> Vec<String> {
    let mut all = vec![];
    let mut warn = |applies: bool, text: String| {
        if applies {
            all.push(text);
        }
    };
    if f.updates == 0 {
        return all;
    }
    let task = &f.task;
    warn(
        f.other_weights && !f.started,
        format!(
            "{task} without --init starts from random weights: give --init the folder of a pretrained model (what a pretraining \
             wrote, or a Hugging Face folder)"
        ),
    );
    if let Some((what, begins, program)) = f.last_phase.as_ref().filter(|p| p.1 >= f.updates) {
        let updates = f.updates;
        let text = format!(
            "{what} is {begins} and updates {updates}: `{program}` never runs, and what it alone trains does not change; lower \
             {what} or raise updates"
        );
        warn(true, text);
    }
    warn(
        f.warmup >= f.updates,
        format!(
            "warmup is {} and updates {}: the learning rate is still rising when training ends; lower warmup or raise updates",
            f.warmup, f.updates
        ),
    );
    if f.batches == 1 && f.updates > 1 {
        let clips = match f.train_clips {
            1 => "the one clip".to_string(),
            n => format!("all {n} clips"),
        };
        let text = format!(
            "one batch holds {clips}, so that every update repeats the same clips: give more recordings, or lower max_tokens"
        );
        warn(true, text);
    } else {
        warn(
            f.batches > 0 && f.accumulate > f.batches,
            format!(
                "an epoch has {} batches and an update takes {}: every update repeats clips; lower accumulate, or give more \
                 recordings",
                f.batches, f.accumulate
            ),
        );
    }
    warn(
        f.valid_clips == 1,
        "one clip is all there is to validate on, and the best model is chosen by it: give --valid, or raise valid_fraction".into(),
    );
    warn(
        f.valid_clips == 0,
        "there is nothing to validate on: the last model is kept, be it the best or not; give --valid, or raise valid_fraction"
            .into(),
    );
    if let Some(seconds) = f.seconds.filter(|s| *s > LONG) {
        let text = format!(
            "training will take {} on this machine: lower updates or accumulate, compile a smaller model, or compile for the GPU",
            duration(seconds)
        );
        warn(true, text);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Facts {
        Facts {
            task: "finetune".into(),
            other_weights: true,
            updates: 20_000,
            last_phase: Some(("freeze_updates".into(), 10_000, "finetune".into())),
            warmup: 0,
            accumulate: 8,
            batches: 80,
            train_clips: 3000,
            valid_clips: 150,
            started: true,
            seconds: Some(3.0 * 86_400.0),
        }
    }

    #[test]
    fn a_sound_recipe_has_no_warning_and_each_fault_has_its_own() {
        assert_eq!(warnings(&sound()), Vec::<String>::new());
        let updates = |n| Facts { updates: n, ..sound() };
        for (facts, words) in [
            (
                updates(3),
                "freeze_updates is 10000 and updates 3: `finetune` never runs",
            ),
            (updates(10_000), "never runs"),
            (
                Facts {
                    started: false,
                    ..sound()
                },
                "without --init",
            ),
            (
                Facts {
                    warmup: 20_000,
                    ..sound()
                },
                "still rising",
            ),
            (
                Facts {
                    batches: 1,
                    accumulate: 1,
                    ..sound()
                },
                "holds all 3000 clips",
            ),
            (
                Facts {
                    batches: 1,
                    train_clips: 1,
                    ..sound()
                },
                "the one clip",
            ),
            (Facts { batches: 7, ..sound() }, "7 batches and an update takes 8"),
            (
                Facts {
                    valid_clips: 1,
                    ..sound()
                },
                "one clip is all there is to validate on",
            ),
            (
                Facts {
                    valid_clips: 0,
                    ..sound()
                },
                "nothing to validate on",
            ),
            (
                Facts {
                    seconds: Some(40.0 * 86_400.0),
                    ..sound()
                },
                "40 d 0 h",
            ),
        ] {
            let said = warnings(&facts);
            assert!(said.len() == 1 && said[0].contains(words), "{words}: {said:?}");
        }
        assert_eq!(warnings(&updates(10_001)), Vec::<String>::new());
        let pretraining = Facts {
            task: "pretrain".into(),
            other_weights: false,
            last_phase: None,
            started: false,
            ..sound()
        };
        assert_eq!(warnings(&pretraining), Vec::<String>::new());
    }
}
