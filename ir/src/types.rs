//! Tensor types, and the errors of type inference.

use crate::dim::{Dim, numel};
use crate::scalar::DType;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Type {
    pub dtype: DType,
    pub shape: Vec<Dim>,
}

impl Type {
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> Type {
        Type {
            dtype,
            shape: shape.into(),
        }
    }
    pub fn f32(shape: impl Into<Vec<Dim>>) -> Type {
        Type::new(DType::F32, shape)
    }
    pub fn i32(shape: impl Into<Vec<Dim>>) -> Type {
        Type::new(DType::I32, shape)
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// The last dim; rank must be positive.
    pub fn last(&self) -> &Dim {
        &self.shape[self.shape.len() - 1]
    }
    pub fn with_shape(&self, shape: impl Into<Vec<Dim>>) -> Type {
        Type::new(self.dtype, shape)
    }
    /// Row-major strides in elements.
    pub fn strides(&self) -> Vec<Dim> {
        let mut out = vec![Dim::from(1); self.rank()];
        for i in (1..self.rank()).rev() {
            out[i - 1] = out[i].clone() * self.shape[i].clone();
        }
        out
    }
}

/// Positions along an axis at most: positions are i32 where a program computes with them.
pub const MAX_AXIS: i64 = i32::MAX as i64;
/// Elements of a tensor at most, 16 TiB of f32: what is counted in bytes stays far from 64 bits.
pub const MAX_ELEMENTS: i64 = 1 << 42;
/// Axes of a tensor at most.
pub const MAX_RANK: usize = 12;

impl Type {
    /// Whether there can be such a tensor: its rank, and its sizes as far as they are constant. Those known when a program
    /// runs are checked then (`requirements`).
    pub fn check(&self) -> Result<(), TypeError> {
        if self.rank() > MAX_RANK {
            return type_error(format!(
                "a tensor has at most {MAX_RANK} axes, and this one has {}",
                self.rank()
            ));
        }
        for d in &self.shape {
            match d.as_const() {
                Some(n) if n < 0 => return type_error(format!("an axis of {self} has the size {n}, which is below 0")),
                _ if d.is_too_large() => return type_error("a size is too large to be counted in 64 bits"),
                _ => {}
            }
        }
        let elements = numel(&self.shape);
        let largest = elements.terms().map(|(c, _)| c.unsigned_abs()).max().unwrap_or(0);
        if elements.is_too_large() || largest > MAX_ELEMENTS as u64 {
            return type_error(format!("{self} has too many elements; {MAX_ELEMENTS} is the most"));
        }
        Ok(())
    }

    /// The same for tensors that a model has; those that the compiler makes may have longer axes, along which no positions
    /// are compared.
    pub fn check_axes(&self) -> Result<(), TypeError> {
        self.check()?;
        match self.shape.iter().filter_map(Dim::as_const).find(|n| *n > MAX_AXIS) {
            Some(n) => type_error(format!("an axis of {self} has the size {n}; the most is {MAX_AXIS}")),
            None => Ok(()),
        }
    }
}

/// A list of sizes as text: `[B, T, 768]`.
pub fn shape_text(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype.name(), shape_text(&self.shape))
    }
}
impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was wrong with the operands of an op, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(pub String);

pub fn type_error<T>(text: impl Into<String>) -> Result<T, TypeError> {
    Err(TypeError(text.into()))
}

/// Checks the number of operands.
pub fn arity<const N: usize>(args: &[Type]) -> Result<&[Type; N], TypeError> {
    args.try_into()
        .map_err(|_| TypeError(format!("takes {N} operands, got {}", args.len())))
}

/// Checks a rank.
pub fn rank(what: &str, ty: &Type, want: usize) -> Result<(), TypeError> {
    if ty.rank() == want {
        return Ok(());
    }
    type_error(format!("{what} must have {want} dimensions, got {ty}"))
}

pub fn same_dim(what: &str, a: &Dim, b: &Dim) -> Result<(), TypeError> {
    if a == b {
        return Ok(());
    }
    type_error(format!("{what}: {a} is not {b}"))
}

pub fn float(what: &str, ty: &Type) -> Result<(), TypeError> {
    if ty.dtype.is_float() {
        return Ok(());
    }
    type_error(format!("{what} must hold floats, got {ty}"))
}

/// The one operand of an op along the last axis: floats, not a scalar.
pub fn float_rows(args: &[Type]) -> Result<&Type, TypeError> {
    let [x] = arity::<1>(args)?;
    float("the operand", x)?;
    if x.rank() == 0 {
        return type_error("a scalar has no last axis");
    }
    Ok(x)
}

pub fn int(what: &str, ty: &Type) -> Result<(), TypeError> {
    if ty.dtype == DType::I32 {
        return Ok(());
    }
    type_error(format!("{what} must hold i32, got {ty}"))
}

/// The common shape of operands, aligned at the last axis; an axis of 1 (or none) stretches.
pub fn broadcast(shapes: &[&[Dim]]) -> Result<Vec<Dim>, TypeError> {
    let n = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![Dim::from(1); n];
    for s in shapes {
        for (o, d) in out[n - s.len()..].iter_mut().zip(*s) {
            if o.is_one() {
                *o = d.clone();
            } else if !d.is_one() && d != o {
                let all: Vec<String> = shapes.iter().map(|s| shape_text(s)).collect();
                return type_error(format!("shapes {} do not match: {o} is not {d}", all.join(" and ")));
            }
        }
    }
    Ok(out)
}
