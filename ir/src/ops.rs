//! The op table: every op of tensor IR is one file here and one line in `ops!`.

use crate::dim::{Dim, Env, numel};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

/// Everything the compiler knows of an op. A missing facet does not compile.
pub trait OpDef: Sized {
    /// What a model author reads of it.
    const DOC: Doc;
    /// Result types from operand types: the one place where shapes are computed and checked.
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError>;
    /// Reference meaning.
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor>;
    /// Gradients of the operands, `None` where there is none (integers, constants, stopped gradients).
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>>;
    /// How the op becomes kernels.
    fn lower(&self) -> Lower<'_>;
    /// How much it computes.
    fn work(&self, args: &[&Type], results: &[Type]) -> Work;
    /// A random valid instance for property tests.
    fn sample(r: &mut Rand) -> Sample<Self>;

    /// Whether the attributes have a `site`: it draws random numbers, and every use needs a site of its own.
    const HAS_SITE: bool = false;
    /// Whether a statement of the model language may call it; the others the compiler makes itself.
    const CALLABLE: bool = true;
    /// Operands in front whose dtype says nothing of the others'.
    const CONDITIONS: usize = 0;
    /// Whether the backward pass computes it again instead of having it kept: a few operations per element, which fuse into
    /// their readers.
    fn is_cheap(&self) -> bool {
        false
    }
    /// Whether the result lies in the memory of operand 0, at strides of its own.
    fn is_view(&self) -> bool {
        false
    }
    /// Whether nothing is done for it at all: whoever reads the result reads operand 0.
    fn is_free(&self) -> bool {
        false
    }
    /// What must hold of sizes so that the op stays inside its operands, beyond axes of 0 or more.
    fn requires(&self, _args: &[&Type], _results: &[Type]) -> Vec<Need> {
        vec![]
    }
    /// What an author may have meant where types do not fit.
    fn advice(&self) -> Option<&'static str> {
        None
    }
    /// Why the training gradient is not the derivative, where that is so.
    fn surrogate(&self) -> Option<&'static str> {
        None
    }
}

/// What a model author reads of an op: `w2vc ops NAME`, and docs/reference/ops.md, which is made of this.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    pub group: Group,
    /// Operands and results with their shapes: `x [.., I], weight [O, I] -> [.., O]`.
    pub signature: &'static str,
    /// What it computes, with the formula and its source.
    pub about: &'static str,
    /// Every attribute with its meaning.
    pub attributes: &'static [(&'static str, &'static str)],
    /// A use in the model language; `None` where only the compiler makes the op.
    pub example: Option<Example>,
}

/// A statement of the model language that uses an op, and the inputs that it reads. Sizes B, N and T are known when the
/// program runs. The statement defines `y`.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Name and type.
    pub inputs: &'static [(&'static str, &'static str)],
    pub body: &'static str,
}

/// What ops have in common, as a heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Source,
    Elementwise,
    Shape,
    Reduction,
    Matrix,
    Network,
    Gradient,
    Structure,
}

impl Group {
    pub const ALL: &'static [Group] = &[
        Group::Source,
        Group::Elementwise,
        Group::Shape,
        Group::Reduction,
        Group::Matrix,
        Group::Network,
        Group::Gradient,
        Group::Structure,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Group::Source => "Constants and random numbers",
            Group::Elementwise => "Element by element",
            Group::Shape => "Shapes and indexing",
            Group::Reduction => "Reductions",
            Group::Matrix => "Matrix multiplication and convolution",
            Group::Network => "Layers and losses",
            Group::Gradient => "Gradients",
            Group::Structure => "Structure",
        }
    }
}

/// How much an op computes, for a choice between equal graphs.
pub enum Work {
    /// Leaves, and ops that are free.
    Nothing,
    /// So many operations for each element of the result, inside the kernels that read it.
    Element(f64),
    /// So many operations for each element of operand 0, which is read `reads` times.
    Rows { operations: f64, reads: f64 },
    /// A kernel of so many operations in all, which reads each operand once.
    Kernel { operations: Dim },
}

