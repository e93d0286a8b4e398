//! Estimated language models against lmplz's.

mod common;

use common::at;
use std::collections::HashMap;
use w2vc_decode::lm::{Counter, Estimate, Model};

fn estimate(order: usize, prune: &[u64], letters: bool) -> Estimate {
    let corpus = std::fs::read_to_string(at("lm/corpus.txt")).unwrap();
    let mut counter = Counter::new(order);
    for line in corpus.lines() {
        let words: Vec<String> = match letters {
            false => line.split_whitespace().map(String::from).collect(),
            true => (line.replace(' ', "|") + "|").chars().map(String::from).collect(),
        };
        counter.sentence(words.iter().map(String::as_str));
    }
    counter.estimate(prune)
}

fn ngrams(arpa: &str) -> HashMap<String, (f64, f64)> {
    let lines = arpa.lines().filter(|l| l.contains('\t'));
    lines
        .map(|l| {
            let fields: Vec<&str> = l.split('\t').collect();
            let backoff = fields.get(2).map_or(0.0, |b| b.parse().unwrap());
            (fields[1].to_string(), (fields[0].parse().unwrap(), backoff))
        })
        .collect()
}

#[test]
fn models_are_those_of_lmplz() {
    for (file, order, prune, letters, tolerance) in [
        ("lm2.arpa", 2, &[0][..], false, 1e-5),
        ("lm3.arpa", 3, &[0], false, 1e-5),
        ("lm4.arpa", 4, &[0, 0, 1, 1], false, 1e-5),
        // lmplz takes one n-gram of each lower order by another count, which shows where counts are few.
        ("char6.arpa", 6, &[0, 0, 0, 1, 2, 2], true, 3e-3),
    ] {
        let own = estimate(order, prune, letters);
        let mut written = vec![];
        own.arpa(&mut written).unwrap();
        let (own, want) = (
            ngrams(std::str::from_utf8(&written).unwrap()),
            ngrams(&std::fs::read_to_string(at("lm").join(file)).unwrap()),
        );
        assert_eq!(own.len(), want.len(), "{file}");
        let mut worst = 0f64;
        for (words, (prob, backoff)) in &want {
            let (p, b) = own[words];
            worst = worst.max((p - prob).abs()).max((b - backoff).abs());
        }
        assert!(worst < tolerance, "{file}: {worst}");
    }
}

#[test]
fn what_is_written_reads_back_in_both_forms() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = vec![];
    let (text, binary) = (dir.path().join("lm.arpa"), dir.path().join("lm.bin"));
    estimate(3, &[0, 0, 1], false).arpa(&mut written).unwrap();
    std::fs::write(&text, written).unwrap();
    std::fs::write(&binary, estimate(3, &[0, 0, 1], false).binary().unwrap()).unwrap();
    let (a, b) = (Model::open(&text).unwrap(), Model::open(&binary).unwrap());
    assert_eq!(a.words().unwrap(), b.words().unwrap());
    for line in std::fs::read_to_string(at("lm/corpus.txt")).unwrap().lines().take(50) {
        let (mut s, mut t) = (a.begin(), b.begin());
        let (mut u, mut v) = (Default::default(), Default::default());
        for word in line.split(' ') {
            let (x, y) = (a.score(&s, a.index(word), &mut u), b.score(&t, b.index(word), &mut v));
            assert_eq!(x, y, "{word}");
            std::mem::swap(&mut s, &mut u);
            std::mem::swap(&mut t, &mut v);
        }
    }
}

#[test]
fn small_corpora_fall_back_and_probabilities_sum_to_1() {
    let mut counter = Counter::new(3);
    for line in ["a b", "a b c", "b", "a <s> a"] {
        counter.sentence(line.split(' '));
    }
    counter.sentence("".split_whitespace());
    assert_eq!((counter.sentences, counter.words), (4, 8));
    let own = counter.estimate(&[]);
    // Words were seen behind 1, 2 and 3 others, so that counts of counts tell their discounts; those of pairs give one below 0,
    // and no triple was seen three times.
    assert_eq!(own.fallback, [2, 3]);
    let model = Model::from_bytes(own.binary().unwrap(), "made").unwrap();
    for history in [&["a"][..], &["a", "b"], &["b"], &["c"], &["unseen"], &[]] {
        let (mut state, mut next) = (model.begin(), Default::default());
        for word in history {
            model.score(&state, model.index(word), &mut next);
            std::mem::swap(&mut state, &mut next);
        }
        let sum: f64 = ["a", "b", "c", "</s>", "<unk>"]
            .iter()
            .map(|w| 10f64.powf(model.score(&state, model.index(w), &mut next).log10 as f64))
            .sum();
        assert!((sum - 1.0).abs() < 1e-5, "{history:?}: {sum}");
    }
}
