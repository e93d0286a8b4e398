//! The order of the axes of a kernel that transposes.
//!
//! Vectors lie along the last axis; a load or store with another stride along it touches as many cache lines as lanes. Such a
//! kernel goes vector by vector through its last axis in the outermost loop, and along the smallest stride in the innermost:
//! then those lines stay in L1 until all of their elements have passed by.

use ir::dim::Dim;
use ir::kernel::{Coord, Index, Phase, RowKernel, Store, Value};
use ir::kernel_axes::renumber_axes;
use std::cmp::Reverse;

/// Strides that are not known when compiling count as so long.
const LONG: i64 = 1 << 40;

/// The kernel with its axes in the order for transposing; `None` where it has no need of it, or another order might change
/// what it means.
pub(super) fn transposing(body: &RowKernel, lanes: i64) -> Option<RowKernel> {
    let [Phase::Columns { reduce, store }] = body.phases.as_slice() else {
        return None;
    };
    if !reduce.is_empty() || !store.iter().all(|s| moves_with_every_axis(s, body)) {
        return None;
    }
    let accesses = accesses(body, store);
    let last = body.axes.len() - 1;
    let cost = |axis| cost(&accesses, &body.axes[axis], axis, lanes);
    let column = (0..=last).rev().min_by_key(|axis| cost(*axis))?;
    let column = if 2 * cost(column) < cost(last) { column } else { last };
    let shares_lines = |index: &Index, axis: usize| {
        axis != column && !body.axes[axis].is_one() && moves_within_lines(index, axis, lanes)
    };
    let is_strided =
        |index: &Index| lines(index, column, lanes) == lanes && (0..=last).any(|axis| shares_lines(index, axis));
    let strided: Vec<_> = accesses.iter().filter(|(index, _)| is_strided(index)).collect();
    if strided.is_empty() {
        return None;
    }
    let longest = |axis: &usize| strided.iter().map(|(i, _)| length(&i.stride_of(*axis))).max();
    let mut order: Vec<usize> = (0..=last).filter(|axis| *axis != column).collect();
    order.sort_by_key(|axis| Reverse(longest(axis)));
    order.push(column);
    Some(reordered(body.clone(), &order))
}

/// Whether positions along any axis store into different elements. Rows are done in parallel, so no two of them meet; then
/// any axis may take the place of the last.
fn moves_with_every_axis(store: &Store, body: &RowKernel) -> bool {
    let axes = store
        .index
        .terms
        .iter()
        .all(|(_, coord)| matches!(coord, Coord::Axis(_)));
    let moves = |axis: usize| body.axes[axis].is_one() || !store.index.stride_of(axis).is_zero();
    axes && (0..body.axes.len()).all(moves)
}

/// Indices of loads and stores, and how often each touches memory.
fn accesses<'k>(body: &'k RowKernel, stores: &'k [Store]) -> Vec<(&'k Index, i64)> {
    let loads = body.values.iter().filter_map(|v| match v {
        Value::Load { index, .. } => Some((index, 1)),
        _ => None,
    });
    let stores = stores.iter().map(|s| (&s.index, if s.accumulate { 2 } else { 1 }));
    loads.chain(stores).collect()
}

/// Cache lines that a vector along an axis touches, about, if as many elements as lanes fill one.
fn lines(index: &Index, axis: usize, lanes: i64) -> i64 {
    length(&index.stride_of(axis)).clamp(1, lanes)
}

/// Whether some positions along an axis share a cache line.
fn moves_within_lines(index: &Index, axis: usize, lanes: i64) -> bool {
    !index.stride_of(axis).is_zero() && lines(index, axis, lanes) < lanes
}

fn length(stride: &Dim) -> i64 {
    stride.as_const().map_or(LONG, i64::abs)
}

/// Cache lines that vectors along an axis touch per thousand elements; short axes leave lanes idle.
fn cost(accesses: &[(&Index, i64)], extent: &Dim, axis: usize, lanes: i64) -> i64 {
    let vector: i64 = accesses
        .iter()
        .map(|(index, times)| times * lines(index, axis, lanes))
        .sum();
    let n = extent.as_const().unwrap_or(LONG).max(1);
    let vectors = (n + lanes - 1) / lanes;
    (1000.0 * vector as f64 * vectors as f64 / n as f64) as i64
}

