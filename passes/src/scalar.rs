//! Builds the scalar values of a kernel by pulling elements out of a graph.

use crate::reshape;
use ir::dim::Dim;
use ir::graph::{Graph, ValueId};
use ir::kernel::{Coord, Index, ValId, Value};
use ir::lower::{Lower, Pull};
use ir::scalar::{Binary, DType};
use ir::types::Type;
use std::collections::HashMap;

/// Decides what an element of a value is inside one kernel.
pub trait Resolve {
    /// The value at these coordinates if it is not to be computed from its operands: a load, a reduction's result, ...
    fn resolve(&mut self, out: &mut Values, v: ValueId, at: &[Index], guard: Option<ValId>) -> Option<ValId>;
    /// The slot of an i32 [2] seed.
    fn seed_slot(&mut self, v: ValueId) -> usize;
}

/// A hash-consed list of scalar values.
#[derive(Default)]
pub struct Values {
    pub list: Vec<Value>,
    seen: HashMap<Value, ValId>,
}

impl Values {
    pub fn push(&mut self, v: Value) -> ValId {
        if let Some(id) = self.seen.get(&v) {
            return *id;
        }
        self.list.push(v.clone());
        self.seen.insert(v, self.list.len() - 1);
        self.list.len() - 1
    }
    fn size(&mut self, d: &Dim) -> ValId {
        match d.as_const() {
            Some(c) => self.push(Value::constant(DType::I32, c as f64)),
            None => self.push(Value::Size(d.clone())),
        }
    }
    pub fn coordinate(&mut self, at: &Index) -> ValId {
        let mut total = None;
        for (stride, coord) in &at.terms {
            let c = match coord {
                Coord::Axis(a) => self.push(Value::Axis(*a)),
                Coord::Value(v) => *v,
            };
            let term = if stride.is_one() {
                c
            } else {
                let s = self.size(stride);
                self.push(Value::Binary(Binary::Mul, c, s))
            };
            total = Some(match total {
                None => term,
                Some(t) => self.push(Value::Binary(Binary::Add, t, term)),
            });
        }
        match total {
            None => self.size(&at.base),
            Some(t) if at.base.is_zero() => t,
            Some(t) => {
                let base = self.size(&at.base);
                self.push(Value::Binary(Binary::Add, t, base))
            }
        }
    }
}

/// The element of `v` at coordinates `at`, with nothing read where `guard` is zero (the result is then unspecified).
pub fn element(
    g: &Graph,
    out: &mut Values,
    how: &mut dyn Resolve,
    v: ValueId,
    at: &[Index],
    guard: Option<ValId>,
) -> ValId {
    debug_assert_eq!(at.len(), g.shape(v).len());
    if let Some(id) = how.resolve(out, v, at, guard) {
        return id;
    }
    let node = g.node(v);
    match node.op.lower() {
        Lower::Element(f) => f(&mut Elements { g, out, how, v, guard }, at),
        Lower::Reshape => {
            let (from, to) = (g.shape(node.args[0]), g.shape(v));
            let inner = reshape::coordinates(from, to, at).expect("fuse keeps operands of merging reshapes in memory");
            element(g, out, how, node.args[0], &inner, guard)
        }
        _ => panic!(
            "value {v:?} (`{}`) is not an element op and has no place",
            node.op.name()
        ),
    }
}

struct Elements<'a> {
    g: &'a Graph,
    out: &'a mut Values,
    how: &'a mut dyn Resolve,
    v: ValueId,
    guard: Option<ValId>,
}

impl Pull for Elements<'_> {
    fn arg(&mut self, i: usize, at: &[Index]) -> ValId {
        element(self.g, self.out, self.how, self.g.node(self.v).args[i], at, self.guard)
    }
    fn arg_if(&mut self, i: usize, at: &[Index], guard: ValId) -> ValId {
        let arg = self.g.node(self.v).args[i];
        let both = match self.guard {
            None => guard,
            Some(outer) => self.out.push(Value::Binary(Binary::And, outer, guard)),
        };
        let value = element(self.g, self.out, self.how, arg, at, Some(both));
        // A guarded load is 0 by itself.
        if matches!(&self.out.list[value], Value::Load { guard: Some(g), .. } if *g == both) {
            return value;
        }
        let zero = self.out.push(Value::constant(self.g.ty(arg).dtype, 0.0));
        self.out.push(Value::Select {
            cond: guard,
            then: value,
            other: zero,
        })
    }
    fn arg_type(&self, i: usize) -> Type {
        self.g.ty(self.g.node(self.v).args[i]).clone()
    }
    fn result_type(&self) -> Type {
        self.g.ty(self.v).clone()
    }
    fn value(&mut self, v: Value) -> ValId {
        self.out.push(v)
    }
    fn coordinate(&mut self, at: &Index) -> ValId {
        self.out.coordinate(at)
    }
    fn uniform(&mut self, seed: usize, site: u32, index: Index) -> ValId {
        let slot = self.how.seed_slot(self.g.node(self.v).args[seed]);
        self.out.push(Value::Uniform {
            seed: slot,
            site,
            index,
        })
    }
}
