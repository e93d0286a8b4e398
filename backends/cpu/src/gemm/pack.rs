//! Copies of operands into the order in which the micro-kernels read them.

use super::Tile;
use super::code::{Code, internal};
use crate::entry::Unit;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue};

/// Steps of the depth after which rows side by side are asked for: they lie far apart, out of sight of the processor's own
/// prefetching.
pub(super) const AHEAD: i64 = 16;

/// Rows transposed at a time.
const OCTET: i64 = 8;

fn int<'c>(params: &[BasicValueEnum<'c>], at: usize) -> IntValue<'c> {
    params[at].into_int_value()
}

fn pointer<'c>(params: &[BasicValueEnum<'c>], at: usize) -> PointerValue<'c> {
    params[at].into_pointer_value()
}

/// The columns of all panels that hold any of `columns`.
pub(super) fn whole_panels<'c>(code: &Code<'_, 'c>, tile: Tile, columns: IntValue<'c>) -> IntValue<'c> {
    code.scale(code.ceil_div(columns, tile.columns()), tile.columns())
}

/// `pack(from, column_bytes, depth_bytes, columns, depth, panels, panel_bytes)` for columns of unit stride: whole vectors
/// are copied. Columns that only fill up the last panel are zeros.
pub(crate) fn pack_along_columns<'c>(unit: &Unit<'c>, tile: Tile) -> FunctionValue<'c> {
    internal(
        unit,
        &format!("gemm_pack_columns_{}", tile.columns()),
        "piiiipi",
        |code, params| {
            let (from, panels) = (pointer(params, 0), pointer(params, 5));
            let [depth_bytes, columns, depth, panel_bytes] = [2, 3, 4, 6].map(|i| int(params, i));
            let (whole, rest) = code.div_rem(columns, code.int(tile.columns()));
            let vector_bytes = 4 * tile.lanes as i64;
            let vectors = tile.vectors as i64;
            let row = |k| {
                (
                    code.at(from, code.mul(k, depth_bytes)),
                    code.at(panels, code.scale(k, tile.step_bytes())),
                )
            };
            code.each(code.int(0), depth, 1, |k| {
                let (from, to) = row(k);
                code.each(code.int(0), whole, 1, |j| {
                    let from = code.at(from, code.scale(j, tile.step_bytes()));
                    let to = code.at(to, code.mul(j, panel_bytes));
                    for v in 0..vectors {
                        code.store(
                            code.at_const(to, v * vector_bytes),
                            code.load(code.at_const(from, v * vector_bytes)),
                        );
                    }
                });
            });
            code.when(code.less(code.int(0), rest), || {
                let masks: Vec<_> = (0..vectors)
                    .map(|v| code.mask(code.sub(rest, code.int(v * tile.lanes as i64))))
                    .collect();
                code.each(code.int(0), depth, 1, |k| {
                    let (from, to) = row(k);
                    let from = code.at(from, code.scale(whole, tile.step_bytes()));
                    let to = code.at(to, code.mul(whole, panel_bytes));
                    for (v, mask) in masks.iter().enumerate() {
                        let at = v as i64 * vector_bytes;
                        code.store(code.at_const(to, at), code.load_masked(code.at_const(from, at), *mask));
                    }
                });
            });
        },
    )
}

/// Transposes 8 vectors of 8 in registers: three rounds of pairwise interleaving.
pub(super) fn transpose<'c>(code: &Code<'_, 'c>, rows: [VectorValue<'c>; 8]) -> [VectorValue<'c>; 8] {
    let pairs = |v: [VectorValue<'c>; 8], low: [u32; 8], high: [u32; 8], distance: usize| {
        std::array::from_fn(|i| {
            let first = i & !distance;
            let lanes = if i & distance == 0 { &low } else { &high };
            code.shuffle(v[first], v[first | distance], lanes)
        })
    };
    // Within 128-bit halves first, where shuffles are cheapest, then across.
    let v = pairs(rows, [0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15], 1);
    let v = pairs(v, [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15], 2);
    pairs(v, [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15], 4)
}

