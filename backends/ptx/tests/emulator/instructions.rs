//! Single instructions against Rust's own arithmetic, on random and on awkward operands.

use crate::common::*;
use half::{bf16, f16};
use proptest::prelude::*;
use ptx::{Launch, Memory, Module};
use std::cmp::Ordering;
use std::fmt::Write;

/// A kernel that applies each instruction to three operands of each lane. `%a`, `%b`, `%c` are the operands and `%d` the
/// result, of `width` bits.
fn program(width: u32, instructions: &[&str]) -> Module {
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
fn results(module: &Module, width: u32, operands: &[Vec<u64>; 3], count: usize) -> Vec<Vec<u64>> {
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
fn integer() -> impl Strategy<Value = u64> + Clone {
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
fn single() -> impl Strategy<Value = u64> + Clone {
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

fn lanes(value: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = [Vec<u64>; 3]> {
    let one = move || proptest::collection::vec(value.clone(), 32);
    (one(), one(), one()).prop_map(|(a, b, c)| [a, b, c])
}

type Case<T> = (&'static str, fn(T, T, T) -> T);

/// Runs a list of cases on random operands; `same` says when a result is right.
fn agree<T: std::fmt::Debug + Copy>(
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

fn bit_field(a: u32, pos: u32, len: u32) -> u32 {
    (0..(len & 255).min(32)).fold(0, |out, i| {
        let at = (pos & 255) + i;
        out | if at < 32 { (a >> at & 1) << i } else { 0 }
    })
}

fn signed_field(a: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 255, len & 255);
    if len == 0 {
        return 0;
    }
    (0..32).fold(0, |out, i| out | (a >> (pos + i.min(len - 1)).min(31) & 1) << i)
}

fn insert_field(a: u32, b: u32, pos: u32) -> u32 {
    (0..5).fold(b, |out, i| {
        let at = (pos & 255) + i;
        if at < 32 {
            (out & !(1 << at)) | (a >> i & 1) << at
        } else {
            out
        }
    })
}

#[test]
fn integers_of_32_bits() {
    let cases: &[Case<u32>] = &[
        ("add.s32 %d, %a, %b;", |a, b, _| a.wrapping_add(b)),
        ("sub.u32 %d, %a, 7;", |a, _, _| a.wrapping_sub(7)),
        ("mul.lo.s32 %d, %a, %b;", |a, b, _| a.wrapping_mul(b)),
        ("mul.hi.s32 %d, %a, %b;", |a, b, _| {
            ((a as i32 as i64 * b as i32 as i64) >> 32) as u32
        }),
        ("mul.hi.u32 %d, %a, %b;", |a, b, _| ((a as u64 * b as u64) >> 32) as u32),
        ("mad.lo.s32 %d, %a, %b, %c;", |a, b, c| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        ("div.u32 %d, %a, %b;", |a, b, _| a.checked_div(b).unwrap_or(!0)),
        ("div.s32 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                !0
            } else {
                (a as i32).wrapping_div(b as i32) as u32
            }
        }),
        ("rem.u32 %d, %a, %b;", |a, b, _| if b == 0 { a } else { a % b }),
        ("rem.s32 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                a
            } else {
                (a as i32).wrapping_rem(b as i32) as u32
            }
        }),
        ("min.s32 %d, %a, %b;", |a, b, _| (a as i32).min(b as i32) as u32),
        ("max.u32 %d, %a, %b;", |a, b, _| a.max(b)),
        ("abs.s32 %d, %a;", |a, _, _| (a as i32).wrapping_abs() as u32),
        ("neg.s32 %d, %a;", |a, _, _| a.wrapping_neg()),
        ("shl.b32 %d, %a, %b;", |a, b, _| a.checked_shl(b).unwrap_or(0)),
        ("shr.u32 %d, %a, %b;", |a, b, _| a.checked_shr(b).unwrap_or(0)),
        ("shr.s32 %d, %a, %b;", |a, b, _| (a as i32 as i64 >> b.min(63)) as u32),
        ("shf.l.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
            ((b as u64) << 32 | a as u64).rotate_left(c % 32).wrapping_shr(32) as u32
        }),
        ("shf.r.wrap.b32 %d, %a, %a, %c;", |a, _, c| a.rotate_right(c % 32)),
        ("bfe.u32 %d, %a, %b, %c;", bit_field),
        ("bfe.s32 %d, %a, %b, %c;", signed_field),
        ("bfi.b32 %d, %a, %b, %c, 5;", insert_field),
        ("prmt.b32 %d, %a, %b, 0x3654;", |a, b, _| {
            let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
            u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[3]])
        }),
        ("prmt.b32 %d, %a, 0, 0xBA98;", |a, _, _| {
            u32::from_le_bytes(a.to_le_bytes().map(|b| if b > 127 { 255 } else { 0 }))
        }),
        ("lop3.b32 %d, %a, %b, %c, 0xEA;", |a, b, c| (a & b) | c),
        ("lop3.b32 %d, %a, %b, %c, 0x96;", |a, b, c| a ^ b ^ c),
        ("popc.b32 %d, %a;", |a, _, _| a.count_ones()),
        ("clz.b32 %d, %a;", |a, _, _| a.leading_zeros()),
        ("brev.b32 %d, %a;", |a, _, _| a.reverse_bits()),
        ("bfind.u32 %d, %a;", |a, _, _| a.checked_ilog2().unwrap_or(!0)),
        (
            "{ .reg .b16 x, y; mov.b32 {x, y}, %a; mov.b32 %d, {y, x}; }",
            |a, _, _| a.rotate_left(16),
        ),
        ("cvt.s32.s8 %d, %a;", |a, _, _| a as i8 as u32),
        ("cvt.u16.u32 %rs1, %a; mul.wide.s16 %d, %rs1, -3;", |a, _, _| {
            (a as i16 as i32 * -3) as u32
        }),
        (
            "cvt.u16.u32 %rs1, %a; cvt.u16.u32 %rs2, %b; max.s16 %rs1, %rs1, %rs2; cvt.u32.u16 %d, %rs1;",
            |a, b, _| (a as i16).max(b as i16) as u16 as u32,
        ),
        ("setp.lt.s32 %p1, %a, %b; selp.b32 %d, 1, 2, %p1;", |a, b, _| {
            if (a as i32) < b as i32 { 1 } else { 2 }
        }),
        (
            "setp.hi.u32 %p1, %a, %b; setp.ne.or.b32 %p1|%p2, %a, %c, %p1; selp.b32 %d, 1, 0, %p1; @%p2 add.s32 %d, %d, 2;",
            |a, b, c| u32::from(a != c || a > b) + if a == c || a > b { 2 } else { 0 },
        ),
    ];
    agree(32, cases, integer(), |x| x as u32, |a, b| a == b);
}

