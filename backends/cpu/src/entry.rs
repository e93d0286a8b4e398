//! One entry function being written: its operands, sizes, arithmetic and loops.

use crate::{Error, Target};
use inkwell::attributes::AttributeLoc;
use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::types::BasicTypeEnum;
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, CallSiteValue, FastMathFlags, FunctionValue, IntValue,
    PhiValue, PointerValue, VectorValue,
};
use inkwell::{AddressSpace, FloatPredicate, IntPredicate};
use ir::dim::{Atom, Dim};
use ir::kernel::SlotDecl;
use ir::scalar::DType;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// A scalar or a vector.
pub type V<'c> = BasicValueEnum<'c>;

/// Why builder calls cannot fail: they only report an unset position or operands of different types, and every helper
/// below brings its operands to one type.
pub const BUILT: &str = "the builder is positioned and operand types agree";

/// What all functions of one LLVM module share.
pub struct Unit<'c> {
    pub ctx: &'c Context,
    pub module: Module<'c>,
    pub target: &'c Target,
    pub symbols: &'c [Arc<str>],
    /// The first size met that is not among `symbols`.
    pub unknown_size: RefCell<Option<String>>,
}

/// Functions and needs of one compiled kernel.
#[derive(Debug, Default)]
pub struct Emitted {
    /// Function names with their counts of items, in the order in which they run.
    pub entries: Vec<(String, Dim)>,
    /// Bytes shared by all threads of a launch.
    pub workspace: Dim,
    /// Bytes of one thread.
    pub scratch: Dim,
}

/// A function under construction. Sizes and slot addresses are computed in a head block, which dominates everything.
pub struct Entry<'u, 'c> {
    pub unit: &'u Unit<'c>,
    pub ctx: &'c Context,
    pub b: Builder<'c>,
    head: Builder<'c>,
    head_block: BasicBlock<'c>,
    body_block: BasicBlock<'c>,
    pub function: FunctionValue<'c>,
    /// f32 lanes of a vector.
    pub lanes: u32,
    pub slots: Vec<SlotDecl>,
    addresses: Vec<PointerValue<'c>>,
    /// Items of work to do: `begin..end`, i64.
    pub begin: IntValue<'c>,
    pub end: IntValue<'c>,
    pub workspace: PointerValue<'c>,
    pub scratch: PointerValue<'c>,
    dims: RefCell<HashMap<Dim, IntValue<'c>>>,
    pub(crate) random_keys: RefCell<HashMap<(usize, u32), [IntValue<'c>; 2]>>,
    zero: RefCell<Option<PointerValue<'c>>>,
}

/// An open counted loop; see [`Entry::open_loop`].
pub struct Loop<'c> {
    /// The loop's counter, i64.
    pub index: IntValue<'c>,
    /// Values carried from iteration to iteration, as seen at the start of one.
    pub carried: Vec<V<'c>>,
    end: IntValue<'c>,
    from: BasicBlock<'c>,
    init: Vec<V<'c>>,
    body: BasicBlock<'c>,
    exit: BasicBlock<'c>,
    phis: Vec<PhiValue<'c>>,
    index_phi: PhiValue<'c>,
}

