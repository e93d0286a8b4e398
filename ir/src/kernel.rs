//! Kernel IR: says where. Structured loops over operand slots, each holding small scalar expressions.
//!
//! A kernel never names a buffer: it reads and writes numbered *slots*, which a launch in the plan binds to buffers.
//! All addresses are in elements of the slot. How loops become tiles, vectors or threads is each backend's business; the
//! meaning is fixed by the interpreter in `backends/interp`.
//!
//! A slot may hold bf16, which is a way to lie in memory and no type of a value: what is loaded from it is f32, and f32
//! stored to it is rounded to nearest, ties to even. Nothing is added up in bf16: no store accumulates into such a slot.
//!
//! Every kind of kernel is one file here and one line in `bodies!`. What many kinds share lies beside this module: scalar
//! values in `kernel_values`, the text form in `kernel_text`, the verifier in `kernel_verify`, random samples in
//! `kernel_sample`.

use crate::artifact::Factors;
use crate::dim::{Dim, Env};
use crate::kernel_cost::Cost;
use crate::kernel_sample::Sample;
use crate::kernel_text::{Extents, Lines, Parsed};
use crate::kernel_verify::{Checked, Verifier};
use crate::sample::Rand;
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

/// Everything the compiler knows of a kind of kernel. A missing facet does not compile; those with a body here answer for
/// the kinds of which there is nothing to say.
///
/// Which instructions a kind becomes is the backends' knowledge: each has one function per kind, called from one `match`.
pub trait BodyDef: Sized {
    /// The extents as text: what follows the kind's name in the first line of a kernel.
    fn extents(&self) -> String;
    /// Lines of text for the operands that the kind names itself; values name theirs.
    fn operands(&self) -> Vec<String> {
        vec![]
    }
    /// Reads what `extents`, the slots, `operands`, the values and `blocks` are printed as. Extents come first, so that a
    /// mistake in them is reported with their line.
    ///
    /// # Errors
    /// The first line that is not as it is printed.
    fn parse(of: Extents, lines: &mut Lines) -> Parsed<(Vec<SlotDecl>, Self)>;

    /// The scalar values; none for kinds without expressions.
    fn values(&self) -> &[Value] {
        &[]
    }
    /// What is reduced and stored, in order.
    fn blocks(&self) -> Vec<Block<'_>> {
        vec![]
    }
    /// Every size that is written in the kernel outside of values and stores: extents, strides, offsets.
    fn sizes(&self) -> Vec<&Dim>;
    /// Checks what every backend relies on; the values' dtypes are checked already.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn verify(&self, v: &mut Verifier) -> Checked;

    /// Operations and bytes of one launch.
    fn cost(&self, slots: &[SlotDecl]) -> Cost;
    /// A few words on what the kernel does, for people who follow a compilation.
    fn describe(&self) -> String;

    /// What is multiplied in matrix products: decides which units of a processor the kernel is measured against.
    fn factors(&self, _slots: &[SlotDecl]) -> Factors {
        Factors::F32
    }
    /// Slots whose elements are multiplied in matrix products, and what those make of them: worth keeping in bf16 however
    /// small.
    fn multiplied(&self) -> Vec<Slot> {
        vec![]
    }
    /// Slots that must hold elements of one dtype.
    fn of_one_dtype(&self) -> Vec<Slot> {
        vec![]
    }
    /// Slots that are not kept in bf16, whatever else is known of them.
    fn kept_wide(&self) -> Vec<(Slot, Wide)>;
    /// Whether the kernel loads from a slot only what it has stored there itself, and adds nothing to it.
    fn stores_before_loading(&self, _slot: Slot) -> bool {
        false
    }

    /// A random valid kernel with operands, for property tests.
    fn sample(seed: u32) -> Sample;
    /// One of several blocks of a GPU, where `sample` draws smaller ones only.
    fn sample_large(_seed: u32) -> Option<Sample> {
        None
    }
    /// Keeps some operands of a sample of this kind in bf16, where that is defined.
    fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand);
    /// Whether it is defined what becomes of a NaN in an operand, on every backend.
    fn spreads_nan(&self) -> bool;
    /// Whether a sample stays valid with other sizes.
    fn may_be_resized(&self, _from: &Env, _to: &Env) -> bool {
        true
    }

    /// All reductions in the order that [`Value::Reduced`] numbers them.
    fn reductions(&self) -> Vec<(Reduction, ValId)> {
        self.blocks().iter().flat_map(|b| b.reduce).copied().collect()
    }
    /// All stores.
    fn stores(&self) -> Vec<&Store> {
        self.blocks().iter().flat_map(|b| b.store).collect()
    }
}

/// One step of a kernel with expressions.
pub struct Block<'k> {
    /// Its line in the text.
    pub name: &'static str,
    /// Reductions, numbered through all blocks.
    pub reduce: &'k [(Reduction, ValId)],
    pub store: &'k [Store],
}

/// Why a kind wants an operand in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wide {
    /// One number per row, or sums over rows: one of them goes into many numbers, and differences of them are taken.
    Statistic,
    /// Rows are added up in it, in memory.
    Scattered,
    /// Log-sum-exps, which are subtracted from scores.
    LogSumExp,
    /// Log-probabilities that are added up over all frames.
    Ctc,
}

