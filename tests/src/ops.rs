//! One op as a graph, with random operands.

use ir::graph::{Graph, ValueId};
use ir::ops::Op;
use ir::sample::{Rand, Sample};
use ir::scalar::DType;
use ir::tensor::Tensor;
use ir::types::Type;
use std::collections::BTreeMap;

/// A graph of one sampled op, its operands as parameters where they are floats and inputs where not; which layers of a
/// repeat to keep is an input too, as programs have it.
pub struct Case {
    pub graph: Graph,
    pub bound: BTreeMap<String, Tensor>,
    pub differentiable: bool,
}

/// `None` where the op cannot stand alone: leaves, `get`, and ops that only make sense after another.
pub fn case(sample: Sample<Op>, r: &mut Rand) -> Option<Case> {
    if matches!(
        sample.op,
        Op::Input(_) | Op::Param(_) | Op::Get(_) | Op::AttentionGrad(_)
    ) {
        return None;
    }
    let mut g = Graph::default();
    let mut bound = BTreeMap::new();
    let mut args = vec![];
    for (i, arg) in sample.args.iter().enumerate() {
        let name = format!("a{i}");
        let keep = matches!(&sample.op, Op::Repeat(r) if r.keep) && i + 1 == sample.args.len();
        let v = if arg.ty.dtype.is_float() && !keep {
            g.add_op(
                ir::ops::Param {
                    name: name.clone(),
                    ty: arg.ty.clone(),
                },
                &[],
            )
        } else {
            g.input(&name, arg.ty.clone())
        };
        bound.insert(name, arg.draw(r));
        args.push(v);
    }
    let node = g.add_op(sample.op, &args);
    g.outputs = g
        .results(node)
        .into_iter()
        .enumerate()
        .map(|(i, v)| (format!("r{i}"), v))
        .collect();
    Some(Case {
        graph: g,
        bound,
        differentiable: sample.differentiable,
    })
}

/// Adds `loss`, the sum of the first output times fixed weights, so that every element has a gradient of its own.
pub fn with_loss(g: &Graph, r: &mut Rand, bound: &mut BTreeMap<String, Tensor>) -> Graph {
    let mut g = g.clone();
    let y: ValueId = g.outputs[0].1;
    let ty = g.ty(y).clone();
    let weights = g.input("weights", Type::f32(ty.shape.clone()));
    let shape: Vec<usize> = ty
        .shape
        .iter()
        .map(|d| d.as_const().expect("samples have constant sizes") as usize)
        .collect();
    bound.insert(
        "weights".into(),
        Tensor::build(DType::F32, shape, |_| r.float(-1.0, 1.0) as f32 as f64),
    );
    let weights = g.cast(weights, ty.dtype);
    let product = g.mul(y, weights);
    let axes: Vec<usize> = (0..ty.rank()).collect();
    let sum = g.sum(product, &axes);
    let loss = g.reshape(sum, vec![]);
    g.outputs = vec![("loss".into(), loss)];
    g
}
