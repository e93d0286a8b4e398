//! bf16 in registers. In memory it is 16 bits, those of an f32 that come first; loads widen them, stores round to the nearest,
//! ties to even. Processors with AVX512-BF16 have instructions that do this and that add up products of pairs; for others the
//! same is written out. The instructions take numbers below 2^-126 for 0.

use crate::entry::{BUILT, Unit, V};
use inkwell::FloatPredicate;
use inkwell::builder::Builder;
use inkwell::types::VectorType;
use inkwell::values::{IntValue, VectorValue};

/// Bits of an f32 that bf16 leaves out.
const LOW: u64 = 16;
/// What is added before they are cut off; a tie also gets the last bit that stays.
const HALF: u64 = 0x7fff;
/// A number that is none.
const NAN: u64 = 0x7fc0;

/// f32 from i16 (lanes) that hold bf16.
pub fn widen<'c>(unit: &Unit<'c>, b: &Builder<'c>, v: V<'c>) -> V<'c> {
    let (i32t, f32t) = (unit.ctx.i32_type(), unit.ctx.f32_type());
    match v {
        V::IntValue(v) => {
            let wide = b.build_int_z_extend(v, i32t, "").expect(BUILT);
            let bits = b.build_left_shift(wide, i32t.const_int(LOW, false), "").expect(BUILT);
            b.build_bit_cast(bits, f32t, "").expect(BUILT)
        }
        V::VectorValue(v) => {
            let lanes = v.get_type().get_size();
            let wide = b.build_int_z_extend(v, i32t.vec_type(lanes), "").expect(BUILT);
            let bits = b
                .build_left_shift(wide, splat(i32t.const_int(LOW, false), lanes), "")
                .expect(BUILT);
            b.build_bit_cast(bits, f32t.vec_type(lanes), "").expect(BUILT)
        }
        v => unreachable!("bf16 in memory is an integer, not {v:?}"),
    }
}

/// i16 (lanes) that hold f32 rounded to bf16.
pub fn round<'c>(unit: &Unit<'c>, b: &Builder<'c>, v: V<'c>) -> V<'c> {
    match v {
        V::FloatValue(one) => {
            let kind = unit.ctx.f32_type().vec_type(4);
            let zero = unit.ctx.i32_type().const_zero();
            let four = b.build_insert_element(kind.const_zero(), one, zero, "").expect(BUILT);
            let rounded = round(unit, b, four.into()).into_vector_value();
            b.build_extract_element(rounded, zero, "").expect(BUILT)
        }
        V::VectorValue(v) if unit.target.bf16 => {
            let lanes = v.get_type().get_size();
            let narrow = b
                .build_float_trunc(v, unit.ctx.bf16_type().vec_type(lanes), "")
                .expect(BUILT);
            b.build_bit_cast(narrow, unit.ctx.i16_type().vec_type(lanes), "")
                .expect(BUILT)
        }
        V::VectorValue(v) => rounded_bits(unit, b, v).into(),
        v => unreachable!("f32 is rounded to bf16, not {v:?}"),
    }
}

/// [`round`] by arithmetic on bits.
fn rounded_bits<'c>(unit: &Unit<'c>, b: &Builder<'c>, v: VectorValue<'c>) -> VectorValue<'c> {
    let lanes = v.get_type().get_size();
    let (i16t, i32t) = (unit.ctx.i16_type(), unit.ctx.i32_type());
    let constant = |v| splat(i32t.const_int(v, false), lanes);
    let bits = b
        .build_bit_cast(v, i32t.vec_type(lanes), "")
        .expect(BUILT)
        .into_vector_value();
    let shift = |v| b.build_right_shift(v, constant(LOW), false, "").expect(BUILT);
    let last = b.build_and(shift(bits), constant(1), "").expect(BUILT);
    let up = b.build_int_add(bits, constant(HALF), "").expect(BUILT);
    let number = shift(b.build_int_add(up, last, "").expect(BUILT));
    let none = b.build_float_compare(FloatPredicate::UNO, v, v, "").expect(BUILT);
    let chosen = b
        .build_select(none, constant(NAN), number, "")
        .expect(BUILT)
        .into_vector_value();
    b.build_int_truncate(chosen, i16t.vec_type(lanes), "").expect(BUILT)
}

/// sum + the products of two pairs of bf16: each lane of `a` and `b` has one, as the bits of an f32.
pub fn dot<'c>(
    unit: &Unit<'c>,
    b: &Builder<'c>,
    sum: VectorValue<'c>,
    [x, y]: [VectorValue<'c>; 2],
) -> VectorValue<'c> {
    let lanes = sum.get_type().get_size();
    if unit.target.bf16 {
        let kind = unit.ctx.bf16_type().vec_type(2 * lanes);
        let [x, y] = [x, y].map(|v| b.build_bit_cast(v, kind, "").expect(BUILT));
        let name = format!("llvm.x86.avx512bf16.dpbf16ps.{}", 32 * lanes);
        let call = b.build_call(unit.intrinsic(&name, &[]), &[sum.into(), x.into(), y.into()], "");
        return call
            .expect(BUILT)
            .try_as_basic_value()
            .expect_basic("a product has a value")
            .into_vector_value();
    }
    let [x, y] = [x, y].map(|v| halves(unit, b, v));
    let fma = unit.intrinsic("llvm.fma", &[sum.get_type().into()]);
    (0..2).fold(sum, |sum, i| {
        let call = b
            .build_call(fma, &[x[i].into(), y[i].into(), sum.into()], "")
            .expect(BUILT);
        call.try_as_basic_value()
            .expect_basic("a product has a value")
            .into_vector_value()
    })
}

/// The second and the first number of each pair, as f32.
fn halves<'c>(unit: &Unit<'c>, b: &Builder<'c>, v: VectorValue<'c>) -> [VectorValue<'c>; 2] {
    let lanes = v.get_type().get_size();
    let (i32t, kind) = (unit.ctx.i32_type(), v.get_type());
    let constant = |v| splat(i32t.const_int(v, false), lanes);
    let bits = b
        .build_bit_cast(v, i32t.vec_type(lanes), "")
        .expect(BUILT)
        .into_vector_value();
    let second = b.build_and(bits, constant(0xffff_0000), "").expect(BUILT);
    let first = b.build_left_shift(bits, constant(LOW), "").expect(BUILT);
    [second, first].map(|v| b.build_bit_cast(v, kind, "").expect(BUILT).into_vector_value())
}

/// Pairs, as the bits of f32 lanes, of i16 lanes that hold their first and their second numbers.
pub fn pairs<'c>(unit: &Unit<'c>, b: &Builder<'c>, [first, second]: [VectorValue<'c>; 2]) -> VectorValue<'c> {
    let lanes = first.get_type().get_size();
    let i32t = unit.ctx.i32_type();
    let wide = |v| b.build_int_z_extend(v, i32t.vec_type(lanes), "").expect(BUILT);
    let up = b
        .build_left_shift(wide(second), splat(i32t.const_int(LOW, false), lanes), "")
        .expect(BUILT);
    let both = b.build_or(wide(first), up, "").expect(BUILT);
    let kind = unit.ctx.f32_type().vec_type(lanes);
    b.build_bit_cast(both, kind, "").expect(BUILT).into_vector_value()
}

fn splat(v: IntValue<'_>, lanes: u32) -> VectorValue<'_> {
    VectorType::const_vector(&vec![v; lanes as usize])
}
