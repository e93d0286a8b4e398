//! Copies of operands into steps of two bf16, in the order in which the micro-kernels read them; f32 is rounded on the way.
//!
//! Functions take what those of [`pack`](super::pack) do, with a depth in elements. The second number of an odd last one is 0.

use super::code::{Code, internal};
use super::pack::{AHEAD, transpose, whole_panels};
use super::{Factors, Tile};
use crate::bf16;
use crate::entry::{BUILT, Unit};
use inkwell::types::BasicType;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue};
use ir::scalar::DType;

/// Columns transposed at a time, and pairs of each.
const OCTET: i64 = 8;

/// The axis along which an operand is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// That of rows, or of columns.
    Free,
    /// The summed one.
    Depth,
    /// None of them.
    Strided,
}

/// Elements of an operand.
struct Source<'a, 'u, 'c> {
    code: &'a Code<'u, 'c>,
    dtype: DType,
}

impl<'c> Source<'_, '_, 'c> {
    fn bytes(&self) -> i64 {
        self.dtype.bytes() as i64
    }

    fn at(&self, p: PointerValue<'c>, elements: IntValue<'c>) -> PointerValue<'c> {
        self.code.at(p, self.code.scale(elements, self.bytes()))
    }

    fn read(&self, kind: impl BasicType<'c>, p: PointerValue<'c>) -> BasicValueEnum<'c> {
        self.code.load_at(kind, p, self.bytes() as u32)
    }

    /// Consecutive elements as bf16, in i16 lanes.
    fn lanes(&self, p: PointerValue<'c>, lanes: u32) -> VectorValue<'c> {
        let ctx = self.code.unit.ctx;
        match self.dtype {
            DType::Bf16 => self.read(ctx.i16_type().vec_type(lanes), p).into_vector_value(),
            _ => self.rounded(self.read(ctx.f32_type().vec_type(lanes), p).into_vector_value()),
        }
    }

    /// A vector of them, or the masked lanes of one; 0 in the others, which are not read.
    fn vector(&self, p: PointerValue<'c>, mask: Option<VectorValue<'c>>) -> VectorValue<'c> {
        let code = self.code;
        match (mask, self.dtype) {
            (None, _) => self.lanes(p, code.lanes),
            (Some(mask), DType::Bf16) => {
                let kind = code.unit.ctx.i16_type().vec_type(code.lanes);
                let load = code
                    .unit
                    .intrinsic("llvm.masked.load", &[kind.into(), p.get_type().into()]);
                let args = [p.into(), mask.into(), kind.const_zero().into()];
                let call = code.builder.build_call(load, &args, "").expect(BUILT);
                call.set_alignment_attribute(inkwell::attributes::AttributeLoc::Param(0), 2);
                let v = call.try_as_basic_value().expect_basic("a load has a value");
                v.into_vector_value()
            }
            (Some(mask), _) => self.rounded(code.load_masked(p, mask)),
        }
    }

    fn rounded(&self, v: VectorValue<'c>) -> VectorValue<'c> {
        bf16::round(self.code.unit, self.code.builder, v.into()).into_vector_value()
    }

    /// The element at each address, as bf16.
    fn collect(&self, elements: &[PointerValue<'c>]) -> VectorValue<'c> {
        let ctx = self.code.unit.ctx;
        if self.dtype != DType::Bf16 {
            return self.rounded(self.code.collect(elements));
        }
        let none = ctx.i16_type().vec_type(elements.len() as u32).get_poison();
        elements.iter().zip(0..).fold(none, |v, (p, lane)| {
            let (element, lane) = (self.read(ctx.i16_type(), *p), ctx.i32_type().const_int(lane, false));
            self.code
                .builder
                .build_insert_element(v, element, lane, "")
                .expect(BUILT)
        })
    }

    /// Vectors of first and second numbers as pairs; `second` is `None` where there is none.
    fn join(&self, first: VectorValue<'c>, second: Option<VectorValue<'c>>) -> VectorValue<'c> {
        let second = second.unwrap_or(first.get_type().const_zero());
        bf16::pairs(self.code.unit, self.code.builder, [first, second])
    }

    /// `body` for the pairs from number `from` on of so many elements, given its number and whether it is whole.
    fn each_pair(&self, from: IntValue<'c>, depth: IntValue<'c>, body: impl Fn(IntValue<'c>, bool)) {
        let code = self.code;
        let (whole, odd) = code.div_rem(depth, code.int(2));
        code.each(from, whole, 1, |pair| body(pair, true));
        code.when(code.less(code.int(0), odd), || body(whole, false));
    }

    /// Pairs of each of some lines; `step` is how many bytes after the first number the second lies.
    fn of_lines(&self, lines: &[PointerValue<'c>], step: Option<IntValue<'c>>) -> VectorValue<'c> {
        let second = step.map(|step| lines.iter().map(|p| self.code.at(*p, step)).collect::<Vec<_>>());
        self.join(self.collect(lines), second.map(|second| self.collect(&second)))
    }

    /// Adjacent bf16 as pairs.
    fn as_pairs(&self, v: VectorValue<'c>) -> VectorValue<'c> {
        let lanes = v.get_type().get_size() / 2;
        self.code.cast_bits(v, self.code.unit.ctx.f32_type().vec_type(lanes))
    }
}

fn name(what: &str, order: Order, dtype: DType) -> String {
    format!("gemm_{what}_pairs_{order:?}_{}", dtype.name())
}

/// `pack(from, column_bytes, depth_bytes, columns, depth, panels, panel_bytes)`
pub(crate) fn pack_pairs<'c>(unit: &Unit<'c>, tile: Tile, order: Order, dtype: DType) -> FunctionValue<'c> {
    let name = format!("{}_{}", name("pack", order, dtype), tile.columns());
    internal(unit, &name, "piiiipi", |code, params| {
        let source = Source { code, dtype };
        match order {
            Order::Free => pack_along_columns(&source, tile, params),
            Order::Depth | Order::Strided => pack_by_columns(&source, tile, order, params),
        }
    })
}

fn pack_along_columns<'c>(source: &Source<'_, '_, 'c>, tile: Tile, params: &[BasicValueEnum<'c>]) {
    let code = source.code;
    let (from, panels) = (params[0].into_pointer_value(), params[5].into_pointer_value());
    let [depth_bytes, columns, depth, panel_bytes] = [2, 3, 4, 6].map(|i| params[i].into_int_value());
    let (whole, rest) = code.div_rem(columns, code.int(tile.columns()));
    let lanes = tile.lanes as i64;
    source.each_pair(code.int(0), depth, |pair, two| {
        let first = code.at(from, code.mul(pair, code.scale(depth_bytes, 2)));
        let second = two.then(|| code.at(first, depth_bytes));
        let to = code.at(panels, code.scale(pair, tile.step_bytes()));
        let panel = |j: IntValue<'c>, mask: &dyn Fn(i64) -> Option<VectorValue<'c>>| {
            let (to, column) = (code.at(to, code.mul(j, panel_bytes)), code.scale(j, tile.columns()));
            for v in 0..tile.vectors as i64 {
                let at = code.add(column, code.int(v * lanes));
                let load = |row| source.vector(source.at(row, at), mask(v));
                let joined = source.join(load(first), second.map(load));
                code.store(code.at_const(to, v * 4 * lanes), joined);
            }
        };
        code.each(code.int(0), whole, 1, |j| panel(j, &|_| None));
        code.when(code.less(code.int(0), rest), || {
            panel(whole, &|v| Some(code.mask(code.sub(rest, code.int(v * lanes)))))
        });
    });
}

/// Columns that only fill up the last panel repeat the last one.
fn pack_by_columns<'c>(source: &Source<'_, '_, 'c>, tile: Tile, order: Order, params: &[BasicValueEnum<'c>]) {
    let code = source.code;
    let (from, panels) = (params[0].into_pointer_value(), params[5].into_pointer_value());
    let [column_bytes, depth_bytes, columns, depth, panel_bytes] = [1, 2, 3, 4, 6].map(|i| params[i].into_int_value());
    let step = match order {
        Order::Depth => code.int(source.bytes()),
        _ => depth_bytes,
    };
    let last = code.sub(columns, code.int(1));
    code.each(code.int(0), whole_panels(code, tile, columns), OCTET, |n| {
        let lines: [_; 8] = std::array::from_fn(|r| {
            let n = code.min(code.add(n, code.int(r as i64)), last);
            code.at(from, code.mul(n, column_bytes))
        });
        let (panel, within) = code.div_rem(n, code.int(tile.columns()));
        let to = code.at(code.at(panels, code.mul(panel, panel_bytes)), code.scale(within, 4));
        let done = if order == Order::Depth {
            let whole = code.scale(code.div_rem(depth, code.int(2 * OCTET)).0, OCTET);
            code.each(code.int(0), whole, OCTET, |pair| {
                let at = code.scale(pair, 2);
                let block = lines.map(|line| source.as_pairs(source.lanes(source.at(line, at), 2 * OCTET as u32)));
                let to = code.at(to, code.scale(pair, tile.step_bytes()));
                for (t, v) in transpose(code, block).into_iter().enumerate() {
                    code.store(code.at_const(to, t as i64 * tile.step_bytes()), v);
                }
            });
            whole
        } else {
            code.int(0)
        };
        source.each_pair(done, depth, |pair, two| {
            let lines = lines.map(|line| code.at(line, code.mul(pair, code.scale(step, 2))));
            let joined = source.of_lines(&lines, two.then_some(step));
            code.store(code.at(to, code.scale(pair, tile.step_bytes())), joined);
        });
    });
}

/// `copy(from, row_bytes, depth_bytes, rows, depth, to, to_bytes)`: rows that are contiguous along the depth, `to_bytes` apart;
/// with [`Order::Free`] groups of `Tile::rows` of them side by side, `to_bytes` apart. Writes up to a vector past each end.
pub(crate) fn copy_pairs<'c>(unit: &Unit<'c>, tile: Tile, order: Order, dtype: DType) -> FunctionValue<'c> {
    assert_eq!(
        tile.factors,
        Factors::Pairs,
        "rows of pairs are for micro-kernels of pairs"
    );
    let name = format!("{}_{}", name("copy", order, dtype), tile.name());
    internal(unit, &name, "piiiipi", |code, params| {
        let source = Source { code, dtype };
        match order {
            Order::Free => copy_along_rows(&source, tile, params),
            Order::Depth => copy_along_depth(&source, params),
            Order::Strided => copy_strided(&source, params),
        }
    })
}

