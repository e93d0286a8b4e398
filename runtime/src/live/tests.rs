//! Streams whose samples say what is heard: a frame's first sample is its class.

use super::*;
use crate::fake::FakeSession;
use crate::texts::{OutputFlags, SearchFlags};
use crate::trainer::{Transcriber, test_weights};
use proptest::prelude::*;
use std::sync::OnceLock;

const HOP: usize = 10;
const BLANK: usize = 0;
const SPACE: usize = 4;
const E: usize = 5;
const T: usize = 6;

/// A model's, made once.
fn parts() -> (Arc<Hearing>, Arc<Finder>) {
    static MADE: OnceLock<(Arc<Hearing>, Arc<Finder>)> = OnceLock::new();
    MADE.get_or_init(made).clone()
}

fn made() -> (Arc<Hearing>, Arc<Finder>) {
    let tmp = tempfile::tempdir().unwrap();
    let weights = test_weights(tmp.path());
    // The letters of the published checkpoints.
    std::fs::remove_file(weights.join("vocab.json")).unwrap();
    let mut session = FakeSession::default();
    let set = ["normalize=false".to_string()];
    let transcriber = Transcriber::new(&mut session, &weights, &set).unwrap();
    let finder = transcriber.finder(&SearchFlags::default(), &OutputFlags::default());
    (transcriber.hearing(), Arc::new(finder.unwrap()))
}

/// Samples of frames of these classes, and what the last field needs.
fn samples(classes: &[usize]) -> Vec<f32> {
    let mut out: Vec<f32> = classes.iter().flat_map(|c| [*c as f32 / 100.0; HOP]).collect();
    out.extend([0.0; HOP]);
    out
}

/// Logits that are sure of the class that a frame's first sample says.
fn logits(wave: &[f32]) -> Result<Logits, Error> {
    let frames = (wave.len() - 20) / HOP + 1;
    let mut values = vec![-20.0; frames * 32];
    for frame in 0..frames {
        let class = (wave[frame * HOP] * 100.0).round() as usize;
        values[frame * 32 + class] = 0.0;
    }
    Ok(Logits { values, classes: 32 })
}

fn silence(frames: usize) -> Vec<usize> {
    vec![BLANK; frames]
}

/// A pause after words lasts 1,920 of the fake model's frames.
fn speech() -> Vec<usize> {
    let word = [T, T, BLANK, E, SPACE];
    [
        silence(700),
        word.to_vec(),
        silence(500),
        word.to_vec(),
        silence(2500),
        vec![E, BLANK, E],
        silence(4000),
        word.to_vec(),
    ]
    .concat()
}

fn events(shape: Shape, wave: &[f32], cuts: &[usize]) -> Vec<Event> {
    let (hearing, finder) = parts();
    let mut live = Live::new(hearing, finder, shape);
    let (mut all, mut from) = (vec![], 0);
    let mut keep = |event| {
        all.push(event);
        Ok(())
    };
    for cut in cuts {
        let to = (from + cut).min(wave.len());
        live.push(&wave[from..to]);
        live.events(&mut logits, &mut keep).unwrap();
        from = to;
    }
    live.push(&wave[from..]);
    live.finish();
    live.events(&mut logits, &mut keep).unwrap();
    all
}

fn finals(events: &[Event]) -> Vec<(String, f64, f64)> {
    let one = |e: &Event| match e {
        Event::Final { text, start, end, .. } => Some((text.clone(), *start, *end)),
        Event::Partial { .. } => None,
    };
    events.iter().filter_map(one).collect()
}

const SHAPE: Shape = Shape {
    left: 100,
    chunk: 60,
    right: 20,
};

#[test]
fn utterances_end_at_pauses_and_their_times_are_the_streams() {
    let all = events(SHAPE, &samples(&speech()), &[]);
    let found = finals(&all);
    let texts: Vec<&str> = found.iter().map(|(t, ..)| t.as_str()).collect();
    assert_eq!(texts, ["TE TE", "EE", "TE"]);
    let hop = HOP as f64 / 16_000.0;
    assert!(
        (found[0].1 - 700.0 * hop).abs() < 1e-9 && (found[0].2 - 1209.0 * hop).abs() < 1e-9,
        "{found:?}"
    );
    assert!((found[1].1 - 3710.0 * hop).abs() < 1e-9, "{found:?}");
    // Texts come before they are final, and numbers say to which they belong.
    let partial = all
        .iter()
        .position(|e| matches!(e, Event::Partial { id: 0, text, .. } if text == "TE"));
    let last = all.iter().position(|e| matches!(e, Event::Final { id: 0, .. }));
    assert!(partial.unwrap() < last.unwrap());
    assert!(matches!(all.last(), Some(Event::Final { id: 2, .. })));
}

#[test]
fn who_never_pauses_is_cut_at_the_longest_silence() {
    let mut classes = vec![];
    for word in 0..400 {
        classes.extend([T, E, SPACE]);
        classes.extend(silence(if word == 300 { 300 } else { 90 }));
    }
    let found = finals(&events(SHAPE, &samples(&classes), &[]));
    let words: usize = found.iter().map(|(t, ..)| t.split(' ').count()).sum();
    assert_eq!((found.len() > 1, words), (true, 400));
    assert!(found.iter().all(|(_, start, end)| end - start < 20.0));
    assert_eq!(found[0].0.split(' ').count(), 301);
}

#[test]
fn silence_and_nothing_say_nothing() {
    assert_eq!(events(SHAPE, &samples(&silence(9000)), &[]), []);
    assert_eq!(events(SHAPE, &[], &[]), []);
    assert_eq!(events(SHAPE, &[0.05; 19], &[]), []);
}

#[test]
fn what_cannot_be_computed_now_is_computed_by_the_next_call() {
    let wave = samples(&speech());
    let (hearing, finder) = parts();
    let mut live = Live::new(hearing, finder, SHAPE);
    live.push(&wave);
    live.finish();
    let (mut all, mut failures, mut runs) = (vec![], 0, 0);
    let mut sometimes = |wave: &[f32]| {
        runs += 1;
        match runs % 3 {
            0 => Err(Error::Usage("no memory now".into())),
            _ => logits(wave),
        }
    };
    let mut keep = |event| {
        all.push(event);
        Ok(())
    };
    while live.events(&mut sometimes, &mut keep).is_err() {
        failures += 1;
    }
    assert!(failures > 10);
    assert_eq!(all, events(SHAPE, &wave, &[]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However samples come, the same is asked for and the same is told; each frame once.
    #[test]
    fn pieces_change_nothing(
        cuts in prop::collection::vec(1usize..9000, 0..30),
        left in 0usize..120, chunk in 1usize..200, right in 0usize..90, frames in 0usize..4000,
    ) {
        let shape = Shape { left, chunk, right };
        let wave = samples(&speech()[..frames]);
        prop_assert_eq!(events(shape, &wave, &cuts), events(shape, &wave, &[]));
        let (hearing, finder) = parts();
        let mut live = Live::new(hearing, finder, shape);
        live.push(&wave);
        live.finish();
        let mut seen = 0;
        while let Some(stretch) = live.next() {
            let there = (stretch.wave.len() - 20) / HOP + 1;
            prop_assert!(stretch.frames.end <= there);
            prop_assert!(there <= left + 2 * chunk.max(right) + right + chunk);
            seen += stretch.frames.len();
        }
        prop_assert_eq!(seen, frames);
    }
}
