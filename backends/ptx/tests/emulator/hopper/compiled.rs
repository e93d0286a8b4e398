//! A kernel that MLIR's nvgpu dialect made: two bulk copies, eight products, a store.
//!
//! As it comes it lacks fences that the PTX ISA demands: one before the copies, and one wherever LLVM put moves of accumulators
//! behind the `wgmma.fence` that was to follow them. ptxas may make up for that; the emulator does not. Stores of the second 64
//! rows were moved 32 rows down in the fixture: `nvgpu.warpgroup.mma.store` puts them over the first.

use crate::common::*;
use half::f16;
use w2vc_ptx::{Error, FaultKind, Launch, Memory, Module, TensorMap};

const TEXT: &str = include_str!("../fixtures/hopper.ptx");

fn run(text: &str) -> Result<Vec<f32>, Error> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let mut memory = Memory::new();
    let value = |i: usize| f16::from_f32((i * 37 % 41) as f32 - 20.0).to_bits();
    let a: Vec<u16> = (0..128 * 64).map(value).collect();
    let b: Vec<u16> = (0..64 * 64).map(|i| value(3 * i + 5)).collect();
    let (a_at, b_at) = (upload16(&mut memory, &a), upload16(&mut memory, &b));
    let out = upload(&mut memory, &vec![0.0f32; 128 * 64]);
    let map = |address, rows: u32| TensorMap {
        address,
        bytes_per_element: 2,
        extents: vec![64, rows.into()],
        strides: vec![128],
        tile: vec![64, rows],
    };
    let params = Params::default().map(&map(a_at, 128)).map(&map(b_at, 64)).u64(out);
    module.launch(&Launch::new("wgmma", 1, 128, &params.0), &memory, 1)?;
    let found = download(&memory, out, 128 * 64);
    let value = |bits: u16| f16::from_bits(bits).to_f32();
    for (i, found) in found.iter().enumerate() {
        let (row, column) = (i / 64, i % 64);
        let sum: f32 = (0..64)
            .map(|k| value(a[64 * row + k]) * value(b[64 * k + column]))
            .sum();
        assert_eq!(*found, sum, "row {row}, column {column}");
    }
    Ok(found)
}

fn kind(text: &str) -> FaultKind {
    match run(text) {
        Err(Error::Fault(fault)) => fault.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_compiled_kernel_multiplies_once_its_fences_are_there() {
    assert!(matches!(kind(TEXT), FaultKind::ProxyFence { .. }));
    let fenced = |text: &str, after: &str, fence: &str| {
        assert_eq!(text.matches(after).count(), 1, "{after}");
        text.replace(after, &format!("{after}\n{fence}"))
    };
    let text = TEXT.replace("bar.sync \t0;", "fence.proxy.async.shared::cta; bar.sync 0;");
    assert!(matches!(kind(&text), FaultKind::WgmmaFence));
    // Each half's accumulators are set after the only fence, the second's while the first is being computed.
    let text = fenced(&text, "mov.b32 \t%r38, %r70;", "wgmma.fence.sync.aligned;");
    assert!(matches!(kind(&text), FaultKind::WgmmaFence));
    run(&fenced(&text, "mov.b32 \t%r69, %r70;", "wgmma.fence.sync.aligned;")).unwrap();
}
