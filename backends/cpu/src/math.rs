//! Functions of numbers, by the expansions of `ir::emit::math`.

use crate::entry::{Entry, V};
use inkwell::{FloatPredicate, IntPredicate};
use ir::emit::{Build, math};
use ir::scalar::DType;

impl<'c> Build for Entry<'_, 'c> {
    type V = V<'c>;

    fn is_f64(&self, x: V<'c>) -> bool {
        self.is_f64(x)
    }
    fn float(&self, like: V<'c>, v: f64) -> V<'c> {
        self.splat(self.float_like(like, v), self.lanes_of(like))
    }
    fn int(&self, like: V<'c>, v: i64) -> V<'c> {
        let one = self.scalar_type(like).into_int_type().const_int(v as u64, false);
        self.splat(one.into(), self.lanes_of(like))
    }
    fn word(&self, v: u32) -> V<'c> {
        self.i32(v as i32)
    }

    fn fadd(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fadd(x, y)
    }
    fn fsub(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fsub(x, y)
    }
    fn fmul(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fmul(x, y)
    }
    fn fdiv(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fdiv(x, y)
    }
    fn fneg(&self, x: V<'c>) -> V<'c> {
        self.fneg(x)
    }
    fn fabs(&self, x: V<'c>) -> V<'c> {
        self.intrinsic("llvm.fabs", &[x])
    }
    fn fma(&self, x: V<'c>, y: V<'c>, z: V<'c>) -> V<'c> {
        self.fma(x, y, z)
    }
    fn copysign(&self, magnitude: V<'c>, sign: V<'c>) -> V<'c> {
        self.intrinsic("llvm.copysign", &[magnitude, sign])
    }

    fn is_less(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fcmp(FloatPredicate::OLT, x, y)
    }
    fn is_greater(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fcmp(FloatPredicate::OGT, x, y)
    }
    fn is_at_least(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fcmp(FloatPredicate::OGE, x, y)
    }
    fn is_equal(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fcmp(FloatPredicate::OEQ, x, y)
    }
    fn is_less_or_nan(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        self.fcmp(FloatPredicate::ULT, x, y)
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
        self.shl(x, self.int(x, by.into()))
    }
    fn lshr(&self, x: V<'c>, by: u32) -> V<'c> {
        self.lshr(x, by.into())
    }
    fn ashr(&self, x: V<'c>, by: u32) -> V<'c> {
        self.ashr(x, by.into())
    }

    fn to_bits(&self, x: V<'c>) -> V<'c> {
        let to = if self.is_f64(x) {
            self.ctx.i64_type()
        } else {
            self.ctx.i32_type()
        };
        self.bit_cast(x, to.into())
    }
    fn of_bits(&self, x: V<'c>) -> V<'c> {
        let wide = self.scalar_type(x).into_int_type().get_bit_width() == 64;
        self.bit_cast(x, self.ty(if wide { DType::F64 } else { DType::F32 }))
    }
    fn to_float(&self, x: V<'c>) -> V<'c> {
        if self.scalar_type(x).into_int_type().get_bit_width() == 64 {
            return self.cast(self.resize(x, 32), DType::F64);
        }
        self.cast(x, DType::F32)
    }

    fn count_down(&self, count: i64, init: V<'c>, step: impl Fn(V<'c>, V<'c>) -> V<'c>) -> V<'c> {
        let l = self.open_loop(self.i64(0), self.i64(count), &[init]);
        let left = self.resize(self.isub(self.i64(count), l.index).into(), 32);
        let next = step(self.cast(left, DType::F64), l.carried[0]);
        self.close_loop(l, self.i64(1), &[next])[0]
    }
}

impl<'c> Entry<'_, 'c> {
    pub fn exp(&self, x: V<'c>) -> V<'c> {
        math::exp(self, x)
    }

    pub fn log(&self, x: V<'c>) -> V<'c> {
        math::log(self, x)
    }

    pub fn erf(&self, x: V<'c>) -> V<'c> {
        math::erf(self, x)
    }

    pub fn tanh(&self, x: V<'c>) -> V<'c> {
        math::tanh(self, x)
    }

    /// The larger of two values of any type, NaN first.
    pub fn max(&self, x: V<'c>, y: V<'c>) -> V<'c> {
        if self.scalar_type(x).is_float_type() {
            return self.fmax(x, y);
        }
        self.select(self.icmp(IntPredicate::SGT, x, y), x, y)
    }
}

#[cfg(test)]
mod tests;
