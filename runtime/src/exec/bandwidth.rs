//! Bytes per second between processor and memory, measured: `a += s * b` over arrays that no cache holds.

use super::arena::Arena;
use std::thread::Builder;
use std::time::Instant;

/// Elements of each of the two arrays, all threads together.
const ELEMENTS: usize = 32 << 20;
/// Ends of an array that are worked on at once. More of them keep more of the memory's queues busy.
const STREAMS: usize = 2;
/// Elements of a cache line.
const LINE: usize = 16;

/// GB/s of all threads together, each over its own part; the best of a few tries, since other work only slows them. Two
/// arrays are read, and one written in place: nothing is moved that is not counted, unlike where an array is only written.
pub fn gbs(threads: usize) -> f64 {
    let threads = if threads == 0 {
        std::thread::available_parallelism().map_or(1, |n| n.get())
    } else {
        threads
    };
    let part = (ELEMENTS / threads).next_multiple_of(STREAMS * LINE);
    let mut parts: Vec<[Arena; 2]> = (0..threads).map(|_| [(); 2].map(|()| Arena::new(part * 4))).collect();
    // Memory that was never written is one page of zeros, however much of it is read.
    for [a, b] in &mut parts {
        a.floats(part).fill(1.0);
        b.floats(part).fill(1.0);
    }
    (0..8).map(|_| once(&mut parts, part)).fold(0.0, f64::max)
}

fn once(parts: &mut [[Arena; 2]], part: usize) -> f64 {
    let bytes = parts.len() * part * 12;
    let start = Instant::now();
    std::thread::scope(|s| {
        for [a, b] in parts {
            // Where there are no more threads, those that there are show what they can.
            let _ = Builder::new().spawn_scoped(s, || update(a.floats(part), b.floats(part)));
        }
    });
    bytes as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn update(a: &mut [f32], b: &[f32]) {
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has AVX2 and FMA.
        unsafe { wide(a, b) }
    } else {
        lines(a, b);
    }
}

#[target_feature(enable = "avx2,fma")]
fn wide(a: &mut [f32], b: &[f32]) {
    lines(a, b);
}

#[inline(always)]
fn lines(a: &mut [f32], b: &[f32]) {
    let scale = std::hint::black_box(0.5);
    let stream = a.len() / STREAMS;
    for at in (0..stream).step_by(LINE) {
        for s in 0..STREAMS {
            let line = s * stream + at..s * stream + at + LINE;
            for (a, b) in a[line.clone()].iter_mut().zip(&b[line]) {
                *a += scale * b;
            }
        }
    }
    std::hint::black_box(a);
}
