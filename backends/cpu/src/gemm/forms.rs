//! Copies of sums of an operand's parts into the order in which the micro-kernels read them.
//!
//! Each takes its terms last: for every factor, where the part begins and how many of its rows (or steps) are there. Parts of
//! an axis that is divided by turns differ in length by at most one; beyond its end a part counts as zeros.

use super::Tile;
use super::code::{Code, internal};
use super::pack::AHEAD;
use crate::entry::Unit;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue};

/// The terms of a sum, read from a function's parameters.
struct Terms<'a, 'c> {
    factors: &'a [f32],
    from: Vec<PointerValue<'c>>,
    counts: Vec<IntValue<'c>>,
    /// Bytes from one row (or step) of a part to the next.
    stride: IntValue<'c>,
}

impl<'a, 'c> Terms<'a, 'c> {
    fn new(factors: &'a [f32], params: &[BasicValueEnum<'c>], stride: IntValue<'c>) -> Terms<'a, 'c> {
        let pairs = params.chunks(2);
        Terms {
            factors,
            from: pairs.clone().map(|pair| pair[0].into_pointer_value()).collect(),
            counts: pairs.map(|pair| pair[1].into_int_value()).collect(),
            stride,
        }
    }

    /// `body` for every row (or step) below `count`, with what gives the sum of the vectors at a place in it, of which only so
    /// many lanes may be read.
    fn each<'u>(
        &self,
        code: &Code<'u, 'c>,
        count: IntValue<'c>,
        body: impl Fn(IntValue<'c>, &dyn Fn(IntValue<'c>, Option<IntValue<'c>>) -> VectorValue<'c>),
    ) {
        let common = self.counts.iter().fold(count, |least, n| code.min(least, *n));
        code.each(code.int(0), common, 1, |i| {
            body(i, &|at, lanes| self.sum(code, i, at, |_| lanes))
        });
        code.each(common, count, 1, |i| {
            body(i, &|at, lanes| {
                let lanes = lanes.unwrap_or(code.int(code.lanes as i64));
                let there = |n| code.select(code.less(i, n), lanes, code.int(0)).into_int_value();
                self.sum(code, i, at, |n| Some(there(n)))
            })
        });
    }

    /// Asks for what comes some rows (or steps) after `i`.
    fn prefetch(&self, code: &Code<'_, 'c>, i: IntValue<'c>, at: IntValue<'c>) {
        let offset = code.add(code.mul(code.add(i, code.int(AHEAD)), self.stride), at);
        self.from.iter().for_each(|from| code.prefetch(code.at(*from, offset)));
    }

    /// The sum of the vectors `at` bytes into row (or step) `i`, of which `lanes` (of a part's count) may be read.
    fn sum(
        &self,
        code: &Code<'_, 'c>,
        i: IntValue<'c>,
        at: IntValue<'c>,
        lanes: impl Fn(IntValue<'c>) -> Option<IntValue<'c>>,
    ) -> VectorValue<'c> {
        let offset = code.add(code.mul(i, self.stride), at);
        let mut sum: Option<VectorValue> = None;
        for ((factor, from), count) in self.factors.iter().zip(&self.from).zip(&self.counts) {
            let from = code.at(*from, offset);
            let v = match lanes(*count) {
                None => code.load(from),
                Some(lanes) => code.load_masked(from, code.mask(lanes)),
            };
            sum = Some(match sum {
                None if *factor == 1.0 => v,
                sum => code.fma(v, code.constant(*factor), sum.unwrap_or(code.zero())),
            });
        }
        sum.expect("a form has terms")
    }
}

/// The signature of a function with these parameters before its terms.
fn signature(first: &str, factors: &[f32]) -> String {
    format!("{first}{}", "pi".repeat(factors.len()))
}