#[test]
fn integers_of_64_bits() {
    let cases: &[Case<u64>] = &[
        ("add.s64 %d, %a, %b;", |a, b, _| a.wrapping_add(b)),
        ("mul.lo.s64 %d, %a, %b;", |a, b, _| a.wrapping_mul(b)),
        ("mul.hi.u64 %d, %a, %b;", |a, b, _| {
            ((a as u128 * b as u128) >> 64) as u64
        }),
        ("mul.hi.s64 %d, %a, %b;", |a, b, _| {
            ((a as i64 as i128 * b as i64 as i128) >> 64) as u64
        }),
        ("mad.lo.s64 %d, %a, %b, %c;", |a, b, c| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        ("div.s64 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                !0
            } else {
                (a as i64).wrapping_div(b as i64) as u64
            }
        }),
        ("rem.u64 %d, %a, %b;", |a, b, _| if b == 0 { a } else { a % b }),
        ("cvt.u32.u64 %r1, %b; shl.b64 %d, %a, %r1;", |a, b, _| {
            a.checked_shl(b as u32).unwrap_or(0)
        }),
        ("cvt.u32.u64 %r1, %b; shr.s64 %d, %a, %r1;", |a, b, _| {
            ((a as i64) >> (b as u32).min(63)) as u64
        }),
        (
            "cvt.u32.u64 %r1, %a; cvt.u32.u64 %r2, %b; mul.wide.s32 %d, %r1, %r2;",
            |a, b, _| (a as i32 as i64 * b as i32 as i64) as u64,
        ),
        ("cvt.u32.u64 %r1, %a; mad.wide.u32 %d, %r1, 9, %b;", |a, b, _| {
            (a as u32 as u64 * 9).wrapping_add(b)
        }),
        ("mov.b64 {%r1, %r2}, %a; mov.b64 %d, {%r2, %r1};", |a, _, _| {
            a.rotate_left(32)
        }),
        (
            "mov.b64 {%rs1, %rs2, %rs3, %rs4}, %a; mov.b64 %d, {%rs4, %rs1, %rs2, %rs3};",
            |a, _, _| a.rotate_left(16),
        ),
        (
            "popc.b64 %r1, %a; clz.b64 %r2, %b; mov.b64 %d, {%r1, %r2};",
            |a, b, _| a.count_ones() as u64 | (b.leading_zeros() as u64) << 32,
        ),
        ("cvt.u32.u64 %r1, %a; cvt.s64.s32 %d, %r1;", |a, _, _| a as i32 as u64),
        ("cvt.u16.u64 %rs1, %a; cvt.s64.s16 %d, %rs1;", |a, _, _| a as i16 as u64),
        (
            "cvt.u16.u64 %rs1, %a; cvt.s16.s8 %rs1, %rs1; cvt.u64.u16 %d, %rs1;",
            |a, _, _| a as i8 as u16 as u64,
        ),
        ("add.cc.s64 %rd1, %a, %b; addc.s64 %d, %c, 5;", |a, b, c| {
            c.wrapping_add(5).wrapping_add(u64::from(a.checked_add(b).is_none()))
        }),
        ("bfi.b64 %d, %a, %b, 32, 32;", |a, b, _| (a << 32) | (b & 0xffff_ffff)),
        ("bfi.b64 %d, %a, %b, 7, 5;", |a, b, _| (b & !(31 << 7)) | (a & 31) << 7),
        ("cvt.rn.f64.s64 %d, %a;", |a, _, _| (a as i64 as f64).to_bits()),
        ("cvt.rn.f32.u64 %r1, %a; cvt.u64.u32 %d, %r1;", |a, _, _| {
            (a as f32).to_bits() as u64
        }),
        ("setp.le.s64 %p1, %a, %b; selp.b64 %d, %b, %c, %p1;", |a, b, c| {
            if a as i64 <= b as i64 { b } else { c }
        }),
        ("cvt.u32.u64 %r1, %b; bfe.u64 %d, %a, %r1, 9;", |a, b, _| {
            a.checked_shr(b as u32 & 255).unwrap_or(0) & 511
        }),
    ];
    agree(64, cases, integer(), |x| x, |a, b| a == b);
}

