//! Most multiply-adds per second, measured: independent chains of vector FMAs that never leave registers.

use std::thread::Builder;
use std::time::Instant;

const STEPS: usize = 2_000_000;
const CHAINS: usize = 12;

/// GFLOP/s of all threads together; the best of a few tries, since other work only slows them.
pub fn gflops(threads: usize) -> f64 {
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
    (0..5).map(|_| once()).fold(0.0, f64::max)
}

/// Runs the widest chains this processor has; returns the operations done.
fn chains() -> f64 {
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F.
        unsafe { wide() }
    } else if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has AVX2 and FMA.
        unsafe { narrow() }
    } else {
        0.0
    }
}

#[target_feature(enable = "avx512f")]
fn wide() -> f64 {
    use std::arch::x86_64::*;
    let (m, a) = (
        _mm512_set1_ps(std::hint::black_box(0.5)),
        _mm512_set1_ps(std::hint::black_box(1.0)),
    );
    let mut x = [a; CHAINS];
    for _ in 0..STEPS {
        for v in &mut x {
            *v = _mm512_fmadd_ps(*v, m, a);
        }
    }
    std::hint::black_box(x);
    (STEPS * CHAINS * 16 * 2) as f64
}

#[target_feature(enable = "avx2,fma")]
fn narrow() -> f64 {
    use std::arch::x86_64::*;
    let (m, a) = (
        _mm256_set1_ps(std::hint::black_box(0.5)),
        _mm256_set1_ps(std::hint::black_box(1.0)),
    );
    let mut x = [a; CHAINS];
    for _ in 0..STEPS {
        for v in &mut x {
            *v = _mm256_fmadd_ps(*v, m, a);
        }
    }
    std::hint::black_box(x);
    (STEPS * CHAINS * 8 * 2) as f64
}
