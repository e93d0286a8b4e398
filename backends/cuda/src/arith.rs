//! Arithmetic on scalars and vectors; types decide between the integer and the floating form.

use crate::builder::{Builder, Scalar, Ty, V};
use ir::scalar::DType;

/// Orders of comparison; floats: false where an operand is NaN (but `Ne`: true).
#[derive(Clone, Copy, PartialEq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// The type a number of `dtype` has once it is loaded.
pub fn ty(dtype: DType) -> Ty {
    match dtype.loaded() {
        DType::F64 => Ty::F64,
        DType::I32 => Ty::I32,
        DType::F32 | DType::Bf16 => Ty::F32,
    }
}

impl<'c> Builder<'c> {
    fn constant(&self, text: &str, ty: Ty) -> V<'c> {
        self.op_with("arith.constant", &[], ty, &[("value", text)])
    }
    pub fn truth(&self, v: bool) -> V<'c> {
        self.constant(if v { "true" } else { "false" }, Ty::I1)
    }
    pub fn i32(&self, v: i32) -> V<'c> {
        self.constant(&format!("{v} : i32"), Ty::I32)
    }
    pub fn i64(&self, v: i64) -> V<'c> {
        self.constant(&format!("{v} : i64"), Ty::I64)
    }
    /// By its bits, so that infinities and NaN need no spelling.
    pub fn f32(&self, v: f32) -> V<'c> {
        self.constant(&format!("{:#010x} : f32", v.to_bits()), Ty::F32)
    }
    pub fn f64(&self, v: f64) -> V<'c> {
        self.constant(&format!("{:#018x} : f64", v.to_bits()), Ty::F64)
    }
    /// A number of the type of another.
    pub fn like(&self, other: V<'c>, v: f64) -> V<'c> {
        match other.ty {
            Ty::F64 => self.f64(v),
            Ty::F32 => self.f32(v as f32),
            Ty::I32 => self.i32(v as i32),
            Ty::I64 => self.i64(v as i64),
            t => panic!("there are no constants of {t:?}"),
        }
    }
    pub fn of(&self, dtype: DType, v: f64) -> V<'c> {
        match ty(dtype) {
            Ty::F64 => self.f64(v),
            Ty::I32 => self.i32(v as i32),
            _ => self.f32(v as f32),
        }
    }

    fn float_or(&self, float: &str, int: &str, a: V<'c>, b: V<'c>) -> V<'c> {
        assert_eq!(a.ty, b.ty, "{float} of one type");
        if !a.ty.is_float() {
            return self.op(int, &[a, b], a.ty);
        }
        // `contract` alone: masks use -inf, NaN must be seen, order must hold.
        self.op_with(float, &[a, b], a.ty, &[("fastmath", "#arith.fastmath<contract>")])
    }
    pub fn add(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.float_or("arith.addf", "arith.addi", a, b)
    }
    pub fn sub(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.float_or("arith.subf", "arith.subi", a, b)
    }
    pub fn mul(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.float_or("arith.mulf", "arith.muli", a, b)
    }
    /// Of integers: rounding toward zero.
    pub fn div(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.float_or("arith.divf", "arith.divsi", a, b)
    }
    pub fn rem(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.op("arith.remsi", &[a, b], a.ty)
    }
    /// Of numbers known not to be negative.
    pub fn udiv(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.op("arith.divui", &[a, b], a.ty)
    }
    pub fn urem(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.op("arith.remui", &[a, b], a.ty)
    }
    pub fn and(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.op("arith.andi", &[a, b], a.ty)
    }
    pub fn or(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.op("arith.ori", &[a, b], a.ty)
    }
    pub fn xor(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.op("arith.xori", &[a, b], a.ty)
    }
    pub fn shl(&self, a: V<'c>, by: i64) -> V<'c> {
        self.op("arith.shli", &[a, self.like(a, by as f64)], a.ty)
    }
    pub fn lshr(&self, a: V<'c>, by: i64) -> V<'c> {
        self.op("arith.shrui", &[a, self.like(a, by as f64)], a.ty)
    }
    pub fn ashr(&self, a: V<'c>, by: i64) -> V<'c> {
        self.op("arith.shrsi", &[a, self.like(a, by as f64)], a.ty)
    }
    pub fn not(&self, a: V<'c>) -> V<'c> {
        self.xor(a, self.truth(true))
    }
    pub fn neg(&self, a: V<'c>) -> V<'c> {
        if a.ty.is_float() {
            return self.op("arith.negf", &[a], a.ty);
        }
        self.sub(self.like(a, 0.0), a)
    }
    /// An intrinsic of LLVM's by name: of some, MLIR's own operations become calls of a library of NVIDIA's.
    pub fn intrinsic(&self, name: &str, operands: &[V<'c>], result: Ty) -> V<'c> {
        self.intrinsic_of(name, operands, &[result])[0]
    }
    /// An intrinsic without a result.
    pub fn call(&self, name: &str, operands: &[V<'c>]) {
        self.intrinsic_of(name, operands, &[]);
    }
    fn intrinsic_of(&self, name: &str, operands: &[V<'c>], results: &[Ty]) -> Vec<V<'c>> {
        let attrs = [
            ("intrin", self.string(name)),
            ("op_bundle_sizes", self.attribute("array<i32>")),
            (
                "operandSegmentSizes",
                self.attribute(&format!("array<i32: {}, 0>", operands.len())),
            ),
        ];
        self.operation("llvm.call_intrinsic", operands, results, &attrs)
    }
    pub fn fma(&self, a: V<'c>, b: V<'c>, c: V<'c>) -> V<'c> {
        self.op("llvm.intr.fma", &[a, b, c], a.ty)
    }
    /// The smaller of two numbers that are not NaN.
    pub fn least(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.select(self.cmp(Cmp::Lt, a, b), a, b)
    }
    pub fn most(&self, a: V<'c>, b: V<'c>) -> V<'c> {
        self.select(self.cmp(Cmp::Gt, a, b), a, b)
    }
    /// Integers: signed.
    pub fn cmp(&self, how: Cmp, a: V<'c>, b: V<'c>) -> V<'c> {
        assert_eq!(a.ty, b.ty, "a comparison is of one type");
        // Numbers of arith.cmpi's and arith.cmpf's predicates.
        let (int, float) = match how {
            Cmp::Eq => (0, 1),
            Cmp::Ne => (1, 13),
            Cmp::Lt => (2, 4),
            Cmp::Le => (3, 5),
            Cmp::Gt => (4, 2),
            Cmp::Ge => (5, 3),
        };
        let (name, n) = if a.ty.is_float() {
            ("arith.cmpf", float)
        } else {
            ("arith.cmpi", int)
        };
        self.op_with(name, &[a, b], Ty::I1, &[("predicate", &format!("{n} : i64"))])
    }
    pub fn is_nan(&self, a: V<'c>) -> V<'c> {
        self.op_with("arith.cmpf", &[a, a], Ty::I1, &[("predicate", "14 : i64")])
    }
    pub fn select(&self, condition: V<'c>, then: V<'c>, other: V<'c>) -> V<'c> {
        assert_eq!(then.ty, other.ty, "both choices are of one type");
        self.op("arith.select", &[condition, then, other], then.ty)
    }

    /// An integer as wide as `to`; grows by its sign.
    pub fn resize(&self, a: V<'c>, to: Ty) -> V<'c> {
        let width = |t| match t {
            Ty::I1 => 1,
            t => t.bytes() * 8,
        };
        match width(a.ty).cmp(&width(to)) {
            std::cmp::Ordering::Less => self.op("arith.extsi", &[a], to),
            std::cmp::Ordering::Equal => a,
            std::cmp::Ordering::Greater => self.op("arith.trunci", &[a], to),
        }
    }
    /// Grows with zeros.
    pub fn widen(&self, a: V<'c>, to: Ty) -> V<'c> {
        if a.ty == to {
            a
        } else {
            self.op("arith.extui", &[a], to)
        }
    }
    pub fn bits(&self, a: V<'c>, to: Ty) -> V<'c> {
        if a.ty == to {
            return a;
        }
        self.op("llvm.bitcast", &[a], to)
    }
    /// A number as another dtype; from float to i32 toward zero, saturating.
    pub fn cast(&self, a: V<'c>, dtype: DType) -> V<'c> {
        match (a.ty, ty(dtype)) {
            (from, to) if from == to => a,
            (Ty::I32, to) => self.op("arith.sitofp", &[a], to),
            (_, Ty::I32) => self.intrinsic("llvm.fptosi.sat", &[a], Ty::I32),
            (Ty::F32, to) => self.op("arith.extf", &[a], to),
            (_, to) => self.op("arith.truncf", &[a], to),
        }
    }

    /// A vector of these scalars.
    pub fn pack(&self, parts: &[V<'c>]) -> V<'c> {
        let ty = Ty::Vector(parts[0].ty.scalar(), parts.len() as u32);
        self.op("vector.from_elements", parts, ty)
    }
    /// Element `i` of a vector.
    pub fn element(&self, v: V<'c>, i: u32) -> V<'c> {
        let Ty::Vector(s, _) = v.ty else {
            panic!("{v:?} is a vector")
        };
        self.op_with(
            "vector.extract",
            &[v],
            s.ty(),
            &[("static_position", &format!("array<i64: {i}>"))],
        )
    }
    /// Value `i` of a struct.
    pub fn field(&self, v: V<'c>, i: u32) -> V<'c> {
        let Ty::Struct(s, _) = v.ty else {
            panic!("{v:?} is a struct")
        };
        self.op_with(
            "llvm.extractvalue",
            &[v],
            s.ty(),
            &[("position", &format!("array<i64: {i}>"))],
        )
    }
    /// Two f32 rounded to bf16 (nearest, ties to even) in one i32, the first in the low half.
    pub fn pack_bf16(&self, low: V<'c>, high: V<'c>) -> V<'c> {
        let two = self.op("arith.truncf", &[self.pack(&[low, high])], Ty::Vector(Scalar::Bf16, 2));
        self.bits(two, Ty::I32)
    }
    /// The f32 of the bf16 in the low (0) or high (1) half of an i32.
    pub fn unpack_bf16(&self, word: V<'c>, half: u32) -> V<'c> {
        let bits = if half == 0 {
            self.shl(word, 16)
        } else {
            self.and(word, self.i32(0xffff_0000_u32 as i32))
        };
        self.bits(bits, Ty::F32)
    }
}
