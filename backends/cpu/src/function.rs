//! The scalar functions of kernel IR.

use crate::entry::{Entry, V};
use inkwell::{FloatPredicate, IntPredicate};
use ir::scalar::{Binary, DType, Unary};

impl<'c> Entry<'_, 'c> {
    pub fn unary(&self, f: Unary, x: V<'c>) -> V<'c> {
        let float = self.scalar_type(x).is_float_type();
        match f {
            Unary::Neg if float => self.fneg(x),
            Unary::Neg => self.sub(self.i32(0), x),
            Unary::Abs if float => self.intrinsic("llvm.fabs", &[x]),
            Unary::Abs => self.select(
                self.icmp(IntPredicate::SLT, x, self.i32(0)),
                self.sub(self.i32(0), x),
                x,
            ),
            Unary::Exp => self.exp(x),
            Unary::Log => self.log(x),
            Unary::Sqrt => self.intrinsic("llvm.sqrt", &[x]),
            Unary::Rsqrt => self.fdiv(self.float_like(x, 1.0), self.intrinsic("llvm.sqrt", &[x])),
            Unary::Erf => self.erf(x),
            Unary::Tanh => self.tanh(x),
            Unary::Not => self.truth(self.icmp(IntPredicate::EQ, x, self.i32(0))),
        }
    }

    pub fn binary(&self, f: Binary, x: V<'c>, y: V<'c>) -> V<'c> {
        let float = self.scalar_type(x).is_float_type();
        let compare = |fp, ip| {
            self.truth(if float {
                self.fcmp(fp, x, y)
            } else {
                self.icmp(ip, x, y)
            })
        };
        let set = |v| self.icmp(IntPredicate::NE, v, self.i32(0));
        match f {
            Binary::Add if float => self.fadd(x, y),
            Binary::Add => self.add(x, y),
            Binary::Sub if float => self.fsub(x, y),
            Binary::Sub => self.sub(x, y),
            Binary::Mul if float => self.fmul(x, y),
            Binary::Mul => self.mul(x, y),
            Binary::Div => self.fdiv(x, y),
            Binary::FloorDiv => {
                // Exact in f64 for all i32, and no lane can trap. The divisor of lanes that do not exist may be 0.
                let y = self.select(self.icmp(IntPredicate::SGT, y, self.i32(1)), y, self.i32(1));
                let q = self.fdiv(self.cast(x, DType::F64), self.cast(y, DType::F64));
                self.cast(self.intrinsic("llvm.floor", &[q]), DType::I32)
            }
            Binary::Max if float => self.fmax(x, y),
            Binary::Max => self.select(self.icmp(IntPredicate::SGT, x, y), x, y),
            Binary::Min if float => self.fmin(x, y),
            Binary::Min => self.select(self.icmp(IntPredicate::SLT, x, y), x, y),
            Binary::Less => compare(FloatPredicate::OLT, IntPredicate::SLT),
            Binary::LessEq => compare(FloatPredicate::OLE, IntPredicate::SLE),
            Binary::Equal => compare(FloatPredicate::OEQ, IntPredicate::EQ),
            Binary::And => self.truth(self.and(set(x), set(y))),
            Binary::Or => self.truth(self.or(set(x), set(y))),
        }
    }
}
