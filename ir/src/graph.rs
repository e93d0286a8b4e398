//! Tensor IR: pure SSA values with dtype and symbolic shape. Says what is computed, not where or in which order.

use crate::dim::Dim;
use crate::ops::{self, Op};
use crate::scalar::{Binary, DType, Unary};
use crate::types::{Type, TypeError};
use serde::{Deserialize, Serialize};

/// A value: the result of a node. A node with several results is read through `get`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ValueId(pub usize);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    pub op: Op,
    pub args: Vec<ValueId>,
    /// One per result.
    pub types: Vec<Type>,
}

/// Nodes in topological order. Equal nodes are one node (hash-consed by `push`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// `input` nodes in order; for the body of a repeat this order binds operands.
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<(String, ValueId)>,
}

impl Graph {
    pub fn node(&self, v: ValueId) -> &Node {
        &self.nodes[v.0]
    }

    /// The type of a value with one result.
    pub fn ty(&self, v: ValueId) -> &Type {
        &self.nodes[v.0].types[0]
    }

    pub fn shape(&self, v: ValueId) -> &[Dim] {
        &self.ty(v).shape
    }

    /// Adds a node; its type is inferred.
    pub fn push(&mut self, op: impl Into<Op>, args: &[ValueId]) -> Result<ValueId, TypeError> {
        let op = op.into();
        for a in args {
            if self.node(*a).types.len() != 1 {
                return Err(TypeError(format!(
                    "`{}` reads a node of several results without `get`",
                    op.name()
                )));
            }
        }
        let arg_types: Vec<Type> = args.iter().map(|a| self.ty(*a).clone()).collect();
        let types = op
            .infer(&arg_types)
            .and_then(|types| types.iter().try_for_each(Type::check).map(|()| types))
            .map_err(|e| TypeError(format!("{}: {}", op.name(), e.0)))?;
        let node = Node {
            op,
            args: args.to_vec(),
            types,
        };
        if let Some(at) = self.nodes.iter().rposition(|n| *n == node) {
            return Ok(ValueId(at));
        }
        let id = ValueId(self.nodes.len());
        if matches!(node.op, Op::Input(_)) {
            self.inputs.push(id);
        }
        self.nodes.push(node);
        Ok(id)
    }

    /// As `push`, where the types are known to fit because the compiler itself built the operands.
    pub fn add_op(&mut self, op: impl Into<Op>, args: &[ValueId]) -> ValueId {
        match self.push(op, args) {
            Ok(v) => v,
            Err(e) => panic!("the compiler built an ill-typed node: {e}"),
        }
    }

    /// All results of a node as values.
    pub fn results(&mut self, v: ValueId) -> Vec<ValueId> {
        match self.node(v).types.len() {
            1 => vec![v],
            n => (0..n).map(|index| self.add_get(v, index)).collect(),
        }
    }

    fn add_get(&mut self, v: ValueId, index: usize) -> ValueId {
        let ty = self.node(v).types[index].clone();
        let node = Node {
            op: ops::Get { index }.into(),
            args: vec![v],
            types: vec![ty],
        };
        if let Some(at) = self.nodes.iter().rposition(|n| *n == node) {
            return ValueId(at);
        }
        self.nodes.push(node);
        ValueId(self.nodes.len() - 1)
    }

