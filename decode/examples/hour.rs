//! Time to align an hour with 10,000 words: `cargo run --release -p w2vc-decode --example hour`.

use std::time::Instant;
use w2vc_decode::align::{self, Matrix, log_softmax};

fn main() {
    let (classes, words, frames) = (32, 10_000, 179_999);
    let mut state = 1u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut labels = vec![];
    for _ in 0..words {
        labels.extend((0..5).map(|_| 5 + (random() * 27.0) as u32));
        labels.push(4);
    }
    // The text is spread evenly; each letter is a frame or two long, with noise in all classes.
    let mut values: Vec<f32> = (0..frames * classes).map(|_| -4.0 * random()).collect();
    let mut truth = vec![];
    let step = frames as f64 / labels.len() as f64;
    for frame in 0..frames {
        let at = (frame as f64 / step) as usize;
        let start = (at as f64 * step).ceil() as usize;
        let class = if frame == start { labels[at] as usize } else { 0 };
        values[frame * classes + class] += 4.0;
        if frame == start {
            truth.push(frame);
        }
    }
    log_softmax(&mut values, classes);
    let start = Instant::now();
    let found = align::labels(&Matrix::new(&values, classes), 0, &labels).expect("it fits");
    let seconds = start.elapsed().as_secs_f64();
    let near = found
        .spans
        .iter()
        .zip(&truth)
        .filter(|(s, t)| s.start.abs_diff(**t) <= 2)
        .count();
    println!(
        "{} labels in {frames} frames: {seconds:.1} s, {:.2} ns a frame and state; {:.2} % of starts within 2 frames",
        labels.len(),
        seconds * 1e9 / frames as f64 / (2 * labels.len() + 1) as f64,
        100.0 * near as f64 / labels.len() as f64
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    println!("{peak}");
}
