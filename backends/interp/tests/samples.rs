//! Sampled kernels stay inside their operands, and what they are declared not to write they leave alone.

use half::bf16;
use ir::kernel::{Access, Body, Kernel, Value};
use ir::kernel_sample::{Sample, any, any_large, contract, narrowed};
use ir::rounding::Rounding;
use ir::scalar::DType;
use proptest::prelude::*;
use w2vc_interp::{Buffer, Place, run};

fn operands(s: &Sample) -> Vec<Buffer> {
    s.operands
        .iter()
        .map(|o| Buffer::from_f64(o.dtype, o.values.iter().copied()))
        .collect()
}

/// The operands after the kernel ran, each in a buffer of its own.
fn separate(s: &Sample) -> Result<Vec<Buffer>, TestCaseError> {
    let mut buffers = operands(s);
    for (b, o) in buffers.iter().zip(&s.operands) {
        prop_assert_eq!(&b.to_f64(), &o.values, "values of the dtype");
    }
    let places: Vec<Place> = (0..buffers.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
    prop_assert_eq!(run(&s.kernel, &mut buffers, &places, &s.sizes), Ok(()), "{}", s.kernel);
    Ok(buffers)
}

fn check(s: &Sample) -> Result<(), TestCaseError> {
    let (before, buffers) = (operands(s), separate(s)?);
    for (n, slot) in s.kernel.slots.iter().enumerate() {
        let values = buffers[n].to_f64();
        if slot.access == Access::Read {
            prop_assert_eq!(&values, &before[n].to_f64());
            continue;
        }
        // The log-sum-exp of nothing is the one infinity.
        prop_assert!(
            values.iter().all(|v| !v.is_nan() && *v < 1e6),
            "slot {} of {}",
            n,
            s.kernel
        );
    }

    // The same in one buffer per dtype, each operand at its offset.
    let mut together = [DType::F32, DType::F64, DType::I32, DType::Bf16].map(|d| (d, vec![]));
    let mut places = vec![];
    for b in &before {
        let buffer = together.iter().position(|(d, _)| *d == b.dtype()).unwrap();
        places.push(Place {
            buffer,
            offset: together[buffer].1.len(),
        });
        together[buffer].1.extend(b.to_f64());
    }
    let mut together = together.map(|(d, v)| Buffer::from_f64(d, v.into_iter()));
    run(&s.kernel, &mut together, &places, &s.sizes).unwrap();
    for (place, b) in places.iter().zip(&buffers) {
        let part = &together[place.buffer].to_f64()[place.offset..][..b.len()];
        prop_assert_eq!(part, &b.to_f64()[..]);
    }
    Ok(())
}

/// Whether a slot in bf16 is loaded after it was stored to.
fn rounds_inside(kernel: &Kernel) -> bool {
    kernel.body.values().iter().any(|v| {
        let Value::Load { slot, .. } = v else { return false };
        let slot = &kernel.slots[*slot];
        slot.dtype == DType::Bf16 && slot.access == Access::Write
    })
}

/// Inputs of a narrowed sample are numbers that bf16 holds, so its results are those of the sample itself, rounded.
fn narrowing_rounds_results(s: &Sample, seed: u32) -> Result<bool, TestCaseError> {
    let narrow = narrowed(s.clone(), seed);
    if rounds_inside(&narrow.kernel) {
        return Ok(false);
    }
    let (want, got) = (separate(s)?, separate(&narrow)?);
    for (n, (want, got)) in want.iter().zip(&got).enumerate() {
        // A product that rounds its operands has others.
        if s.kernel.slots[n].access == Access::Read {
            continue;
        }
        let want = want.to_f64().into_iter();
        let want: Vec<f64> = match got.dtype() {
            DType::Bf16 => want.map(|v| bf16::from_f32(v as f32).to_f64()).collect(),
            _ => want.collect(),
        };
        prop_assert_eq!(want, got.to_f64(), "slot {} of {}", n, narrow.kernel);
    }
    Ok(narrow.kernel != s.kernel)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn samples_run(seed: u32) {
        check(&any(seed))?;
        check(&narrowed(any(seed), seed))?;
    }

    #[test]
    fn narrowed_samples_round_their_results(seed: u32) {
        narrowing_rounds_results(&any(seed), seed)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn large_samples_run(seed: u32) {
        check(&any_large(seed))?;
        narrowing_rounds_results(&any_large(seed), seed)?;
    }
}

#[test]
fn most_samples_are_narrowed() {
    let changed = (0..400)
        .filter(|seed| narrowing_rounds_results(&any(*seed), *seed).unwrap())
        .count();
    assert!(changed > 200, "{changed} of 400");
}

/// A backend that forgot to round the operands of products would be found.
#[test]
fn rounding_of_products_is_seen() {
    let (mut rounded, mut seen) = (0, 0);
    for seed in 0..60 {
        let sample = narrowed(contract(seed), seed);
        let mut wide = sample.clone();
        let Body::Contract(k) = &mut wide.kernel.body else {
            continue;
        };
        let moved = [k.a.slot, k.b.slot]
            .iter()
            .any(|s| sample.operands[*s].dtype == DType::F32);
        let is_stored = k.store.iter().any(|s| s.value == 0);
        if k.round == Rounding::F32 || !moved || !is_stored {
            continue;
        }
        k.round = Rounding::F32;
        rounded += 1;
        let (want, got) = (separate(&sample).unwrap(), separate(&wide).unwrap());
        let differs =
            |s: usize| (0..want[s].len()).any(|i| !sample.operands[s].agrees(i, got[s].get(i), want[s].get(i)));
        seen += (0..want.len()).any(differs) as usize;
    }
    assert!(rounded > 4 && seen == rounded, "{seen} of {rounded}");
}
