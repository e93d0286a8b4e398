//! Groups that reduce leading axes.

use super::Builder;
use super::kernel::KernelBuilder;
use super::region::Region;
use ir::artifact::Step;
use ir::dim::Dim;
use ir::graph::ValueId;
use ir::kernel::{Body, ColumnKernel, Index, Reduction, Value};

pub fn emit(
    region: &Region,
    b: &mut Builder,
    group: usize,
    shape: &[Dim],
    axes: &[usize],
    members: &[ValueId],
) -> Vec<Step> {
    let last = shape.len() - 1;
    let outer: Vec<usize> = (0..last).filter(|i| !axes.contains(i)).collect();
    // Kernel axes are numbered outer, reduced, columns.
    let numbered: Vec<usize> = outer.iter().chain(axes).copied().chain([last]).collect();
    let axis = |i: usize| Index::axis(numbered.iter().position(|n| *n == i).expect("every axis is numbered"));
    let at: Vec<Index> = (0..shape.len()).map(axis).collect();
    let result_at: Vec<Index> = at
        .iter()
        .enumerate()
        .map(|(i, x)| if axes.contains(&i) { Index::zero() } else { x.clone() })
        .collect();
    let mut k = KernelBuilder::new(region, Some(group));
    let mut reduce = vec![];
    let mut store = vec![];
    for v in members {
        let x = region.g.node(*v).args[0];
        reduce.push((Reduction::Sum, k.element(x, &at)));
    }
    for (i, v) in members.iter().enumerate() {
        let value = k.values.push(Value::Reduced(i));
        store.extend(k.stores(*v, &result_at, value));
    }
    let pick = |of: &[usize]| of.iter().map(|i| shape[*i].clone()).collect::<Vec<Dim>>();
    let (outer, reduced, columns) = (pick(&outer), pick(axes), shape[last].clone());
    vec![k.launch(b, "column", |values| {
        Body::Column(ColumnKernel {
            outer,
            reduced,
            columns,
            values,
            reduce,
            store,
        })
    })]
}
