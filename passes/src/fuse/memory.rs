//! Which values are stored: those that kernels need whole, and those that cost more to compute twice than to store.

use super::{is_leaf, root};
use crate::reshape;
use crate::scalar::{Resolve, Values, element};
use ir::dim::Dim;
use ir::graph::{Graph, ValueId};
use ir::kernel::{Coord, Index, ValId, Value};
use ir::lower::{Lie, Lower};
use ir::scalar::{Binary, Unary};

/// Work per element above which a value that several nodes read is kept. Chosen by reasoning about memory traffic, not
/// yet by measurement.
const KEEP_ABOVE: usize = 40;

/// True for leaves, reductions, contractions, results of kernels of their own, and element values that are kept.
pub fn decide(g: &Graph) -> Vec<bool> {
    let mut keep = vec![false; g.nodes.len()];
    for (i, node) in g.nodes.iter().enumerate() {
        keep[i] = !matches!(node.op.lower(), Lower::Element(_) | Lower::Reshape);
    }
    for (_, v) in &g.outputs {
        force(g, &mut keep, *v);
    }
    for (i, node) in g.nodes.iter().enumerate() {
        match node.op.lower() {
            Lower::Contract { .. } => node.args.iter().for_each(|a| force_base(g, &mut keep, *a)),
            Lower::Kernel {
                operands: Lie::Rows, ..
            } => node.args.iter().for_each(|a| force_rows(g, &mut keep, *a)),
            Lower::Kernel {
                operands: Lie::Whole, ..
            }
            | Lower::Loop => node.args.iter().for_each(|a| force(g, &mut keep, *a)),
            Lower::Reshape if !reshape::is_affine(g.shape(node.args[0]), g.shape(ValueId(i))) => {
                force(g, &mut keep, node.args[0]);
            }
            Lower::Element(_) => {
                for a in &node.args {
                    // Selecting among parts is not done over for every row that reads the result, and neither are roots.
                    let (operand, result) = (g.shape(*a), g.shape(ValueId(i)));
                    let again = is_repeated(operand, result)
                        && (selects(g, &keep, *a) || has_columns_of(operand, result) && takes_roots(g, &keep, *a));
                    if again {
                        force(g, &mut keep, *a);
                    }
                }
            }
            _ => {}
        }
    }
    let uses = g.use_counts();
    for i in 0..g.nodes.len() {
        if !keep[i]
            && uses[i] > 1
            && matches!(g.nodes[i].op.lower(), Lower::Element(_))
            && cost(g, &keep, ValueId(i)) > KEEP_ABOVE
        {
            keep[i] = true;
        }
    }
    keep
}

/// Whether a result has elements of an operand several times, along axes that the operand lacks or has one position of.
fn is_repeated(operand: &[Dim], result: &[Dim]) -> bool {
    let Some(more) = result.len().checked_sub(operand.len()) else {
        return false;
    };
    let pairs = || operand.iter().zip(&result[more..]);
    let differs = more > 0 || pairs().any(|(o, r)| o != r);
    differs && pairs().all(|(o, r)| o == r || o.is_one())
}

/// Whether an operand has the columns of a result, so that it is not one number per row, which a row kernel computes once.
fn has_columns_of(operand: &[Dim], result: &[Dim]) -> bool {
    let (own, all) = (operand.last(), result.last());
    own == all && own.is_some_and(|n| !n.is_one())
}

/// Whether roots are taken for an element.
fn takes_roots(g: &Graph, keep: &[bool], v: ValueId) -> bool {
    let is_root = |v: &Value| matches!(v, Value::Unary(Unary::Sqrt | Unary::Rsqrt, _));
    !keep[super::root(g, v).0] && pulled(g, keep, v).list.iter().any(is_root)
}

/// Whether an element is loaded from one of several places.
fn selects(g: &Graph, keep: &[bool], v: ValueId) -> bool {
    if keep[root(g, v).0] {
        return false;
    }
    let loads = pulled(g, keep, v);
    let guarded = |v: &&Value| matches!(v, Value::Load { guard: Some(_), .. });
    loads.list.iter().filter(guarded).count() > 1
}

