//! The op table: every op of tensor IR is one file here and one line in `ops!`.

use crate::dim::{Dim, Env};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

/// Everything the compiler knows of an op. A missing facet does not compile.
pub trait OpDef: Sized {
    /// Result types from operand types: the one place where shapes are computed and checked.
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError>;
    /// Reference meaning.
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor>;
    /// Gradients of the operands, `None` where there is none (integers, constants, stopped gradients).
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>>;
    /// How the op becomes kernels.
    fn lower(&self) -> Lower<'_>;
    /// A random valid instance for property tests.
    fn sample(r: &mut Rand) -> Sample<Self>;
    /// Why the training gradient is not the derivative, where that is so.
    fn surrogate(&self) -> Option<&'static str> {
        None
    }
}

/// What `eval` may ask besides operand values.
pub struct EvalCx<'a> {
    pub types: &'a [Type],
    pub env: &'a Env,
}

impl EvalCx<'_> {
    pub fn size(&self, d: &Dim) -> usize {
        match d.eval(self.env) {
            Ok(v) if v >= 0 => v as usize,
            Ok(v) => panic!("size {d} is {v}"),
            Err(e) => panic!("{e}"),
        }
    }
    /// Concrete shape of result `i`.
    pub fn shape(&self, i: usize) -> Vec<usize> {
        self.types[i].shape.iter().map(|d| self.size(d)).collect()
    }
    /// A result 0 filled by a function of the multi-index.
    pub fn build(&self, f: impl FnMut(&[usize]) -> f64) -> Vec<Tensor> {
        vec![Tensor::build(self.types[0].dtype, self.shape(0), f)]
    }
}

/// Where a gradient is taken.
pub struct Vjp<'a> {
    pub args: &'a [ValueId],
    pub results: &'a [ValueId],
    /// One per result; `None` where nothing depends on it.
    pub grads: &'a [Option<ValueId>],
}

impl Vjp<'_> {
    /// The gradient of a single result. `differentiate` calls `vjp` only where some gradient exists.
    pub fn grad(&self) -> ValueId {
        self.grads[0].expect("differentiate visits only nodes with a gradient")
    }
    pub fn result(&self) -> ValueId {
        self.results[0]
    }
}

macro_rules! ops {
    ($($variant:ident = $name:literal in $file:ident;)*) => {
        $(mod $file;)*
        $(pub use $file::$variant;)*

        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Op { $($variant($variant)),* }

        $(impl From<$variant> for Op { fn from(op: $variant) -> Op { Op::$variant(op) } })*

        impl Op {
            /// The name of the op's kind in the table.
            pub fn kind(&self) -> &'static str {
                match self { $(Op::$variant(_) => $name),* }
            }
            pub fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
                match self { $(Op::$variant(o) => o.infer(args)),* }
            }
            pub fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
                match self { $(Op::$variant(o) => o.eval(cx, args)),* }
            }
            pub fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
                match self { $(Op::$variant(o) => o.vjp(g, at)),* }
            }
            pub fn lower(&self) -> Lower<'_> {
                match self { $(Op::$variant(o) => o.lower()),* }
            }
            pub fn surrogate(&self) -> Option<&'static str> {
                match self { $(Op::$variant(o) => o.surrogate()),* }
            }
            /// Attributes as RON text, `()` where there are none.
            pub fn attributes(&self) -> String {
                let text = match self { $(Op::$variant(o) => ron::to_string(o)),* };
                text.expect("attributes are plain data, which always has a RON form")
            }
            fn parse_kind(kind: &str, attributes: &str) -> Option<Result<Op, ron::error::SpannedError>> {
                match kind {
                    $($name => Some(ron::from_str::<$variant>(attributes).map(Op::from)),)*
                    _ => None,
                }
            }
            /// A sampler per op.
            pub const SAMPLERS: &'static [(&'static str, fn(&mut Rand) -> Sample<Op>)] =
                &[$(($name, |r| $variant::sample(r).map(Op::from))),*];
            const KINDS: &'static [&'static str] = &[$($name),*];
        }
    };
}

ops! {
    // leaves
    Input = "input" in input;
    Param = "param" in param;
    Constant = "constant" in constant;
    Iota = "iota" in iota;
    Uniform = "uniform" in uniform;
    // element by element
    UnaryOp = "unary" in unary;
    BinaryOp = "binary" in binary;
    Select = "select" in select;
    Cast = "cast" in cast;
    // moving elements
    Broadcast = "broadcast" in broadcast;
    Reshape = "reshape" in reshape;
    Transpose = "transpose" in transpose;
    Slice = "slice" in slice;
    Flip = "flip" in flip;
    Concat = "concat" in concat;
    Pad = "pad" in pad;
    Unfold = "unfold" in unfold;
    Take = "take" in take;
    Scatter = "scatter" in scatter;
    // reductions
    Sum = "sum" in sum;
    MaxReduce = "max_reduce" in max_reduce;
    ArgMax = "arg_max" in arg_max;
    // products
    Einsum = "einsum" in einsum;
    Conv1d = "conv1d" in conv1d;
    Conv1dInputGrad = "conv1d_input_grad" in conv1d_input_grad;
    // composites
    Gelu = "gelu" in gelu;
    Dropout = "dropout" in dropout;
    Softmax = "softmax" in softmax;
    LogSoftmax = "log_softmax" in log_softmax;
    LayerNorm = "layer_norm" in layer_norm;
    GroupNorm = "group_norm" in group_norm;
    Normalize = "normalize" in normalize;
    Linear = "linear" in linear;
    Attention = "attention" in attention;
    AttentionGrad = "attention_grad" in attention_grad;
    CtcLoss = "ctc_loss" in ctc_loss;
    // gradients of one's own
    StopGradient = "stop_gradient" in stop_gradient;
    GradScale = "grad_scale" in grad_scale;
    OneHotStraightThrough = "one_hot_straight_through" in one_hot_straight_through;
    // structure
    Get = "get" in get;
    Repeat = "repeat" in repeat;
}

/// An op that could not be made from its name and attributes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpError {
    #[error("there is no op `{0}`")]
    Unknown(String),
    #[error("attributes of `{0}`: {1}")]
    Attributes(String, String),
}

impl Op {
    /// The name in text: scalar functions go by their own (`exp`, `add`).
    pub fn name(&self) -> &'static str {
        match self {
            Op::UnaryOp(o) => o.function.name(),
            Op::BinaryOp(o) => o.function.name(),
            _ => self.kind(),
        }
    }

    /// From a name and attributes in RON: `("conv1d", "(stride: 2, padding: 0, groups: 1)")`.
    pub fn parse(name: &str, attributes: &str) -> Result<Op, OpError> {
        use crate::scalar::{Binary, Unary};
        if let Some(function) = Unary::parse(name) {
            return Ok(UnaryOp { function }.into());
        }
        if let Some(function) = Binary::parse(name) {
            return Ok(BinaryOp { function }.into());
        }
        match Op::parse_kind(name, attributes) {
            None => Err(OpError::Unknown(name.into())),
            Some(Err(e)) => Err(OpError::Attributes(name.into(), e.code.to_string())),
            Some(Ok(op)) => Ok(op),
        }
    }

    /// Every name `parse` knows, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        use crate::scalar::{Binary, Unary};
        let kinds = Self::KINDS
            .iter()
            .copied()
            .filter(|k| !matches!(*k, "unary" | "binary"));
        kinds
            .chain(Unary::ALL.iter().map(|f| f.name()))
            .chain(Binary::ALL.iter().map(|f| f.name()))
    }
}
