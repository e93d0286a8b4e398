//! What Prometheus reads.

use super::Service;
use crate::engine::Ran;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Upper ends of a histogram's classes.
const SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
const TOGETHER: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];

/// Counts since the start.
#[derive(Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
    pub(super) connections: AtomicI64,
    pub(super) streams: AtomicI64,
}

struct Histogram<const N: usize> {
    ends: [f64; N],
    below: [u64; N],
    count: u64,
    sum: f64,
}

impl<const N: usize> Histogram<N> {
    fn new(ends: [f64; N]) -> Histogram<N> {
        Histogram {
            ends,
            below: [0; N],
            count: 0,
            sum: 0.0,
        }
    }

    fn add(&mut self, value: f64) {
        for (end, below) in self.ends.iter().zip(&mut self.below) {
            *below += u64::from(value <= *end);
        }
        self.count += 1;
        self.sum += value;
    }

    fn show(&self, out: &mut String, name: &str, about: &str) {
        let _ = writeln!(out, "# HELP {name} {about}\n# TYPE {name} histogram");
        for (end, below) in self.ends.iter().zip(&self.below) {
            let _ = writeln!(out, "{name}_bucket{{le=\"{end}\"}} {below}");
        }
        let (count, sum) = (self.count, self.sum);
        let _ = writeln!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
        );
    }
}

struct Counts {
    answers: BTreeMap<u16, u64>,
    took: Histogram<12>,
    together: Histogram<5>,
    waited: f64,
    computed: f64,
    audio: f64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            answers: BTreeMap::new(),
            took: Histogram::new(SECONDS),
            together: Histogram::new(TOGETHER),
            waited: 0.0,
            computed: 0.0,
            audio: 0.0,
        }
    }
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answered(&self, status: u16) {
        *self.counts().answers.entry(status).or_default() += 1;
    }

    /// A recording was transcribed.
    pub(super) fn transcribed(&self, audio: f64, took: f64) {
        let mut counts = self.counts();
        counts.took.add(took);
        counts.audio += audio;
    }

    /// Counts a run of the engine.
    pub fn ran(&self, ran: &Ran) {
        let mut counts = self.counts();
        counts.together.add(ran.stretches as f64);
        counts.computed += ran.took.as_secs_f64();
        counts.waited = counts.waited.max(ran.waited.as_secs_f64());
    }

    /// In Prometheus' text format; `taken` of `places` are taken.
    fn text(&self, taken: usize, places: usize) -> String {
        let counts = self.counts();
        let mut out = String::new();
        let single = |out: &mut String, kind: &str, name: &str, about: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let _ = writeln!(
            out,
            "# HELP w2vc_requests_total Requests answered, by status.\n# TYPE w2vc_requests_total counter"
        );
        for (status, count) in &counts.answers {
            let _ = writeln!(out, "w2vc_requests_total{{status=\"{status}\"}} {count}");
        }
        counts.took.show(
            &mut out,
            "w2vc_transcription_seconds",
            "Seconds from the end of an upload to its transcript.",
        );
        counts.together.show(
            &mut out,
            "w2vc_batch_size",
            "Stretches of recordings that were computed together.",
        );
        let total = "counter";
        single(
            &mut out,
            total,
            "w2vc_audio_seconds_total",
            "Seconds of audio transcribed.",
            counts.audio,
        );
        single(
            &mut out,
            total,
            "w2vc_compute_seconds_total",
            "Seconds that the model computed.",
            counts.computed,
        );
        let gauge = "gauge";
        single(
            &mut out,
            gauge,
            "w2vc_longest_wait_seconds",
            "Longest that a stretch has waited to be computed.",
            counts.waited,
        );
        single(
            &mut out,
            gauge,
            "w2vc_requests_in_progress",
            "Places taken.",
            taken as f64,
        );
        single(
            &mut out,
            gauge,
            "w2vc_places",
            "Places in all (--queue).",
            places as f64,
        );
        let number = |n: &AtomicI64| n.load(Ordering::Relaxed) as f64;
        single(
            &mut out,
            gauge,
            "w2vc_connections",
            "Open connections.",
            number(&self.connections),
        );
        single(&mut out, gauge, "w2vc_streams", "Live streams.", number(&self.streams));
        if let Some(bytes) = crate::memory::resident() {
            single(
                &mut out,
                gauge,
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                bytes as f64,
            );
        }
        out
    }
}

/// Counts one more as long as it lives.
pub(super) struct Held<'a>(&'a AtomicI64);

impl<'a> Held<'a> {
    pub fn new(of: &'a AtomicI64) -> Held<'a> {
        of.fetch_add(1, Ordering::Relaxed);
        Held(of)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn show(State(service): State<Arc<Service>>) -> Response {
    let places = service.limits.places;
    let taken = places.saturating_sub(service.places.available_permits());
    let text = service.metrics.text(taken, places);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_all_that_is_not_above() {
        let metrics = Metrics::default();
        metrics.transcribed(2.0, 0.25);
        metrics.transcribed(3.0, 7.0);
        metrics.answered(200);
        metrics.answered(200);
        metrics.answered(429);
        let text = metrics.text(3, 16);
        for line in [
            "w2vc_requests_total{status=\"200\"} 2",
            "w2vc_requests_total{status=\"429\"} 1",
            "w2vc_transcription_seconds_bucket{le=\"0.1\"} 0",
            "w2vc_transcription_seconds_bucket{le=\"0.25\"} 1",
            "w2vc_transcription_seconds_bucket{le=\"10\"} 2",
            "w2vc_transcription_seconds_bucket{le=\"+Inf\"} 2",
            "w2vc_transcription_seconds_sum 7.25",
            "w2vc_audio_seconds_total 5",
            "w2vc_requests_in_progress 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
