//! Kernel IR: says where. Structured loops over operand slots, each holding small scalar expressions.
//!
//! A kernel never names a buffer: it reads and writes numbered *slots*, which a launch in the plan binds to buffers.
//! All addresses are in elements of the slot. How loops become tiles, vectors or threads is each backend's business; the
//! meaning is fixed by the interpreter in `backends/interp`.
//!
//! A slot may hold bf16, which is a way to lie in memory and no type of a value: what is loaded from it is f32, and f32
//! stored to it is rounded to nearest, ties to even. Nothing is added up in bf16: no store accumulates into such a slot.

use crate::dim::Dim;
use crate::rounding::Rounding;
use crate::scalar::{Binary, DType, Unary};
use serde::{Deserialize, Serialize};

/// Number of an operand of a kernel.
pub type Slot = usize;
/// Index of a value in a kernel's list of scalar values; operands come before their users.
pub type ValId = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kernel {
    pub slots: Vec<SlotDecl>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotDecl {
    /// Of the elements in memory.
    pub dtype: DType,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    Read,
    Write,
    /// Reads what is there, then writes: accumulation and in-place update.
    Update,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    Row(RowKernel),
    Column(ColumnKernel),
    Contract(Contract),
    Attention(Attention),
    AttentionGrad(Box<AttentionGrad>),
    Scatter(Scatter),
    Ctc(Ctc),
}

/// An element address: `base + sum(stride * coordinate)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Index {
    pub base: Dim,
    pub terms: Vec<(Dim, Coord)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Coord {
    /// Position along an axis of the kernel's iteration space.
    Axis(usize),
    /// An i32 value (gathers).
    Value(ValId),
}

/// One scalar value. Values are pure; a backend may compute one as often as it likes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Value {
    /// A constant of the given type; `bits` are those of an f64.
    Const {
        dtype: DType,
        bits: u64,
    },
    /// Position along an axis, i32.
    Axis(usize),
    /// A symbolic size, i32.
    Size(Dim),
    /// An element of a slot. Where `guard` (i32) is zero nothing is read and the value is 0.
    Load {
        slot: Slot,
        index: Index,
        guard: Option<ValId>,
    },
    Unary(Unary, ValId),
    /// Operands have equal dtypes; comparisons and logic give i32 0 or 1.
    Binary(Binary, ValId, ValId),
    /// `cond` (i32) nonzero: `then`, else `other`.
    Select {
        cond: ValId,
        then: ValId,
        other: ValId,
    },
    Cast(DType, ValId),
    /// The n-th reduction of this kernel (numbered over all phases), once its phase is over.
    Reduced(usize),
    /// The accumulated product, f32, in the epilogue of a contraction.
    Acc,
    /// An f32 uniform in [0, 1): `rng::uniform(seed0, seed1, site, layer, index)`, seeds being elements 0 and 1 of an i32
    /// slot, `layer` the run-time size named `layer`, and `index` truncated to 32 bits.
    Uniform {
        seed: Slot,
        site: u32,
        index: Index,
    },
}

impl Value {
    pub fn constant(dtype: DType, v: f64) -> Value {
        Value::Const {
            dtype,
            bits: v.to_bits(),
        }
    }

    /// Values this one is computed from.
    pub fn operands(&self) -> Vec<ValId> {
        fn of_index(index: &Index) -> Vec<ValId> {
            let value = |(_, c): &(Dim, Coord)| if let Coord::Value(v) = c { Some(*v) } else { None };
            index.terms.iter().filter_map(value).collect()
        }
        match self {
            Value::Const { .. } | Value::Axis(_) | Value::Size(_) | Value::Reduced(_) | Value::Acc => vec![],
            Value::Load { index, guard, .. } => of_index(index).into_iter().chain(*guard).collect(),
            Value::Uniform { index, .. } => of_index(index),
            Value::Unary(_, a) | Value::Cast(_, a) => vec![*a],
            Value::Binary(_, a, b) => vec![*a, *b],
            Value::Select { cond, then, other } => vec![*cond, *then, *other],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Store {
    pub slot: Slot,
    pub index: Index,
    pub value: ValId,
    /// Adds to what is there (the slot's access is `Update`).
    pub accumulate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reduction {
    Sum,
    Max,
    /// i32: the first column that holds the maximum.
    ArgMax,
}

/// For every row (all axes but the last) the phases run in order; a phase walks the columns (the last axis) once.
/// A store of an earlier phase is visible to loads of a later phase of the same row.
/// One item of work is one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowKernel {
    /// Extents; the last is the column axis. Never empty.
    pub axes: Vec<Dim>,
    pub values: Vec<Value>,
    pub phases: Vec<Phase>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// For every column: add to reductions, write stores.
    Columns {
        reduce: Vec<(Reduction, ValId)>,
        store: Vec<Store>,
    },
    /// Once per row; values may use reductions of earlier phases but not the column axis.
    Row { store: Vec<Store> },
}

/// Reduces over leading axes, keeping columns: for every outer position and column, the reductions run over `reduced` in
/// row-major order, then `store` writes. Axes are numbered outer, then reduced, then the column axis.
/// One item of work is one outer position and one block of columns (block size is the backend's).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnKernel {
    pub outer: Vec<Dim>,
    pub reduced: Vec<Dim>,
    pub columns: Dim,
    pub values: Vec<Value>,
    /// Sum or Max.
    pub reduce: Vec<(Reduction, ValId)>,
    /// May use `Reduced`, outer axes and the column axis.
    pub store: Vec<Store>,
}

/// acc[batch.., i, j] = sum over (o, p) of a[batch.., o, i, p] * b[batch.., o, p, j], in f32, o outer and p inner, in
/// order; then the epilogue's stores with axes numbered batch.., i, j. The slots of a and b hold f32 or bf16.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contract {
    pub batch: Vec<Dim>,
    pub m: Dim,
    pub n: Dim,
    /// The summed axis, as `k_outer` blocks of `k`.
    pub k_outer: Dim,
    pub k: Dim,
    pub a: Strided,
    pub b: Strided,
    /// What elements of a and b become before they are multiplied. Sums are in f32; those of int8 are exact within a block.
    pub round: Rounding,
    pub values: Vec<Value>,
    pub store: Vec<Store>,
}

/// A matrix operand of a contraction; rows may overlap. `free` is the stride of i (for a) or j (for b).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Strided {
    pub slot: Slot,
    pub base: Dim,
    pub batch: Vec<Dim>,
    pub k_outer: Dim,
    pub free: Dim,
    pub k: Dim,
}

