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

/// A of a warp's 8 rows, by k: the row of each lane. B by k: the column of each of 8 lanes, for two columns of every 8.
type LaneRows = [[f32; WARP]; 16];
type LaneColumns = [[f32; 8]; 16];

/// Adds to the registers of `COUNT` pairs of columns at `d` (of half `h`), 8 lanes at a time.
#[inline(always)]
fn strip<const COUNT: usize>(left: &LaneRows, right: &[LaneColumns], d: &[u16], h: usize, regs: &mut [Lanes<u32>]) {
    let index = |q: usize| usize::from(d[4 * (q / 2) + 2 * h + q % 2]);
    for lanes in 0..WARP / 8 {
        let at = 8 * lanes..8 * lanes + 8;
        let mut sums = [[0.0f32; 8]; COUNT];
        for (q, sums) in sums.iter_mut().enumerate() {
            let from = &regs[index(q)][at.clone()];
            sums.iter_mut().zip(from).for_each(|(s, r)| *s = f32::from_bits(*r));
        }
        for k in 0..16 {
            let mut row = [0.0; 8];
            row.copy_from_slice(&left[k][at.clone()]);
            for (q, sums) in sums.iter_mut().enumerate() {
                let column = &right[q][k];
                for i in 0..8 {
                    sums[i] += row[i] * column[i];
                }
            }
        }
        for (q, sums) in sums.iter().enumerate() {
            let to = &mut regs[index(q)][at.clone()];
            to.iter_mut().zip(sums).for_each(|(r, s)| *r = s.to_bits());
        }
    }
}

#[inline(always)]
fn strips(left: &LaneRows, right: &[LaneColumns], d: &[u16], h: usize, regs: &mut [Lanes<u32>]) {
    let (mut right, mut d) = (right, d);
    while right.len() >= 8 {
        strip::<8>(left, right, d, h, regs);
        (right, d) = (&right[8..], &d[16..]);
    }
    while !right.is_empty() {
        strip::<2>(left, right, d, h, regs);
        (right, d) = (&right[2..], &d[4..]);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn wide_strips(left: &LaneRows, right: &[LaneColumns], d: &[u16], h: usize, regs: &mut [Lanes<u32>]) {
    strips(left, right, d, h, regs);
}

/// Adds half `h` of a warp's part of a product of a warpgroup to the registers `d`, in order of k, rounding each product and
/// each sum.
pub fn warpgroup_product(left: &LaneRows, right: &[LaneColumns], d: &[u16], h: usize, regs: &mut [Lanes<u32>]) {
    #[cfg(target_arch = "x86_64")]
    if has_fma() {
        // SAFETY: the processor has AVX2 and FMA, the only features the function is compiled for.
        return unsafe { wide_strips(left, right, d, h, regs) };
    }
    strips(left, right, d, h, regs);
}
