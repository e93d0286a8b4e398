//! Single instructions against Rust's own arithmetic, on random and on awkward operands.

use crate::common::*;
use proptest::prelude::*;
use std::fmt::Write;
use w2vc_ptx::{Launch, Memory, Module};

/// A kernel that applies each instruction to three operands of each lane. `%a`, `%b`, `%c` are the operands and `%d` the
/// result, of `width` bits.
pub fn program(width: u32, instructions: &[&str]) -> Module {
    let declarations = format!(".reg .b{width} %a;\n.reg .b{width} %b;\n.reg .b{width} %c;\n.reg .b{width} %d;");
    let bytes = width / 8;
    let mut body = format!("mul.wide.u32 %dst, %tid, {bytes};\nadd.s64 %dst, %out, %dst;\n");
    for (i, name) in ["%a", "%b", "%c"].iter().enumerate() {
        writeln!(body, "ld.global.b{width} {name}, [%dst+{}];", 32 * bytes as usize * i).unwrap();
    }
    for (i, instruction) in instructions.iter().enumerate() {
        // Results that an instruction writes in part begin as zero.
        writeln!(
            body,
            "mov.b{width} %d, 0;\n{instruction}\nst.global.b{width} [%dst+{}], %d;",
            32 * bytes as usize * (i + 3)
        )
        .unwrap();
    }
    Module::parse(&kernel(&declarations, &body)).unwrap_or_else(|e| panic!("{e}"))
}

/// Runs it on operands of 64 bits, of which the low `width` count; the results of each instruction's lanes.
pub fn results(module: &Module, width: u32, operands: &[Vec<u64>; 3], count: usize) -> Vec<Vec<u64>> {
    let bytes = width as usize / 8;
    let mut memory = Memory::new();
    let out = memory.alloc((32 * bytes * (count + 3)) as u64);
    for (i, values) in operands.iter().enumerate() {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()[..bytes].to_vec()).collect();
        memory.write(out + (32 * bytes * i) as u64, &data).unwrap();
    }
    let params = Params::default().u64(out);
    module.launch(&Launch::new("k", 1, 32, &params.0), &memory, 1).unwrap();
    (3..count + 3)
        .map(|i| {
            let mut data = vec![0; 32 * bytes];
            memory.read(out + (32 * bytes * i) as u64, &mut data).unwrap();
            let value = |c: &[u8]| c.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b));
            data.chunks_exact(bytes).map(value).collect()
        })
        .collect()
}

/// Integers with small ones, shift amounts and extremes among them.
pub fn integer() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![
        any::<u64>(),
        0..80u64,
        (0..64u32).prop_map(|n| 1 << n),
        (0..64u32).prop_map(|n| (1u64 << n).wrapping_sub(1)),
        Just(u64::MAX),
        Just(1 << 63),
        Just(0x8000_0000),
    ]
}

/// Bits of singles, special ones among them.
pub fn single() -> impl Strategy<Value = u64> + Clone {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        1e-42,
        f32::MAX,
    ];
    prop_oneof![
        any::<u32>().prop_map(u64::from),
        (-1e3f32..1e3).prop_map(|x| u64::from(x.to_bits())),
        (-20i32..20).prop_map(|n| u64::from((n as f32 / 2.0).to_bits())),
        proptest::sample::select(special.to_vec()).prop_map(|x| u64::from(x.to_bits())),
    ]
}

pub fn lanes(value: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = [Vec<u64>; 3]> {
    let one = move || proptest::collection::vec(value.clone(), 32);
    (one(), one(), one()).prop_map(|(a, b, c)| [a, b, c])
}

pub type Case<T> = (&'static str, fn(T, T, T) -> T);

/// Runs a list of cases on random operands; `same` says when a result is right.
pub fn agree<T: std::fmt::Debug + Copy>(
    width: u32,
    cases: &[Case<T>],
    operand: impl Strategy<Value = u64> + Clone,
    from: fn(u64) -> T,
    same: fn(T, T) -> bool,
) {
    let module = program(width, &cases.iter().map(|c| c.0).collect::<Vec<_>>());
    proptest!(ProptestConfig::with_cases(64), |(operands in lanes(operand))| {
        let found = results(&module, width, &operands, cases.len());
        for ((text, f), found) in cases.iter().zip(&found) {
            for lane in 0..32 {
                let [a, b, c] = [0, 1, 2].map(|i: usize| from(operands[i][lane]));
                let (expected, found) = (f(a, b, c), from(found[lane]));
                prop_assert!(same(found, expected), "{} of {:?}: {:?}, not {:?}", text, (a, b, c), found, expected);
            }
        }
    });
}
