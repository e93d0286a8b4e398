//! Word and letter error rates with what they are made of: counts, intervals, confusions, the worst clips.

mod align;
mod interval;
mod read;
mod show;

pub use align::{Op, align};
pub use interval::interval;
pub use read::read_pairs;

use serde::Serialize;
use std::collections::BTreeMap;

/// What was said and what was heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    pub name: String,
    pub reference: String,
    pub hypothesis: String,
}

/// How references became hypotheses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    pub hits: usize,
    pub substitutions: usize,
    pub deletions: usize,
    pub insertions: usize,
}

impl Counts {
    pub fn errors(&self) -> usize {
        self.substitutions + self.deletions + self.insertions
    }

    /// Words or letters of the reference.
    pub fn length(&self) -> usize {
        self.hits + self.substitutions + self.deletions
    }

    /// Errors per word or letter of the reference. Of nothing but empty references it is the number of insertions, as in jiwer.
    pub fn rate(&self) -> f64 {
        self.errors() as f64 / self.length().max(1) as f64
    }

    fn of(ops: &[Op]) -> Counts {
        let mut counts = Counts::default();
        for op in ops {
            *match op {
                Op::Hit(..) => &mut counts.hits,
                Op::Substitution(..) => &mut counts.substitutions,
                Op::Deletion(_) => &mut counts.deletions,
                Op::Insertion(_) => &mut counts.insertions,
            } += 1;
        }
        counts
    }

    fn add(&mut self, other: &Counts) {
        self.hits += other.hits;
        self.substitutions += other.substitutions;
        self.deletions += other.deletions;
        self.insertions += other.insertions;
    }
}

/// An error rate of all clips together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    pub rate: f64,
    /// 95 % bootstrap interval over clips.
    pub interval: Option<[f64; 2]>,
    pub errors: usize,
    pub length: usize,
    #[serde(flatten)]
    pub counts: Counts,
    /// The most frequent errors.
    pub confusions: Vec<Confusion>,
}

/// A kind of error: `None` on one side is an insertion or a deletion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    pub count: usize,
    pub reference: Option<String>,
    pub hypothesis: Option<String>,
}

/// A clip with errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    pub name: String,
    pub wer: f64,
    pub cer: f64,
    pub reference: String,
    pub hypothesis: String,
}

/// The score of a set of clips.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    pub clips: usize,
    pub empty_references: usize,
    pub wer: Rate,
    pub cer: Rate,
    pub worst: Vec<Worst>,
}

