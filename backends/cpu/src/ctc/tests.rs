use crate::testing::*;
use ir::kernel::{Body, Ctc, Kernel};
use ir::scalar::DType;
use proptest::prelude::*;

/// All alignments one by one: every string of symbols that collapses to the labels.
fn enumerate(p: &[f32], frames: usize, vocab: usize, labels: &[i32]) -> Option<(f64, Vec<f64>)> {
    let (mut total, mut weight) = (0.0, vec![0.0; frames * vocab]);
    for code in 0..vocab.pow(frames as u32) {
        let path: Vec<usize> = (0..frames).map(|t| code / vocab.pow(t as u32) % vocab).collect();
        let mut collapsed = path.clone();
        collapsed.dedup();
        collapsed.retain(|s| *s != 0);
        if !collapsed.iter().map(|s| *s as i32).eq(labels.iter().copied()) {
            continue;
        }
        let probability = path
            .iter()
            .enumerate()
            .map(|(t, s)| p[t * vocab + s] as f64)
            .sum::<f64>()
            .exp();
        total += probability;
        for (t, s) in path.iter().enumerate() {
            weight[t * vocab + s] += probability;
        }
    }
    (total > 0.0).then(|| (-total.ln(), weight.iter().map(|w| -w / total).collect()))
}

fn program() -> Program {
    let body = Ctc {
        batch: d("B"),
        time: d("T"),
        vocab: d("V"),
        labels: d("L"),
        log_probs: 0,
        lengths: 1,
        label_ids: 2,
        loss: 3,
        grad: 4,
    };
    let slots = slots(&[DType::F32, DType::I32, DType::I32], &[DType::F32, DType::F32]);
    Program::new(
        &Kernel {
            slots,
            body: Body::Ctc(body),
        },
        &["B", "T", "V", "L"],
    )
}

fn log_probs(rows: usize, vocab: usize, seed: u32) -> Vec<f32> {
    let mut p: Vec<f32> = noise(rows * vocab, seed).iter().map(|v| 3.0 * v).collect();
    for row in p.chunks_mut(vocab) {
        let norm = row.iter().map(|v| v.exp()).sum::<f32>().ln();
        row.iter_mut().for_each(|v| *v -= norm);
    }
    p
}

fn hostile_label() -> impl Strategy<Value = i32> {
    prop_oneof![8 => 1i32..3, 1 => prop::sample::select(vec![0, 3, -1, i32::MAX, i32::MIN])]
}

fn hostile_length() -> impl Strategy<Value = i32> {
    prop_oneof![6 => 0i32..6, 1 => prop::sample::select(vec![-1, 1000, i32::MAX, i32::MIN])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Against enumeration, with repeated, no and too many labels, labels that there are none of, and lengths from 0 to the whole
    /// and beyond.
    #[test]
    fn sums_over_all_alignments(
        time in 1usize..6, labels in 0usize..5, seed in any::<u32>(),
        rows in proptest::collection::vec((hostile_length(), proptest::collection::vec(hostile_label(), 0..5)), 1..4),
    ) {
        thread_local!(static PROGRAM: Program = program());
        let (vocab, batch) = (3, rows.len());
        let p = log_probs(batch * time, vocab, seed);
        let lengths: Vec<i32> = rows.iter().map(|(n, _)| *n).collect();
        let ids: Vec<i32> = rows.iter().flat_map(|(_, ids)| {
            (0..labels).map(|i| ids.get(i).copied().unwrap_or(-100)).collect::<Vec<_>>()
        }).collect();
        let mut data = [
            Data::F32(p.clone()), Data::I32(lengths.clone()), Data::I32(ids.clone()),
            Data::F32(vec![9.0; batch]), Data::F32(vec![9.0; batch * time * vocab]),
        ];
        PROGRAM.with(|run| run.run(&mut data, &[batch as i64, time as i64, vocab as i64, labels as i64], 2));
        for b in 0..batch {
            let ids: Vec<i32> = ids[b * labels..][..labels].iter().copied().filter(|i| (1..3).contains(i)).collect();
            let frames = lengths[b].clamp(0, time as i32) as usize;
            let (loss, mut grad) = enumerate(&p[b * time * vocab..], frames, vocab, &ids).unwrap_or((0.0, vec![0.0; frames * vocab]));
            grad.resize(time * vocab, 0.0);
            prop_assert!((data[3].f32()[b] as f64 - loss).abs() <= 1e-6 * (1.0 + loss), "loss {} of {}", data[3].f32()[b], loss);
            for (got, want) in data[4].f32()[b * time * vocab..].iter().zip(grad) {
                prop_assert!((*got as f64 - want).abs() <= 1e-6, "gradient {} of {}", got, want);
            }
        }
    }
}

/// Many labels and frames: posteriors of every frame sum to one, and the loss is that of a scalar recurrence.
#[test]
fn long_utterances() {
    let (time, vocab, labels) = (300usize, 32usize, 60usize);
    let p = log_probs(time, vocab, 5);
    let ids: Vec<i32> = (0..labels as i32).map(|i| 1 + (i * i) % 31).collect();
    let mut data = [
        Data::F32(p.clone()),
        Data::I32(vec![time as i32]),
        Data::I32(ids.clone()),
        Data::F32(vec![0.0]),
        Data::F32(vec![0.0; time * vocab]),
    ];
    program().run(&mut data, &[1, time as i64, vocab as i64, labels as i64], 1);
    let symbol = |s: usize| if s.is_multiple_of(2) { 0 } else { ids[s / 2] as usize };
    let mut alpha = vec![0f64; 2 * labels + 1];
    // Probabilities, rescaled at every frame.
    let mut scale = 0.0;
    for t in 0..time {
        let old = alpha.clone();
        for s in 0..alpha.len() {
            let mut sum = old[s];
            if t == 0 {
                sum = (s < 2) as u8 as f64;
            } else {
                sum += if s > 0 { old[s - 1] } else { 0.0 };
                sum += if s > 1 && s % 2 == 1 && symbol(s) != symbol(s - 2) {
                    old[s - 2]
                } else {
                    0.0
                };
            }
            alpha[s] = sum * (p[t * vocab + symbol(s)] as f64).exp();
        }
        let norm: f64 = alpha.iter().sum();
        alpha.iter_mut().for_each(|a| *a /= norm);
        scale += norm.ln();
    }
    let want = -(scale + (alpha[2 * labels] + alpha[2 * labels - 1]).ln());
    assert!(
        (data[3].f32()[0] as f64 - want).abs() < 1e-6 * want,
        "{} is not {want}",
        data[3].f32()[0]
    );
    for frame in data[4].f32().chunks(vocab) {
        let sum: f64 = frame.iter().map(|v| *v as f64).sum();
        assert!((sum + 1.0).abs() < 1e-5, "posteriors sum to {}", -sum);
    }
}
