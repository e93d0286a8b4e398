//! What a rule is, and the words it is written in.
//!
//! A rule looks at one term at a time, follows operands through their classes, and builds an equal value. A right-hand side
//! that has no type is no match: every builder gives `None` then, and so does the rule.

use super::language::{Classes, Term, infer};
use egg::{Id, Language};
use ir::dim::Dim;
use ir::examples::Examples;
use ir::ops::{self, Op};
use ir::scalar::{Binary, DType, Unary};
use ir::types::{Type, broadcast};
use std::collections::BTreeSet;

/// A directed equality.
pub struct Rule {
    /// kebab-case
    pub name: &'static str,
    pub doc: &'static str,
    /// Names of the ops it looks at.
    pub roots: &'static [&'static str],
    /// A value equal to the term's, if the rule applies.
    pub apply: fn(&mut Terms, &Term) -> Option<Id>,
}

/// The e-graph as rules see it.
pub struct Terms<'a> {
    pub(super) classes: &'a mut Classes,
    pub(super) sizes: &'a Examples,
}

impl Terms<'_> {
    /// The first of the equal terms of a value for which `f` gives something.
    pub fn find<R>(&self, value: Id, f: impl Fn(&Op, &[Id]) -> Option<R>) -> Option<R> {
        self.classes[value]
            .nodes
            .iter()
            .find_map(|term| f(&term.op, term.children()))
    }
    pub fn ty(&self, value: Id) -> &Type {
        &self.classes[value].data.types[0]
    }
    pub fn shape(&self, value: Id) -> &[Dim] {
        &self.ty(value).shape
    }
    /// Elements of a value, at example sizes.
    pub fn elements(&self, value: Id) -> f64 {
        self.sizes.elements(self.ty(value))
    }
    /// The number that every element of the value is.
    pub fn constant(&self, value: Id) -> Option<f64> {
        self.classes[value].data.constant.map(|c| c.get())
    }
    /// Names of the ops that give the value.
    pub fn op_names(&self, value: Id) -> String {
        let names: BTreeSet<&str> = self.classes[value].nodes.iter().map(|t| t.op.name()).collect();
        let names: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
        names.join(" or ")
    }
    pub fn is_constant(&self, value: Id, number: f64) -> bool {
        self.constant(value) == Some(number)
    }
    pub fn same(&self, a: Id, b: Id) -> bool {
        self.classes.find(a) == self.classes.find(b)
    }

    // ---- looking ---------------------------------------------------------------------------------------------------

    pub fn unary(&self, value: Id, function: Unary) -> Option<Id> {
        self.find(value, |op, args| {
            matches!(op, Op::UnaryOp(o) if o.function == function).then(|| args[0])
        })
    }
    /// Operands for which `f` gives something; those of a commutative function also the other way round.
    pub fn binary<R>(&self, value: Id, function: Binary, f: impl Fn(Id, Id) -> Option<R>) -> Option<R> {
        self.find(value, |op, args| match op {
            Op::BinaryOp(o) if o.function == function => either_order(function, args, &f),
            _ => None,
        })
    }
    pub fn reshaped(&self, value: Id) -> Option<Id> {
        self.find(value, |op, args| matches!(op, Op::Reshape(_)).then(|| args[0]))
    }
    /// x and c where the value is x times the number c, and no smaller than x.
    pub fn scaled(&self, value: Id) -> Option<(Id, f64)> {
        self.find(value, |op, args| self.scaled_operand(op, args))
    }
    /// As `scaled` for one term.
    pub fn scaled_operand(&self, op: &Op, args: &[Id]) -> Option<(Id, f64)> {
        let times = |x: Id, c: Id| Some((x, c, self.constant(c)?));
        let (x, c, by) = match op {
            Op::BinaryOp(o) if o.function == Binary::Mul => either_order(o.function, args, times)?,
            Op::BinaryOp(o) if o.function == Binary::Div => {
                times(args[0], args[1]).map(|(x, c, by)| (x, c, 1.0 / by))?
            }
            _ => return None,
        };
        let stretches = broadcast(&[self.shape(x), self.shape(c)]).ok()? != self.shape(x);
        (by.is_finite() && !stretches && self.ty(x).dtype.is_float()).then_some((x, by))
    }

    // ---- building --------------------------------------------------------------------------------------------------

    pub fn op(&mut self, op: impl Into<Op>, args: &[Id]) -> Option<Id> {
        self.typed(op, args).ok()
    }
    /// The same, or why the operands do not fit.
    pub fn typed(&mut self, op: impl Into<Op>, args: &[Id]) -> Result<Id, String> {
        let term = Term {
            op: op.into(),
            args: args.to_vec(),
        };
        infer(self.classes, &term).map_err(|e| e.0)?;
        Ok(self.classes.add(term))
    }
    pub fn number(&mut self, dtype: DType, value: f64) -> Option<Id> {
        self.op(ops::Constant::new(dtype, value), &[])
    }
    pub fn map(&mut self, function: Unary, x: Id) -> Option<Id> {
        self.op(ops::UnaryOp { function }, &[x])
    }
    pub fn zip(&mut self, function: Binary, a: Id, b: Id) -> Option<Id> {
        self.op(ops::BinaryOp { function }, &[a, b])
    }
    pub fn mul(&mut self, a: Id, b: Id) -> Option<Id> {
        self.zip(Binary::Mul, a, b)
    }
    pub fn add(&mut self, a: Id, b: Id) -> Option<Id> {
        self.zip(Binary::Add, a, b)
    }
    pub fn sub(&mut self, a: Id, b: Id) -> Option<Id> {
        self.zip(Binary::Sub, a, b)
    }
    pub fn scale(&mut self, x: Id, by: f64) -> Option<Id> {
        let c = self.number(self.ty(x).dtype, by)?;
        self.mul(x, c)
    }
    pub fn cast(&mut self, x: Id, dtype: DType) -> Option<Id> {
        if self.ty(x).dtype == dtype {
            Some(x)
        } else {
            self.op(ops::Cast { dtype }, &[x])
        }
    }
    pub fn reshape(&mut self, x: Id, shape: impl Into<Vec<Dim>>) -> Option<Id> {
        let shape = shape.into();
        if self.shape(x) == shape {
            Some(x)
        } else {
            self.op(ops::Reshape { shape }, &[x])
        }
    }
    pub fn transpose(&mut self, x: Id, perm: &[usize]) -> Option<Id> {
        self.op(ops::Transpose { perm: perm.to_vec() }, &[x])
    }
    /// The sum along the last axis, which stays with size 1.
    pub fn sum_last(&mut self, x: Id) -> Option<Id> {
        let last = self.shape(x).len() - 1;
        self.op(
            ops::Sum {
                axes: vec![last],
                keep: true,
            },
            &[x],
        )
    }
    pub fn get(&mut self, value: Id, index: usize) -> Option<Id> {
        self.op(ops::Get { index }, &[value])
    }
}

fn either_order<R>(function: Binary, args: &[Id], f: impl Fn(Id, Id) -> Option<R>) -> Option<R> {
    let swaps = matches!(
        function,
        Binary::Mul | Binary::Add | Binary::Max | Binary::Min | Binary::And | Binary::Or
    );
    f(args[0], args[1]).or_else(|| if swaps { f(args[1], args[0]) } else { None })
}

/// The operands of a term that is this function, in an order for which `f` gives something.
pub fn operands<R>(term: &Term, function: Binary, f: impl Fn(Id, Id) -> Option<R>) -> Option<R> {
    match &term.op {
        Op::BinaryOp(o) if o.function == function => either_order(function, &term.args, f),
        _ => None,
    }
}
