//! Clocks around launches: what each kernel took, and how evenly its threads were busy.

use super::resolve::Run;
use crate::session::KernelTime;
use ir::artifact::Factors;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Nanoseconds that each thread worked on the entry under way.
pub struct Busy(Vec<AtomicU64>);

impl Busy {
    /// Does the work and adds its time to the thread's.
    pub fn time(&self, thread: usize, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        self.0[thread].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
}

/// Sums over all launches of a kernel.
#[derive(Default)]
struct Record {
    launches: usize,
    seconds: f64,
    flops: f64,
    bytes: f64,
    /// Over the kernel's entries, each of which ends where its last thread does: thread-seconds of work, and what they
    /// would have been had every thread worked as long as the busiest.
    worked: f64,
    held: f64,
}

pub struct Recorder {
    busy: Busy,
    /// By index of the kernel.
    records: RefCell<BTreeMap<usize, Record>>,
}

impl Recorder {
    pub fn new(threads: usize) -> Recorder {
        Recorder {
            busy: Busy((0..threads).map(|_| AtomicU64::new(0)).collect()),
            records: RefCell::default(),
        }
    }

    pub fn busy(&self) -> &Busy {
        &self.busy
    }

    /// All threads are done with one of a kernel's entries.
    pub fn entry_done(&self, kernel: usize) {
        let seconds = self.busy.0.iter().map(|n| n.swap(0, Ordering::Relaxed) as f64 / 1e9);
        let (sum, most) = seconds.fold((0.0, 0f64), |(sum, most), s| (sum + s, most.max(s)));
        let mut records = self.records.borrow_mut();
        let record = records.entry(kernel).or_default();
        record.worked += sum;
        record.held += most * self.busy.0.len() as f64;
    }

    /// Those of a launch's entries are done that are done once, before the launch.
    pub fn entries_done(&self, kernel: usize, seconds: f64) {
        self.records.borrow_mut().entry(kernel).or_default().seconds += seconds;
    }

    /// A launch is done; it took so long, all entries and the starting of threads included.
    pub fn launch_done(&self, run: &Run, seconds: f64) {
        let mut records = self.records.borrow_mut();
        let record = records.entry(run.kernel).or_default();
        record.launches += 1;
        record.seconds += seconds;
        record.flops += run.flops;
        record.bytes += run.bytes;
    }

    /// The sums, with the kernels' names, what they do and multiply.
    pub fn times(self, about: impl Fn(usize) -> (String, String, Factors)) -> Vec<KernelTime> {
        let time = |(kernel, r): (usize, Record)| {
            let (kernel, what, factors) = about(kernel);
            KernelTime {
                kernel,
                what,
                factors,
                launches: r.launches,
                seconds: r.seconds,
                flops: r.flops,
                bytes: r.bytes,
                imbalance: Some(if r.held > 0.0 { 1.0 - r.worked / r.held } else { 0.0 }),
            }
        };
        self.records.into_inner().into_iter().map(time).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::resolve::{Address, Memory};

    #[test]
    fn imbalance_is_the_idle_share_of_threads_that_wait_for_the_busiest() {
        let recorder = Recorder::new(2);
        // Two entries, in which another thread each is the busiest.
        for times in [[3_000_000, 1_000_000], [0, 2_000_000]] {
            for (busy, t) in recorder.busy.0.iter().zip(times) {
                busy.store(t, Ordering::Relaxed);
            }
            recorder.entry_done(0);
        }
        let run = Run {
            kernel: 0,
            calls: vec![],
            operands: vec![],
            workspace: Address {
                memory: Memory::Temp,
                byte: 0,
                layer_bytes: 0,
                end: 0,
            },
            flops: 10.0,
            bytes: 4.0,
        };
        recorder.launch_done(&run, 0.006);
        recorder.launch_done(&run, 0.001);
        let times = recorder.times(|kernel| (format!("row_{kernel}"), "rows".into(), Factors::F32));
        let [t] = &times[..] else { panic!("{times:?}") };
        assert_eq!(
            (t.kernel.as_str(), t.launches, t.flops, t.bytes),
            ("row_0", 2, 20.0, 8.0)
        );
        assert!((t.seconds - 0.007).abs() < 1e-9);
        // 6 ms of work where 2 x (3 + 2) ms were held.
        assert!((t.imbalance.unwrap() - 0.4).abs() < 1e-9, "{times:?}");
    }
}
