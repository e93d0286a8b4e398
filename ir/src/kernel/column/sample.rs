//! Random column kernels.

use crate::kernel::*;
use crate::kernel_sample::exprs::Exprs;
use crate::kernel_sample::maps::{COLUMNS, ROWS, all, reductions, stores};
use crate::kernel_sample::{Draw, Extent, dims, maps};

/// A column kernel that stores its reductions and functions of them.
pub fn column(seed: u32) -> Sample {
    let mut d = Draw::new(seed);
    let (outer, reduced_axes) = (d.extents(2, ROWS), d.extents(2, &[1, 2, 3, 9, 60]));
    let columns = d.extent(COLUMNS);
    let axes: Vec<Extent> = [&outer[..], &reduced_axes, std::slice::from_ref(&columns)].concat();
    let over = all(outer.len() + reduced_axes.len()) & !all(outer.len());
    let of: Vec<usize> = (0..axes.len()).filter(|a| over >> a & 1 == 0).collect();
    let allowed = all(axes.len());
    let mut exprs = Exprs::new(axes);
    exprs.load(&mut d, allowed);
    let grown = d.rand.int(0, 8);
    exprs.grow(&mut d, allowed, grown);
    let found = reductions(
        &mut d,
        &exprs,
        allowed,
        over,
        &[Reduction::Sum, Reduction::Sum, Reduction::Max],
    );
    let mut store = vec![];
    for (n, (_, known)) in found.iter().enumerate() {
        let result = exprs.push(Value::Reduced(n), *known);
        store.push(maps::store(&mut d, &mut exprs, &of, result));
    }
    let grown = d.rand.int(0, 4);
    exprs.grow(&mut d, allowed & !over, grown);
    store.extend(stores(&mut d, &mut exprs, &of, allowed & !over));
    let reduce = found.into_iter().map(|(r, _)| r).collect();
    let body = ColumnKernel {
        outer: dims(&outer),
        reduced: dims(&reduced_axes),
        columns: columns.dim,
        values: exprs.values,
        reduce,
        store,
    };
    d.sample(body)
}