/// Scores pairs; lists hold the `top` most frequent confusions and worst clips.
pub fn score(pairs: &[Pair], top: usize, seed: u64) -> Score {
    let (mut words, mut letters) = (Sum::default(), Sum::default());
    let mut worst = vec![];
    for pair in pairs {
        let wer = words.add(&split(&pair.reference), &split(&pair.hypothesis), &|w: &&str| {
            w.to_string()
        });
        let chars = |text: &str| text.trim().chars().collect::<Vec<_>>();
        let cer = letters.add(&chars(&pair.reference), &chars(&pair.hypothesis), &|c: &char| {
            c.to_string()
        });
        if wer.errors() > 0 || cer.errors() > 0 {
            worst.push((cer.rate(), cer.errors(), wer.rate(), pair));
        }
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    let worst = worst.into_iter().take(top).map(|(cer, _, wer, pair)| Worst {
        name: pair.name.clone(),
        wer,
        cer,
        reference: pair.reference.clone(),
        hypothesis: pair.hypothesis.clone(),
    });
    Score {
        clips: pairs.len(),
        empty_references: pairs.iter().filter(|p| p.reference.trim().is_empty()).count(),
        worst: worst.collect(),
        wer: words.rate(top, seed),
        cer: letters.rate(top, seed),
    }
}

fn split(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[derive(Default)]
struct Sum {
    counts: Counts,
    clips: Vec<(usize, usize)>,
    confused: BTreeMap<(Option<String>, Option<String>), usize>,
}

impl Sum {
    fn add<T: PartialEq>(&mut self, reference: &[T], hypothesis: &[T], name: &dyn Fn(&T) -> String) -> Counts {
        let ops = align(reference, hypothesis);
        let counts = Counts::of(&ops);
        for op in &ops {
            let (said, heard) = match op {
                Op::Hit(..) => continue,
                Op::Substitution(i, j) => (Some(name(&reference[*i])), Some(name(&hypothesis[*j]))),
                Op::Deletion(i) => (Some(name(&reference[*i])), None),
                Op::Insertion(j) => (None, Some(name(&hypothesis[*j]))),
            };
            *self.confused.entry((said, heard)).or_default() += 1;
        }
        self.counts.add(&counts);
        self.clips.push((counts.errors(), counts.length()));
        counts
    }

    fn rate(self, top: usize, seed: u64) -> Rate {
        let mut confusions: Vec<Confusion> = self
            .confused
            .into_iter()
            .map(|((reference, hypothesis), count)| Confusion {
                count,
                reference,
                hypothesis,
            })
            .collect();
        // Stable: equals stay in the order of their letters.
        confusions.sort_by_key(|c| std::cmp::Reverse(c.count));
        confusions.truncate(top);
        Rate {
            rate: self.counts.rate(),
            interval: interval(&self.clips, seed),
            errors: self.counts.errors(),
            length: self.counts.length(),
            counts: self.counts,
            confusions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(reference: &str, hypothesis: &str) -> Pair {
        Pair {
            name: reference.into(),
            reference: reference.into(),
            hypothesis: hypothesis.into(),
        }
    }

    /// Numbers that jiwer gave for made-up texts (tests/fixtures/make_jiwer.py), counts of each kind of error included.
    #[test]
    fn every_count_is_that_of_jiwer() {
        let text = include_str!("../../tests/fixtures/jiwer.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 200);
        for case in &cases {
            let strings = |name: &str| -> Vec<String> { serde_json::from_value(case[name].clone()).unwrap() };
            let (references, hypotheses) = (strings("reference"), strings("hypothesis"));
            let pairs: Vec<Pair> = references.iter().zip(&hypotheses).map(|(r, h)| pair(r, h)).collect();
            let found = score(&pairs, 3, 1);
            for (rate, name) in [(&found.wer, "wer"), (&found.cer, "cer")] {
                let want = &case[name];
                assert!(
                    (rate.rate - want["rate"].as_f64().unwrap()).abs() < 1e-12,
                    "{name} of {case}"
                );
                let got = serde_json::to_value(rate.counts).unwrap();
                for kind in ["hits", "substitutions", "deletions", "insertions"] {
                    assert_eq!(got[kind], want[kind], "{kind} of {name} of {case}: {got}");
                }
            }
        }
    }

    #[test]
    fn confusions_and_the_worst_clips_are_listed_by_number() {
        let pairs = [
            pair("ONE TWO", "ONE TOO"),
            pair("TWO", "TOO"),
            pair("SIX", ""),
            pair("NINE", "NINE"),
            pair("", "UH"),
        ];
        let found = score(&pairs, 2, 1);
        assert_eq!((found.clips, found.empty_references), (5, 1));
        let first = &found.wer.confusions[0];
        assert_eq!((first.count, first.reference.as_deref()), (2, Some("TWO")));
        assert_eq!(first.hypothesis.as_deref(), Some("TOO"));
        assert_eq!(found.cer.confusions[0].reference.as_deref(), Some("W"));
        let names: Vec<&str> = found.worst.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(names, ["", "SIX"]);
        assert_eq!((found.wer.errors, found.wer.length), (4, 5));
        let text = found.to_string();
        assert!(text.starts_with("wer  80.0 %") && text.contains("TWO -> TOO"), "{text}");
    }
}