impl Work {
    /// A kernel of its own that no rewrite rule touches, so that its cost decides nothing.
    pub fn untouched(results: &[Type]) -> Work {
        Work::Kernel {
            operations: numel(&results[0].shape),
        }
    }
    /// A sum of `terms` products for each element of a result.
    pub fn products(result: &Type, terms: Dim) -> Work {
        Work::Kernel {
            operations: Dim::from(2) * numel(&result.shape) * terms,
        }
    }
}

/// A size that must not be less than something.
pub struct Need {
    pub value: Dim,
    pub least: i64,
    /// What it is of the op: "the start".
    pub what: &'static str,
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
            pub fn work(&self, args: &[&Type], results: &[Type]) -> Work {
                match self { $(Op::$variant(o) => o.work(args, results)),* }
            }
            pub fn is_cheap(&self) -> bool {
                match self { $(Op::$variant(o) => o.is_cheap()),* }
            }
            pub fn is_view(&self) -> bool {
                match self { $(Op::$variant(o) => o.is_view()),* }
            }
            pub fn is_free(&self) -> bool {
                match self { $(Op::$variant(o) => o.is_free()),* }
            }
            pub fn requires(&self, args: &[&Type], results: &[Type]) -> Vec<Need> {
                match self { $(Op::$variant(o) => o.requires(args, results)),* }
            }
            pub fn advice(&self) -> Option<&'static str> {
                match self { $(Op::$variant(o) => o.advice()),* }
            }
            /// [`OpDef::HAS_SITE`] of the kind of this name.
            pub fn has_site(kind: &str) -> bool {
                match kind { $($name => $variant::HAS_SITE,)* _ => false }
            }
            /// [`OpDef::CALLABLE`] of the kind of this name.
            pub fn is_callable(kind: &str) -> bool {
                match kind { $($name => $variant::CALLABLE,)* _ => true }
            }
            /// [`OpDef::CONDITIONS`] of the kind of this name.
            pub fn conditions(kind: &str) -> usize {
                match kind { $($name => $variant::CONDITIONS,)* _ => 0 }
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
            /// What authors read of each op in the table, by its name.
            const DOCS: &'static [(&'static str, Doc)] = &[$(($name, $variant::DOC)),*];
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

    /// What authors read, by the names that the model language knows: scalar functions are listed one by one.
    pub fn docs() -> Vec<(&'static str, Doc)> {
        use crate::scalar::{Binary, Unary};
        let scalar = |group: Doc, about, example| Doc {
            about,
            example: Some(example),
            ..group
        };
        let mut all = vec![];
        for (name, doc) in Self::DOCS {
            match *name {
                "unary" => all.extend(
                    Unary::ALL
                        .iter()
                        .map(|f| (f.name(), scalar(*doc, f.about(), f.example()))),
                ),
                "binary" => all.extend(
                    Binary::ALL
                        .iter()
                        .map(|f| (f.name(), scalar(*doc, f.about(), f.example()))),
                ),
                _ => all.push((*name, *doc)),
            }
        }
        all
    }

    /// Names of the attributes.
    pub fn attribute_names(&self) -> Vec<String> {
        field_names(&self.attributes())
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

/// Names of the fields of `(a:1,b:(c:2))` at the outer level.
fn field_names(ron: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut word, mut all) = (0, false, String::new(), vec![]);
    for c in ron.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ':' if depth == 1 => all.push(std::mem::take(&mut word)),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            _ => word.clear(),
        }
        if matches!(c, '(' | '[' | '{' | ',') {
            word.clear();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_outer_level() {
        assert_eq!(
            field_names("(stride:2,shape:[\"N:1\",3],x:(y:1),groups:1)"),
            ["stride", "shape", "x", "groups"]
        );
        assert_eq!(field_names("()"), Vec::<String>::new());
    }
}