fn copy_along_depth<'c>(source: &Source<'_, '_, 'c>, params: &[BasicValueEnum<'c>]) {
    let code = source.code;
    let (from, to) = (params[0].into_pointer_value(), params[5].into_pointer_value());
    let [row_bytes, rows, depth, to_bytes] = [1, 3, 4, 6].map(|i| params[i].into_int_value());
    let lanes = code.lanes as i64;
    // Half a vector of what is written, or a whole one.
    let whole = code.scale(code.div_rem(depth, code.int(2 * lanes)).0, 2 * lanes);
    code.each(code.int(0), rows, 1, |i| {
        let (from, to) = (
            code.at(from, code.mul(i, row_bytes)),
            code.at(to, code.mul(i, to_bytes)),
        );
        let place = |k| code.at(to, code.scale(k, 2));
        code.each(code.int(0), whole, 2 * lanes, |k| {
            let v = source.lanes(source.at(from, k), 2 * code.lanes);
            code.store(place(k), source.as_pairs(v));
        });
        code.each(whole, depth, lanes, |k| {
            let mask = code.mask(code.sub(depth, k));
            let v = source.vector(source.at(from, k), Some(mask));
            code.store_bytes(place(k), v);
        });
    });
}

fn copy_strided<'c>(source: &Source<'_, '_, 'c>, params: &[BasicValueEnum<'c>]) {
    let code = source.code;
    let (from, to) = (params[0].into_pointer_value(), params[5].into_pointer_value());
    let [row_bytes, depth_bytes, rows, depth, to_bytes] = [1, 2, 3, 4, 6].map(|i| params[i].into_int_value());
    let whole = code.scale(code.div_rem(depth, code.int(2 * OCTET)).0, OCTET);
    code.each(code.int(0), rows, 1, |i| {
        let (from, to) = (
            code.at(from, code.mul(i, row_bytes)),
            code.at(to, code.mul(i, to_bytes)),
        );
        let element = |pair: IntValue<'c>| code.at(from, code.mul(pair, code.scale(depth_bytes, 2)));
        code.each(code.int(0), whole, OCTET, |pair| {
            let lines: [_; 8] = std::array::from_fn(|r| element(code.add(pair, code.int(r as i64))));
            code.store(
                code.at(to, code.scale(pair, 4)),
                source.of_lines(&lines, Some(depth_bytes)),
            );
        });
        source.each_pair(whole, depth, |pair, two| {
            let joined = source.of_lines(&[element(pair)], two.then_some(depth_bytes));
            code.store(code.at(to, code.scale(pair, 4)), joined);
        });
    });
}

