//! Loads and stores: scalars, consecutive lanes, lanes a stride apart, gathers and scatters, with masks. Only elements of
//! active lanes are touched; the others read as 0.

use crate::bf16;
use crate::entry::{BUILT, Entry, V};
use inkwell::AddressSpace;
use inkwell::attributes::AttributeLoc;
use inkwell::values::{BasicValue, IntValue, PointerValue, VectorValue};
use ir::scalar::DType;

impl<'c> Entry<'_, 'c> {
    fn align(dtype: DType) -> u32 {
        dtype.bytes() as u32
    }

    /// What was read from memory as a number.
    fn loaded(&self, dtype: DType, v: V<'c>) -> V<'c> {
        if dtype == DType::Bf16 {
            bf16::widen(self.unit, &self.b, v)
        } else {
            v
        }
    }

    /// A number as it lies in memory.
    fn held(&self, dtype: DType, v: V<'c>) -> V<'c> {
        if dtype == DType::Bf16 {
            bf16::round(self.unit, &self.b, v)
        } else {
            v
        }
    }

    /// The element at `at`.
    pub fn load(&self, dtype: DType, at: PointerValue<'c>) -> V<'c> {
        let v = self.b.build_load(self.ty(dtype), at, "").expect(BUILT);
        self.loaded(dtype, v)
    }

    /// The element at `at` where `guard` (i1) holds, else 0 without reading.
    pub fn load_guarded(&self, dtype: DType, at: PointerValue<'c>, guard: IntValue<'c>) -> V<'c> {
        let at = self
            .b
            .build_select(guard, at, self.zero_cell(), "")
            .expect(BUILT)
            .into_pointer_value();
        self.load(dtype, at)
    }

    /// Writes a number as it is.
    pub fn store(&self, at: PointerValue<'c>, v: V<'c>) {
        self.b.build_store(at, v).expect(BUILT);
    }

    /// Writes an element.
    pub fn store_as(&self, dtype: DType, at: PointerValue<'c>, v: V<'c>) {
        self.store(at, self.held(dtype, v));
    }

    /// `lanes` consecutive elements from `at` on.
    pub fn load_vector(&self, dtype: DType, at: PointerValue<'c>, mask: Option<VectorValue<'c>>) -> V<'c> {
        let ty = self.vector_of(self.ty(dtype), self.lanes);
        let Some(mask) = mask else {
            let v = self.b.build_load(ty, at, "").expect(BUILT);
            let load = v.as_instruction_value().expect("a load is an instruction");
            load.set_alignment(Self::align(dtype)).expect("a power of two");
            return self.loaded(dtype, v);
        };
        let f = self.unit.intrinsic("llvm.masked.load", &[ty, at.get_type().into()]);
        let zero = ty.into_vector_type().const_zero();
        let call = self.call(f, &[at.into(), mask.into(), zero.into()]);
        call.set_alignment_attribute(AttributeLoc::Param(0), Self::align(dtype));
        self.loaded(dtype, call.try_as_basic_value().expect_basic("a load has a result"))
    }

    /// Asks for the cache line at `at`; any address will do.
    pub fn prefetch(&self, at: PointerValue<'c>) {
        let word = |v| self.ctx.i32_type().const_int(v, false).into();
        let f = self.unit.intrinsic("llvm.prefetch", &[at.get_type().into()]);
        // For reading, of high locality, data.
        self.call(f, &[at.into(), word(0), word(3), word(1)]);
    }

    /// Writes `v` (splatted if a scalar) to `lanes` consecutive elements from `at` on.
    pub fn store_vector(&self, dtype: DType, at: PointerValue<'c>, v: V<'c>, mask: Option<VectorValue<'c>>) {
        let v = self.held(dtype, self.splat(v, self.lanes));
        let Some(mask) = mask else {
            let store = self.b.build_store(at, v).expect(BUILT);
            store.set_alignment(Self::align(dtype)).expect("a power of two");
            return;
        };
        let f = self
            .unit
            .intrinsic("llvm.masked.store", &[v.get_type(), at.get_type().into()]);
        let call = self.call(f, &[v.into(), at.into(), mask.into()]);
        call.set_alignment_attribute(AttributeLoc::Param(1), Self::align(dtype));
    }

    /// Where lanes of elements `stride` apart lie, the first at `at`.
    fn steps(
        &self,
        dtype: DType,
        at: PointerValue<'c>,
        stride: IntValue<'c>,
    ) -> impl Iterator<Item = (u32, PointerValue<'c>)> {
        (0..self.lanes).map(move |lane| (lane, self.at(dtype, at, self.imul(stride, self.i64(lane as i64)))))
    }

    /// A vector of elements `stride` apart, the first at `at`: lane by lane, which is faster than a gather.
    pub fn load_steps(&self, dtype: DType, at: PointerValue<'c>, stride: IntValue<'c>) -> V<'c> {
        let none = self
            .vector_of(self.ty(dtype.loaded()), self.lanes)
            .into_vector_type()
            .get_poison();
        let v = self.steps(dtype, at, stride).fold(none, |v, (lane, at)| {
            let element = self.load(dtype, at);
            let lane = self.i64(lane as i64);
            self.b.build_insert_element(v, element, lane, "").expect(BUILT)
        });
        v.into()
    }

    /// Writes lanes to elements `stride` apart, first lane first.
    pub fn store_steps(&self, dtype: DType, at: PointerValue<'c>, stride: IntValue<'c>, v: V<'c>) {
        let v = self.splat(v, self.lanes);
        for (lane, at) in self.steps(dtype, at, stride) {
            self.store_as(dtype, at, self.extract(v, lane));
        }
    }

    /// Addresses of elements `offsets` (i64 lanes) of an array at `base`.
    fn addresses(&self, dtype: DType, base: PointerValue<'c>, offsets: V<'c>) -> V<'c> {
        let i64t = self.ctx.i64_type();
        let base: V<'c> = self.b.build_ptr_to_int(base, i64t, "").expect(BUILT).into();
        let bytes = self.mul(offsets, self.i64(dtype.bytes() as i64).into());
        let at = self.add(base, bytes).into_vector_value();
        let ty = self.ctx.ptr_type(AddressSpace::default()).vec_type(self.lanes);
        self.b.build_int_to_ptr(at, ty, "").expect(BUILT).into()
    }

    fn all_lanes(&self) -> VectorValue<'c> {
        let t = self.ctx.bool_type();
        self.splat(t.const_int(1, false).into(), self.lanes).into_vector_value()
    }

    /// Elements `offsets` (i64 lanes) of an array at `base`.
    pub fn gather(&self, dtype: DType, base: PointerValue<'c>, offsets: V<'c>, mask: Option<VectorValue<'c>>) -> V<'c> {
        let at = self.addresses(dtype, base, offsets);
        let ty = self.vector_of(self.ty(dtype), self.lanes);
        let f = self.unit.intrinsic("llvm.masked.gather", &[ty, at.get_type()]);
        let mask = mask.unwrap_or_else(|| self.all_lanes());
        let call = self.call(f, &[at.into(), mask.into(), ty.into_vector_type().const_zero().into()]);
        call.set_alignment_attribute(AttributeLoc::Param(0), Self::align(dtype));
        self.loaded(dtype, call.try_as_basic_value().expect_basic("a gather has a result"))
    }

    /// Writes lanes to elements `offsets` of an array at `base`, first lane first.
    pub fn scatter(
        &self,
        dtype: DType,
        base: PointerValue<'c>,
        offsets: V<'c>,
        v: V<'c>,
        mask: Option<VectorValue<'c>>,
    ) {
        let at = self.addresses(dtype, base, offsets);
        let v = self.held(dtype, self.splat(v, self.lanes));
        let f = self
            .unit
            .intrinsic("llvm.masked.scatter", &[v.get_type(), at.get_type()]);
        let mask = mask.unwrap_or_else(|| self.all_lanes());
        let call = self.call(f, &[v.into(), at.into(), mask.into()]);
        call.set_alignment_attribute(AttributeLoc::Param(1), Self::align(dtype));
    }

    /// Whether any lane of an i1 vector is set.
    pub fn any(&self, mask: V<'c>) -> IntValue<'c> {
        match mask {
            V::IntValue(one) => one,
            lanes => self.intrinsic("llvm.vector.reduce.or", &[lanes]).into_int_value(),
        }
    }

    /// Combines all lanes of vectors pairwise, halves first: the order depends on nothing but the number of lanes.
    pub fn fold_lanes_of(&self, v: &[V<'c>], combine: impl Fn(&[V<'c>], &[V<'c>]) -> Vec<V<'c>>) -> Vec<V<'c>> {
        let mut v = v.to_vec();
        let mut lanes = self.lanes_of(v[0]);
        while lanes > 1 {
            lanes /= 2;
            let half = |from| v.iter().map(|v| self.take_lanes(*v, from, lanes)).collect::<Vec<_>>();
            v = combine(&half(0), &half(lanes));
        }
        v
    }

    /// [`Entry::fold_lanes_of`] for one vector.
    pub fn fold_lanes(&self, v: V<'c>, combine: &dyn Fn(V<'c>, V<'c>) -> V<'c>) -> V<'c> {
        self.fold_lanes_of(&[v], |x, y| vec![combine(x[0], y[0])])[0]
    }

    /// Lanes `from..from + count`; a scalar where `count` is 1.
    fn take_lanes(&self, v: V<'c>, from: u32, count: u32) -> V<'c> {
        if count == 1 {
            return self.extract(v, from);
        }
        let v = v.into_vector_value();
        let t = self.ctx.i32_type();
        let lanes: Vec<_> = (from..from + count).map(|i| t.const_int(i as u64, false)).collect();
        let lanes = inkwell::types::VectorType::const_vector(&lanes);
        self.b
            .build_shuffle_vector(v, v.get_type().get_poison(), lanes, "")
            .expect(BUILT)
            .into()
    }
}
