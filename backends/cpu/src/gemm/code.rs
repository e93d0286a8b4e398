//! A thin layer over LLVM's builder for code that walks matrices: byte addresses, f32 vectors, counted loops.
//!
//! Entry functions have their own, richer, layer in `entry`; this one also serves internal functions.

use crate::entry::{BUILT, Entry, Unit};
use inkwell::AddressSpace;
use inkwell::IntPredicate;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::module::Linkage;
use inkwell::types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum, VectorType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue,
};

/// Writes instructions into one function.
pub(crate) struct Code<'u, 'c> {
    pub(crate) unit: &'u Unit<'c>,
    ctx: &'c Context,
    function: FunctionValue<'c>,
    pub(super) builder: &'u Builder<'c>,
    /// f32 elements of a full vector.
    pub(crate) lanes: u32,
}

/// The unit's internal function of this name, written by `body` when first asked for. In the signature, `p` is a pointer
/// and `i` an i64.
pub(crate) fn internal<'c>(
    unit: &Unit<'c>,
    name: &str,
    signature: &str,
    body: impl FnOnce(&Code<'_, 'c>, &[BasicValueEnum<'c>]),
) -> FunctionValue<'c> {
    if let Some(known) = unit.module.get_function(name) {
        return known;
    }
    let ctx = unit.ctx;
    let parameter = |kind| -> BasicMetadataTypeEnum {
        if kind == 'p' {
            ctx.ptr_type(AddressSpace::default()).into()
        } else {
            ctx.i64_type().into()
        }
    };
    let parameters: Vec<_> = signature.chars().map(parameter).collect();
    let kind = ctx.void_type().fn_type(&parameters, false);
    let function = unit.module.add_function(name, kind, Some(Linkage::Internal));
    // So that a loop stands to cache lines as it did when it was measured, whatever else is in the program.
    function.as_global_value().set_alignment(64);
    let width = unit.target.vector_bits.to_string();
    for (key, value) in [
        ("target-cpu", unit.target.cpu.as_str()),
        ("target-features", unit.target.features.as_str()),
        ("prefer-vector-width", width.as_str()),
        ("min-legal-vector-width", width.as_str()),
        ("no-builtins", ""),
    ] {
        function.add_attribute(AttributeLoc::Function, ctx.create_string_attribute(key, value));
    }
    for attribute in ["noinline", "nounwind"] {
        let id = Attribute::get_named_enum_kind_id(attribute);
        function.add_attribute(AttributeLoc::Function, ctx.create_enum_attribute(id, 0));
    }
    let builder = ctx.create_builder();
    let code = Code {
        unit,
        ctx,
        function,
        builder: &builder,
        lanes: unit.target.lanes(),
    };
    builder.position_at_end(ctx.append_basic_block(function, "entry"));
    body(&code, &function.get_params());
    builder.build_return(None).expect(BUILT);
    function
}

impl<'u, 'c> Code<'u, 'c> {
    /// Goes on where the entry function is being written.
    pub(crate) fn of(entry: &'u Entry<'_, 'c>) -> Code<'u, 'c> {
        let (unit, ctx, function) = (entry.unit, entry.ctx, entry.function);
        Code {
            unit,
            ctx,
            function,
            builder: &entry.b,
            lanes: entry.lanes,
        }
    }