fn same_single(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn single_precision() {
    let cases: &[Case<f32>] = &[
        ("add.rn.f32 %d, %a, %b;", |a, b, _| a + b),
        ("sub.f32 %d, %a, %b;", |a, b, _| a - b),
        ("mul.f32 %d, %a, 0f40400000;", |a, _, _| a * 3.0),
        ("div.rn.f32 %d, %a, %b;", |a, b, _| a / b),
        ("fma.rn.f32 %d, %a, %b, %c;", f32::mul_add),
        ("sqrt.rn.f32 %d, %a;", |a, _, _| a.sqrt()),
        ("rcp.rn.f32 %d, %a;", |a, _, _| 1.0 / a),
        ("neg.f32 %d, %a;", |a, _, _| -a),
        ("abs.f32 %d, %a;", |a, _, _| a.abs()),
        ("copysign.f32 %d, %a, %b;", |a, b, _| b.copysign(a)),
        ("cvt.rmi.f32.f32 %d, %a;", |a, _, _| a.floor()),
        ("cvt.rpi.f32.f32 %d, %a;", |a, _, _| a.ceil()),
        ("cvt.rni.f32.f32 %d, %a;", |a, _, _| a.round_ties_even()),
        ("cvt.rzi.f32.f32 %d, %a;", |a, _, _| a.trunc()),
        (
            "cvt.f64.f32 %rd1, %a; cvt.f64.f32 %rd2, %b; add.f64 %rd1, %rd1, %rd2; cvt.rn.f32.f64 %d, %rd1;",
            |a, b, _| (a as f64 + b as f64) as f32,
        ),
        (
            "cvt.f64.f32 %rd1, %a; cvt.f64.f32 %rd2, %b; fma.rn.f64 %rd1, %rd1, %rd2, %rd2; cvt.rn.f32.f64 %d, %rd1;",
            |a, b, _| (a as f64).mul_add(b as f64, b as f64) as f32,
        ),
        ("cvt.rzi.s32.f32 %r1, %a; cvt.rn.f32.s32 %d, %r1;", |a, _, _| {
            a as i32 as f32
        }),
        ("cvt.rni.u32.f32 %r1, %a; cvt.rn.f32.u32 %d, %r1;", |a, _, _| {
            a.round_ties_even() as u32 as f32
        }),
        ("cvt.rmi.s16.f32 %rs1, %a; cvt.rn.f32.s16 %d, %rs1;", |a, _, _| {
            a.floor() as i16 as f32
        }),
        ("min.NaN.f32 %d, %a, %b;", |a, b, _| {
            if a.is_nan() || b.is_nan() {
                f32::NAN
            } else {
                a.min(b).min(b.min(a)) + 0.0
            }
        }),
        (
            "setp.lt.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(a < b),
        ),
        (
            "setp.geu.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(a.partial_cmp(&b) != Some(Ordering::Less)),
        ),
        (
            "setp.ne.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(matches!(a.partial_cmp(&b), Some(Ordering::Less | Ordering::Greater))),
        ),
        (
            "setp.neu.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(a != b),
        ),
        (
            "setp.num.f32 %p1, %a, %b; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, b, _| f32::from(!a.is_nan() && !b.is_nan()),
        ),
        (
            "testp.subnormal.f32 %p1, %a; selp.f32 %d, 0f3F800000, 0f00000000, %p1;",
            |a, _, _| f32::from(a.is_subnormal()),
        ),
        ("cvt.rn.bf16.f32 %rs1, %a; cvt.f32.bf16 %d, %rs1;", |a, _, _| {
            bf16::from_f32(a).to_f32()
        }),
        ("cvt.rn.f16.f32 %rs1, %a; cvt.f32.f16 %d, %rs1;", |a, _, _| {
            f16::from_f32(a).to_f32()
        }),
        (
            "cvt.rn.bf16x2.f32 %r1, %a, %b; mov.b32 {%rs1, %rs2}, %r1; cvt.f32.bf16 %d, %rs2;",
            |a, _, _| bf16::from_f32(a).to_f32(),
        ),
        (
            "cvt.rn.f16x2.f32 %r1, %a, %b; mov.b32 {%rs1, %rs2}, %r1; cvt.f32.f16 %d, %rs1;",
            |_, b, _| f16::from_f32(b).to_f32(),
        ),
    ];
    let same = |a: f32, b: f32| same_single(a, b) || a == 0.0 && b == 0.0;
    agree(32, cases, single(), |x| f32::from_bits(x as u32), same);
}

#[test]
fn minima_and_maxima_of_zeros_and_nans() {
    let text = "min.f32 %d, %a, %b;";
    let module = program(32, &[text, "max.f32 %d, %a, %b;", "max.NaN.f32 %d, %a, %b;"]);
    let nan = 0x7fc0_0001;
    let pairs = [
        (0x8000_0000, 0),
        (0, 0x8000_0000),
        (nan, 5),
        (5, nan),
        (nan, nan),
        (3f32.to_bits(), 2f32.to_bits()),
    ];
    let expected = [
        [0x8000_0000, 0, 0],
        [0x8000_0000, 0, 0],
        [5, 5, 0x7fff_ffff],
        [5, 5, 0x7fff_ffff],
        [0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff],
        [2f32.to_bits(), 3f32.to_bits(), 3f32.to_bits()],
    ];
    let operand = |pick: fn((u32, u32)) -> u32| (0..32).map(|i| u64::from(pick(pairs[i % 6]))).collect::<Vec<_>>();
    let found = results(&module, 32, &[operand(|p| p.0), operand(|p| p.1), vec![0; 32]], 3);
    for lane in 0..6 {
        assert_eq!(
            [0, 1, 2].map(|i: usize| found[i][lane] as u32),
            expected[lane],
            "{:x?}",
            pairs[lane]
        );
    }
}

#[test]
fn halves() {
    // Operands are whole eighths, so that doubles hold sums of products exactly and `half` rounds once.
    fn b(x: u32) -> bf16 {
        bf16::from_f64(f64::from(x as i8) / 8.0)
    }
    fn h(x: u32) -> f16 {
        f16::from_f64(f64::from(x as i16) / 64.0)
    }
    macro_rules! bf {
        ($op:literal, $f:expr) => {
            (
                concat!(
                    "cvt.s32.s8 %r1, %a; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3E000000; cvt.rn.bf16.f32 %rs1, %r1;",
                    "cvt.s32.s8 %r1, %b; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3E000000; cvt.rn.bf16.f32 %rs2, %r1;",
                    "cvt.s32.s8 %r1, %c; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3E000000; cvt.rn.bf16.f32 %rs3, %r1;",
                    $op, " cvt.u32.u16 %d, %rs4;"
                ),
                |x, y, z| {
                    let f: fn(f64, f64, f64) -> f64 = $f;
                    u32::from(bf16::from_f64(f(b(x).to_f64(), b(y).to_f64(), b(z).to_f64())).to_bits())
                },
            )
        };
    }
    macro_rules! hf {
        ($op:literal, $f:expr) => {
            (
                concat!(
                    "cvt.s32.s16 %r1, %a; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3C800000; cvt.rn.f16.f32 %rs1, %r1;",
                    "cvt.s32.s16 %r1, %b; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3C800000; cvt.rn.f16.f32 %rs2, %r1;",
                    "cvt.s32.s16 %r1, %c; cvt.rn.f32.s32 %r1, %r1; mul.f32 %r1, %r1, 0f3C800000; cvt.rn.f16.f32 %rs3, %r1;",
                    $op, " cvt.u32.u16 %d, %rs4;"
                ),
                |x, y, z| {
                    let f: fn(f64, f64, f64) -> f64 = $f;
                    u32::from(f16::from_f64(f(h(x).to_f64(), h(y).to_f64(), h(z).to_f64())).to_bits())
                },
            )
        };
    }
    let cases: &[Case<u32>] = &[
        bf!("add.rn.bf16 %rs4, %rs1, %rs2;", |a, b, _| a + b),
        bf!("mul.rn.bf16 %rs4, %rs1, %rs2;", |a, b, _| a * b),
        bf!("fma.rn.bf16 %rs4, %rs1, %rs2, %rs3;", |a, b, c| a * b + c),
        bf!(
            "mov.b32 %r2, {%rs1, %rs2}; mov.b32 %r3, {%rs3, %rs1}; sub.rn.bf16x2 %r2, %r2, %r3; mov.b32 {_, %rs4}, %r2;",
            |a, b, _| b - a
        ),
        hf!("add.rn.f16 %rs4, %rs1, %rs2;", |a, b, _| a + b),
        hf!("mul.rn.f16 %rs4, %rs1, %rs2;", |a, b, _| a * b),
        hf!("fma.rn.f16 %rs4, %rs1, %rs2, %rs3;", |a, b, c| a * b + c),
        hf!(
            "mov.b32 %r2, {%rs1, %rs2}; fma.rn.f16x2 %r2, %r2, %r2, %r2; mov.b32 {%rs4, _}, %r2;",
            |a, _, _| a * a + a
        ),
    ];
    // A zero's sign may differ: `f64` and the type agree on it, but the operands' conversion does not.
    agree(
        32,
        cases,
        any::<u64>(),
        |x| x as u32,
        |a, b| a == b || (a | b) & 0x7fff == 0,
    );
}

/// Approximations: within the PTX ISA's bounds of the true value; which bits a GPU gives is unconfirmed.
#[test]
fn approximations_are_near() {
    let cases: &[Case<f32>] = &[
        ("ex2.approx.ftz.f32 %d, %a;", |a, _, _| (a as f64).exp2() as f32),
        ("lg2.approx.f32 %d, %a;", |a, _, _| (a as f64).log2() as f32),
        ("rsqrt.approx.f32 %d, %a;", |a, _, _| (1.0 / (a as f64).sqrt()) as f32),
        ("rcp.approx.ftz.f32 %d, %a;", |a, _, _| 1.0 / a),
        ("sqrt.approx.f32 %d, %a;", |a, _, _| a.sqrt()),
        ("div.full.f32 %d, %a, %b;", |a, b, _| a / b),
        ("tanh.approx.f32 %d, %a;", |a, _, _| (a as f64).tanh() as f32),
    ];
    let near = |a: f32, b: f32| same_single(a, b) || (a - b).abs() <= 4e-7 * b.abs().max(1e-30);
    let moderate = (1e-3f32..50.0).prop_map(|x| u64::from(x.to_bits()));
    agree(32, cases, moderate, |x| f32::from_bits(x as u32), near);
}

#[test]
fn narrow_loads_and_stores() {
    let body = "cvt.u64.u32 %rd1, %tid; add.s64 %rd1, %out, %rd1; \n\
        ld.global.s8 %r1, [%rd1]; ld.global.u8 %rs1, [%rd1]; cvt.u32.u16 %r2, %rs1; \n\
        shl.b64 %rd2, %rd1, 0; ld.global.s8 %rd3, [%rd1]; cvt.u32.u64 %r3, %rd3; shr.u64 %rd3, %rd3, 32; \n\
        cvt.u32.u64 %r4, %rd3; mul.wide.u32 %rd4, %tid, 16; add.s64 %rd4, %out, %rd4; \n\
        st.global.v4.b32 [%rd4+32], {%r1, %r2, %r3, %r4}; st.global.b8 [%rd1+600], %r1; \n\
        mul.wide.u32 %rd5, %tid, 2; add.s64 %rd5, %out, %rd5; st.global.b16 [%rd5+640], %r1; \n\
        ld.global.nc.b16 %r6, [%rd5+640]; ld.global.s16 %r7, [%rd5+640]; \n\
        mul.wide.u32 %rd6, %tid, 8; add.s64 %rd6, %out, %rd6; st.global.v2.b32 [%rd6+768], {%r6, %r7}; \n\
        mov.b64 %rd7, {%r1, %r2}; st.global.b64 [%rd6+1024], %rd7;";
    let module = Module::parse(&kernel("", body)).unwrap();
    let mut memory = Memory::new();
    let out = memory.alloc(1280);
    let bytes: Vec<u8> = (0..32).map(|i| (i * 37 + 5) as u8).collect();
    memory.write(out, &bytes).unwrap();
    let params = Params::default().u64(out);
    module.launch(&Launch::new("k", 1, 32, &params.0), &memory, 1).unwrap();
    for (i, &byte) in bytes.iter().enumerate() {
        let signed = byte as i8 as i32 as u32;
        let sign = if byte > 127 { u32::MAX } else { 0 };
        let words = |at: u64, n| download::<u32>(&memory, out + at + 4 * (n * i) as u64, n);
        assert_eq!(words(32, 4), [signed, byte.into(), signed, sign], "{i}");
        assert_eq!(words(768, 2), [signed & 0xffff, signed], "{i}");
        assert_eq!(words(1024, 2), [signed, byte.into()], "{i}");
        let mut one = [0];
        memory.read(out + 600 + i as u64, &mut one).unwrap();
        assert_eq!(one[0], byte, "{i}");
    }
}
