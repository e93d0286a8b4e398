//! Products of bytes: operands divided into levels (`ir::rounding::Levels`), multiplied exactly, scaled block by block.
//!
//! A panel of the right operand is a list of blocks. A block is the scales of its columns, these times the sums of their
//! levels, then for every four steps of the summed axis the four levels of each column side by side: the order in which
//! one instruction multiplies bytes of one row with those of a vector of columns and adds up fours.

use super::Tile;
use super::code::{Code, internal};
use crate::Target;
use crate::entry::Unit;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue};
use ir::rounding::{LEAST_RANGE, Levels};

/// Steps of the summed axis whose products one instruction adds up.
const FOUR: i64 = 4;
/// Steps that the micro-kernel takes at a time.
const STEPS: i64 = 2 * FOUR;
/// Rounds of its loop that are written out.
const UNROLL: i64 = 4;
/// Vectors of a row that are divided into levels at a time.
const VECTORS: usize = 4;

/// How bytes are multiplied and added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dot {
    /// In pairs, in 16 bits (`vpmaddubsw`); two such sums fit them, then pairs of these in 32 bits (`vpmaddwd`).
    Pairs,
    /// In fours, in 32 bits (`vpdpbusd`).
    Fours,
}

/// Sizes of a product of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) tile: Tile,
    pub(crate) levels: Levels,
    /// Steps of the summed axis per pass: whole blocks.
    pub(crate) pass: i64,
    dot: Dot,
}

impl Bytes {
    /// With passes of about `depth` steps. `None` where this processor has no instructions that multiply so many levels
    /// exactly.
    pub(crate) fn new(target: &Target, tile: Tile, levels: Levels, depth: i64) -> Option<Bytes> {
        let dot = if target.vnni { Dot::Fours } else { Dot::Pairs };
        let fits = dot == Dot::Fours || 4 * levels.a as i32 * levels.b as i32 <= i16::MAX as i32;
        let block = levels.block as i64;
        (fits && levels.is_valid()).then_some(Bytes {
            tile,
            levels,
            pass: block * (depth / block).max(1),
            dot,
        })
    }

    /// Steps of the summed axis in a block.
    pub(crate) fn block(self) -> i64 {
        self.levels.block as i64
    }

    /// Bytes of a panel's block.
    pub(crate) fn block_bytes(self) -> i64 {
        self.tile.columns() * (8 + self.block())
    }

    /// Bytes between rows of the left operand: off a power of two, with room for a vector more.
    pub(crate) fn row_bytes(self) -> i64 {
        self.pass + 64
    }

    fn name(self, what: &str) -> String {
        let Levels { a, b, block } = self.levels;
        format!("bytes_{what}_{a}x{b}x{block}_{}", self.pass)
    }
}

/// Bytes of a row's scale and least element.
pub(crate) const ROW_SCALES: i64 = 8;

fn pointer<'c>(params: &[BasicValueEnum<'c>], at: usize) -> PointerValue<'c> {
    params[at].into_pointer_value()
}

fn int<'c>(params: &[BasicValueEnum<'c>], at: usize) -> IntValue<'c> {
    params[at].into_int_value()
}

/// The size of a level and how many of them 1 is.
fn scales<'c>(code: &Code<'_, 'c>, range: VectorValue<'c>, levels: u8) -> [VectorValue<'c>; 2] {
    let levels = code.f32_splat(levels as f64);
    let least = code.f32_splat(LEAST_RANGE as f64);
    let steps = code.choose(code.vless(range, least), code.zero(), code.vdiv(levels, range));
    [code.vdiv(range, levels), steps]
}