    pub(crate) fn int(&self, v: i64) -> IntValue<'c> {
        self.ctx.i64_type().const_int(v as u64, true)
    }

    pub(crate) fn vector_type(&self) -> VectorType<'c> {
        self.ctx.f32_type().vec_type(self.lanes)
    }

    pub(crate) fn add(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_int_nsw_add(a, b, "").expect(BUILT)
    }

    pub(crate) fn sub(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_int_nsw_sub(a, b, "").expect(BUILT)
    }

    pub(crate) fn mul(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_int_nsw_mul(a, b, "").expect(BUILT)
    }

    pub(crate) fn scale(&self, a: IntValue<'c>, by: i64) -> IntValue<'c> {
        self.mul(a, self.int(by))
    }

    /// a / b and a mod b of nonnegative numbers.
    pub(crate) fn div_rem(&self, a: IntValue<'c>, b: IntValue<'c>) -> (IntValue<'c>, IntValue<'c>) {
        let quotient = self.builder.build_int_unsigned_div(a, b, "").expect(BUILT);
        (quotient, self.builder.build_int_unsigned_rem(a, b, "").expect(BUILT))
    }

    /// ceil(a / by) of a nonnegative number.
    pub(crate) fn ceil_div(&self, a: IntValue<'c>, by: i64) -> IntValue<'c> {
        self.div_rem(self.add(a, self.int(by - 1)), self.int(by)).0
    }

    pub(crate) fn less(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder
            .build_int_compare(IntPredicate::SLT, a, b, "")
            .expect(BUILT)
    }

    pub(crate) fn equal(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_int_compare(IntPredicate::EQ, a, b, "").expect(BUILT)
    }

    pub(crate) fn min(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.select(self.less(a, b), a, b).into_int_value()
    }

    pub(crate) fn max(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.select(self.less(a, b), b, a).into_int_value()
    }

    pub(crate) fn select<V: BasicValue<'c>>(&self, cond: IntValue<'c>, then: V, other: V) -> BasicValueEnum<'c> {
        self.builder.build_select(cond, then, other, "").expect(BUILT)
    }

    /// The address `bytes` after `p`.
    pub(crate) fn at(&self, p: PointerValue<'c>, bytes: IntValue<'c>) -> PointerValue<'c> {
        // SAFETY: an address computation in generated code; whether it stays inside its buffer is the caller's doing.
        unsafe { self.builder.build_gep(self.ctx.i8_type(), p, &[bytes], "") }.expect(BUILT)
    }

    pub(crate) fn at_const(&self, p: PointerValue<'c>, bytes: i64) -> PointerValue<'c> {
        if bytes == 0 { p } else { self.at(p, self.int(bytes)) }
    }

    fn load_as<T: BasicType<'c>>(&self, kind: T, p: PointerValue<'c>) -> BasicValueEnum<'c> {
        self.load_at(kind, p, 4)
    }

    /// From an address that is a multiple of `alignment`.
    pub(super) fn load_at<T: BasicType<'c>>(&self, kind: T, p: PointerValue<'c>, alignment: u32) -> BasicValueEnum<'c> {
        let v = self.builder.build_load(kind, p, "").expect(BUILT);
        let load = v.as_instruction_value().expect("a load is an instruction");
        load.set_alignment(alignment).expect("a power of two");
        v
    }

    pub(crate) fn load(&self, p: PointerValue<'c>) -> VectorValue<'c> {
        self.load_as(self.vector_type(), p).into_vector_value()
    }

    pub(crate) fn load_lanes(&self, p: PointerValue<'c>, lanes: u32) -> VectorValue<'c> {
        self.load_as(self.ctx.f32_type().vec_type(lanes), p).into_vector_value()
    }

    /// Asks for the cache line at `p` to come to L2; any address will do.
    pub(crate) fn prefetch(&self, p: PointerValue<'c>) {
        let word = |v| self.ctx.i32_type().const_int(v, false).into();
        // For reading, of medium locality, data.
        let args = [p.into(), word(0), word(2), word(1)];
        self.call_intrinsic("llvm.prefetch", &[p.get_type().into()], &args);
    }

    /// One f32, in every lane.
    pub(crate) fn broadcast(&self, p: PointerValue<'c>) -> VectorValue<'c> {
        self.splat(self.load_as(self.ctx.f32_type(), p))
    }

    /// A pair of bf16 as the bits of an f32, in every lane.
    pub(crate) fn broadcast_pair(&self, p: PointerValue<'c>) -> VectorValue<'c> {
        self.splat(self.load_at(self.ctx.f32_type(), p, 2))
    }

    pub(crate) fn store(&self, p: PointerValue<'c>, v: VectorValue<'c>) {
        let store = self.builder.build_store(p, v).expect(BUILT);
        store.set_alignment(4).expect("a power of two");
    }

    pub(crate) fn zero(&self) -> VectorValue<'c> {
        self.vector_type().const_zero()
    }

    /// The same number in every lane.
    pub(crate) fn constant(&self, v: f32) -> VectorValue<'c> {
        let v = self.ctx.f32_type().const_float(v as f64);
        VectorType::const_vector(&vec![v; self.lanes as usize])
    }

    pub(crate) fn load_int(&self, p: PointerValue<'c>) -> IntValue<'c> {
        self.load_as(self.ctx.i64_type(), p).into_int_value()
    }

    /// A scalar in every lane.
    pub(crate) fn splat(&self, v: BasicValueEnum<'c>) -> VectorValue<'c> {
        let kind = match v {
            BasicValueEnum::FloatValue(v) => v.get_type().vec_type(self.lanes),
            BasicValueEnum::IntValue(v) => v.get_type().vec_type(self.lanes),
            _ => unreachable!("scalars are floats or integers"),
        };
        let i32_type = self.ctx.i32_type();
        let one = self
            .builder
            .build_insert_element(kind.get_poison(), v, i32_type.const_zero(), "")
            .expect(BUILT);
        let zeros = i32_type.vec_type(self.lanes).const_zero();
        self.builder
            .build_shuffle_vector(one, kind.get_poison(), zeros, "")
            .expect(BUILT)
    }

    /// The lanes below `count`.
    pub(crate) fn mask(&self, count: IntValue<'c>) -> VectorValue<'c> {
        let i32_type = self.ctx.i32_type();
        let numbers: Vec<_> = (0..self.lanes as u64)
            .map(|lane| i32_type.const_int(lane, false))
            .collect();
        let capped = self.min(count, self.int(self.lanes as i64));
        let narrow = self.builder.build_int_truncate(capped, i32_type, "").expect(BUILT);
        let count = self.splat(narrow.into());
        self.builder
            .build_int_compare(IntPredicate::SLT, VectorType::const_vector(&numbers), count, "")
            .expect(BUILT)
    }

    pub(crate) fn call_intrinsic(
        &self,
        name: &str,
        overload: &[BasicTypeEnum<'c>],
        args: &[BasicMetadataValueEnum<'c>],
    ) -> Option<BasicValueEnum<'c>> {
        let call = self
            .builder
            .build_call(self.unit.intrinsic(name, overload), args, "")
            .expect(BUILT);
        if let Some(at) = args.iter().position(|a| a.is_pointer_value()) {
            call.set_alignment_attribute(AttributeLoc::Param(at as u32), 4);
        }
        call.try_as_basic_value().basic()
    }

    /// The masked lanes from memory, 0 in the others, which are not read.
    pub(crate) fn load_masked(&self, p: PointerValue<'c>, mask: VectorValue<'c>) -> VectorValue<'c> {
        let overload = [self.vector_type().into(), p.get_type().into()];
        let args = [p.into(), mask.into(), self.zero().into()];
        let v = self.call_intrinsic("llvm.masked.load", &overload, &args);
        v.expect("a load has a value").into_vector_value()
    }

    pub(crate) fn store_masked(&self, p: PointerValue<'c>, v: VectorValue<'c>, mask: VectorValue<'c>) {
        let overload = [self.vector_type().into(), p.get_type().into()];
        self.call_intrinsic("llvm.masked.store", &overload, &[v.into(), p.into(), mask.into()]);
    }

    /// A vector of the f32 at each address.
    pub(crate) fn collect(&self, elements: &[PointerValue<'c>]) -> VectorValue<'c> {
        let (i32_type, f32_type) = (self.ctx.i32_type(), self.ctx.f32_type());
        elements
            .iter()
            .zip(0..)
            .fold(f32_type.vec_type(elements.len() as u32).get_poison(), |v, (p, lane)| {
                let element = self.load_as(f32_type, *p);
                self.builder
                    .build_insert_element(v, element, i32_type.const_int(lane, false), "")
                    .expect(BUILT)
            })
    }

    /// a * b + c, rounded once.
    pub(crate) fn fma(&self, a: VectorValue<'c>, b: VectorValue<'c>, c: VectorValue<'c>) -> VectorValue<'c> {
        let v = self.call_intrinsic("llvm.fma", &[a.get_type().into()], &[a.into(), b.into(), c.into()]);
        v.expect("fma has a value").into_vector_value()
    }

    /// Lanes of `a` then `b`, by number.
    pub(crate) fn shuffle(&self, a: VectorValue<'c>, b: VectorValue<'c>, lanes: &[u32]) -> VectorValue<'c> {
        let i32_type = self.ctx.i32_type();
        let numbers: Vec<_> = lanes
            .iter()
            .map(|lane| i32_type.const_int(*lane as u64, false))
            .collect();
        self.builder
            .build_shuffle_vector(a, b, VectorType::const_vector(&numbers), "")
            .expect(BUILT)
    }

    pub(crate) fn call(&self, function: FunctionValue<'c>, args: &[BasicMetadataValueEnum<'c>]) {
        self.builder.build_call(function, args, "").expect(BUILT);
    }

    fn block(&self) -> BasicBlock<'c> {
        self.builder.get_insert_block().expect("the builder is placed")
    }

    /// `for i in (begin..end).step_by(step)`, carrying values from round to round; gives them after the last.
    pub(crate) fn fold(
        &self,
        (begin, end, step): (IntValue<'c>, IntValue<'c>, i64),
        start: &[BasicValueEnum<'c>],
        body: impl FnOnce(IntValue<'c>, &[BasicValueEnum<'c>]) -> Vec<BasicValueEnum<'c>>,
    ) -> Vec<BasicValueEnum<'c>> {
        let ctx = self.ctx;
        let before = self.block();
        let [inside, after] = ["inside", "after"].map(|name| ctx.append_basic_block(self.function, name));
        self.builder
            .build_conditional_branch(self.less(begin, end), inside, after)
            .expect(BUILT);
        self.builder.position_at_end(inside);
        let phi = |v: &BasicValueEnum<'c>| {
            let phi = self.builder.build_phi(v.get_type(), "").expect(BUILT);
            phi.add_incoming(&[(v, before)]);
            phi
        };
        let counter = phi(&begin.into());
        let carried: Vec<_> = start.iter().map(phi).collect();
        let i = counter.as_basic_value().into_int_value();
        let next = body(i, &carried.iter().map(|phi| phi.as_basic_value()).collect::<Vec<_>>());
        let next_i = self.add(i, self.int(step));
        let last = self.block();
        self.builder
            .build_conditional_branch(self.less(next_i, end), inside, after)
            .expect(BUILT);
        counter.add_incoming(&[(&next_i, last)]);
        for (phi, next) in carried.iter().zip(&next) {
            phi.add_incoming(&[(next, last)]);
        }
        self.builder.position_at_end(after);
        let result = |(start, next): (&BasicValueEnum<'c>, &BasicValueEnum<'c>)| {
            let phi = self.builder.build_phi(start.get_type(), "").expect(BUILT);
            phi.add_incoming(&[(start, before), (next, last)]);
            phi.as_basic_value()
        };
        start.iter().zip(&next).map(result).collect()
    }

    /// `for i in (begin..end).step_by(step)`
    pub(crate) fn each(&self, begin: IntValue<'c>, end: IntValue<'c>, step: i64, body: impl FnOnce(IntValue<'c>)) {
        self.fold((begin, end, step), &[], |i, _| {
            body(i);
            vec![]
        });
    }

    /// The values of one of two branches.
    pub(crate) fn either(
        &self,
        cond: IntValue<'c>,
        then: impl FnOnce() -> Vec<BasicValueEnum<'c>>,
        other: impl FnOnce() -> Vec<BasicValueEnum<'c>>,
    ) -> Vec<BasicValueEnum<'c>> {
        let ctx = self.ctx;
        let [yes, no, after] = ["yes", "no", "after"].map(|name| ctx.append_basic_block(self.function, name));
        self.builder.build_conditional_branch(cond, yes, no).expect(BUILT);
        let leave = |block, values: Vec<BasicValueEnum<'c>>| {
            self.builder.build_unconditional_branch(after).expect(BUILT);
            (block, values)
        };
        self.builder.position_at_end(yes);
        let values = then();
        let (yes, then) = leave(self.block(), values);
        self.builder.position_at_end(no);
        let values = other();
        let (no, other) = leave(self.block(), values);
        self.builder.position_at_end(after);
        let join = |(then, other): (&BasicValueEnum<'c>, &BasicValueEnum<'c>)| {
            let phi = self.builder.build_phi(then.get_type(), "").expect(BUILT);
            phi.add_incoming(&[(then, yes), (other, no)]);
            phi.as_basic_value()
        };
        then.iter().zip(&other).map(join).collect()
    }

    pub(crate) fn when(&self, cond: IntValue<'c>, body: impl FnOnce()) {
        let ctx = self.ctx;
        let [inside, after] = ["inside", "after"].map(|name| ctx.append_basic_block(self.function, name));
        self.builder.build_conditional_branch(cond, inside, after).expect(BUILT);
        self.builder.position_at_end(inside);
        body();
        self.builder.build_unconditional_branch(after).expect(BUILT);
        self.builder.position_at_end(after);
    }

    /// Vectors that cover `0..count`: full ones, then the rest with a mask.
    pub(crate) fn each_vector(&self, count: IntValue<'c>, body: impl Fn(IntValue<'c>, Option<VectorValue<'c>>)) {
        let lanes = self.lanes as i64;
        let full = self.sub(count, self.div_rem(count, self.int(lanes)).1);
        self.each(self.int(0), full, lanes, |i| body(i, None));
        self.when(self.less(full, count), || {
            body(full, Some(self.mask(self.sub(count, full))))
        });
    }
}
