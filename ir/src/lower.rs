//! The `lower` facet: how ops say what kernels they become, without knowing how kernels are fused.
//!
//! Most ops are *element* ops: they say how to compute one element of the result, by asking for elements of their operands
//! at coordinates of their choice. Whether an operand is then a load from memory or more arithmetic is the fuser's choice.

use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::kernel::{Body, Coord, Index, Reduction, Slot, ValId, Value};
use crate::scalar::{Binary, DType};
use crate::types::Type;

pub enum Lower<'a> {
    /// Inputs, parameters, `get`: nothing to compute.
    Leaf,
    /// One element from elements of operands.
    Element(ElementFn<'a>),
    /// The same elements in the same row-major order under another shape.
    Reshape,
    /// Reduces operand 0 over the axes, which stay with size 1 if `keep`.
    Reduce {
        reduction: Reduction,
        axes: Vec<usize>,
        keep: bool,
    },
    /// A product of two operands with index letters, as `Einsum`.
    Contract { spec: &'a str },
    /// Simpler ops with the same results.
    Decompose(DecomposeFn<'a>),
    /// A kernel of its own.
    Kernel { operands: Lie, build: KernelFn<'a> },
    /// A loop over its body: `repeat`.
    Loop,
}

/// How the operands of a kernel of its own lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Contiguous.
    Whole,
    /// At any strides, that of the last axis being 1.
    Rows,
}

/// The kernel of an op, over slots for its operands and results.
pub type KernelFn<'a> = Box<dyn Fn(&mut dyn Bind) -> Result<Body, NotInMemory> + 'a>;

/// What an op can ask for while its own kernel is built. A slot comes to be when it is first asked for.
pub trait Bind {
    fn arg_type(&self, i: usize) -> Type;
    fn result_type(&self, i: usize) -> Type;
    /// The slot of operand `i`, from its first element on.
    fn read(&mut self, i: usize) -> Slot;
    /// Where operand `i` lies, which need not be contiguous.
    ///
    /// # Errors
    /// It is not in memory with a last axis of stride 1.
    fn read_rows(&mut self, i: usize) -> Result<View, NotInMemory>;
    /// The slot of result `i`, which is contiguous.
    fn write(&mut self, i: usize) -> Slot;
}

impl dyn Bind + '_ {
    /// Where result `i` lies.
    pub fn write_rows(&mut self, i: usize) -> View {
        View {
            slot: self.write(i),
            base: Dim::from(0),
            strides: self.result_type(i).strides(),
        }
    }
}

/// A tensor in a slot.
pub struct View {
    pub slot: Slot,
    /// Of its first element.
    pub base: Dim,
    /// One per axis.
    pub strides: Vec<Dim>,
}

/// An operand that a kernel needs in memory is not there as it needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInMemory {
    pub operand: usize,
}

/// Results from operands, built in a graph.
pub type DecomposeFn<'a> = Box<dyn Fn(&mut Graph, &[ValueId]) -> Vec<ValueId> + 'a>;

pub type ElementFn<'a> = Box<dyn Fn(&mut dyn Pull, &[Index]) -> ValId + 'a>;

/// What an element op can ask for while it is being lowered.
pub trait Pull {
    /// The element of operand `i` at the coordinates, which must be inside its shape.
    fn arg(&mut self, i: usize, at: &[Index]) -> ValId;
    /// As `arg` where `guard` (i32) is nonzero; 0 elsewhere, with nothing read.
    fn arg_if(&mut self, i: usize, at: &[Index], guard: ValId) -> ValId;
    fn arg_type(&self, i: usize) -> Type;
    fn result_type(&self) -> Type;
    fn value(&mut self, v: Value) -> ValId;
    /// A coordinate as an i32 value.
    fn coordinate(&mut self, at: &Index) -> ValId;
    /// A uniform random number; operand `seed` is the i32 [2] seed.
    fn uniform(&mut self, seed: usize, site: u32, index: Index) -> ValId;
}

impl dyn Pull + '_ {
    pub fn constant(&mut self, dtype: DType, v: f64) -> ValId {
        self.value(Value::constant(dtype, v))
    }
    pub fn binary(&mut self, f: Binary, a: ValId, b: ValId) -> ValId {
        self.value(Value::Binary(f, a, b))
    }
    pub fn size(&mut self, d: &Dim) -> ValId {
        match d.as_const() {
            Some(c) => self.constant(DType::I32, c as f64),
            None => self.value(Value::Size(d.clone())),
        }
    }
    /// Operand `i` at the result's coordinates, broadcast.
    pub fn broadcast_arg(&mut self, i: usize, at: &[Index]) -> ValId {
        let coords = broadcast_coords(&self.arg_type(i).shape, at);
        self.arg(i, &coords)
    }
}

/// Coordinates in an operand of `shape` that broadcasts to a result at `at`.
pub fn broadcast_coords(shape: &[Dim], at: &[Index]) -> Vec<Index> {
    let skip = at.len() - shape.len();
    shape
        .iter()
        .zip(&at[skip..])
        .map(|(d, i)| if d.is_one() { Index::zero() } else { i.clone() })
        .collect()
}

impl Index {
    pub fn zero() -> Index {
        Index {
            base: Dim::from(0),
            terms: vec![],
        }
    }
    pub fn axis(i: usize) -> Index {
        Index {
            base: Dim::from(0),
            terms: vec![(Dim::from(1), Coord::Axis(i))],
        }
    }
    pub fn value(v: ValId) -> Index {
        Index {
            base: Dim::from(0),
            terms: vec![(Dim::from(1), Coord::Value(v))],
        }
    }
    pub fn offset(mut self, by: &Dim) -> Index {
        self.base = self.base + by.clone();
        self
    }
    pub fn scaled(mut self, by: &Dim) -> Index {
        self.base = self.base * by.clone();
        for (s, _) in &mut self.terms {
            *s = s.clone() * by.clone();
        }
        self.terms.retain(|(s, _)| !s.is_zero());
        self
    }
    pub fn plus(mut self, other: &Index) -> Index {
        self.base = self.base + other.base.clone();
        for (stride, coord) in &other.terms {
            match self.terms.iter_mut().find(|(_, c)| c == coord) {
                Some((s, _)) => *s = s.clone() + stride.clone(),
                None => self.terms.push((stride.clone(), coord.clone())),
            }
        }
        self.terms.retain(|(s, _)| !s.is_zero());
        self
    }
    /// The row-major position of coordinates in a shape with these strides.
    pub fn linear(at: &[Index], strides: &[Dim]) -> Index {
        at.iter()
            .zip(strides)
            .fold(Index::zero(), |acc, (i, s)| acc.plus(&i.clone().scaled(s)))
    }
    /// The stride along an axis, as far as coordinates say; values in the index may add more.
    pub fn stride_of(&self, axis: usize) -> Dim {
        let strides = self.terms.iter().filter(|(_, coord)| *coord == Coord::Axis(axis));
        strides.fold(Dim::default(), |sum, (stride, _)| sum + stride.clone())
    }
}