/// `rows(from, row_bytes, rows, count, to, scales)`: divides `count` f32 of each row into levels at `to`, and writes each
/// row's scale and least element to `scales`. What is written beyond `count` is anything.
pub(crate) fn quantise_rows<'c>(unit: &Unit<'c>, bytes: Bytes) -> FunctionValue<'c> {
    internal(unit, &bytes.name("rows"), "piiipp", |code, params| {
        let (from, to, scale_at) = (pointer(params, 0), pointer(params, 4), pointer(params, 5));
        let [row_bytes, rows, count] = [1, 2, 3].map(|i| int(params, i));
        let lanes = code.lanes as i64;
        let many = lanes * VECTORS as i64;
        let whole = code.sub(count, code.div_rem(count, code.int(many)).1);
        code.each(code.int(0), rows, 1, |i| {
            let from = code.at(from, code.mul(i, row_bytes));
            let to = code.at(to, code.scale(i, bytes.row_bytes()));
            let scale_at = code.at(scale_at, code.scale(i, ROW_SCALES));
            let [low, high, bad] = extremes(code, from, (whole, count));
            let [scale, steps] = scales(code, code.vsub(high, low), bytes.levels.a);
            code.store_first(scale_at, code.vadd(scale, bad));
            code.store_first(code.at_const(scale_at, 4), code.vadd(low, bad));
            code.each(code.int(0), whole, many, |k| {
                let from = code.at(from, code.scale(k, 4));
                let q =
                    |v: i64| code.nearest_bits(code.vsub(code.load(code.at_const(from, 4 * lanes * v)), low), steps);
                let [a, b, c, d] = std::array::from_fn(|v| q(v as i64));
                let all = code.concat(code.concat(a, b), code.concat(c, d));
                code.store_bytes(code.at(to, k), code.low_bytes(all));
            });
            code.each(whole, count, lanes, |k| {
                let x = code.load_masked(code.at(from, code.scale(k, 4)), code.mask(code.sub(count, k)));
                let q = code.nearest_bits(code.vsub(x, low), steps);
                code.store_bytes(code.at(to, k), code.low_bytes(q));
            });
        });
    })
}

/// The least and the greatest of `count` f32, and NaN if one of them is not finite, else 0, each in every lane. Up to
/// `whole` they are in groups of vectors.
fn extremes<'c>(
    code: &Code<'_, 'c>,
    from: PointerValue<'c>,
    (whole, count): (IntValue<'c>, IntValue<'c>),
) -> [VectorValue<'c>; 3] {
    let lanes = code.lanes as i64;
    let first = code.broadcast(from);
    let start = [first, first, code.zero()];
    let with = |[low, high, bad]: [VectorValue<'c>; 3], x| {
        [code.vmin(x, low), code.vmax(x, high), code.fma(x, code.zero(), bad)]
    };
    let chains: Vec<BasicValueEnum> = [start; VECTORS].iter().flatten().map(|v| (*v).into()).collect();
    let chains = code.fold((code.int(0), whole, lanes * VECTORS as i64), &chains, |k, chains| {
        let from = code.at(from, code.scale(k, 4));
        let next = chains.chunks(3).zip(0..).flat_map(|(chain, v)| {
            let chain = [0, 1, 2].map(|i| chain[i].into_vector_value());
            with(chain, code.load(code.at_const(from, 4 * lanes * v)))
        });
        next.map(BasicValueEnum::from).collect()
    });
    let chains = chains
        .chunks(3)
        .map(|chain| [0, 1, 2].map(|i| chain[i].into_vector_value()));
    let join = |a: [VectorValue<'c>; 3], b: [VectorValue<'c>; 3]| {
        [code.vmin(a[0], b[0]), code.vmax(a[1], b[1]), code.vadd(a[2], b[2])]
    };
    let joined = chains.reduce(join).expect("there are some").map(BasicValueEnum::from);
    let all = code.fold((whole, count, lanes), &joined, |k, all| {
        let mask = code.mask(code.sub(count, k));
        let x = code.load_masked(code.at(from, code.scale(k, 4)), mask);
        let all = [0, 1, 2].map(|i| all[i].into_vector_value());
        with(all, code.choose(mask, x, first))
            .map(BasicValueEnum::from)
            .to_vec()
    });
    let [low, high, bad] = [0, 1, 2].map(|i| all[i].into_vector_value());
    [
        code.across(low, |a, b| code.vmin(a, b)),
        code.across(high, |a, b| code.vmax(a, b)),
        code.across(bad, |a, b| code.vadd(a, b)),
    ]
}