fn copy_along_rows<'c>(source: &Source<'_, '_, 'c>, tile: Tile, params: &[BasicValueEnum<'c>]) {
    // One vector holds a group's rows; the lanes it has too many are overwritten by the next step's.
    assert!(tile.rows <= tile.lanes, "a group of rows fits a vector");
    let code = source.code;
    let (from, to) = (params[0].into_pointer_value(), params[5].into_pointer_value());
    let [depth_bytes, rows, depth, to_bytes] = [2, 3, 4, 6].map(|i| params[i].into_int_value());
    let height = tile.rows as i64;
    let groups = code.ceil_div(rows, height);
    // Groups of which a whole vector can be read.
    let free = code.sub(code.add(rows, code.int(height)), code.int(tile.lanes as i64));
    let whole = code.div_rem(code.max(free, code.int(0)), code.int(height)).0;
    source.each_pair(code.int(0), depth, |pair, two| {
        let first = code.at(from, code.mul(pair, code.scale(depth_bytes, 2)));
        let to = code.at(to, code.scale(pair, 4 * height));
        let copy = |group: IntValue<'c>, mask: Option<VectorValue<'c>>| {
            let first = source.at(first, code.scale(group, height));
            let second = two.then(|| source.vector(code.at(first, depth_bytes), mask));
            let joined = source.join(source.vector(first, mask), second);
            code.store(code.at(to, code.mul(group, to_bytes)), joined);
        };
        code.each(code.int(0), whole, 1, |group| {
            let ahead = code.scale(depth_bytes, AHEAD);
            let at = code.at(source.at(first, code.scale(group, height)), ahead);
            code.prefetch(at);
            code.prefetch(code.at(at, depth_bytes));
            copy(group, None);
        });
        code.each(whole, groups, 1, |group| {
            copy(group, Some(code.mask(code.sub(rows, code.scale(group, height)))))
        });
    });
}