/// What computes an element, operands that are not kept included.
fn pulled(g: &Graph, keep: &[bool], v: ValueId) -> Values {
    let mut values = Values::default();
    let at: Vec<Index> = (0..g.shape(v).len()).map(Index::axis).collect();
    element(g, &mut values, &mut Trace { g, keep, of: None }, v, &at, None);
    values
}

fn force(g: &Graph, keep: &mut [bool], v: ValueId) {
    keep[root(g, v).0] = true;
}

/// Keeps what a strided view starts from.
fn force_base(g: &Graph, keep: &mut [bool], mut v: ValueId) {
    loop {
        let node = g.node(v);
        let is_view = match node.op.lower() {
            Lower::Reshape => !keep[root(g, v).0] && reshape::is_affine(g.shape(node.args[0]), g.shape(v)),
            _ => node.op.is_view(),
        };
        if !is_view {
            return force(g, keep, v);
        }
        v = node.args[0];
    }
}

/// As `force_base`, but the last axis must be contiguous.
fn force_rows(g: &Graph, keep: &mut [bool], v: ValueId) {
    force_base(g, keep, v);
    let n = g.shape(v).len();
    if n == 0 || strided(g, keep, v).is_none_or(|s| !s.strides[n - 1].is_one()) {
        force(g, keep, v);
    }
}

/// A view of a value in memory.
pub struct StridedView {
    /// The root whose memory it is.
    pub of: ValueId,
    pub base: Dim,
    /// One stride per axis of the view.
    pub strides: Vec<Dim>,
}

/// How `v` lies in the memory of a kept value, if it is such a view.
pub fn strided(g: &Graph, keep: &[bool], v: ValueId) -> Option<StridedView> {
    let mut how = Trace { g, keep, of: None };
    let mut values = Values::default();
    let at: Vec<Index> = (0..g.shape(v).len()).map(Index::axis).collect();
    element(g, &mut values, &mut how, v, &at, None);
    let [Value::Load { index, guard: None, .. }] = &values.list[..] else {
        return None;
    };
    if index.terms.iter().any(|(_, c)| matches!(c, Coord::Value(_))) {
        return None;
    }
    let strides = (0..at.len()).map(|a| index.stride_of(a)).collect();
    Some(StridedView {
        of: how.of?,
        base: index.base.clone(),
        strides,
    })
}

struct Trace<'a> {
    g: &'a Graph,
    keep: &'a [bool],
    of: Option<ValueId>,
}

impl Resolve for Trace<'_> {
    fn resolve(&mut self, out: &mut Values, v: ValueId, at: &[Index], guard: Option<ValId>) -> Option<ValId> {
        let w = root(self.g, v);
        if !self.keep[w.0] {
            return None;
        }
        self.of = Some(w);
        let index = Index::linear(at, &self.g.ty(v).strides());
        Some(out.push(Value::Load {
            slot: w.0,
            index,
            guard,
        }))
    }
    fn seed_slot(&mut self, v: ValueId) -> usize {
        v.0
    }
}

/// Scalar operations per element, those of operands that are not kept included.
fn cost(g: &Graph, keep: &[bool], v: ValueId) -> usize {
    let one = |v: &Value| match v {
        Value::Const { .. } | Value::Axis(_) | Value::Size(_) | Value::Reduced(_) | Value::Acc => 0,
        Value::Load { .. } => 4,
        Value::Unary(Unary::Exp | Unary::Log | Unary::Erf | Unary::Tanh, _) => 12,
        Value::Unary(Unary::Sqrt | Unary::Rsqrt, _) | Value::Binary(Binary::Div, ..) => 4,
        Value::Uniform { .. } => 14,
        _ => 1,
    };
    debug_assert!(!is_leaf(g, v));
    pulled(g, keep, v).list.iter().map(one).sum()
}