macro_rules! bodies {
    ($($variant:ident($held:ty) = $name:literal in $file:ident { $($item:ident),* };)*) => {
        $(pub mod $file;)*
        $(pub use $file::{$($item),*};)*

        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Body { $($variant($held)),* }

        $(impl From<$held> for Body { fn from(body: $held) -> Body { Body::$variant(body) } })*

        impl Body {
            /// Every kind's name.
            pub const KINDS: &'static [&'static str] = &[$($name),*];
            /// A sampler per kind.
            pub const SAMPLERS: &'static [(&'static str, fn(u32) -> Sample)] =
                &[$(($name, <$held as BodyDef>::sample)),*];
            /// A sampler of large kernels per kind.
            pub const LARGE_SAMPLERS: &'static [(&'static str, fn(u32) -> Option<Sample>)] =
                &[$(($name, <$held as BodyDef>::sample_large)),*];

            /// The name of the kind in the table and in text.
            pub fn kind(&self) -> &'static str {
                match self { $(Body::$variant(_) => $name),* }
            }
            /// `None` where there is no kind of that name.
            pub(crate) fn parse_kind(
                kind: &str,
                of: Extents,
                lines: &mut Lines,
            ) -> Option<Parsed<(Vec<SlotDecl>, Body)>> {
                match kind {
                    $($name => Some(<$held>::parse(of, lines).map(|(slots, k)| (slots, k.into()))),)*
                    _ => None,
                }
            }
            /// [`BodyDef::extents`] of this kind.
            pub fn extents(&self) -> String {
                match self { $(Body::$variant(k) => k.extents()),* }
            }
            /// [`BodyDef::operands`] of this kind.
            pub fn operands(&self) -> Vec<String> {
                match self { $(Body::$variant(k) => k.operands()),* }
            }
            /// [`BodyDef::values`] of this kind.
            pub fn values(&self) -> &[Value] {
                match self { $(Body::$variant(k) => k.values()),* }
            }
            /// [`BodyDef::blocks`] of this kind.
            pub fn blocks(&self) -> Vec<Block<'_>> {
                match self { $(Body::$variant(k) => k.blocks()),* }
            }
            /// [`BodyDef::sizes`] of this kind.
            pub fn sizes(&self) -> Vec<&Dim> {
                match self { $(Body::$variant(k) => k.sizes()),* }
            }
            /// [`BodyDef::verify`] of this kind.
            pub fn verify(&self, v: &mut Verifier) -> Checked {
                match self { $(Body::$variant(k) => k.verify(v)),* }
            }
            /// [`BodyDef::cost`] of this kind.
            pub fn cost(&self, slots: &[SlotDecl]) -> Cost {
                match self { $(Body::$variant(k) => k.cost(slots)),* }
            }
            /// [`BodyDef::describe`] of this kind.
            pub fn describe(&self) -> String {
                match self { $(Body::$variant(k) => k.describe()),* }
            }
            /// [`BodyDef::factors`] of this kind.
            pub fn factors(&self, slots: &[SlotDecl]) -> Factors {
                match self { $(Body::$variant(k) => k.factors(slots)),* }
            }
            /// [`BodyDef::multiplied`] of this kind.
            pub fn multiplied(&self) -> Vec<Slot> {
                match self { $(Body::$variant(k) => k.multiplied()),* }
            }
            /// [`BodyDef::of_one_dtype`] of this kind.
            pub fn of_one_dtype(&self) -> Vec<Slot> {
                match self { $(Body::$variant(k) => k.of_one_dtype()),* }
            }
            /// [`BodyDef::kept_wide`] of this kind.
            pub fn kept_wide(&self) -> Vec<(Slot, Wide)> {
                match self { $(Body::$variant(k) => k.kept_wide()),* }
            }
            /// [`BodyDef::stores_before_loading`] of this kind.
            pub fn stores_before_loading(&self, slot: Slot) -> bool {
                match self { $(Body::$variant(k) => k.stores_before_loading(slot)),* }
            }
            /// [`BodyDef::narrow_sample`] of this kind.
            pub fn narrow_sample(&self, sample: &mut Sample, r: &mut Rand) {
                match self { $(Body::$variant(k) => k.narrow_sample(sample, r)),* }
            }
            /// [`BodyDef::spreads_nan`] of this kind.
            pub fn spreads_nan(&self) -> bool {
                match self { $(Body::$variant(k) => k.spreads_nan()),* }
            }
            /// [`BodyDef::may_be_resized`] of this kind.
            pub fn may_be_resized(&self, from: &Env, to: &Env) -> bool {
                match self { $(Body::$variant(k) => k.may_be_resized(from, to)),* }
            }
            /// [`BodyDef::reductions`] of this kind.
            pub fn reductions(&self) -> Vec<(Reduction, ValId)> {
                match self { $(Body::$variant(k) => k.reductions()),* }
            }
            /// [`BodyDef::stores`] of this kind.
            pub fn stores(&self) -> Vec<&Store> {
                match self { $(Body::$variant(k) => k.stores()),* }
            }
        }
    };
}

bodies! {
    Row(RowKernel) = "row" in row { RowKernel, Phase };
    Column(ColumnKernel) = "column" in column { ColumnKernel };
    Contract(Contract) = "contract" in contract { Contract, Strided };
    Attention(Attention) = "attention" in attention { Attention, AttentionDropout, HeadView };
    // In a box, being twice as large as the next.
    AttentionGrad(Box<AttentionGrad>) = "attention_grad" in attention_grad { AttentionGrad };
    Scatter(Scatter) = "scatter" in scatter { Scatter };
    Ctc(Ctc) = "ctc" in ctc { Ctc };
}
