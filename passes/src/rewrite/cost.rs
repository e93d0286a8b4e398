//! Cost of a term: a roofline without overlap over the kernels it roughly becomes.
//!
//! Element-wise work with one reader runs inside that reader's kernel, so its result is not written; with more it may
//! be.

use ir::dim::{Atom, Dim};
use ir::ops::{Einsum, Op};
use ir::scalar::{Binary, DType, Unary};
use ir::types::Type;

/// Work of a term at example sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    pub flops: f64,
    pub bytes: f64,
    pub launches: f64,
    /// Bytes of a result that is only written if several kernels read it.
    pub shared_bytes: f64,
}

/// Of one machine of the kind we compile for; only ratios matter.
const FLOPS_PER_SECOND: f64 = 1e11;
const BYTES_PER_SECOND: f64 = 1e10;
const SECONDS_PER_LAUNCH: f64 = 5e-6;
/// So that among equals the smaller term wins and no cycle is free.
const SECONDS_PER_TERM: f64 = 1e-9;

impl Work {
    pub fn seconds(&self) -> f64 {
        self.flops / FLOPS_PER_SECOND
            + self.bytes / BYTES_PER_SECOND
            + self.launches * SECONDS_PER_LAUNCH
            + SECONDS_PER_TERM
    }
    fn with_bytes(self, bytes: f64) -> Work {
        Work { bytes, ..self }
    }
    /// This work where `readers` terms read the result.
    pub fn read_by(self, readers: usize) -> Work {
        let shared = if readers > 1 { self.shared_bytes } else { 0.0 };
        Work {
            bytes: self.bytes + shared,
            shared_bytes: 0.0,
            ..self
        }
    }
    pub fn plus(self, o: Work) -> Work {
        Work {
            flops: self.flops + o.flops,
            bytes: self.bytes + o.bytes,
            launches: self.launches + o.launches,
            shared_bytes: self.shared_bytes + o.shared_bytes,
        }
    }
}

/// A size where symbols stand for typical runs: a few clips of ten seconds.
pub fn example(d: &Dim) -> f64 {
    let symbol = |s: &str| match s {
        "B" => 4.0,
        "N" => 160_000.0,
        "M" => 240.0,
        _ => 40.0,
    };
    let atom = |a: &Atom| match a {
        Atom::Sym(s) => symbol(s),
        Atom::Div(n, by) => (example(n) / *by as f64).floor(),
    };
    d.terms()
        .map(|(c, factors)| c as f64 * factors.iter().map(atom).product::<f64>())
        .sum()
}

/// Elements of a tensor at example sizes.
pub fn elements(ty: &Type) -> f64 {
    ty.shape.iter().map(example).product()
}

pub fn bytes(ty: &Type) -> f64 {
    elements(ty) * ty.dtype.bytes() as f64
}

/// Whether the op only shows its operand in another way.
pub fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Broadcast(_) | Op::Get(_))
}

pub fn work(op: &Op, args: &[&Type], results: &[Type]) -> Work {
    let out = &results[0];
    let n = elements(out);
    let moved: f64 = args.iter().copied().chain(results).map(bytes).sum();
    let kernel = |flops: f64| Work {
        flops,
        bytes: moved,
        launches: 1.0,
        shared_bytes: 0.0,
    };
    let element = |flops: f64| Work {
        flops: n * flops,
        shared_bytes: bytes(out),
        ..Work::default()
    };
    // Reads its operand `reads` times.
    let rows = |flops: f64, reads: f64| {
        let x = args[0];
        kernel(elements(x) * flops).with_bytes(reads * bytes(x) + bytes(out))
    };
    let work = match op {
        Op::Input(_) | Op::Param(_) | Op::Constant(_) | Op::Iota(_) => Work::default(),
        op if is_view(op) => Work::default(),
        Op::UnaryOp(o) => element(match o.function {
            Unary::Neg | Unary::Abs | Unary::Not => 1.0,
            Unary::Sqrt | Unary::Rsqrt => 5.0,
            Unary::Exp | Unary::Log | Unary::Erf | Unary::Tanh => 12.0,
        }),
        Op::BinaryOp(o) => element(if o.function == Binary::Div { 4.0 } else { 1.0 }),
        Op::Gelu(_) | Op::Dropout(_) | Op::Uniform(_) => element(15.0),
        Op::Select(_)
        | Op::Cast(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Flip(_)
        | Op::Concat(_)
        | Op::Pad(_)
        | Op::Unfold(_)
        | Op::Take(_)
        | Op::StopGradient(_)
        | Op::GradScale(_) => element(1.0),
        Op::Sum(_) | Op::MaxReduce(_) | Op::ArgMax(_) => rows(1.0, 0.5),
        Op::Normalize(_) => rows(4.0, 2.0),
        Op::Softmax(_) | Op::LogSoftmax(_) => rows(16.0, 2.0),
        Op::LayerNorm(_) => rows(6.0, 2.0),
        Op::GroupNorm(_) => rows(6.0, 3.0),
        Op::Linear(_) => kernel(2.0 * n * example(&args[1].shape[1])),
        Op::Conv1d(_) => {
            let [.., c, k] = &args[1].shape[..] else {
                unreachable!("infer checked the rank")
            };
            kernel(2.0 * n * example(c) * example(k))
        }
        Op::Einsum(e) => kernel(2.0 * n * summed(e, args[0])),
        Op::Attention(a) => {
            let [b, t, h, d] = &a.heads_type(args[0]).shape[..] else {
                unreachable!("infer checked the rank")
            };
            let pairs = example(b) * example(h) * example(t) * example(t);
            kernel(pairs * (4.0 * example(d) + 16.0))
        }
        // Kernels of their own that no rule touches.
        Op::Scatter(_)
        | Op::Conv1dInputGrad(_)
        | Op::AttentionGrad(_)
        | Op::CtcLoss(_)
        | Op::OneHotStraightThrough(_)
        | Op::Repeat(_)
        | Op::Get(_)
        | Op::Reshape(_)
        | Op::Broadcast(_) => kernel(n),
    };
    // Half as many numbers fit into a vector.
    if out.dtype == DType::F64 {
        Work {
            flops: 2.0 * work.flops,
            ..work
        }
    } else {
        work
    }
}

/// Number of products in every element of an einsum.
fn summed(e: &Einsum, a: &Type) -> f64 {
    let Some([letters, _, out]) = Einsum::parse(&e.spec) else {
        return 1.0;
    };
    letters
        .iter()
        .zip(&a.shape)
        .filter(|(c, _)| !out.contains(c))
        .map(|(_, d)| example(d))
        .product()
}