/// With axis `order[i]` as axis i.
fn reordered(mut body: RowKernel, order: &[usize]) -> RowKernel {
    body.axes = order.iter().map(|axis| body.axes[*axis].clone()).collect();
    let number = |axis| order.iter().position(|a| *a == axis).expect("an order has every axis");
    let stores = body.phases.iter_mut().flat_map(|phase| match phase {
        Phase::Columns { store, .. } | Phase::Row { store } => store,
    });
    renumber_axes(&mut body.values, stores, number);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use ir::kernel::{Body as KernelBody, Kernel};
    use ir::scalar::{Binary, DType};
    use proptest::prelude::*;

    /// Element by element from one place to another, given extents and strides; beyond a limit along the first axis zeros.
    fn copy_below(limit: Option<i64>, axes: &[i64], [from, to]: [&[i64]; 2], accumulate: bool) -> RowKernel {
        let index = |strides: &[i64]| Index {
            base: d("0"),
            terms: strides
                .iter()
                .zip(0..)
                .map(|(s, axis)| (Dim::from(*s), Coord::Axis(axis)))
                .collect(),
        };
        let mut b = Body::default();
        let guard = limit.map(|n| {
            let at = b.push(Value::Axis(0));
            let n = b.push(Value::constant(DType::I32, n as f64));
            b.binary(Binary::Less, at, n)
        });
        let value = b.push(Value::Load {
            slot: 0,
            index: index(from),
            guard,
        });
        let store = Store {
            slot: 1,
            index: index(to),
            value,
            accumulate,
        };
        RowKernel {
            axes: axes.iter().map(|n| Dim::from(*n)).collect(),
            values: b.values,
            phases: vec![Phase::Columns {
                reduce: vec![],
                store: vec![store],
            }],
        }
    }

    fn copy(axes: &[i64], from: &[i64], to: &[i64], accumulate: bool) -> RowKernel {
        copy_below(None, axes, [from, to], accumulate)
    }

    fn extents(body: Option<RowKernel>) -> Option<Vec<i64>> {
        body.map(|b| b.axes.iter().filter_map(|d| d.as_const()).collect())
    }

    #[test]
    fn lanes_lie_where_lines_are_fewest() {
        // Taps of a convolution, [out, in, tap] to [tap, in, out]: the tap moves through a line.
        let there = copy(&[3, 500, 512], &[1, 3, 1500], &[256_000, 512, 1], false);
        assert_eq!(extents(transposing(&there, 16)), Some(vec![500, 3, 512]));
        // And back: along three taps lanes would mostly be idle; along inputs a vector is stored into three lines.
        let back = copy(&[512, 500, 3], &[1, 512, 256_000], &[1500, 3, 1], true);
        assert_eq!(extents(transposing(&back, 16)), Some(vec![3, 512, 500]));
    }

    #[test]
    fn others_stay_as_they_are() {
        let plain = copy(&[7, 100], &[100, 1], &[128, 1], false);
        let every_third = copy(&[7, 100], &[300, 3], &[100, 1], false);
        let no_line_is_shared = copy(&[7, 100], &[100_000, 1000], &[100, 1], false);
        let to_one_element = copy(&[7, 100], &[1, 7], &[1, 0], true);
        for body in [plain, every_third, no_line_is_shared, to_one_element] {
            assert_eq!(transposing(&body, 16), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_element_arrives(
            axes in prop::collection::vec(prop_oneof![1i64..5, 14i64..40], 3),
            order in Just(vec![0usize, 1, 2]).prop_shuffle(),
            accumulate in any::<bool>(),
            limit in prop::option::of(0i64..40),
            threads in 1i64..4,
        ) {
            let mut strides = [0i64; 3];
            order.iter().fold(1, |stride, axis| {
                strides[*axis] = stride;
                stride * axes[*axis]
            });
            let plain = [axes[1] * axes[2], axes[2], 1];
            let body = copy_below(limit, &axes, [&strides, &plain], accumulate);
            let slots = slots(&[DType::F32], &[DType::F32]);
            let kernel = Kernel { slots, body: KernelBody::Row(body) };
            // Nothing beyond the limit may be read: it is not there.
            let there = axes[0].min(limit.unwrap_or(i64::MAX));
            let elements = axes.iter().product::<i64>() as usize;
            let (x, old) = (noise(elements, 7), noise(elements, 8));
            let last = [there, axes[1], axes[2]].iter().zip(strides).map(|(n, s)| (n - 1) * s).sum::<i64>();
            let held = x[..if there > 0 { last as usize + 1 } else { 0 }].to_vec();
            let mut data = [Data::F32(held), Data::F32(old.clone())];
            Program::new(&kernel, &[]).run(&mut data, &[], threads);
            for (flat, got) in data[1].f32().iter().enumerate() {
                let at = [0, 1, 2].map(|axis| flat as i64 / plain[axis] % axes[axis]);
                let from = at.iter().zip(strides).map(|(i, s)| i * s).sum::<i64>();
                let moved = if at[0] < there { x[from as usize] } else { 0.0 };
                prop_assert_eq!(*got, if accumulate { old[flat] + moved } else { moved });
            }
        }
    }
}
