//! Random kernels against the interpreter, which is their meaning.

use crate::testing::{Data, Program};
use interp::{Buffer, Place};
use ir::kernel_sample::{self, Operand, Sample};
use ir::scalar::DType;
use proptest::prelude::*;

/// Elements before and after every operand that must stay as they are.
const MARGIN: usize = 24;

/// Operand contents between margins of NaN (-1 in i32).
fn data(o: &Operand) -> Data {
    fn framed<T: Clone>(margin: T, values: impl Iterator<Item = T>) -> Vec<T> {
        let edge = || std::iter::repeat_n(margin.clone(), MARGIN);
        edge().chain(values).chain(edge()).collect()
    }
    let values = || o.values.iter();
    match o.dtype {
        DType::F32 => Data::F32(framed(f32::NAN, values().map(|v| *v as f32))),
        DType::F64 => Data::F64(framed(f64::NAN, values().copied())),
        DType::I32 => Data::I32(framed(-1, values().map(|v| *v as i32))),
        DType::Bf16 => unreachable!("samples for the CPU have no bf16"),
    }
}

fn numbers(d: &Data) -> Vec<f64> {
    match d {
        Data::F32(v) => v.iter().map(|v| *v as f64).collect(),
        Data::F64(v) => v.clone(),
        Data::I32(v) => v.iter().map(|v| *v as f64).collect(),
    }
}

fn agree(sample: &Sample) -> Result<(), TestCaseError> {
    let mut buffers: Vec<Buffer> = sample
        .operands
        .iter()
        .map(|o| Buffer::from_f64(o.dtype, o.values.iter().copied()))
        .collect();
    let places: Vec<Place> = (0..buffers.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
    interp::run(&sample.kernel, &mut buffers, &places, &sample.sizes)
        .map_err(|e| TestCaseError::fail(format!("interpreter: {e}\n{}", sample.kernel)))?;
    let names: Vec<&str> = sample.sizes.keys().map(|k| k.as_ref()).collect();
    let program = Program::new(&sample.kernel, &names);
    let sizes: Vec<i64> = sample.sizes.values().copied().collect();
    let mut runs: Vec<Vec<Data>> = vec![];
    for pieces in [1, 3] {
        let mut slots: Vec<Data> = sample.operands.iter().map(data).collect();
        program.run_at(&mut slots, MARGIN, &sizes, pieces);
        runs.push(slots);
    }
    for (s, o) in sample.operands.iter().enumerate() {
        let (one, three, before) = (numbers(&runs[0][s]), numbers(&runs[1][s]), numbers(&data(o)));
        let want = buffers[s].to_f64();
        for i in 0..one.len() {
            let inside = (MARGIN..MARGIN + want.len()).contains(&i);
            prop_assert_eq!(
                one[i].to_bits(),
                three[i].to_bits(),
                "slot {} at {}: items cut in three",
                s,
                i
            );
            let (want, tolerance) = if inside {
                (want[i - MARGIN], o.tolerance)
            } else {
                (before[i], 0.0)
            };
            let same = one[i] == want || (one[i].is_nan() && want.is_nan()) || (one[i] - want).abs() <= tolerance;
            prop_assert!(
                same,
                "slot {} at {}: {} is not {} within {:e}\nsizes {:?}\n{}",
                s,
                i as i64 - MARGIN as i64,
                one[i],
                want,
                tolerance,
                sample.sizes,
                sample.kernel
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn rows(seed: u32) {
        agree(&kernel_sample::row(seed))?;
    }

    #[test]
    fn columns(seed: u32) {
        agree(&kernel_sample::column(seed))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn contractions(seed: u32) {
        agree(&kernel_sample::contract(seed))?;
        agree(&kernel_sample::contract_bytes(seed))?;
    }

    #[test]
    fn attentions(seed: u32) {
        agree(&kernel_sample::attention(seed))?;
        agree(&kernel_sample::attention_grad(seed))?;
    }

    #[test]
    fn scatters_and_losses(seed: u32) {
        agree(&kernel_sample::scatter(seed))?;
        agree(&kernel_sample::ctc(seed))?;
    }
}

/// AVX-512 code cannot run everywhere, but it must stand alone like any other.
#[test]
fn every_target_compiles() {
    let bytes = (0..4).map(kernel_sample::contract_bytes);
    let samples: Vec<Sample> = (0..32).map(kernel_sample::any).chain(bytes).collect();
    let kernels: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(i, s)| (format!("k{i}"), s.kernel.clone()))
        .collect();
    let symbols: Vec<_> = samples[0].sizes.keys().cloned().collect();
    for name in ["x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-bf16"] {
        let target = crate::Target::parse(name).unwrap_or_else(|e| panic!("{e}"));
        let compiled = crate::compile(&kernels, &symbols, &target).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(compiled.kernels.len(), kernels.len());
    }
}

/// The packing entry of a product of bytes brings a panel of f32 into a thread's memory, with longer vectors than this
/// processor may have too.
#[test]
fn panels_fit_the_memory_of_a_thread() {
    let target = crate::Target::parse("x86-64-v4").unwrap_or_else(|e| panic!("{e}"));
    let levels = ir::rounding::Levels::PAIRS;
    for seed in 0..24 {
        let Sample { mut kernel, sizes, .. } = kernel_sample::contract_bytes(seed);
        if let ir::kernel::Body::Contract(contract) = &mut kernel.body {
            contract.round = ir::rounding::Rounding::Int8(levels);
        }
        let symbols: Vec<_> = sizes.keys().cloned().collect();
        let compiled = crate::compile(&[("product".into(), kernel)], &symbols, &target);
        let compiled = compiled.unwrap_or_else(|e| panic!("{e}"));
        let has = compiled.kernels[0].scratch.eval(&sizes).unwrap_or(0);
        let columns = (target.lanes() * target.schedule_of_bytes().vectors) as i64;
        let needs = 4 * columns * levels.block as i64;
        assert!(
            has >= needs,
            "sample {seed}: {has} bytes, a block of a panel has {needs}"
        );
    }
}