/// `pack(from, column_bytes, depth_bytes, columns, depth, panels, panel_bytes)` for unit stride along the depth: blocks are
/// transposed in registers. Columns that only fill up the last panel repeat the last one.
pub(crate) fn pack_along_depth<'c>(unit: &Unit<'c>, tile: Tile) -> FunctionValue<'c> {
    internal(
        unit,
        &format!("gemm_pack_depth_{}", tile.columns()),
        "piiiipi",
        |code, params| {
            let (from, panels) = (pointer(params, 0), pointer(params, 5));
            let [column_bytes, columns, depth, panel_bytes] = [1, 3, 4, 6].map(|i| int(params, i));
            let whole = code.sub(depth, code.div_rem(depth, code.int(OCTET)).1);
            let last = code.sub(columns, code.int(1));
            code.each(code.int(0), whole_panels(code, tile, columns), OCTET, |n| {
                let rows: [_; 8] = std::array::from_fn(|r| {
                    let n = code.min(code.add(n, code.int(r as i64)), last);
                    code.at(from, code.mul(n, column_bytes))
                });
                let (panel, within) = code.div_rem(n, code.int(tile.columns()));
                let to = code.at(code.at(panels, code.mul(panel, panel_bytes)), code.scale(within, 4));
                code.each(code.int(0), whole, OCTET, |k| {
                    let block = rows.map(|row| code.load_lanes(code.at(row, code.scale(k, 4)), OCTET as u32));
                    let to = code.at(to, code.scale(k, tile.step_bytes()));
                    for (t, v) in transpose(code, block).into_iter().enumerate() {
                        code.store(code.at_const(to, t as i64 * tile.step_bytes()), v);
                    }
                });
                code.each(whole, depth, 1, |k| {
                    let elements = rows.map(|row| code.at(row, code.scale(k, 4)));
                    code.store(code.at(to, code.scale(k, tile.step_bytes())), code.collect(&elements));
                });
            });
        },
    )
}

/// `pack(from, column_bytes, depth_bytes, columns, depth, panels, panel_bytes)` for any strides, element by element into
/// vectors. Columns that only fill up the last panel repeat the last one.
pub(crate) fn pack_strided<'c>(unit: &Unit<'c>, tile: Tile) -> FunctionValue<'c> {
    internal(
        unit,
        &format!("gemm_pack_strided_{}", tile.columns()),
        "piiiipi",
        |code, params| {
            let (from, panels) = (pointer(params, 0), pointer(params, 5));
            let [column_bytes, depth_bytes, columns, depth, panel_bytes] = [1, 2, 3, 4, 6].map(|i| int(params, i));
            let last = code.sub(columns, code.int(1));
            code.each(code.int(0), whole_panels(code, tile, columns), OCTET, |n| {
                let columns: [_; 8] = std::array::from_fn(|r| {
                    let n = code.min(code.add(n, code.int(r as i64)), last);
                    code.at(from, code.mul(n, column_bytes))
                });
                let (panel, within) = code.div_rem(n, code.int(tile.columns()));
                let to = code.at(code.at(panels, code.mul(panel, panel_bytes)), code.scale(within, 4));
                code.each(code.int(0), depth, 1, |k| {
                    let elements = columns.map(|column| code.at(column, code.mul(k, depth_bytes)));
                    code.store(code.at(to, code.scale(k, tile.step_bytes())), code.collect(&elements));
                });
            });
        },
    )
}