/// A [batch, time, head, head_dim] operand; the stride of head_dim is 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeadView {
    pub slot: Slot,
    pub base: Dim,
    pub batch: Dim,
    pub time: Dim,
    pub head: Dim,
}

/// Dropout on attention probabilities: the f32 rate is element 0 of `rate`. The random number of probability
/// (b, h, i, j) is that of index ((b*heads + h)*time + i)*time + j, as in `Value::Uniform`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttentionDropout {
    pub rate: Slot,
    pub seed: Slot,
    pub site: u32,
}

/// out = dropout(softmax over j < lengths[b] of scale * <q_i, k_j>) v. Rows i at or beyond the length are computed like
/// any other; a length of 0 gives 0. `lse[b, h, i]` = log of the sum of exp(scale * <q_i, k_j>).
/// Never holds time x time values.
///
/// The slots of q, k, v and out hold all f32 or all bf16. Where they hold bf16, a backend may round the operands of every
/// inner product to bf16: the probabilities too, after dropout. Where they hold f32 it may not. Scores, with their scale, the
/// softmax and `lse` are in f32 either way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attention {
    pub batch: Dim,
    pub time: Dim,
    pub heads: i64,
    pub head_dim: i64,
    /// bits of an f64
    pub scale: u64,
    pub q: HeadView,
    pub k: HeadView,
    pub v: HeadView,
    /// i32 [batch]
    pub lengths: Slot,
    pub dropout: Option<AttentionDropout>,
    pub out: HeadView,
    /// f32 [batch, heads, time], written by `Attention`, read by `AttentionGrad`
    pub lse: Slot,
}

/// The gradients of `forward` (whose `out` and `lse` are read here) for the gradient `d_out` of its output.
///
/// The slots of d_out, dq, dk and dv hold what those of `forward` do. Where that is bf16, a backend may round the operands
/// of every inner product to bf16: probabilities and the gradients of scores too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttentionGrad {
    pub forward: Attention,
    pub d_out: HeadView,
    pub dq: HeadView,
    pub dk: HeadView,
    pub dv: HeadView,
}

/// out[r, 0..into, 0..width] = 0, then for j in order: out[r, index[r, j], :] += from[r, j, :]; an index outside
/// 0..into is skipped.
/// All operands are contiguous. One item of work is one r. `from` may hold bf16 where `out` holds f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scatter {
    pub rows: Dim,
    pub count: Dim,
    pub into: Dim,
    pub width: Dim,
    pub from: Slot,
    pub index: Slot,
    pub out: Slot,
}

/// Connectionist temporal classification (Graves et al. 2006), blank = 0, one item of work per utterance.
/// In: log-probabilities f32 [batch, time, vocab], lengths i32 [batch], labels i32 [batch, labels];
/// a length counts as at most `time` and at least 0, and labels outside 1..vocab (the blank among them) are padding, wherever
/// they stand. `vocab` is at least 1.
/// Out: loss f32 [batch] = -log p(labels); grad f32 [batch, time, vocab] = d loss / d log-probability (minus the
/// posterior of each symbol; 0 beyond the length). Where no alignment exists both are 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ctc {
    pub batch: Dim,
    pub time: Dim,
    pub vocab: Dim,
    pub labels: Dim,
    pub log_probs: Slot,
    pub lengths: Slot,
    pub label_ids: Slot,
    pub loss: Slot,
    pub grad: Slot,
}
