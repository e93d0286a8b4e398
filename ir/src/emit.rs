//! What backends share when they write code for kernel IR: functions of numbers, random numbers, and where scalar values are
//! computed.
//!
//! It is written once over [`Build`], which a backend implements with the instructions of its code generator. So backends
//! evaluate the same expressions in the same order, and agree almost to the bit.

#[cfg(test)]
mod host;
pub mod math;
pub mod place;
pub mod random;

pub use place::{Placement, Point};

/// Instructions on numbers. A backend may have vectors too: then everything is done lane by lane, and a constant is in every
/// lane.
pub trait Build {
    /// A number of f32, f64, i32 or i64, or a truth.
    type V: Copy;

    fn is_f64(&self, x: Self::V) -> bool;
    /// A constant of the type of `like`, a float.
    fn float(&self, like: Self::V, v: f64) -> Self::V;
    /// A constant of the type of `like`, an integer.
    fn int(&self, like: Self::V, v: i64) -> Self::V;
    fn word(&self, v: u32) -> Self::V;

    fn fadd(&self, x: Self::V, y: Self::V) -> Self::V;
    fn fsub(&self, x: Self::V, y: Self::V) -> Self::V;
    fn fmul(&self, x: Self::V, y: Self::V) -> Self::V;
    fn fdiv(&self, x: Self::V, y: Self::V) -> Self::V;
    fn fneg(&self, x: Self::V) -> Self::V;
    fn fabs(&self, x: Self::V) -> Self::V;
    /// x * y + z, rounded once.
    fn fma(&self, x: Self::V, y: Self::V, z: Self::V) -> Self::V;
    fn copysign(&self, magnitude: Self::V, sign: Self::V) -> Self::V;

    /// Comparisons of floats; false where either is NaN.
    fn is_less(&self, x: Self::V, y: Self::V) -> Self::V;
    fn is_greater(&self, x: Self::V, y: Self::V) -> Self::V;
    fn is_at_least(&self, x: Self::V, y: Self::V) -> Self::V;
    fn is_equal(&self, x: Self::V, y: Self::V) -> Self::V;
    /// Whether `x` is less than `y`, or NaN.
    fn is_less_or_nan(&self, x: Self::V, y: Self::V) -> Self::V;
    fn select(&self, condition: Self::V, then: Self::V, other: Self::V) -> Self::V;

    fn iadd(&self, x: Self::V, y: Self::V) -> Self::V;
    fn isub(&self, x: Self::V, y: Self::V) -> Self::V;
    fn imul(&self, x: Self::V, y: Self::V) -> Self::V;
    fn or(&self, x: Self::V, y: Self::V) -> Self::V;
    fn xor(&self, x: Self::V, y: Self::V) -> Self::V;
    fn shl(&self, x: Self::V, by: u32) -> Self::V;
    /// Fills with zeros.
    fn lshr(&self, x: Self::V, by: u32) -> Self::V;
    /// Fills with the sign.
    fn ashr(&self, x: Self::V, by: u32) -> Self::V;

    /// The bits of a float, as an integer of its width.
    fn to_bits(&self, x: Self::V) -> Self::V;
    /// The float of these bits.
    fn of_bits(&self, x: Self::V) -> Self::V;
    /// An integer that fits 32 bits with its sign, as a float of its own width.
    fn to_float(&self, x: Self::V) -> Self::V;

    /// A loop: `step` of `count`, ..., 2, 1, each an f64, and of what the step before gave, at first `init`.
    fn count_down(&self, count: i64, init: Self::V, step: impl Fn(Self::V, Self::V) -> Self::V) -> Self::V;
}