/// `panel(from, count, to)`: a panel's block from `count` steps of a panel of f32, after which there is room to the next
/// multiple of [`STEPS`].
pub(crate) fn quantise_panel<'c>(unit: &Unit<'c>, bytes: Bytes) -> FunctionValue<'c> {
    internal(unit, &bytes.name("panel"), "pip", |code, params| {
        let (from, count, to) = (pointer(params, 0), int(params, 1), pointer(params, 2));
        let tile = bytes.tile;
        let vector_bytes = 4 * tile.lanes as i64;
        let levels_at = code.at_const(to, 8 * tile.columns());
        let end = code.round_up(count, STEPS);
        for v in 0..tile.vectors as i64 {
            let at = |k: IntValue<'c>| code.at_const(code.at(from, code.scale(k, tile.step_bytes())), v * vector_bytes);
            code.each(count, end, 1, |k| code.store(at(k), code.zero()));
            let zeros: [BasicValueEnum; 2] = [code.zero().into(), code.zero().into()];
            let most = code.fold((code.int(0), count, 1), &zeros, |k, carried| {
                let [most, bad] = [0, 1].map(|i| carried[i].into_vector_value());
                let y = code.load(at(k));
                let most = code.vmax(code.vabs(y), most);
                vec![most.into(), code.fma(y, code.zero(), bad).into()]
            });
            let [most, bad] = [0, 1].map(|i| most[i].into_vector_value());
            let [scale, steps] = scales(code, most, bytes.levels.b);
            let none: BasicValueEnum = code.i32_splat(0).into();
            let sum = code.fold((code.int(0), end, FOUR), &[none], |k, sum| {
                let levels: [_; 4] = std::array::from_fn(|i| {
                    let k = code.add(k, code.int(i as i64));
                    code.nearest(code.load(at(k)), steps)
                });
                let to = code.at_const(code.at(levels_at, code.scale(k, tile.columns())), v * vector_bytes);
                code.store(
                    to,
                    code.cast_bits(code.interleave_low_bytes(levels), code.vector_type()),
                );
                let sum = levels
                    .into_iter()
                    .fold(sum[0].into_vector_value(), |sum, l| code.iadd(sum, l));
                vec![sum.into()]
            });
            let scale = code.vadd(scale, bad);
            let sums = code.vmul(scale, code.to_float(sum[0].into_vector_value()));
            code.store(code.at_const(to, v * vector_bytes), scale);
            code.store(code.at_const(to, 4 * tile.columns() + v * vector_bytes), sums);
        }
    })
}

/// sum + the products of four bytes of a row with those of each column: `a` at one place in two steps' bytes each.
fn dot<'c>(
    code: &Code<'_, 'c>,
    how: Dot,
    sum: VectorValue<'c>,
    a: [VectorValue<'c>; 2],
    b: [VectorValue<'c>; 2],
) -> VectorValue<'c> {
    let wide = code.lanes == 16;
    let intrinsic = |name: &str, args: &[VectorValue<'c>]| {
        let args: Vec<_> = args.iter().map(|v| (*v).into()).collect();
        let v = code.call_intrinsic(name, &[], &args);
        v.expect("a product has a value").into_vector_value()
    };
    match how {
        Dot::Pairs => {
            let [bytes, words] = if wide {
                ["llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"]
            } else {
                ["llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"]
            };
            let [x, y] = [0, 1].map(|i| intrinsic(bytes, &[a[i], b[i]]));
            let pairs = code.iadd(x, y);
            let ones = pairs.get_type().get_element_type().into_int_type().const_int(1, false);
            let ones = inkwell::types::VectorType::const_vector(&vec![ones; 2 * code.lanes as usize]);
            code.iadd(sum, intrinsic(words, &[pairs, ones]))
        }
        Dot::Fours => {
            let name = if wide {
                "llvm.x86.avx512.vpdpbusd.512"
            } else {
                "llvm.x86.avx512.vpdpbusd.256"
            };
            let sum = intrinsic(name, &[sum, a[0], b[0]]);
            intrinsic(name, &[sum, a[1], b[1]])
        }
    }
}

