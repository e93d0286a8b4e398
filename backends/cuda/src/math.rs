//! Functions of numbers, by the expansions of `ir::emit::math`: no library of NVIDIA's is needed.

use crate::arith::Cmp;
use crate::builder::{Builder, Ty, V};
use ir::emit::{Build, math};
use ir::scalar::{Binary, Unary};

impl<'c> Builder<'c> {
    pub fn unary(&self, f: Unary, x: V<'c>) -> V<'c> {
        match f {
            Unary::Neg => self.neg(x),
            Unary::Abs if x.ty.is_float() => self.fabs(x),
            Unary::Abs => self.select(self.cmp(Cmp::Lt, x, self.i32(0)), self.neg(x), x),
            Unary::Exp => math::exp(self, x),
            Unary::Log => math::log(self, x),
            Unary::Sqrt => self.intrinsic("llvm.sqrt", &[x], x.ty),
            Unary::Rsqrt => self.div(self.like(x, 1.0), self.intrinsic("llvm.sqrt", &[x], x.ty)),
            Unary::Erf => math::erf(self, x),
            Unary::Tanh => math::tanh(self, x),
            Unary::Not => self.widen(self.cmp(Cmp::Eq, x, self.i32(0)), Ty::I32),
        }
    }

    pub fn binary(&self, f: Binary, x: V<'c>, y: V<'c>) -> V<'c> {
        let truth = |v| self.widen(v, Ty::I32);
        let set = |v| self.cmp(Cmp::Ne, v, self.i32(0));
        match f {
            Binary::Add => self.add(x, y),
            Binary::Sub => self.sub(x, y),
            Binary::Mul => self.mul(x, y),
            Binary::Div => self.div(x, y),
            Binary::FloorDiv => {
                // The divisor of elements that are not used may be 0.
                let y = self.select(self.cmp(Cmp::Gt, y, self.i32(1)), y, self.i32(1));
                let below = self.cmp(Cmp::Lt, self.rem(x, y), self.i32(0));
                self.sub(self.div(x, y), truth(below))
            }
            Binary::Max => self.max(x, y),
            Binary::Min if x.ty == Ty::F32 => self.op("llvm.intr.minimum", &[x, y], x.ty),
            Binary::Min => self.select(self.nan_or(Cmp::Lt, x, y), x, y),
            Binary::Less => truth(self.cmp(Cmp::Lt, x, y)),
            Binary::LessEq => truth(self.cmp(Cmp::Le, x, y)),
            Binary::Equal => truth(self.cmp(Cmp::Eq, x, y)),
            Binary::And => truth(self.and(set(x), set(y))),
            Binary::Or => truth(self.or(set(x), set(y))),
        }
    }

    /// The larger of two numbers of any type; NaN where either is.
    pub fn max(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        if x.ty == Ty::F32 {
            return self.op("llvm.intr.maximum", &[x, y], x.ty);
        }
        self.select(self.nan_or(Cmp::Gt, x, y), x, y)
    }

    /// Whether `x` is NaN or stands so to `y`.
    fn nan_or(&self, how: Cmp, x: V<'c>, y: V<'c>) -> V<'c> {
        let c = self.cmp(how, x, y);
        if x.ty.is_float() { self.or(c, self.is_nan(x)) } else { c }
    }

    pub fn fabs(&self, x: V<'c>) -> V<'c> {
        self.intrinsic("llvm.fabs", &[x], x.ty)
    }

    pub fn exp(&self, x: V<'c>) -> V<'c> {
        math::exp(self, x)
    }

    pub fn log(&self, x: V<'c>) -> V<'c> {
        math::log(self, x)
    }
}

impl<'c> Build for Builder<'c> {
    type V = V<'c>;

    fn is_f64(&self, x: V<'c>) -> bool {
        x.ty == Ty::F64
    }
    fn float(&self, like: V<'c>, v: f64) -> V<'c> {
        self.like(like, v)
    }
    fn int(&self, like: V<'c>, v: i64) -> V<'c> {
        if like.ty == Ty::I64 {
            self.i64(v)
        } else {
            self.i32(v as i32)
        }
    }
    fn word(&self, v: u32) -> V<'c> {
        self.i32(v as i32)
    }

    fn fadd(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.add(x, y)
    }
    fn fsub(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.sub(x, y)
    }
    fn fmul(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.mul(x, y)
    }
    fn fdiv(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.div(x, y)
    }
    fn fneg(&self, x: V<'c>) -> V<'c> {
        self.neg(x)
    }
    fn fabs(&self, x: V<'c>) -> V<'c> {
        self.fabs(x)
    }
    fn fma(&self, x: V<'c>, y: V<'c>, z: V<'c>) -> V<'c> {
        self.fma(x, y, z)
    }
    fn copysign(&self, magnitude: V<'c>, sign: V<'c>) -> V<'c> {
        self.intrinsic("llvm.copysign", &[magnitude, sign], magnitude.ty)
    }

    fn is_less(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.cmp(Cmp::Lt, x, y)
    }
    fn is_greater(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.cmp(Cmp::Gt, x, y)
    }
    fn is_at_least(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.cmp(Cmp::Ge, x, y)
    }
    fn is_equal(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.cmp(Cmp::Eq, x, y)
    }
    fn is_less_or_nan(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.or(self.cmp(Cmp::Lt, x, y), self.is_nan(x))
    }
    fn select(&self, condition: V<'c>, then: V<'c>, other: V<'c>) -> V<'c> {
        self.select(condition, then, other)
    }

    fn iadd(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.add(x, y)
    }
    fn isub(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.sub(x, y)
    }
    fn imul(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.mul(x, y)
    }
    fn or(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.or(x, y)
    }
    fn xor(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.xor(x, y)
    }
    fn shl(&self, x: V<'c>, by: u32) -> V<'c> {
        self.shl(x, by.into())
    }
    fn lshr(&self, x: V<'c>, by: u32) -> V<'c> {
        self.lshr(x, by.into())
    }
    fn ashr(&self, x: V<'c>, by: u32) -> V<'c> {
        self.ashr(x, by.into())
    }

    fn to_bits(&self, x: V<'c>) -> V<'c> {
        self.bits(x, if x.ty == Ty::F64 { Ty::I64 } else { Ty::I32 })
    }
    fn of_bits(&self, x: V<'c>) -> V<'c> {
        self.bits(x, float_as_wide(x))
    }
    fn to_float(&self, x: V<'c>) -> V<'c> {
        self.op("arith.sitofp", &[x], float_as_wide(x))
    }

    fn count_down(&self, count: i64, init: V<'c>, step: impl Fn(V<'c>, V<'c>) -> V<'c>) -> V<'c> {
        let count = self.i32(count as i32);
        let range = (self.i32(0), count, self.i32(1));
        self.for_carried(range, &[init], |i, carried| {
            let left = self.op("arith.sitofp", &[self.sub(count, i)], Ty::F64);
            vec![step(left, carried[0])]
        })[0]
    }
}

/// The float of the width of an integer.
fn float_as_wide(x: V) -> Ty {
    if x.ty == Ty::I64 { Ty::F64 } else { Ty::F32 }
}
