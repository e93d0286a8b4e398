//! Alignment against torchaudio's, greedy frames of transformers, and enumeration.

mod common;

use common::{alphabet, json, matrix, number, text};
use proptest::prelude::*;
use serde_json::Value;
use w2vc_decode::align::{self, Matrix, Unaligned, WordSpan, log_softmax};

fn integers(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn alignments_are_those_of_torchaudio() {
    let cases = json("align.json");
    for (name, case) in cases.as_object().unwrap() {
        let values = matrix(text(&case["case"]));
        let matrix = Matrix::new(&values, 32);
        let labels = integers(&case["labels"]);
        let found = align::labels(&matrix, 0, &labels);
        if case["path"].is_null() && !labels.is_empty() {
            let needed = case["frames_needed"].as_u64().unwrap() as usize;
            let frames = matrix.frames();
            assert_eq!(found, Err(Unaligned::TooLong { needed, frames }), "{name}");
            continue;
        }
        let found = found.unwrap();
        if labels.is_empty() {
            assert!(found.spans.is_empty());
            continue;
        }
        assert!((found.log_prob - number(&case["log_prob"])).abs() < 1e-4, "{name}");
        for (own, want) in found.spans.iter().zip(case["spans"].as_array().unwrap()) {
            let frames = (
                want["start"].as_u64().unwrap() as usize,
                want["end"].as_u64().unwrap() as usize,
            );
            assert_eq!((own.start, own.end), frames, "{name}: {want}");
            assert!(
                (own.confidence - number(&want["confidence"])).abs() < 1e-6,
                "{name}: {want}"
            );
        }
        let mut words = vec![];
        let mut letters = vec![];
        for (span, label) in found.spans.iter().zip(&labels) {
            match label {
                4 => words.extend((!letters.is_empty()).then(|| WordSpan::of(&std::mem::take(&mut letters)))),
                _ => letters.push(*span),
            }
        }
        words.extend((!letters.is_empty()).then(|| WordSpan::of(&letters)));
        let want = case["words"].as_array().unwrap();
        if want.iter().all(|w| text(&w["word"]) != "*") {
            assert_eq!(words.len(), want.len(), "{name}");
            for (own, want) in words.iter().zip(want) {
                assert_eq!(own.start as u64, want["start"].as_u64().unwrap(), "{name}: {want}");
                assert_eq!(own.end as u64, want["end"].as_u64().unwrap(), "{name}: {want}");
                assert!(
                    (own.confidence - number(&want["confidence"])).abs() < 1e-6,
                    "{name}: {want}"
                );
            }
        }
    }
}

#[test]
fn the_best_path_is_where_transformers_finds_its_words() {
    let alphabet = alphabet();
    let mut compared = 0;
    for (name, want) in json("greedy.json").as_object().unwrap() {
        let mut values = matrix(name);
        log_softmax(&mut values, 32);
        let said: Option<Vec<Vec<u32>>> = text(&want["text"])
            .split_whitespace()
            .map(|w| alphabet.spell(w))
            .collect();
        // Some best paths have classes that write nothing.
        let Some(said) = said else { continue };
        compared += 1;
        let found = align::words(&Matrix::new(&values, 32), &alphabet, &said).unwrap();
        let frames: Vec<(u64, u64)> = found.iter().map(|w| (w.start as u64, w.end as u64)).collect();
        let frame = |w: &Value, key: &str| w[key].as_u64().unwrap();
        let words = want["words"].as_array().unwrap();
        let expected: Vec<(u64, u64)> = words.iter().map(|w| (frame(w, "start"), frame(w, "end"))).collect();
        assert_eq!(frames, expected, "{name}");
        let letters: Vec<(u64, u64)> = found
            .iter()
            .flat_map(|w| w.letters.iter().map(|l| (l.start as u64, l.end as u64)))
            .collect();
        let chars = want["chars"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| text(&c["char"]) != " ");
        let expected: Vec<(u64, u64)> = chars.map(|c| (frame(c, "start"), frame(c, "end"))).collect();
        assert_eq!(letters, expected, "{name}");
    }
    assert!(compared >= 20, "{compared}");
}

/// ln of the likeliest path, by trying all; labels of a path are what `collapse` makes of it.
fn enumerated(rows: &[Vec<f32>], wanted: &[u32], loose: bool) -> f64 {
    let mut paths: Vec<(Vec<u32>, f64)> = vec![(vec![], 0.0)];
    for row in rows {
        paths = paths
            .iter()
            .flat_map(|(p, s)| {
                row.iter()
                    .enumerate()
                    .map(move |(c, v)| ([&p[..], &[c as u32]].concat(), s + *v as f64))
            })
            .collect();
    }
    let collapse = |mut path: Vec<u32>| {
        path.dedup();
        path.retain(|c| *c != 0);
        if loose {
            path.dedup_by(|a, b| *a == 3 && *b == 3);
            path.splice(..path.iter().take_while(|c| **c == 3).count(), []);
            while path.last() == Some(&3) {
                path.pop();
            }
        }
        path
    };
    let same = paths.into_iter().filter(|(p, _)| collapse(p.clone()) == wanted);
    same.map(|p| p.1).fold(f64::NEG_INFINITY, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_path_is_likelier(
        rows in prop::collection::vec(prop::collection::vec(-5.0f32..0.0, 4), 1..7),
        labels in prop::collection::vec(1u32..4, 1..4),
    ) {
        let values: Vec<f32> = rows.concat();
        let matrix = Matrix::new(&values, 4);
        let best = enumerated(&rows, &labels, false);
        match align::labels(&matrix, 0, &labels) {
            Ok(found) => prop_assert!((found.log_prob - best).abs() < 1e-6),
            Err(_) => prop_assert_eq!(best, f64::NEG_INFINITY),
        }
        let mut words: Vec<Vec<u32>> = labels.split(|l| *l == 3).map(<[u32]>::to_vec).collect();
        words.retain(|w| !w.is_empty());
        let inner: Vec<u32> = words.join(&3);
        let all = [&[3], &inner[..], &[3]].concat();
        if !inner.is_empty() {
            let best = enumerated(&rows, &inner, true);
            match align::written(&matrix, 0, 3, &all) {
                Ok(found) => prop_assert!((found.log_prob - best).abs() < 1e-6),
                Err(_) => prop_assert_eq!(best, f64::NEG_INFINITY),
            }
        }
    }

    /// Long enough that columns are kept at intervals: the spans' own score is that of the path, and they are in order.
    #[test]
    fn spans_of_long_texts_are_worth_their_score(seed in 0u64..50, count in 100usize..400, loose: bool) {
        let mut state = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut values: Vec<f32> = (0..1500 * 4).map(|_| -6.0 * random()).collect();
        log_softmax(&mut values, 4);
        let mut labels: Vec<u32> = (0..count).map(|_| 1 + (random() * 3.0) as u32).collect();
        labels.dedup_by(|a, b| loose && *a == 3 && *b == 3);
        let count = labels.len();
        let matrix = Matrix::new(&values, 4);
        let found = match loose {
            true => align::written(&matrix, 0, 3, &labels),
            false => align::labels(&matrix, 0, &labels),
        }.unwrap();
        let mut worth = 0.0;
        let mut frame = 0;
        for (i, span) in found.spans.iter().enumerate() {
            let optional = loose && labels[i] == 3 && (i == 0 || i + 1 == count);
            prop_assert!(span.end > span.start || optional);
            if span.end == span.start {
                continue;
            }
            prop_assert!(span.start >= frame);
            worth += (frame..span.start).map(|t| matrix.at(t, 0) as f64).sum::<f64>();
            worth += (span.start..span.end)
                .map(|t| {
                    let own = matrix.at(t, labels[i] as usize) as f64;
                    // Repeated ends of words have blanks between them.
                    if loose && labels[i] == 3 && t > span.start { own.max(matrix.at(t, 0) as f64) } else { own }
                })
                .sum::<f64>();
            frame = span.end;
        }
        worth += (frame..matrix.frames()).map(|t| matrix.at(t, 0) as f64).sum::<f64>();
        prop_assert!((worth - found.log_prob).abs() < 1e-6, "{} {}", worth, found.log_prob);
    }
}