/// `copy(from, row_bytes, depth_bytes, rows, depth, to, to_row_bytes)` for unit stride along the depth.
pub(crate) fn copy_along_depth<'c>(unit: &Unit<'c>) -> FunctionValue<'c> {
    internal(unit, "gemm_copy_depth", "piiiipi", |code, params| {
        let (from, to) = (pointer(params, 0), pointer(params, 5));
        let [row_bytes, rows, depth, to_row_bytes] = [1, 3, 4, 6].map(|i| int(params, i));
        code.each(code.int(0), rows, 1, |i| {
            let from = code.at(from, code.mul(i, row_bytes));
            let to = code.at(to, code.mul(i, to_row_bytes));
            code.each_vector(depth, |k, mask| {
                let (from, to) = (code.at(from, code.scale(k, 4)), code.at(to, code.scale(k, 4)));
                match mask {
                    None => code.store(to, code.load(from)),
                    Some(mask) => code.store_masked(to, code.load_masked(from, mask), mask),
                }
            });
        });
    })
}

/// `copy(from, row_bytes, depth_bytes, rows, depth, to, to_row_bytes)` for any strides: rows get unit stride along the
/// depth. Writes up to 7 elements past each row's end, repeating its last.
pub(crate) fn copy_strided<'c>(unit: &Unit<'c>) -> FunctionValue<'c> {
    internal(unit, "gemm_copy_strided", "piiiipi", |code, params| {
        let (from, to) = (pointer(params, 0), pointer(params, 5));
        let [row_bytes, depth_bytes, rows, depth, to_row_bytes] = [1, 2, 3, 4, 6].map(|i| int(params, i));
        let last = code.sub(depth, code.int(1));
        code.each(code.int(0), rows, 1, |i| {
            let from = code.at(from, code.mul(i, row_bytes));
            let to = code.at(to, code.mul(i, to_row_bytes));
            code.each(code.int(0), depth, OCTET, |k| {
                let elements: [_; 8] = std::array::from_fn(|r| {
                    let k = code.min(code.add(k, code.int(r as i64)), last);
                    code.at(from, code.mul(k, depth_bytes))
                });
                code.store(code.at(to, code.scale(k, 4)), code.collect(&elements));
            });
        });
    })
}

/// `copy(from, row_bytes, depth_bytes, rows, depth, to, to_group_bytes)` for rows next to each other: groups of
/// `Tile::rows` of them lie side by side for every step of the depth, groups are `to_group_bytes` apart. Writes up to a
/// vector past each group's end.
pub(crate) fn copy_along_rows<'c>(unit: &Unit<'c>, tile: Tile) -> FunctionValue<'c> {
    // One vector holds a group's rows; the lanes it has too many are overwritten by the next step's.
    assert!(tile.rows <= tile.lanes, "a group of rows fits a vector");
    internal(
        unit,
        &format!("gemm_copy_along_rows_{}", tile.name()),
        "piiiipi",
        |code, params| {
            let (from, to) = (pointer(params, 0), pointer(params, 5));
            let [depth_bytes, rows, depth, to_group_bytes] = [2, 3, 4, 6].map(|i| int(params, i));
            let height = tile.rows as i64;
            let groups = code.ceil_div(rows, height);
            // Groups of which a whole vector can be read.
            let free = code.sub(code.add(rows, code.int(height)), code.int(tile.lanes as i64));
            let whole = code.div_rem(code.max(free, code.int(0)), code.int(height)).0;
            code.each(code.int(0), depth, 1, |k| {
                let from = code.at(from, code.mul(k, depth_bytes));
                let to = code.at(to, code.scale(k, 4 * height));
                let places = |group| {
                    (
                        code.at(from, code.scale(group, 4 * height)),
                        code.at(to, code.mul(group, to_group_bytes)),
                    )
                };
                code.each(code.int(0), whole, 1, |group| {
                    let (from, to) = places(group);
                    code.prefetch(code.at(from, code.scale(depth_bytes, AHEAD)));
                    code.store(to, code.load(from));
                });
                code.each(whole, groups, 1, |group| {
                    let (from, to) = places(group);
                    let mask = code.mask(code.sub(rows, code.scale(group, height)));
                    code.store(to, code.load_masked(from, mask));
                });
            });
        },
    )
}
