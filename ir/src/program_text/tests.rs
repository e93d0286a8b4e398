//! Texts of programs read back, and mistakes are told by line.

use super::*;
use crate::artifact::{Buffer, BufferKind, Launch, Operand, Port, Requirement, Step};
use crate::dim::Dim;
use crate::kernel_sample;
use crate::sample::Rand;
use crate::scalar::DType;
use proptest::prelude::*;

fn dim(r: &mut Rand) -> Dim {
    r.pick(&["0", "12", "B", "2*B*T - 5", "(N - 10)/5 + 1", "layer*B"])
        .parse()
        .unwrap()
}

fn text(r: &mut Rand) -> String {
    r.pick(&["x", "with \"quotes\"", "two\nlines", "# [b0] <= 3", "ö"])
        .to_string()
}

fn operand(r: &mut Rand) -> Operand {
    Operand {
        buffer: r.int(0, 3) as usize,
        offset: dim(r),
        layer_stride: dim(r),
    }
}

fn steps(r: &mut Rand, kernels: usize, depth: usize) -> Vec<Step> {
    let step = |r: &mut Rand| {
        if depth < 2 && r.int(0, 2) == 0 {
            return Step::Loop {
                count: r.int(1, 24),
                reverse: r.flag(),
                keep: r.flag().then(|| operand(r)),
                body: steps(r, kernels, depth + 1),
            };
        }
        Step::Launch(Launch {
            kernel: r.int(0, kernels as i64 - 1) as usize,
            operands: (0..r.int(0, 3)).map(|_| operand(r)).collect(),
        })
    };
    (0..r.int(0, 3)).map(|_| step(r)).collect()
}

fn program(r: &mut Rand, number: usize, kernels: usize) -> Program {
    let dtypes = [DType::F32, DType::F64, DType::I32, DType::Bf16];
    let port = |r: &mut Rand| Port {
        name: text(r),
        dtype: *r.pick(&dtypes),
        shape: (0..r.int(0, 3)).map(|_| dim(r)).collect(),
        buffer: r.int(0, 9) as usize,
    };
    let requirement = |r: &mut Rand| Requirement {
        value: dim(r),
        least: r.int(-3, 3),
        most: *r.pick(&[i64::MAX, 7]),
        what: text(r),
    };
    let buffer = |r: &mut Rand| Buffer {
        kind: r.pick(&print::KINDS).1,
        dtype: *r.pick(&dtypes),
        elements: dim(r),
        live: (r.int(0, 3) as usize, r.int(0, 9) as usize),
    };
    let numbers = |r: &mut Rand| (0..9).filter(|_| r.flag()).collect();
    Program {
        name: format!("{number}{}", text(r)),
        inputs: (0..r.int(0, 2)).map(|_| port(r)).collect(),
        outputs: (0..r.int(0, 2)).map(|_| port(r)).collect(),
        requires: (0..r.int(0, 2)).map(|_| requirement(r)).collect(),
        buffers: (0..r.int(0, 4)).map(|_| buffer(r)).collect(),
        prepare: steps(r, kernels, 0),
        steps: steps(r, kernels, 0),
        loss: r.flag().then(|| text(r)),
        reads: numbers(r),
        trains: numbers(r),
    }
}

proptest! {
    #[test]
    fn text_reads_back(seed: u32) {
        let mut r = Rand::new(seed);
        let kernels: Vec<_> = (0..3).map(|i| (format!("some_{i}"), kernel_sample::any(seed ^ i).kernel)).collect();
        let programs = (0..r.int(0, 2) as usize).map(|n| program(&mut r, n, kernels.len())).collect();
        let all = Programs { programs, kernels };
        let text = print(&all.programs, &all.kernels);
        prop_assert_eq!(parse(&text), Ok(all), "{}", text);
    }
}

/// Otherwise `print` has no word for it.
#[test]
fn every_kind_of_buffer_has_a_word() {
    let last = BufferKind::Moment2;
    assert_eq!(print::KINDS.len(), last as usize + 1);
    for (i, (_, kind)) in print::KINDS.iter().enumerate() {
        assert_eq!(*kind as usize, i);
    }
}

const GOOD: &str = r#"# a comment
program "p"
  input "x" f32[B, 4] b1
  output "y" f32[B, 4] b2
  require 0 <= B - 1 <= 9 "an axis"
  b0 params f32[4]
  b1 input f32[4*B]
  b2 output f32[4*B] live 0 to 1
  steps {
    loop 3 reverse keep b1[0] {
      row_0 b1[0] b2[0; 4 per layer]
    }
  }

kernel row_0
  row [4]
    s0 read f32
    s1 write f32
    v0 = load s0[a0]
    columns
      s1[a0] = v0
"#;

#[test]
fn mistakes_are_told_by_line() {
    assert!(parse(GOOD).is_ok(), "{:?}", parse(GOOD));
    for (from, to, line, part) in [
        ("program \"p\"", "program p", 2, "a name in quotes"),
        ("program \"p\"", "programm \"p\"", 2, "`program` or `kernel`"),
        ("input \"x\"", "inputs \"x\"", 3, "`input`, `output`"),
        ("f32[B, 4] b1", "f33[B, 4] b1", 3, "a type is expected"),
        (
            "f32[B, 4] b1",
            "f32[B, 4]",
            3,
            "a buffer like `b0` is expected, not `4]`",
        ),
        ("B - 1 <= 9", "B - 1 < 9", 5, "unexpected `< 9`"),
        ("0 <= B", "B", 5, "a whole number"),
        ("  b0 params", "  reads 0..9999999999\n  b0 params", 6, "numbers up to"),
        ("b1 input f32", "b2 input f32", 7, "`b1` is expected"),
        ("b1 input f32", "b1 inputs f32", 7, "a kind of buffer is expected (temp"),
        ("live 0 to 1", "lives 0 to 1", 8, "`live FIRST to LAST`"),
        ("steps {", "steps", 9, "`{` is expected"),
        ("loop 3", "loop x", 10, "the number of layers"),
        ("keep b1[0] {", "keep b1[0]", 10, "`{` is expected"),
        ("row_0 b1[0]", "row_1 b1[0]", 11, "a kernel of this text"),
        ("row_0 b1[0]", "row_0 s1[0]", 11, "a buffer like `b0`"),
        ("4 per layer", "4 a layer", 11, "`STRIDE per layer`"),
        ("    }\n  }\n", "    }\n", 14, "a step or `}`"),
        ("kernel row_0", "kernel row 0", 15, "a name of letters"),
        ("row [4]", "rows [4]", 16, "`rows` is no kind of kernel"),
        ("v0 = load", "v0 = loud", 19, "`loud` is no function"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let e = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(
            e.line == line && e.message.contains(part),
            "{e}, not line {line}: {part}"
        );
    }
    let nested = GOOD.replace("    loop 3 reverse", &"    loop 1 {\n".repeat(40));
    let e = parse(&nested).unwrap_err();
    assert!(e.message.contains("at most 32 loops"), "{e}");
    let twice = format!("{GOOD}kernel row_0\n");
    let e = parse(&twice).unwrap_err();
    assert!(e.line == 22 && e.message.contains("another name"), "{e}");
}
