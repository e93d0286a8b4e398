//! Fused multiply-add over lanes and products of tiles, with the processor's own instructions where it has them.
//!
//! `mul_add` without them is a call per lane. Which way is taken changes no bit.

use crate::lanes::{Lanes, WARP};

#[inline(always)]
fn single(a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
    let mut out = [0; WARP];
    for i in 0..WARP {
        out[i] = f32::from_bits(a[i])
            .mul_add(f32::from_bits(b[i]), f32::from_bits(c[i]))
            .to_bits();
    }
    out
}

#[inline(always)]
fn double(a: &Lanes<u64>, b: &Lanes<u64>, c: &Lanes<u64>) -> Lanes<u64> {
    let mut out = [0; WARP];
    for i in 0..WARP {
        out[i] = f64::from_bits(a[i])
            .mul_add(f64::from_bits(b[i]), f64::from_bits(c[i]))
            .to_bits();
    }
    out
}

/// Up to 16 rows and 16 columns.
pub type Left = [[f32; 16]; 16];
/// Up to 16 rows of 8 columns.
pub type Right = [[f32; 8]; 16];
/// 16 rows of 8 columns.
pub type Sums = [[f32; 8]; 16];

#[inline(always)]
fn tiles<const K: usize>(left: &Left, right: &Right, sums: &mut Sums) {
    for (sums, left) in sums.chunks_exact_mut(4).zip(left.chunks_exact(4)) {
        for k in 0..K {
            for (sums, left) in sums.iter_mut().zip(left) {
                for (sum, b) in sums.iter_mut().zip(&right[k]) {
                    *sum += left[k] * b;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::*;

    #[target_feature(enable = "avx2,fma")]
    pub fn tiles<const K: usize>(left: &Left, right: &Right, sums: &mut Sums) {
        super::tiles::<K>(left, right, sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn single(a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
        super::single(a, b, c)
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn double(a: &Lanes<u64>, b: &Lanes<u64>, c: &Lanes<u64>) -> Lanes<u64> {
        super::double(a, b, c)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_fma() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// `fma.rn.f32` on the bits of singles.
pub fn fma_f32(a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
    #[cfg(target_arch = "x86_64")]
    if has_fma() {
        // SAFETY: the processor has AVX2 and FMA, the only features the function is compiled for.
        return unsafe { wide::single(a, b, c) };
    }
    single(a, b, c)
}

/// `fma.rn.f64` on the bits of doubles.
pub fn fma_f64(a: &Lanes<u64>, b: &Lanes<u64>, c: &Lanes<u64>) -> Lanes<u64> {
    #[cfg(target_arch = "x86_64")]
    if has_fma() {
        // SAFETY: the processor has AVX2 and FMA, the only features the function is compiled for.
        return unsafe { wide::double(a, b, c) };
    }
    double(a, b, c)
}

/// Adds the product of `left`'s first `K` columns and `right`'s first `K` rows to `sums`, in order of k, rounding each
/// product and each sum.
pub fn product<const K: usize>(left: &Left, right: &Right, sums: &mut Sums) {
    #[cfg(target_arch = "x86_64")]
    if has_fma() {
        // SAFETY: the processor has AVX2 and FMA, the only features the function is compiled for.
        return unsafe { wide::tiles::<K>(left, right, sums) };
    }
    tiles::<K>(left, right, sums);
}
