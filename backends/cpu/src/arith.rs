//! Arithmetic of an entry function, on scalars and vectors alike: a scalar that meets a vector is splatted.

use crate::entry::{BUILT, Entry, V};
use inkwell::types::BasicTypeEnum;
use inkwell::values::{BasicMetadataValueEnum, BasicValue, CallSiteValue, FastMathFlags, FunctionValue, IntValue};
use inkwell::{FloatPredicate, IntPredicate};
use ir::scalar::DType;

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

/// Types and constants.
impl<'c> Entry<'_, 'c> {
    /// Of an element in memory, which is no number where it holds bf16.
    pub fn ty(&self, dtype: DType) -> BasicTypeEnum<'c> {
        match dtype {
            DType::F32 => self.ctx.f32_type().into(),
            DType::F64 => self.ctx.f64_type().into(),
            DType::I32 => self.ctx.i32_type().into(),
            DType::Bf16 => self.ctx.i16_type().into(),
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
            DType::F32 | DType::Bf16 => self.f32(v as f32),
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
}

/// Operations.
impl<'c> Entry<'_, 'c> {
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
}