/// `form(to, to_row_bytes, row_bytes, rows, depth, terms..)`: rows of unit stride along the depth.
pub(crate) fn form_along_depth<'c>(unit: &Unit<'c>, factors: &[f32]) -> FunctionValue<'c> {
    let name = format!("gemm_form_depth_{factors:?}");
    internal(unit, &name, &signature("piiii", factors), |code, params| {
        let to = params[0].into_pointer_value();
        let [to_row_bytes, row_bytes, rows, depth] = [1, 2, 3, 4].map(|i| params[i].into_int_value());
        let terms = Terms::new(factors, &params[5..], row_bytes);
        terms.each(code, rows, |i, sum| {
            let to = code.at(to, code.mul(i, to_row_bytes));
            code.each_vector(depth, |k, mask| {
                let (to, at) = (code.at(to, code.scale(k, 4)), code.scale(k, 4));
                match mask {
                    None => code.store(to, sum(at, None)),
                    Some(mask) => code.store_masked(to, sum(at, Some(code.sub(depth, k))), mask),
                }
            });
        });
    })
}

/// `form(to, to_group_bytes, depth_bytes, rows, depth, terms..)`: rows next to each other. Groups of `Tile::rows` of them lie
/// side by side for every step of the depth, groups are `to_group_bytes` apart. Writes up to a vector past each group's end.
pub(crate) fn form_along_rows<'c>(unit: &Unit<'c>, tile: Tile, factors: &[f32]) -> FunctionValue<'c> {
    // One vector holds a group's rows; the lanes it has too many are overwritten by the next step's.
    assert!(tile.rows <= tile.lanes, "a group of rows fits a vector");
    let name = format!("gemm_form_rows_{}_{factors:?}", tile.name());
    internal(unit, &name, &signature("piiii", factors), |code, params| {
        let to = params[0].into_pointer_value();
        let [to_group_bytes, depth_bytes, rows, depth] = [1, 2, 3, 4].map(|i| params[i].into_int_value());
        let height = tile.rows as i64;
        let groups = code.ceil_div(rows, height);
        // Groups of which a whole vector can be read.
        let free = code.sub(code.add(rows, code.int(height)), code.int(tile.lanes as i64));
        let whole = code.div_rem(code.max(free, code.int(0)), code.int(height)).0;
        let terms = Terms::new(factors, &params[5..], depth_bytes);
        terms.each(code, depth, |k, sum| {
            let to = code.at(to, code.scale(k, 4 * height));
            let place = |group| code.at(to, code.mul(group, to_group_bytes));
            let at = |group| code.scale(group, 4 * height);
            code.each(code.int(0), whole, 1, |group| {
                terms.prefetch(code, k, at(group));
                code.store(place(group), sum(at(group), None))
            });
            code.each(whole, groups, 1, |group| {
                let rest = code.sub(rows, code.scale(group, height));
                code.store(place(group), sum(at(group), Some(rest)))
            });
        });
    })
}

/// `pack(panels, panel_bytes, depth_bytes, columns, depth, terms..)`: columns of unit stride, into panels. Columns that only
/// fill up the last panel are zeros.
pub(crate) fn pack_form<'c>(unit: &Unit<'c>, tile: Tile, factors: &[f32]) -> FunctionValue<'c> {
    let name = format!("gemm_pack_form_{}_{factors:?}", tile.columns());
    internal(unit, &name, &signature("piiii", factors), |code, params| {
        let panels = params[0].into_pointer_value();
        let [panel_bytes, depth_bytes, columns, depth] = [1, 2, 3, 4].map(|i| params[i].into_int_value());
        let (whole, rest) = code.div_rem(columns, code.int(tile.columns()));
        let vectors = || (0..tile.vectors as i64).map(|v| v * tile.lanes as i64);
        let terms = Terms::new(factors, &params[5..], depth_bytes);
        terms.each(code, depth, |k, sum| {
            let to = code.at(panels, code.scale(k, tile.step_bytes()));
            let copy = |panel, lanes: &dyn Fn(i64) -> Option<IntValue<'c>>| {
                let to = code.at(to, code.mul(panel, panel_bytes));
                let from = code.scale(panel, tile.step_bytes());
                for v in vectors() {
                    let at = code.add(from, code.int(4 * v));
                    code.store(code.at_const(to, 4 * v), sum(at, lanes(v)));
                }
            };
            code.each(code.int(0), whole, 1, |panel| copy(panel, &|_| None));
            code.when(code.less(code.int(0), rest), || {
                copy(whole, &|v| Some(code.sub(rest, code.int(v))))
            });
        });
    })
}
