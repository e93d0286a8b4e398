//! Attention against its formula, and its gradients against central differences of that formula.

use ir::dim::Env;
use ir::kernel::*;
use ir::rng;
use ir::scalar::DType;
use proptest::prelude::*;
use w2vc_interp::{Buffer, Place, run};

const BATCH: usize = 2;
const TIME: usize = 3;
const HEADS: usize = 2;
const DIM: usize = 2;
const WIDTH: usize = HEADS * DIM;
const LEN: usize = BATCH * TIME * WIDTH;
const SCALE: f64 = 0.7;
const RATE: f32 = 0.4;

/// [b, t, h, e] in an operand of its own.
fn at(b: usize, t: usize, h: usize, e: usize) -> usize {
    ((b * TIME + t) * HEADS + h) * DIM + e
}

/// The definition, dropout included: (out, lse).
fn formula(q: &[f64], k: &[f64], v: &[f64], lengths: &[usize], seed: Option<[u32; 2]>) -> (Vec<f64>, Vec<f64>) {
    let (mut out, mut lse) = (vec![0.0; LEN], vec![f64::NEG_INFINITY; BATCH * HEADS * TIME]);
    for (b, h, i) in (0..BATCH).flat_map(|b| (0..HEADS).flat_map(move |h| (0..TIME).map(move |i| (b, h, i)))) {
        let row = (b * HEADS + h) * TIME + i;
        let score = |j| SCALE * (0..DIM).map(|e| q[at(b, i, h, e)] * k[at(b, j, h, e)]).sum::<f64>();
        let sum: f64 = (0..lengths[b]).map(|j| score(j).exp()).sum();
        lse[row] = sum.ln();
        for j in 0..lengths[b] {
            let keep = seed.is_none_or(|s| rng::uniform(rng::keys(s, 5, 1), (row * TIME + j) as u32) >= RATE);
            let factor = match (seed, keep) {
                (None, _) => 1.0,
                (Some(_), true) => 1.0 / (1.0 - RATE as f64),
                (Some(_), false) => 0.0,
            };
            for e in 0..DIM {
                out[at(b, i, h, e)] += factor * score(j).exp() / sum * v[at(b, j, h, e)];
            }
        }
    }
    (out, lse)
}

/// Part `part` of a [batch, time, 3, heads, head_dim] buffer, reached through the base.
fn packed(slot: Slot, part: usize) -> HeadView {
    HeadView {
        slot,
        base: ((part * WIDTH) as i64).into(),
        batch: ((3 * TIME * WIDTH) as i64).into(),
        time: (3 * WIDTH as i64).into(),
        head: (DIM as i64).into(),
    }
}

fn plain(slot: Slot) -> HeadView {
    let (batch, time) = ((TIME * WIDTH) as i64, WIDTH as i64);
    HeadView {
        slot,
        base: 0.into(),
        batch: batch.into(),
        time: time.into(),
        head: (DIM as i64).into(),
    }
}

fn pack(parts: [&[f64]; 3]) -> Buffer {
    let mut all = vec![0.0; 3 * LEN];
    for (part, values) in parts.iter().enumerate() {
        for (n, v) in values.iter().enumerate() {
            all[(n / WIDTH * 3 + part) * WIDTH + n % WIDTH] = *v;
        }
    }
    Buffer::from_f64(DType::F32, all.into_iter())
}

fn close(got: &[f64], want: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        prop_assert!(
            g == w || (g - w).abs() <= tolerance * (1.0 + w.abs()),
            "element {}: {} is not {}",
            i,
            g,
            w
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn attention_and_its_gradients(key: u32, lengths in proptest::array::uniform2(0usize..=TIME), drop: bool) {
        let random = |n: u32| -> Vec<f64> { (0..LEN).map(|i| rng::uniform([key, n], i as u32) as f64 * 2.0 - 1.0).collect() };
        let (q, k, v, d_out) = (random(0), random(1), random(2), random(3));
        let seed = drop.then_some([key, 99]);
        let forward = Attention {
            batch: 2.into(), time: "T".parse().unwrap(), heads: HEADS as i64, head_dim: DIM as i64, scale: SCALE.to_bits(),
            q: packed(0, 0), k: packed(0, 1), v: packed(0, 2), lengths: 1,
            dropout: drop.then_some(AttentionDropout { rate: 2, seed: 3, site: 5 }), out: plain(4), lse: 5,
        };
        let backward = AttentionGrad {
            forward: forward.clone(), d_out: plain(6), dq: packed(7, 0), dk: packed(7, 1), dv: packed(7, 2),
        };
        let dtypes = [DType::F32, DType::I32, DType::F32, DType::I32, DType::F32, DType::F32, DType::F32, DType::F32];
        let slots = |written: &[usize], count: usize| (0..count).map(|s| SlotDecl {
            dtype: dtypes[s],
            access: if written.contains(&s) { Access::Write } else { Access::Read },
        }).collect::<Vec<_>>();
        let mut buffers = vec![
            pack([&q, &k, &v]), Buffer::I32(lengths.iter().map(|l| *l as i32).collect()), Buffer::F32(vec![RATE]),
            Buffer::I32(vec![key as i32, 99]), Buffer::poison(DType::F32, LEN),
            Buffer::poison(DType::F32, BATCH * HEADS * TIME),
            Buffer::from_f64(DType::F32, d_out.iter().copied()), Buffer::poison(DType::F32, 3 * LEN),
        ];
        let places: Vec<Place> = (0..8).map(|buffer| Place { buffer, offset: 0 }).collect();
        let sizes = Env::from([("T".into(), TIME as i64), ("layer".into(), 1)]);
        run(&Kernel { slots: slots(&[4, 5], 6), body: Body::Attention(forward) }, &mut buffers, &places[..6], &sizes).unwrap();
        let (out, lse) = formula(&q, &k, &v, &lengths, seed);
        close(&buffers[4].to_f64(), &out, 1e-6)?;
        close(&buffers[5].to_f64(), &lse, 1e-6)?;

        run(&Kernel { slots: slots(&[7], 8), body: Body::AttentionGrad(Box::new(backward)) }, &mut buffers, &places, &sizes).unwrap();
        let loss = |q: &[f64], k: &[f64], v: &[f64]| -> f64 {
            formula(q, k, v, &lengths, seed).0.iter().zip(&d_out).map(|(o, d)| o * d).sum()
        };
        let slope = |f: &dyn Fn(&[f64]) -> f64, x: &[f64]| -> Vec<f64> {
            (0..LEN).map(|i| {
                let moved = |by: f64| { let mut y = x.to_vec(); y[i] += by; f(&y) };
                (moved(1e-4) - moved(-1e-4)) / 2e-4
            }).collect()
        };
        let dq = slope(&|x| loss(x, &k, &v), &q);
        let dk = slope(&|x| loss(&q, x, &v), &k);
        let dv = slope(&|x| loss(&q, &k, x), &v);
        close(&buffers[7].to_f64(), &pack([&dq, &dk, &dv]).to_f64(), 3e-6)?;
    }
}
