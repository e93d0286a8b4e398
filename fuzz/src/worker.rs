//! Runs inputs one after another, and says which one it is at in a file, so that another process knows when this one dies.

use crate::limits::{SECONDS, WAITING, computed, take_peak};
use crate::mutate;
use crate::targets::Target;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Exit code of a worker whose input takes too long.
pub const HANGS: u8 = 99;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Prints `panic NUMBER WHERE` for each panic and at the end `done INPUTS ACCEPTED PEAK_BYTES SLOWEST_MS`.
pub fn run(target: &Target, seed: u32, from: u64, inputs: u64, time: Option<Duration>, progress: &Path) -> ExitCode {
    let place = File::create(progress).unwrap_or_else(|e| panic!("cannot create {}: {e}", progress.display()));
    let scratch = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() {
        "/dev/shm"
    } else {
        "/tmp"
    })
    .unwrap_or_else(|e| panic!("cannot make a folder for inputs: {e}"));
    std::panic::set_hook(Box::new(|info| {
        let where_ = info
            .location()
            .map_or("?".into(), |l| format!("{}:{}", l.file(), l.line()));
        *LAST_PANIC.lock().unwrap_or_else(|e| e.into_inner()) = format!("{where_} {info}").replace('\n', " ");
    }));
    let seeds = (target.seeds)();
    let begun = Instant::now();
    let started = watch(begun);
    let (mut done, mut accepted, mut slowest) = (0u64, 0u64, 0u128);
    take_peak();
    while done < inputs && time.is_none_or(|t| begun.elapsed() < t) {
        let number = from + done;
        place
            .write_all_at(&number.to_le_bytes(), 0)
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", progress.display()));
        let input = mutate::input(target, &seeds, seed, number);
        let at = Instant::now();
        started.store(begun.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
        match catch_unwind(AssertUnwindSafe(|| (target.run)(&input, scratch.path()))) {
            Ok(true) => accepted += 1,
            Ok(false) => {}
            Err(_) => println!(
                "panic {number} {}",
                LAST_PANIC.lock().unwrap_or_else(|e| e.into_inner())
            ),
        }
        started.store(0, Ordering::Relaxed);
        slowest = slowest.max(at.elapsed().as_millis());
        done += 1;
    }
    println!("done {done} {accepted} {} {slowest}", take_peak());
    ExitCode::SUCCESS
}

/// Ends the process when an input takes too long. What is returned holds the begin of the present one, 0 between inputs.
fn watch(begun: Instant) -> &'static AtomicU64 {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(move || {
        // The input that was seen last, and what was computed until then.
        let (mut seen, mut before) = (0, 0);
        loop {
            std::thread::park_timeout(Duration::from_millis(250));
            let started = STARTED.load(Ordering::Relaxed);
            if started != seen {
                (seen, before) = (started, computed());
            }
            let waited = begun.elapsed().as_millis() as u64 > started + WAITING * 1000;
            if started != 0 && (computed() > before + SECONDS || waited) {
                std::process::exit(HANGS.into());
            }
        }
    });
    &STARTED
}
