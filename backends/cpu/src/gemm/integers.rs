//! What code on bytes needs beside f32 vectors: integers in vectors, rounding to them, and extremes.

use super::code::Code;
use crate::entry::BUILT;
use inkwell::FloatPredicate;
use inkwell::types::VectorType;
use inkwell::values::{IntValue, PointerValue, VectorValue};

/// 1.5 * 2^23: whatever is added to it and is small is rounded to an integer, which is then in the low bits.
const MAGIC: f64 = 12_582_912.0;
const MAGIC_BITS: u64 = 0x4b40_0000;

impl<'c> Code<'_, 'c> {
    pub(crate) fn f32_splat(&self, v: f64) -> VectorValue<'c> {
        self.splat(self.unit.ctx.f32_type().const_float(v).into())
    }

    pub(crate) fn i32_splat(&self, v: i64) -> VectorValue<'c> {
        self.splat(self.unit.ctx.i32_type().const_int(v as u64, true).into())
    }

    /// A full vector of i32.
    pub(crate) fn i32_vector(&self) -> VectorType<'c> {
        self.unit.ctx.i32_type().vec_type(self.lanes)
    }

    /// A full vector of bytes.
    pub(crate) fn byte_vector(&self) -> VectorType<'c> {
        self.unit.ctx.i8_type().vec_type(4 * self.lanes)
    }

    /// A full vector from memory, as integers of a type.
    pub(crate) fn load_integers(&self, kind: VectorType<'c>, p: PointerValue<'c>) -> VectorValue<'c> {
        self.cast_bits(self.load(p), kind)
    }

    pub(crate) fn cast_bits(&self, v: VectorValue<'c>, kind: VectorType<'c>) -> VectorValue<'c> {
        self.builder
            .build_bit_cast(v, kind, "")
            .expect(BUILT)
            .into_vector_value()
    }

    pub(crate) fn vadd(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.builder.build_float_add(a, b, "").expect(BUILT)
    }

    pub(crate) fn vsub(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.builder.build_float_sub(a, b, "").expect(BUILT)
    }

    pub(crate) fn vmul(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.builder.build_float_mul(a, b, "").expect(BUILT)
    }

    pub(crate) fn vdiv(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.builder.build_float_div(a, b, "").expect(BUILT)
    }

    /// a + b of integers.
    pub(crate) fn iadd(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.builder.build_int_add(a, b, "").expect(BUILT)
    }

    /// Where `a < b`.
    pub(crate) fn vless(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.builder
            .build_float_compare(FloatPredicate::OLT, a, b, "")
            .expect(BUILT)
    }

    /// Lane by lane, `then` where the mask is set.
    pub(crate) fn choose(
        &self,
        mask: VectorValue<'c>,
        then: VectorValue<'c>,
        other: VectorValue<'c>,
    ) -> VectorValue<'c> {
        self.builder
            .build_select(mask, then, other, "")
            .expect(BUILT)
            .into_vector_value()
    }

    /// The smaller of each lane. Of a NaN it may give either.
    pub(crate) fn vmin(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.choose(self.vless(a, b), a, b)
    }

    pub(crate) fn vmax(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        self.choose(self.vless(b, a), a, b)
    }

    pub(crate) fn vabs(&self, v: VectorValue<'c>) -> VectorValue<'c> {
        let abs = self.call_intrinsic("llvm.fabs", &[v.get_type().into()], &[v.into()]);
        abs.expect("a magnitude has a value").into_vector_value()
    }

    /// The integer nearest to the exact `x * by`, ties to even, whose magnitude is less than 2^22: i32.
    pub(crate) fn nearest(&self, x: VectorValue<'c>, by: VectorValue<'c>) -> VectorValue<'c> {
        let bits = self.nearest_bits(x, by);
        let magic = self.i32_splat(MAGIC_BITS as i64);
        self.builder.build_int_sub(bits, magic, "").expect(BUILT)
    }

    /// As [`Code::nearest`], with other bits above the lowest 16.
    pub(crate) fn nearest_bits(&self, x: VectorValue<'c>, by: VectorValue<'c>) -> VectorValue<'c> {
        self.cast_bits(self.fma(x, by, self.f32_splat(MAGIC)), self.i32_vector())
    }

    /// i32 to f32.
    pub(crate) fn to_float(&self, v: VectorValue<'c>) -> VectorValue<'c> {
        self.builder
            .build_signed_int_to_float(v, self.vector_type(), "")
            .expect(BUILT)
    }

    /// The lowest bytes of i32 lanes, side by side.
    pub(crate) fn low_bytes(&self, v: VectorValue<'c>) -> VectorValue<'c> {
        let bytes = self.unit.ctx.i8_type().vec_type(v.get_type().get_size());
        self.builder.build_int_truncate(v, bytes, "").expect(BUILT)
    }

    /// The lowest bytes of four vectors of i32, those of each lane side by side.
    pub(crate) fn interleave_low_bytes(&self, v: [VectorValue<'c>; 4]) -> VectorValue<'c> {
        let low = |v| self.builder.build_and(v, self.i32_splat(0xff), "").expect(BUILT);
        let shifted = |v, by| self.builder.build_left_shift(v, self.i32_splat(by), "").expect(BUILT);
        let parts = [
            low(v[0]),
            shifted(low(v[1]), 8),
            shifted(low(v[2]), 16),
            shifted(v[3], 24),
        ];
        let join = |a, b| self.builder.build_or(a, b, "").expect(BUILT);
        parts.into_iter().reduce(join).expect("there are four")
    }

    /// Two vectors as one of twice the length.
    pub(crate) fn concat(&self, a: VectorValue<'c>, b: VectorValue<'c>) -> VectorValue<'c> {
        let lanes: Vec<u32> = (0..2 * a.get_type().get_size()).collect();
        self.shuffle(a, b, &lanes)
    }

    /// All lanes combined, in every lane.
    pub(crate) fn across(
        &self,
        v: VectorValue<'c>,
        combine: impl Fn(VectorValue<'c>, VectorValue<'c>) -> VectorValue<'c>,
    ) -> VectorValue<'c> {
        let mut distance = self.lanes / 2;
        let mut v = v;
        while distance > 0 {
            let lanes: Vec<u32> = (0..self.lanes).map(|lane| lane ^ distance).collect();
            v = combine(v, self.shuffle(v, v, &lanes));
            distance /= 2;
        }
        v
    }

    /// The first lane alone.
    pub(crate) fn store_first(&self, p: PointerValue<'c>, v: VectorValue<'c>) {
        let zero = self.unit.ctx.i32_type().const_zero();
        let first = self.builder.build_extract_element(v, zero, "").expect(BUILT);
        let store = self.builder.build_store(p, first).expect(BUILT);
        store.set_alignment(4).expect("a power of two");
    }

    /// Bytes of any number, at any address.
    pub(crate) fn store_bytes(&self, p: PointerValue<'c>, v: VectorValue<'c>) {
        let store = self.builder.build_store(p, v).expect(BUILT);
        store.set_alignment(1).expect("a power of two");
    }

    /// `count` up to a multiple of `by`.
    pub(crate) fn round_up(&self, count: IntValue<'c>, by: i64) -> IntValue<'c> {
        self.scale(self.ceil_div(count, by), by)
    }
}
