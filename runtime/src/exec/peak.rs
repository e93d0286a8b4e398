//! Most multiply-adds per second, measured: independent chains of vector instructions that never leave registers.

use crate::profile::{Flops, Peaks};
use std::arch::x86_64::*;
use std::hint::black_box;
use std::thread::Builder;
use std::time::Instant;

const STEPS: usize = 2_000_000;
const CHAINS: usize = 12;
const ROUNDS: usize = 5;

/// Runs chains; returns the operations done, 0 where the processor lacks the instructions.
type Chains = fn() -> f64;

/// Those of f32, and of the kinds that there are any of.
pub fn measure(threads: usize, of: &Flops) -> Peaks {
    let wanted = |flops: f64, chains: Chains| (flops > 0.0).then(|| gflops(threads, chains));
    let there = |peak: &f64| *peak > 0.0;
    Peaks {
        f32: gflops(threads, f32_chains),
        bf16: wanted(of.bf16, bf16_chains).filter(there),
        int8: wanted(of.int8, int8_chains).filter(there),
    }
}

/// GFLOP/s of all threads together; the best of a few tries, since other work only slows them.
fn gflops(threads: usize, chains: Chains) -> f64 {
    let threads = if threads == 0 {
        std::thread::available_parallelism().map_or(1, |n| n.get())
    } else {
        threads
    };
    let once = || {
        let start = Instant::now();
        let flops: f64 = std::thread::scope(|s| {
            let started = (0..threads).map_while(|_| Builder::new().spawn_scoped(s, chains).ok());
            let jobs: Vec<_> = started.collect();
            if jobs.is_empty() {
                return chains();
            }
            jobs.into_iter().map(|j| j.join().unwrap_or(0.0)).sum()
        });
        flops / start.elapsed().as_secs_f64() / 1e9
    };
    (0..ROUNDS).map(|_| once()).fold(0.0, f64::max)
}

fn f32_chains() -> f64 {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F.
        unsafe { f32_wide() }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has AVX2 and FMA.
        unsafe { f32_narrow() }
    } else {
        0.0
    }
}

fn bf16_chains() -> f64 {
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the processor has AVX512-BF16.
        unsafe { bf16_wide() }
    } else {
        0.0
    }
}

fn int8_chains() -> f64 {
    if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the processor has AVX512-VNNI.
        unsafe { int8_vnni() }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { int8_narrow() }
    } else {
        0.0
    }
}

/// Does `step` on every chain, `STEPS` times; an instruction has `products` multiply-adds.
#[inline(always)]
fn run<V: Copy>(start: V, products: usize, step: impl Fn(V) -> V) -> f64 {
    let mut x = [start; CHAINS];
    for _ in 0..STEPS {
        for v in &mut x {
            *v = step(*v);
        }
    }
    black_box(x);
    (STEPS * CHAINS * products * 2) as f64
}

#[target_feature(enable = "avx512f")]
fn f32_wide() -> f64 {
    let (m, a) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
    run(a, 16, |v| _mm512_fmadd_ps(v, m, a))
}

#[target_feature(enable = "avx2,fma")]
fn f32_narrow() -> f64 {
    let (m, a) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
    run(a, 8, |v| _mm256_fmadd_ps(v, m, a))
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_wide() -> f64 {
    // SAFETY: both are 64 bytes, and all bits are those of some bf16: here 2^-7.
    let m: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi16(black_box(0x3c00))) };
    run(_mm512_set1_ps(black_box(1.0)), 32, |v| _mm512_dpbf16_ps(v, m, m))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn int8_vnni() -> f64 {
    let m = _mm512_set1_epi8(black_box(1));
    run(_mm512_setzero_si512(), 64, |v| _mm512_dpbusd_epi32(v, m, m))
}

/// As products of bytes are made without VNNI: pairs in 16 bits, two such sums, pairs of these.
#[target_feature(enable = "avx2")]
fn int8_narrow() -> f64 {
    let (m, ones) = (_mm256_set1_epi8(black_box(1)), _mm256_set1_epi16(1));
    run(_mm256_setzero_si256(), 64, |v| {
        // What is multiplied hangs on the chain, so that nothing can be done once for all.
        let x = _mm256_maddubs_epi16(_mm256_or_si256(v, m), m);
        let y = _mm256_maddubs_epi16(m, _mm256_or_si256(v, m));
        _mm256_add_epi32(v, _mm256_madd_epi16(_mm256_add_epi16(x, y), ones))
    })
}
