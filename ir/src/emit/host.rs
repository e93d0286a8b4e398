//! Instructions carried out at once, to test what is written over them.

use super::Build;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Num {
    F32(f32),
    F64(f64),
    I32(i32),
    I64(i64),
    Truth(bool),
}
use Num::*;

pub struct Host;

fn float(f32s: impl Fn(f32, f32) -> f32, f64s: impl Fn(f64, f64) -> f64, x: Num, y: Num) -> Num {
    match (x, y) {
        (F32(x), F32(y)) => F32(f32s(x, y)),
        (F64(x), F64(y)) => F64(f64s(x, y)),
        _ => panic!("two floats, not {x:?} and {y:?}"),
    }
}

fn int(i32s: impl Fn(i32, i32) -> i32, i64s: impl Fn(i64, i64) -> i64, x: Num, y: Num) -> Num {
    match (x, y) {
        (I32(x), I32(y)) => I32(i32s(x, y)),
        (I64(x), I64(y)) => I64(i64s(x, y)),
        _ => panic!("two integers, not {x:?} and {y:?}"),
    }
}

fn compare(how: impl Fn(f64, f64) -> bool, x: Num, y: Num) -> Num {
    match (x, y) {
        (F32(x), F32(y)) => Truth(how(x.into(), y.into())),
        (F64(x), F64(y)) => Truth(how(x, y)),
        _ => panic!("two floats, not {x:?} and {y:?}"),
    }
}

impl Build for Host {
    type V = Num;

    fn is_f64(&self, x: Num) -> bool {
        matches!(x, F64(_))
    }
    fn float(&self, like: Num, v: f64) -> Num {
        if self.is_f64(like) { F64(v) } else { F32(v as f32) }
    }
    fn int(&self, like: Num, v: i64) -> Num {
        if matches!(like, I64(_)) { I64(v) } else { I32(v as i32) }
    }
    fn word(&self, v: u32) -> Num {
        I32(v as i32)
    }

    fn fadd(&self, x: Num, y: Num) -> Num {
        float(|x, y| x + y, |x, y| x + y, x, y)
    }
    fn fsub(&self, x: Num, y: Num) -> Num {
        float(|x, y| x - y, |x, y| x - y, x, y)
    }
    fn fmul(&self, x: Num, y: Num) -> Num {
        float(|x, y| x * y, |x, y| x * y, x, y)
    }
    fn fdiv(&self, x: Num, y: Num) -> Num {
        float(|x, y| x / y, |x, y| x / y, x, y)
    }
    fn fneg(&self, x: Num) -> Num {
        float(|x, _| -x, |x, _| -x, x, x)
    }
    fn fabs(&self, x: Num) -> Num {
        float(|x, _| x.abs(), |x, _| x.abs(), x, x)
    }
    fn fma(&self, x: Num, y: Num, z: Num) -> Num {
        match (x, y, z) {
            (F32(x), F32(y), F32(z)) => F32(x.mul_add(y, z)),
            (F64(x), F64(y), F64(z)) => F64(x.mul_add(y, z)),
            _ => panic!("three floats, not {x:?}, {y:?} and {z:?}"),
        }
    }
    fn copysign(&self, magnitude: Num, sign: Num) -> Num {
        float(f32::copysign, f64::copysign, magnitude, sign)
    }

    fn is_less(&self, x: Num, y: Num) -> Num {
        compare(|x, y| x < y, x, y)
    }
    fn is_greater(&self, x: Num, y: Num) -> Num {
        compare(|x, y| x > y, x, y)
    }
    fn is_at_least(&self, x: Num, y: Num) -> Num {
        compare(|x, y| x >= y, x, y)
    }
    fn is_equal(&self, x: Num, y: Num) -> Num {
        compare(|x, y| x == y, x, y)
    }
    fn is_less_or_nan(&self, x: Num, y: Num) -> Num {
        compare(|x, y| x < y || x.is_nan() || y.is_nan(), x, y)
    }
    fn select(&self, condition: Num, then: Num, other: Num) -> Num {
        match condition {
            Truth(true) => then,
            Truth(false) => other,
            _ => panic!("a truth, not {condition:?}"),
        }
    }

    fn iadd(&self, x: Num, y: Num) -> Num {
        int(i32::wrapping_add, i64::wrapping_add, x, y)
    }
    fn isub(&self, x: Num, y: Num) -> Num {
        int(i32::wrapping_sub, i64::wrapping_sub, x, y)
    }
    fn imul(&self, x: Num, y: Num) -> Num {
        int(i32::wrapping_mul, i64::wrapping_mul, x, y)
    }
    fn or(&self, x: Num, y: Num) -> Num {
        int(|x, y| x | y, |x, y| x | y, x, y)
    }
    fn xor(&self, x: Num, y: Num) -> Num {
        int(|x, y| x ^ y, |x, y| x ^ y, x, y)
    }
    fn shl(&self, x: Num, by: u32) -> Num {
        int(|x, _| x << by, |x, _| x << by, x, x)
    }
    fn lshr(&self, x: Num, by: u32) -> Num {
        int(|x, _| (x as u32 >> by) as i32, |x, _| (x as u64 >> by) as i64, x, x)
    }
    fn ashr(&self, x: Num, by: u32) -> Num {
        int(|x, _| x >> by, |x, _| x >> by, x, x)
    }

    fn to_bits(&self, x: Num) -> Num {
        match x {
            F32(x) => I32(x.to_bits() as i32),
            F64(x) => I64(x.to_bits() as i64),
            _ => panic!("a float, not {x:?}"),
        }
    }
    fn of_bits(&self, x: Num) -> Num {
        match x {
            I32(x) => F32(f32::from_bits(x as u32)),
            I64(x) => F64(f64::from_bits(x as u64)),
            _ => panic!("an integer, not {x:?}"),
        }
    }
    fn to_float(&self, x: Num) -> Num {
        match x {
            I32(x) => F32(x as f32),
            I64(x) => F64(x as f64),
            _ => panic!("an integer, not {x:?}"),
        }
    }

    fn count_down(&self, count: i64, init: Num, step: impl Fn(Num, Num) -> Num) -> Num {
        (1..=count).rev().fold(init, |carried, n| step(F64(n as f64), carried))
    }
}
