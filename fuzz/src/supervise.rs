//! Starts workers, one per core, and gathers what they find.

use crate::mutate;
use crate::targets::Target;
use crate::worker::HANGS;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub struct Plan {
    pub seed: u32,
    pub from: u64,
    /// Of each target.
    pub inputs: u64,
    /// For each target.
    pub time: Option<Duration>,
    /// Processes at a time.
    pub workers: Option<u64>,
    /// Where inputs are kept.
    pub found: PathBuf,
    /// Keep inputs that found nothing, too.
    pub keep_all: bool,
}

#[derive(Default)]
struct Report {
    inputs: u64,
    accepted: u64,
    peak: u64,
    slowest: u64,
    /// What went wrong, with the first input and how many there were.
    found: BTreeMap<String, (u64, u64)>,
}

/// Whether nothing was found.
pub fn run(targets: &[&Target], plan: &Plan) -> io::Result<bool> {
    println!(
        "{:<12} {:>10} {:>9} {:>9} {:>9}  found",
        "target", "inputs", "accepted", "MiB", "slowest"
    );
    let mut clean = true;
    let mut all = 0;
    for target in targets {
        let report = one(target, plan)?;
        all += report.inputs;
        println!(
            "{:<12} {:>10} {:>7.1} % {:>9.1} {:>6} ms  {}",
            target.name,
            report.inputs,
            100.0 * report.accepted as f64 / report.inputs.max(1) as f64,
            report.peak as f64 / (1 << 20) as f64,
            report.slowest,
            if report.found.is_empty() {
                "nothing".into()
            } else {
                report.found.len().to_string()
            },
        );
        for (what, (number, times)) in &report.found {
            clean = false;
            println!(
                "    {what}\n        {times} times; w2vc-fuzz {} --seed {} --again {number}",
                target.name, plan.seed
            );
        }
        let seeds = (target.seeds)();
        let numbers = report
            .found
            .values()
            .map(|f| f.0)
            .chain(plan.keep_all.then_some(plan.from));
        for number in numbers {
            let folder = plan.found.join(format!("{}-{}-{number}", target.name, plan.seed));
            fs::create_dir_all(&folder)?;
            let path = mutate::input(target, &seeds, plan.seed, number).write(&folder)?;
            println!("        kept: {}", path.display());
        }
    }
    println!("{all} inputs");
    Ok(clean)
}

/// Workers take turns of so many inputs, so that the count goes on where a worker dies.
fn one(target: &Target, plan: &Plan) -> io::Result<Report> {
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
    let cores = plan.workers.unwrap_or_else(cores);
    // Each worker has numbers far from the others'. Where the count is given, the numbers are the same on any machine.
    let shares: Vec<(u64, u64)> = if plan.inputs == u64::MAX {
        (0..cores).map(|i| (plan.from + (i << 40), u64::MAX)).collect()
    } else {
        let share = plan.inputs.div_ceil(cores);
        (0..cores)
            .map(|i| (plan.from + i * share, share.min(plan.inputs.saturating_sub(i * share))))
            .filter(|s| s.1 > 0)
            .collect()
    };
    let reports: Vec<io::Result<Report>> = std::thread::scope(|s| {
        let threads: Vec<_> = shares
            .iter()
            .map(|&(from, inputs)| s.spawn(move || share(target, plan, from, inputs)))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
            .collect()
    });
    let mut sum = Report::default();
    for r in reports {
        let r = r?;
        sum.inputs += r.inputs;
        sum.accepted += r.accepted;
        sum.peak = sum.peak.max(r.peak);
        sum.slowest = sum.slowest.max(r.slowest);
        for (what, (number, times)) in r.found {
            let entry = sum.found.entry(what).or_insert((number, 0));
            *entry = (entry.0.min(number), entry.1 + times);
        }
    }
    Ok(sum)
}

/// Inputs of one worker, which is started again behind an input that ends it.
fn share(target: &Target, plan: &Plan, mut from: u64, inputs: u64) -> io::Result<Report> {
    let end = from.saturating_add(inputs);
    let begun = Instant::now();
    let mut sum = Report::default();
    while from < end {
        let left = plan.time.map(|t| t.saturating_sub(begun.elapsed()));
        if left.is_some_and(|t| t.is_zero()) {
            break;
        }
        let (report, died) = worker(target, plan.seed, from, end - from, left)?;
        sum.inputs += report.inputs;
        sum.accepted += report.accepted;
        sum.peak = sum.peak.max(report.peak);
        sum.slowest = sum.slowest.max(report.slowest);
        for (what, (number, times)) in report.found {
            let entry = sum.found.entry(what).or_insert((number, 0));
            entry.1 += times;
        }
        let Some((number, how)) = died else { break };
        sum.inputs += number - from + 1;
        // A machine that is busy elsewhere makes inputs slow: only one that ends the worker again counts.
        let (_, again) = worker(target, plan.seed, number, 1, None)?;
        if again.is_some() {
            sum.found.entry(how).or_insert((number, 0)).1 += 1;
        }
        from = number + 1;
    }
    Ok(sum)
}

/// Runs a worker; where it did not come to its end, the input that it was at, and how it ended.
fn worker(
    target: &Target,
    seed: u32,
    from: u64,
    inputs: u64,
    time: Option<Duration>,
) -> io::Result<(Report, Option<(u64, String)>)> {
    let progress = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([target.name, "--seed", &seed.to_string(), "--from", &from.to_string()])
        .args(["--inputs", &inputs.to_string()])
        .arg("--worker")
        .arg(progress.path());
    if let Some(time) = time {
        command.args(["--minutes", &(time.as_secs_f64() / 60.0).to_string()]);
    }
    // Without a search path no other program is called, such as ffmpeg for recordings of rare formats.
    let out = command.env("PATH", "").stdin(Stdio::null()).output()?;
    let mut report = Report::default();
    let mut whole = false;
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words.get(i).and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
        match words.first() {
            Some(&"panic") => {
                let what = format!("panics: {}", words[2..].join(" "));
                // Messages hold values; the place is what distinguishes faults.
                let place = words.get(2).map_or("?", |w| w);
                let known = report
                    .found
                    .keys()
                    .find(|k| k.contains(&format!("panics: {place} ")))
                    .cloned();
                report.found.entry(known.unwrap_or(what)).or_insert((number(1), 0)).1 += 1;
            }
            Some(&"done") => {
                whole = true;
                (report.inputs, report.accepted) = (number(1), number(2));
                (report.peak, report.slowest) = (number(3), number(4));
            }
            _ => {}
        }
    }
    if whole {
        return Ok((report, None));
    }
    let at = fs::read(progress.path())?;
    let number = at.try_into().map_or(from, u64::from_le_bytes);
    let said = String::from_utf8_lossy(&out.stderr);
    let last = said
        .lines()
        .rfind(|l| !l.trim().is_empty())
        .unwrap_or("no word")
        .to_string();
    let how = match out.status.code() {
        Some(code) if code == i32::from(HANGS) => "takes more than 5 s".to_string(),
        _ => format!("dies: {}: {}", out.status, without_digits(&last)),
    };
    Ok((report, Some((number, how))))
}

/// So that the same death with other sizes counts as one.
fn without_digits(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect::<String>()
}