impl<'c> Unit<'c> {
    /// Starts an entry function of a kernel with these slots.
    pub fn entry(&self, name: &str, slots: &[SlotDecl]) -> Entry<'_, 'c> {
        let ctx = self.ctx;
        let (ptr, i64t) = (ctx.ptr_type(AddressSpace::default()), ctx.i64_type());
        let ty = ctx.void_type().fn_type(
            &[ptr.into(), ptr.into(), i64t.into(), i64t.into(), ptr.into(), ptr.into()],
            false,
        );
        let function = self.module.add_function(name, ty, Some(Linkage::External));
        let width = self.target.vector_bits.to_string();
        for (key, value) in [
            ("target-cpu", self.target.cpu.as_str()),
            ("target-features", self.target.features.as_str()),
            ("prefer-vector-width", width.as_str()),
            ("min-legal-vector-width", width.as_str()),
            // Nothing may become a call of memset or memcpy: the image has no library.
            ("no-builtins", ""),
        ] {
            function.add_attribute(AttributeLoc::Function, ctx.create_string_attribute(key, value));
        }
        let nounwind = inkwell::attributes::Attribute::get_named_enum_kind_id("nounwind");
        function.add_attribute(AttributeLoc::Function, ctx.create_enum_attribute(nounwind, 0));
        let head_block = ctx.append_basic_block(function, "head");
        let body_block = ctx.append_basic_block(function, "body");
        let (head, b) = (ctx.create_builder(), ctx.create_builder());
        head.position_at_end(head_block);
        b.position_at_end(body_block);
        let param = |i| function.get_nth_param(i).expect("the signature has six parameters");
        let table = param(0).into_pointer_value();
        let mut e = Entry {
            unit: self,
            ctx,
            b,
            head,
            head_block,
            body_block,
            function,
            lanes: self.target.lanes(),
            slots: slots.to_vec(),
            addresses: vec![],
            begin: param(2).into_int_value(),
            end: param(3).into_int_value(),
            workspace: param(4).into_pointer_value(),
            scratch: param(5).into_pointer_value(),
            dims: RefCell::default(),
            random_keys: RefCell::default(),
            zero: RefCell::default(),
        };
        e.addresses = (0..slots.len())
            .map(|i| {
                let at = e.gep(&e.head, ptr.into(), table, i64t.const_int(i as u64, false));
                e.head.build_load(ptr, at, "slot").expect(BUILT).into_pointer_value()
            })
            .collect();
        e
    }

    /// Declares an intrinsic overloaded on `types`.
    pub fn intrinsic(&self, name: &str, types: &[BasicTypeEnum<'c>]) -> FunctionValue<'c> {
        inkwell::intrinsics::Intrinsic::find(name)
            .and_then(|i| i.get_declaration(&self.module, types))
            .unwrap_or_else(|| panic!("LLVM 22 has the intrinsic {name}"))
    }
}

/// Arithmetic on scalars or vectors; a scalar meeting a vector is splatted.
macro_rules! binary {
    ($($name:ident $build:ident $variant:ident $contract:literal)*) => {$(
        pub fn $name(&self, x: V<'c>, y: V<'c>) -> V<'c> {
            let (x, y) = self.unify(x, y);
            let out: V<'c> = match (x, y) {
                (V::$variant(x), V::$variant(y)) => self.b.$build(x, y, "").expect(BUILT).into(),
                (V::VectorValue(x), V::VectorValue(y)) => self.b.$build(x, y, "").expect(BUILT).into(),
                (x, y) => panic!(concat!(stringify!($name), " of {:?} and {:?}"), x, y),
            };
            if $contract { self.contract(out) } else { out }
        }
    )*};
}

impl<'u, 'c> Entry<'u, 'c> {
    // ---- sizes, slots -------------------------------------------------------------------------------------------

