//! Lane-wise instructions: the result of a lane depends on that lane's operands alone.
//!
//! Each table declares an instruction once: the mnemonics it answers to and what it computes. A table has one signature of
//! 32-bit (`u32`) and 64-bit (`u64`) registers; 16-bit registers are 32-bit ones whose upper half is zero, and floats are
//! their bits.
//!
//! `*.approx` and `div.full` give the correctly rounded value or the C library's; a GPU's own approximation differs within
//! the bounds of the PTX ISA. None of these readings has been held against a GPU yet (`tests/recorded`).

pub mod compare;
pub mod convert;
pub mod double;
pub mod half;
pub mod int32;
pub mod int64;
pub mod single;

/// Threads of a warp.
pub const WARP: usize = 32;

/// One value per lane.
pub type Lanes<T> = [T; WARP];

/// `f` in every lane.
#[inline(always)]
pub fn map1<A: Copy, R: Copy + Default>(a: &Lanes<A>, f: impl Fn(A) -> R) -> Lanes<R> {
    let mut out = [R::default(); WARP];
    for (r, &a) in out.iter_mut().zip(a) {
        *r = f(a);
    }
    out
}

/// `f` in every lane.
#[inline(always)]
pub fn map2<A: Copy, B: Copy, R: Copy + Default>(a: &Lanes<A>, b: &Lanes<B>, f: impl Fn(A, B) -> R) -> Lanes<R> {
    let mut out = [R::default(); WARP];
    for ((r, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *r = f(a, b);
    }
    out
}

/// `f` in every lane.
#[inline(always)]
pub fn map3<A: Copy, B: Copy, C: Copy, R: Copy + Default>(
    a: &Lanes<A>,
    b: &Lanes<B>,
    c: &Lanes<C>,
    f: impl Fn(A, B, C) -> R,
) -> Lanes<R> {
    let mut out = [R::default(); WARP];
    for (((r, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *r = f(a, b, c);
    }
    out
}

/// A mask with bit `i` set where `f` holds in lane `i`.
#[inline(always)]
pub fn mask1<A: Copy>(a: &Lanes<A>, f: impl Fn(A) -> bool) -> u32 {
    a.iter()
        .enumerate()
        .fold(0, |mask, (i, &a)| mask | (u32::from(f(a)) << i))
}

/// A mask with bit `i` set where `f` holds in lane `i`.
#[inline(always)]
pub fn mask2<A: Copy>(a: &Lanes<A>, b: &Lanes<A>, f: impl Fn(A, A) -> bool) -> u32 {
    let mut mask = 0;
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        mask |= u32::from(f(a, b)) << i;
    }
    mask
}

/// Declares a table of instructions with one signature.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $map:path, $args:tt -> $result:ty { $($body:tt)* }) => {
        $crate::lanes::table! { @table $args $args $(#[$doc])* $name, $map, $result { $($body)* } }
    };
    (@table ($($arg:ident : $ty:ty),+) $args:tt $(#[$doc:meta])* $name:ident, $map:path, $result:ty {
        $($($text:literal)|+ => $variant:ident $body:expr;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($variant),*
        }

        impl $name {
            /// The instruction of this mnemonic, if it is in the table.
            pub fn named(mnemonic: &str) -> Option<Self> {
                match mnemonic {
                    $($($text)|+ => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Computes all lanes.
            pub fn apply(self, $($arg: &$crate::lanes::Lanes<$ty>),+) -> $crate::lanes::Lanes<$result> {
                match self {
                    $(Self::$variant => $crate::lanes::table!(@call $map, $args, $body),)*
                }
            }
        }
    };
    (@call $map:path, ($($arg:ident : $ty:ty),+), $body:expr) => {
        $map($($arg),+, $body)
    };
}
pub(crate) use table;