/// `copy(from, row_bytes, depth_bytes, rows, depth, to, to_row_bytes)` of bf16 at any strides to f32 that are contiguous along
/// the depth.
pub(crate) fn copy_widened<'c>(unit: &Unit<'c>, order: Order) -> FunctionValue<'c> {
    internal(
        unit,
        &format!("gemm_copy_widened_{order:?}"),
        "piiiipi",
        |code, params| {
            let dtype = DType::Bf16;
            let source = Source { code, dtype };
            let widen = |v: VectorValue<'c>| bf16::widen(code.unit, code.builder, v.into()).into_vector_value();
            let (from, to) = (params[0].into_pointer_value(), params[5].into_pointer_value());
            let [row_bytes, depth_bytes, rows, depth, to_bytes] = [1, 2, 3, 4, 6].map(|i| params[i].into_int_value());
            code.each(code.int(0), rows, 1, |i| {
                let (from, to) = (
                    code.at(from, code.mul(i, row_bytes)),
                    code.at(to, code.mul(i, to_bytes)),
                );
                if order == Order::Depth {
                    code.each_vector(depth, |k, mask| {
                        let v = widen(source.vector(source.at(from, k), mask));
                        let to = code.at(to, code.scale(k, 4));
                        match mask {
                            None => code.store(to, v),
                            Some(mask) => code.store_masked(to, v, mask),
                        }
                    });
                    return;
                }
                code.each(code.int(0), depth, 1, |k| {
                    let v = widen(source.collect(&[code.at(from, code.mul(k, depth_bytes))]));
                    code.store(code.at(to, code.scale(k, 4)), v);
                });
            });
        },
    )
}