    /// The value of a dim, i64, computed once at function entry.
    pub fn dim(&self, d: &Dim) -> IntValue<'c> {
        if let Some(v) = self.dims.borrow().get(d) {
            return *v;
        }
        let i64t = self.ctx.i64_type();
        let mut total = i64t.const_zero();
        for (c, factors) in d.terms() {
            let mut v = i64t.const_int(c as u64, true);
            for a in factors {
                let f = match a {
                    Atom::Sym(s) => self.symbol(s),
                    Atom::Div(n, by) => {
                        let n = self.dim(n);
                        self.floor_div_head(n, *by)
                    }
                };
                v = self.head.build_int_mul(v, f, "").expect(BUILT);
            }
            total = self.head.build_int_add(total, v, "").expect(BUILT);
        }
        self.dims.borrow_mut().insert(d.clone(), total);
        total
    }

    fn floor_div_head(&self, n: IntValue<'c>, by: i64) -> IntValue<'c> {
        let i64t = self.ctx.i64_type();
        let by = i64t.const_int(by as u64, true);
        let q = self.head.build_int_signed_div(n, by, "").expect(BUILT);
        let r = self.head.build_int_signed_rem(n, by, "").expect(BUILT);
        let below = self
            .head
            .build_int_compare(IntPredicate::SLT, r, i64t.const_zero(), "")
            .expect(BUILT);
        let one = self.head.build_int_s_extend(below, i64t, "").expect(BUILT);
        self.head.build_int_add(q, one, "").expect(BUILT)
    }

    /// The run-time value of a size, i64.
    pub fn symbol(&self, name: &str) -> IntValue<'c> {
        let i64t = self.ctx.i64_type();
        let Some(at) = self.unit.symbols.iter().position(|s| s.as_ref() == name) else {
            self.unit
                .unknown_size
                .borrow_mut()
                .get_or_insert_with(|| name.to_string());
            return i64t.const_zero();
        };
        let key = Dim::sym(name);
        if let Some(v) = self.dims.borrow().get(&key) {
            return *v;
        }
        let sizes = self
            .function
            .get_nth_param(1)
            .expect("the signature has six parameters")
            .into_pointer_value();
        let at = self.gep(&self.head, i64t.into(), sizes, i64t.const_int(at as u64, false));
        let v = self.head.build_load(i64t, at, name).expect(BUILT).into_int_value();
        self.dims.borrow_mut().insert(key, v);
        v
    }

    /// Runs `f` with the builder in the head block: for work done once per call.
    pub fn in_head<T>(&self, f: impl FnOnce() -> T) -> T {
        let here = self.b.get_insert_block().expect("the builder is positioned");
        self.b.position_at_end(self.head_block);
        let out = f();
        self.b.position_at_end(here);
        out
    }

    /// Address of element 0 of a slot.
    pub fn slot(&self, slot: usize) -> PointerValue<'c> {
        self.addresses[slot]
    }

    /// Address of element `index` (i64) of an array of `dtype` at `base`.
    pub fn at(&self, dtype: DType, base: PointerValue<'c>, index: IntValue<'c>) -> PointerValue<'c> {
        self.gep(&self.b, self.ty(dtype), base, index)
    }

    /// Address `bytes` (i64) after `base`.
    pub fn byte_at(&self, base: PointerValue<'c>, bytes: IntValue<'c>) -> PointerValue<'c> {
        self.gep(&self.b, self.ctx.i8_type().into(), base, bytes)
    }

    fn gep(
        &self,
        b: &Builder<'c>,
        ty: BasicTypeEnum<'c>,
        base: PointerValue<'c>,
        index: IntValue<'c>,
    ) -> PointerValue<'c> {
        // SAFETY: one i64 index into an array of a sized type is a well-formed instruction. Nothing is executed here.
        unsafe { b.build_gep(ty, base, &[index], "") }.expect(BUILT)
    }

    /// Eight zero bytes on the stack: where loads that must not happen read from.
    pub fn zero_cell(&self) -> PointerValue<'c> {
        *self.zero.borrow_mut().get_or_insert_with(|| {
            let i64t = self.ctx.i64_type();
            let cell = self.head.build_alloca(i64t, "zero").expect(BUILT);
            self.head.build_store(cell, i64t.const_zero()).expect(BUILT);
            cell
        })
    }

    /// Ends the function.
    pub fn finish(self) {
        self.b.build_return(None).expect(BUILT);
        self.head.build_unconditional_branch(self.body_block).expect(BUILT);
    }

    // ---- types and constants -------------------------------------------------------------------------------------

    pub fn ty(&self, dtype: DType) -> BasicTypeEnum<'c> {
        match dtype {
            DType::F32 => self.ctx.f32_type().into(),
            DType::F64 => self.ctx.f64_type().into(),
            DType::I32 => self.ctx.i32_type().into(),
        }
    }

    /// `scalar` itself where `lanes` is 1, else a vector of it.
    pub fn vector_of(&self, scalar: BasicTypeEnum<'c>, lanes: u32) -> BasicTypeEnum<'c> {
        if lanes == 1 {
            return scalar;
        }
        match scalar {
            BasicTypeEnum::FloatType(t) => t.vec_type(lanes).into(),
            BasicTypeEnum::IntType(t) => t.vec_type(lanes).into(),
            BasicTypeEnum::PointerType(t) => t.vec_type(lanes).into(),
            t => panic!("no vectors of {t:?}"),
        }
    }

    pub fn i64(&self, v: i64) -> IntValue<'c> {
        self.ctx.i64_type().const_int(v as u64, true)
    }
    pub fn i32(&self, v: i32) -> V<'c> {
        self.ctx.i32_type().const_int(v as u32 as u64, false).into()
    }
    pub fn f32(&self, v: f32) -> V<'c> {
        self.ctx.f32_type().const_float(v as f64).into()
    }
    pub fn constant(&self, dtype: DType, v: f64) -> V<'c> {
        match dtype {
            DType::F32 => self.f32(v as f32),
            DType::F64 => self.ctx.f64_type().const_float(v).into(),
            DType::I32 => self.i32(v as i32),
        }
    }
    /// A constant of the floating type of `like`.
    pub fn float_like(&self, like: V<'c>, v: f64) -> V<'c> {
        self.constant(if self.is_f64(like) { DType::F64 } else { DType::F32 }, v)
    }
    pub fn is_f64(&self, v: V<'c>) -> bool {
        self.scalar_type(v) == self.ctx.f64_type().into()
    }

    /// The type of one lane.
    pub fn scalar_type(&self, v: V<'c>) -> BasicTypeEnum<'c> {
        match v {
            V::VectorValue(v) => v.get_type().get_element_type(),
            v => v.get_type(),
        }
    }
    /// 1 for a scalar.
    pub fn lanes_of(&self, v: V<'c>) -> u32 {
        match v {
            V::VectorValue(v) => v.get_type().get_size(),
            _ => 1,
        }
    }

    /// The type with the lanes of `v` and elements of `scalar`.
    pub fn retyped(&self, v: V<'c>, scalar: BasicTypeEnum<'c>) -> BasicTypeEnum<'c> {
        self.vector_of(scalar, self.lanes_of(v))
    }

    /// `v` in every one of `lanes` lanes (a vector stays what it is).
    pub fn splat(&self, v: V<'c>, lanes: u32) -> V<'c> {
        if lanes == 1 || v.is_vector_value() {
            return v;
        }
        let ty = self.vector_of(v.get_type(), lanes).into_vector_type();
        if v.is_const() {
            return match v {
                V::FloatValue(f) => inkwell::types::VectorType::const_vector(&vec![f; lanes as usize]).into(),
                V::IntValue(i) => inkwell::types::VectorType::const_vector(&vec![i; lanes as usize]).into(),
                _ => panic!("no vectors of {v:?}"),
            };
        }
        let one = self
            .b
            .build_insert_element(ty.get_poison(), v, self.i64(0), "")
            .expect(BUILT);
        let first = self.ctx.i32_type().vec_type(lanes).const_zero();
        self.b
            .build_shuffle_vector(one, ty.get_poison(), first, "")
            .expect(BUILT)
            .into()
    }

    fn unify(&self, x: V<'c>, y: V<'c>) -> (V<'c>, V<'c>) {
        let lanes = self.lanes_of(x).max(self.lanes_of(y));
        (self.splat(x, lanes), self.splat(y, lanes))
    }

    /// 0, 1, 2, ... as i32 (or i64) lanes.
    pub fn iota(&self, wide: bool) -> V<'c> {
        let t = if wide { self.ctx.i64_type() } else { self.ctx.i32_type() };
        let lanes: Vec<_> = (0..self.lanes).map(|i| t.const_int(i as u64, false)).collect();
        inkwell::types::VectorType::const_vector(&lanes).into()
    }

    pub fn extract(&self, v: V<'c>, lane: u32) -> V<'c> {
        self.b
            .build_extract_element(v.into_vector_value(), self.i64(lane as i64), "")
            .expect(BUILT)
    }

    // ---- arithmetic ------------------------------------------------------------------------------------------------

    /// Allows fusing a multiplication and an addition, the only liberty generated code takes.
    fn contract(&self, v: V<'c>) -> V<'c> {
        if let Some(i) = v.as_instruction_value()
            && i.can_use_fast_math_flags()
        {
            i.set_fast_math_flags(FastMathFlags::AllowContract)
                .expect("the instruction takes fast-math flags");
        }
        v
    }

    binary! {
        fadd build_float_add FloatValue true
        fsub build_float_sub FloatValue true
        fmul build_float_mul FloatValue true
        fdiv build_float_div FloatValue false
        add build_int_add IntValue false
        sub build_int_sub IntValue false
        mul build_int_mul IntValue false
        and build_and IntValue false
        or build_or IntValue false
        xor build_xor IntValue false
        shl build_left_shift IntValue false
    }

    pub fn fneg(&self, x: V<'c>) -> V<'c> {
        match x {
            V::FloatValue(x) => self.b.build_float_neg(x, "").expect(BUILT).into(),
            V::VectorValue(x) => self.b.build_float_neg(x, "").expect(BUILT).into(),
            x => panic!("fneg of {x:?}"),
        }
    }

    pub fn lshr(&self, x: V<'c>, by: u64) -> V<'c> {
        self.shift_right(x, by, false)
    }
    pub fn ashr(&self, x: V<'c>, by: u64) -> V<'c> {
        self.shift_right(x, by, true)
    }
    fn shift_right(&self, x: V<'c>, by: u64, signed: bool) -> V<'c> {
        let by: V<'c> = self.scalar_type(x).into_int_type().const_int(by, false).into();
        match self.unify(x, by) {
            (V::IntValue(x), V::IntValue(y)) => self.b.build_right_shift(x, y, signed, "").expect(BUILT).into(),
            (V::VectorValue(x), V::VectorValue(y)) => self.b.build_right_shift(x, y, signed, "").expect(BUILT).into(),
            (x, _) => panic!("shift of {x:?}"),
        }
    }

    /// Compares floats; i1 (lanes).
    pub fn fcmp(&self, p: FloatPredicate, x: V<'c>, y: V<'c>) -> V<'c> {
        match self.unify(x, y) {
            (V::FloatValue(x), V::FloatValue(y)) => self.b.build_float_compare(p, x, y, "").expect(BUILT).into(),
            (V::VectorValue(x), V::VectorValue(y)) => self.b.build_float_compare(p, x, y, "").expect(BUILT).into(),
            (x, y) => panic!("fcmp of {x:?} and {y:?}"),
        }
    }

    /// Compares integers; i1 (lanes).
    pub fn icmp(&self, p: IntPredicate, x: V<'c>, y: V<'c>) -> V<'c> {
        match self.unify(x, y) {
            (V::IntValue(x), V::IntValue(y)) => self.b.build_int_compare(p, x, y, "").expect(BUILT).into(),
            (V::VectorValue(x), V::VectorValue(y)) => self.b.build_int_compare(p, x, y, "").expect(BUILT).into(),
            (x, y) => panic!("icmp of {x:?} and {y:?}"),
        }
    }

    /// `cond` (i1) ? `x` : `y`, by lanes where any is a vector.
    pub fn select(&self, cond: V<'c>, x: V<'c>, y: V<'c>) -> V<'c> {
        let (x, y) = self.unify(x, y);
        let lanes = self.lanes_of(cond).max(self.lanes_of(x));
        let (x, y) = (self.splat(x, lanes), self.splat(y, lanes));
        match cond {
            V::IntValue(c) => self.b.build_select(c, x, y, "").expect(BUILT),
            V::VectorValue(c) => self.b.build_select(c, x, y, "").expect(BUILT),
            c => panic!("select on {c:?}"),
        }
    }

    /// Calls an intrinsic overloaded on the type of its first operand.
    pub fn intrinsic(&self, name: &str, args: &[V<'c>]) -> V<'c> {
        let lanes = args.iter().map(|a| self.lanes_of(*a)).max().unwrap_or(1);
        let args: Vec<V<'c>> = args.iter().map(|a| self.splat(*a, lanes)).collect();
        let f = self.unit.intrinsic(name, &[args[0].get_type()]);
        let args: Vec<BasicMetadataValueEnum> = args.iter().map(|a| (*a).into()).collect();
        self.call(f, &args)
            .try_as_basic_value()
            .expect_basic("the intrinsic has a result")
    }

    pub fn call(&self, f: FunctionValue<'c>, args: &[BasicMetadataValueEnum<'c>]) -> CallSiteValue<'c> {
        self.b.build_call(f, args, "").expect(BUILT)
    }

    /// x * y + z, rounded once.
    pub fn fma(&self, x: V<'c>, y: V<'c>, z: V<'c>) -> V<'c> {
        self.intrinsic("llvm.fma", &[x, y, z])
    }

    /// The larger of two numbers; NaN if either is.
    pub fn fmax(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        let take = self.or(
            self.fcmp(FloatPredicate::OGT, x, y),
            self.fcmp(FloatPredicate::UNO, x, x),
        );
        self.select(take, x, y)
    }
    /// The smaller of two numbers; NaN if either is.
    pub fn fmin(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        let take = self.or(
            self.fcmp(FloatPredicate::OLT, x, y),
            self.fcmp(FloatPredicate::UNO, x, x),
        );
        self.select(take, x, y)
    }

    /// Integers to the width of `bits`, with sign.
    pub fn resize(&self, v: V<'c>, bits: u32) -> V<'c> {
        let to = self
            .ctx
            .custom_width_int_type(std::num::NonZeroU32::new(bits).expect("bits > 0"))
            .expect("a valid width");
        let from = self.scalar_type(v).into_int_type().get_bit_width();
        match v {
            _ if from == bits => v,
            V::IntValue(v) if from > bits => self.b.build_int_truncate(v, to, "").expect(BUILT).into(),
            V::IntValue(v) => self.b.build_int_s_extend(v, to, "").expect(BUILT).into(),
            V::VectorValue(v) => {
                let to = to.vec_type(v.get_type().get_size());
                match from > bits {
                    true => self.b.build_int_truncate(v, to, "").expect(BUILT).into(),
                    false => self.b.build_int_s_extend(v, to, "").expect(BUILT).into(),
                }
            }
            v => panic!("resize of {v:?}"),
        }
    }

    /// i1 to i32 0 or 1.
    pub fn truth(&self, v: V<'c>) -> V<'c> {
        match v {
            V::IntValue(v) => self
                .b
                .build_int_z_extend(v, self.ctx.i32_type(), "")
                .expect(BUILT)
                .into(),
            V::VectorValue(v) => {
                let to = self.ctx.i32_type().vec_type(v.get_type().get_size());
                self.b.build_int_z_extend(v, to, "").expect(BUILT).into()
            }
            v => panic!("truth of {v:?}"),
        }
    }

    pub fn bit_cast(&self, v: V<'c>, scalar: BasicTypeEnum<'c>) -> V<'c> {
        let to = self.retyped(v, scalar);
        self.b.build_bit_cast(v, to, "").expect(BUILT)
    }

    /// Between element types. Floats to integers truncate and saturate, NaN gives 0.
    pub fn cast(&self, v: V<'c>, to: DType) -> V<'c> {
        let from = self.scalar_type(v);
        let ty = self.retyped(v, self.ty(to));
        if v.get_type() == ty {
            return v;
        }
        if to == DType::I32 {
            let f = self.unit.intrinsic("llvm.fptosi.sat", &[ty, v.get_type()]);
            return self
                .call(f, &[v.into()])
                .try_as_basic_value()
                .expect_basic("a conversion has a result");
        }
        let out: V<'c> = match (v, ty) {
            (V::FloatValue(v), BasicTypeEnum::FloatType(t)) => self.b.build_float_cast(v, t, "").expect(BUILT).into(),
            (V::IntValue(v), BasicTypeEnum::FloatType(t)) => {
                self.b.build_signed_int_to_float(v, t, "").expect(BUILT).into()
            }
            (V::VectorValue(v), BasicTypeEnum::VectorType(t)) if from.is_float_type() => {
                self.b.build_float_cast(v, t, "").expect(BUILT).into()
            }
            (V::VectorValue(v), BasicTypeEnum::VectorType(t)) => {
                self.b.build_signed_int_to_float(v, t, "").expect(BUILT).into()
            }
            (v, t) => panic!("cast of {v:?} to {t:?}"),
        };
        out
    }

    // ---- shorthands on i64 scalars ---------------------------------------------------------------------------------

    pub fn iadd(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_add(x, y, "").expect(BUILT)
    }
    pub fn isub(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_sub(x, y, "").expect(BUILT)
    }
    pub fn imul(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_mul(x, y, "").expect(BUILT)
    }
    /// Both operands non-negative, `y` > 0.
    pub fn idiv(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_unsigned_div(x, y, "").expect(BUILT)
    }
    /// Both operands non-negative, `y` > 0.
    pub fn irem(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_unsigned_rem(x, y, "").expect(BUILT)
    }
    pub fn imin(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        let less = self.b.build_int_compare(IntPredicate::SLT, x, y, "").expect(BUILT);
        self.b.build_select(less, x, y, "").expect(BUILT).into_int_value()
    }
    pub fn imax(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        let more = self.b.build_int_compare(IntPredicate::SGT, x, y, "").expect(BUILT);
        self.b.build_select(more, x, y, "").expect(BUILT).into_int_value()
    }
    pub fn ilt(&self, x: IntValue<'c>, y: IntValue<'c>) -> IntValue<'c> {
        self.b.build_int_compare(IntPredicate::SLT, x, y, "").expect(BUILT)
    }

    /// Coordinates of position `flat` in a row-major space of these extents (all > 0 where `flat` is valid).
    pub fn unravel(&self, flat: IntValue<'c>, extents: &[Dim]) -> Vec<IntValue<'c>> {
        let mut rest = flat;
        let mut out = vec![];
        for (i, d) in extents.iter().enumerate().rev() {
            if i == 0 {
                out.push(rest);
            } else if d.is_one() {
                out.push(self.i64(0));
            } else {
                let n = self.dim(d);
                out.push(self.irem(rest, n));
                rest = self.idiv(rest, n);
            }
        }
        out.reverse();
        out
    }

    /// Lanes `first + lane < end`, i1.
    pub fn lane_mask(&self, first: IntValue<'c>, end: IntValue<'c>) -> VectorValue<'c> {
        // In 32 bits after clamping, so that one comparison serves all lanes.
        let left = self.imin(self.isub(end, first), self.i64(self.lanes as i64));
        let left = self.resize(left.into(), 32);
        self.icmp(IntPredicate::SLT, self.iota(false), left).into_vector_value()
    }

    // ---- control flow ------------------------------------------------------------------------------------------------

    /// Opens `for index in (begin..end).step_by(step)`, carrying values that start as `init`; the builder is then in the
    /// loop's body. Close it with [`Entry::close_loop`].
    pub fn open_loop(&self, begin: IntValue<'c>, end: IntValue<'c>, init: &[V<'c>]) -> Loop<'c> {
        let from = self.b.get_insert_block().expect("the builder is positioned");
        let body = self.ctx.append_basic_block(self.function, "loop");
        let exit = self.ctx.append_basic_block(self.function, "done");
        let some = self.ilt(begin, end);
        self.b.build_conditional_branch(some, body, exit).expect(BUILT);
        self.b.position_at_end(body);
        let index_phi = self.b.build_phi(self.ctx.i64_type(), "i").expect(BUILT);
        index_phi.add_incoming(&[(&begin, from)]);
        let phis: Vec<_> = init
            .iter()
            .map(|v| {
                let phi = self.b.build_phi(v.get_type(), "").expect(BUILT);
                phi.add_incoming(&[(v, from)]);
                phi
            })
            .collect();
        Loop {
            index: index_phi.as_basic_value().into_int_value(),
            carried: phis.iter().map(|p| p.as_basic_value()).collect(),
            end,
            from,
            init: init.to_vec(),
            body,
            exit,
            phis,
            index_phi,
        }
    }

    /// Closes a loop with the carried values' next values; gives their values after the loop.
    pub fn close_loop(&self, l: Loop<'c>, step: IntValue<'c>, next: &[V<'c>]) -> Vec<V<'c>> {
        assert_eq!(next.len(), l.phis.len(), "every carried value has a next value");
        let latch = self.b.get_insert_block().expect("the builder is positioned");
        let index = self.iadd(l.index, step);
        let more = self.ilt(index, l.end);
        self.b.build_conditional_branch(more, l.body, l.exit).expect(BUILT);
        l.index_phi.add_incoming(&[(&index, latch)]);
        for (phi, v) in l.phis.iter().zip(next) {
            phi.add_incoming(&[(v, latch)]);
        }
        self.b.position_at_end(l.exit);
        let outs = l.init.iter().zip(next).map(|(init, next)| {
            let phi = self.b.build_phi(init.get_type(), "").expect(BUILT);
            phi.add_incoming(&[(init, l.from), (next, latch)]);
            phi.as_basic_value()
        });
        outs.collect()
    }

    /// Runs `body` for every vector of positions in `first..last`: whole ones without a mask, then what is left with one.
    pub fn for_vectors(
        &self,
        first: IntValue<'c>,
        last: IntValue<'c>,
        body: impl Fn(IntValue<'c>, Option<VectorValue<'c>>),
    ) {
        let lanes = self.i64(self.lanes as i64);
        let count = self.imax(self.isub(last, first), self.i64(0));
        let whole = self.isub(count, self.irem(count, lanes));
        let middle = self.iadd(first, whole);
        let l = self.open_loop(first, middle, &[]);
        body(l.index, None);
        self.close_loop(l, lanes, &[]);
        self.when(self.ilt(middle, last), || body(middle, Some(self.lane_mask(middle, last))));
    }

    /// Runs `body` where `cond` (i1) holds.
    pub fn when<T>(&self, cond: IntValue<'c>, body: impl FnOnce() -> T) -> T {
        let then = self.ctx.append_basic_block(self.function, "then");
        let after = self.ctx.append_basic_block(self.function, "after");
        self.b.build_conditional_branch(cond, then, after).expect(BUILT);
        self.b.position_at_end(then);
        let out = body();
        self.b.build_unconditional_branch(after).expect(BUILT);
        self.b.position_at_end(after);
        out
    }
}

/// The error for what a kernel of this name has no code for.
pub fn unsupported<T>(kernel: &str, what: impl Into<String>) -> Result<T, Error> {
    Err(Error::Unsupported {
        kernel: kernel.into(),
        what: what.into(),
    })
}