/// `micro(a, scales, block, count, c, c_stride, accumulate)`: c[rows, columns] (+)= the product of `count` steps of rows of
/// levels at `a` with a block of a panel.
fn micro<'c>(unit: &Unit<'c>, bytes: Bytes, rows: u32) -> FunctionValue<'c> {
    let name = bytes.name(&format!("micro_{rows}"));
    internal(unit, &name, "pppipii", |code, params| {
        let [a, scales, block, c] = [0, 1, 2, 4].map(|i| pointer(params, i));
        let [count, c_stride, accumulate] = [3, 5, 6].map(|i| int(params, i));
        let tile = bytes.tile;
        let (vectors, vector_bytes) = (tile.vectors as i64, 4 * tile.lanes as i64);
        let levels = code.at_const(block, 8 * tile.columns());
        let rounds = code.ceil_div(count, STEPS);
        let round = |sums: &mut [BasicValueEnum<'c>], at: IntValue<'c>| {
            let b = code.at(levels, code.scale(at, STEPS * tile.columns()));
            let b: Vec<[VectorValue; 2]> = (0..vectors)
                .map(|v| {
                    [0, FOUR].map(|k| {
                        let p = code.at_const(b, k * tile.columns() + v * vector_bytes);
                        code.load_integers(code.byte_vector(), p)
                    })
                })
                .collect();
            let a = code.at(a, code.scale(at, STEPS));
            for (row, sums) in (0..).zip(sums.chunks_mut(vectors as usize)) {
                let a = [0, FOUR].map(|k| {
                    let p = code.at_const(a, row * bytes.row_bytes() + k);
                    code.cast_bits(code.broadcast(p), code.byte_vector())
                });
                for (sum, b) in sums.iter_mut().zip(&b) {
                    *sum = dot(code, bytes.dot, sum.into_vector_value(), a, *b).into();
                }
            }
        };
        let run = |range, start: &[BasicValueEnum<'c>], unroll: i64| {
            code.fold(range, start, |at, sums| {
                let mut sums = sums.to_vec();
                for u in 0..unroll {
                    round(&mut sums, code.add(at, code.int(u)));
                }
                sums
            })
        };
        let start: Vec<BasicValueEnum> = vec![code.i32_splat(0).into(); (rows as i64 * vectors) as usize];
        let whole = code.sub(rounds, code.div_rem(rounds, code.int(UNROLL)).1);
        let sums = run((code.int(0), whole, UNROLL), &start, UNROLL);
        let sums = run((whole, rounds, 1), &sums, 1);
        let places: Vec<_> = (0..rows as i64)
            .flat_map(|row| {
                let c = code.at(c, code.scale(c_stride, row));
                (0..vectors).map(move |v| (c, v)).collect::<Vec<_>>()
            })
            .map(|(c, v)| code.at_const(c, v * vector_bytes))
            .collect();
        let before = code.either(
            code.less(code.int(0), accumulate),
            || places.iter().map(|p| code.load(*p).into()).collect(),
            || vec![code.zero().into(); places.len()],
        );
        let columns = |part: i64, v: i64| code.load(code.at_const(block, part * 4 * tile.columns() + v * vector_bytes));
        for (i, (place, before)) in (0..).zip(places.iter().zip(before)) {
            let (row, v) = (i / vectors, i % vectors);
            let row_scale = |part: i64| code.broadcast(code.at_const(scales, row * ROW_SCALES + 4 * part));
            let exact = code.to_float(sums[i as usize].into_vector_value());
            let low = code.fma(row_scale(1), columns(1, v), before.into_vector_value());
            code.store(*place, code.fma(row_scale(0), code.vmul(columns(0, v), exact), low));
        }
    })
}

/// `pass(a, scales, scales_bytes, rows, panels, panel_bytes, panel_count, count, c, c_stride, accumulate)`: the product of
/// `count` steps of rows of levels, at most those of a pass, with the same of every panel. The scales of one block's rows are
/// `scales_bytes` after those of the block before.
pub(crate) fn multiply_bytes<'c>(unit: &Unit<'c>, bytes: Bytes) -> FunctionValue<'c> {
    internal(unit, &bytes.name("pass"), "ppiipiiipii", |code, params| {
        let [a, scales, panels, c] = [0, 1, 4, 8].map(|i| pointer(params, i));
        let [scales_bytes, rows, panel_bytes, panel_count] = [2, 3, 5, 6].map(|i| int(params, i));
        let [count, c_stride, accumulate] = [7, 9, 10].map(|i| int(params, i));
        let tile = bytes.tile;
        let height = tile.rows as i64;
        let (whole, rest) = code.div_rem(rows, code.int(height));
        code.each(code.int(0), panel_count, 1, |j| {
            let panel = code.at(panels, code.mul(j, panel_bytes));
            let c = code.at(c, code.scale(j, tile.step_bytes()));
            let call = |i: IntValue<'c>, rows: u32| {
                let first = code.scale(i, height);
                let a = code.at(a, code.scale(first, bytes.row_bytes()));
                let scales = code.at(scales, code.scale(first, ROW_SCALES));
                let c = code.at(c, code.mul(first, c_stride));
                // The block of the result stays in L1 from one block of levels to the next.
                code.each(code.int(0), count, bytes.block(), |k| {
                    let number = code.div_rem(k, code.int(bytes.block())).0;
                    let scales = code.at(scales, code.mul(number, scales_bytes));
                    let block = code.at(panel, code.scale(number, bytes.block_bytes()));
                    let steps = code.min(code.sub(count, k), code.int(bytes.block()));
                    let more = code.select(code.less(code.int(0), k), code.int(1), accumulate);
                    let (a, scales, c) = (code.at(a, k).into(), scales.into(), c.into());
                    let args = [a, scales, block.into(), steps.into(), c, c_stride.into(), more.into()];
                    code.call(micro(unit, bytes, rows), &args);
                });
            };
            code.each(code.int(0), whole, 1, |i| call(i, tile.rows));
            for rows in 1..tile.rows {
                code.when(code.equal(rest, code.int(rows as i64)), || call(whole, rows));
            }
        });
    })
}