    pub fn input(&mut self, name: &str, ty: Type) -> ValueId {
        self.add_op(ops::Input { name: name.into(), ty }, &[])
    }
    pub fn constant(&mut self, v: f64) -> ValueId {
        self.add_op(ops::Constant::new(DType::F32, v), &[])
    }
    pub fn constant_of(&mut self, dtype: DType, v: f64) -> ValueId {
        self.add_op(ops::Constant::new(dtype, v), &[])
    }
    /// A constant of the dtype of `like`.
    pub fn constant_like(&mut self, like: ValueId, v: f64) -> ValueId {
        self.constant_of(self.ty(like).dtype, v)
    }
    pub fn unary(&mut self, f: Unary, a: ValueId) -> ValueId {
        self.add_op(ops::UnaryOp { function: f }, &[a])
    }
    pub fn binary(&mut self, f: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.add_op(ops::BinaryOp { function: f }, &[a, b])
    }
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Add, a, b)
    }
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Sub, a, b)
    }
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Mul, a, b)
    }
    pub fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Div, a, b)
    }
    pub fn neg(&mut self, a: ValueId) -> ValueId {
        self.unary(Unary::Neg, a)
    }
    pub fn scale(&mut self, a: ValueId, by: f64) -> ValueId {
        let c = self.constant_like(a, by);
        self.mul(a, c)
    }
    pub fn select(&mut self, cond: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.add_op(ops::Select {}, &[cond, a, b])
    }
    pub fn cast(&mut self, a: ValueId, dtype: DType) -> ValueId {
        if self.ty(a).dtype == dtype {
            a
        } else {
            self.add_op(ops::Cast { dtype }, &[a])
        }
    }
    pub fn reshape(&mut self, a: ValueId, shape: Vec<Dim>) -> ValueId {
        if self.shape(a) == shape {
            a
        } else {
            self.add_op(ops::Reshape { shape }, &[a])
        }
    }
    pub fn transpose(&mut self, a: ValueId, perm: &[usize]) -> ValueId {
        self.add_op(ops::Transpose { perm: perm.to_vec() }, &[a])
    }
    pub fn slice(&mut self, a: ValueId, axis: usize, start: Dim, len: Dim) -> ValueId {
        self.add_op(ops::Slice { axis, start, len }, &[a])
    }
    pub fn flip(&mut self, a: ValueId, axis: usize) -> ValueId {
        self.add_op(ops::Flip { axis }, &[a])
    }
    pub fn pad(&mut self, a: ValueId, axis: usize, before: Dim, after: Dim) -> ValueId {
        if before.is_zero() && after.is_zero() {
            a
        } else {
            self.add_op(ops::Pad { axis, before, after }, &[a])
        }
    }
    pub fn broadcast_to(&mut self, a: ValueId, shape: Vec<Dim>) -> ValueId {
        if self.shape(a) == shape {
            a
        } else {
            self.add_op(ops::Broadcast { shape }, &[a])
        }
    }
    /// Sums over axes, which stay with size 1.
    pub fn sum(&mut self, a: ValueId, axes: &[usize]) -> ValueId {
        if axes.is_empty() {
            a
        } else {
            self.add_op(
                ops::Sum {
                    axes: axes.to_vec(),
                    keep: true,
                },
                &[a],
            )
        }
    }
    pub fn einsum(&mut self, spec: &str, a: ValueId, b: ValueId) -> ValueId {
        self.add_op(ops::Einsum { spec: spec.into() }, &[a, b])
    }

    /// Sums a gradient over what `broadcast` stretched, giving `shape`.
    pub fn sum_to(&mut self, v: ValueId, shape: &[Dim]) -> ValueId {
        let from = self.shape(v).to_vec();
        let extra = from.len() - shape.len();
        let axes: Vec<usize> = (0..from.len())
            .filter(|i| *i < extra || (shape[*i - extra].is_one() && !from[*i].is_one()))
            .collect();
        let summed = self.sum(v, &axes);
        self.reshape(summed, shape.to_vec())
    }

    /// How often each node is read by nodes and outputs.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for a in self.nodes.iter().flat_map(|n| &n.args) {
            uses[a.0] += 1;
        }
        for (_, v) in &self.outputs {
            uses[v.0] += 1;
        }
        uses
    }

    /// The same graph without nodes that no output needs. Inputs stay, because their order binds operands.
    pub fn prune(&self) -> Graph {
        let mut live = vec![false; self.nodes.len()];
        for v in self.outputs.iter().map(|(_, v)| v).chain(&self.inputs) {
            live[v.0] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if live[i] {
                for a in &self.nodes[i].args {
                    live[a.0] = true;
                }
            }
        }
        let mut out = Graph::default();
        let mut map = vec![ValueId(usize::MAX); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
            map[i] = ValueId(out.nodes.len());
            let args = node.args.iter().map(|a| map[a.0]).collect();
            out.nodes.push(Node { args, ..node.clone() });
        }
        out.inputs = self.inputs.iter().map(|v| map[v.0]).collect();
        out.outputs = self.outputs.iter().map(|(n, v)| (n.clone(), map[v.0])).collect();
        out
    }
}
