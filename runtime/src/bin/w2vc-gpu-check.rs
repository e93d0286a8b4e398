//! Checks a GPU, or the emulator, against precomputed values; `make gpu-bundle` packs it with its files.

use clap::Parser;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use w2vc_runtime::Error;
use w2vc_runtime::gpu::check::{Outcome, communicator, kernels, read, training};
use w2vc_runtime::gpu::{Choice, Gpu};

/// Runs sampled kernels and the training of a small model, and compares them with stored values.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// auto, cuda:N, cuda:N:ARCH, emulator or emulator:ARCH.
    #[arg(long, default_value = "cuda:0")]
    device: String,
    /// Folder with the files of the checks; by default that of this program.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Only checks whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Checks to leave out at the beginning.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Where results go as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Threads of the emulator; 0: as many as there are cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct Report {
    device: String,
    passed: usize,
    failed: usize,
    /// Selected checks that were not reached.
    not_run: usize,
    seconds: f64,
    checks: Vec<Outcome>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(report) if report.failed + report.not_run == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => w2vc_runtime::cli::fail(&e),
    }
}

/// The checks of a bundle, those of kernels first.
struct Checks {
    kernels: Gpu,
    kernel_checks: Vec<kernels::KernelCheck>,
    models: Vec<Gpu>,
    training_checks: Vec<training::TrainingCheck>,
}

impl Checks {
    fn read(files: &Path) -> Result<Checks, Error> {
        let gpu = |name: &str| Gpu::open(&files.join(name));
        Ok(Checks {
            kernels: gpu("kernels.w2vc")?,
            kernel_checks: read(&files.join("kernels.data"))?,
            models: vec![gpu("tiny-fp32.w2vc")?, gpu("tiny-bf16.w2vc")?],
            training_checks: read(&files.join("tiny.data"))?,
        })
    }

    fn len(&self) -> usize {
        self.kernel_checks.len() + self.models.len() * self.training_checks.len()
    }

    fn name(&self, i: usize) -> String {
        match self.kernel_checks.get(i) {
            Some(check) => check.name.clone(),
            None => {
                let (model, check) = self.training(i);
                training::name(model.precision(), check)
            }
        }
    }

    fn training(&self, i: usize) -> (&Gpu, &training::TrainingCheck) {
        let i = i - self.kernel_checks.len();
        let (model, check) = (i / self.training_checks.len(), i % self.training_checks.len());
        (&self.models[model], &self.training_checks[check])
    }
}

fn run(cli: &Cli) -> Result<Report, Error> {
    let start = Instant::now();
    let choice: Choice = cli.device.parse()?;
    let own = std::env::current_exe().map_err(|e| Error::Usage(e.to_string()))?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let checks = Checks::read(cli.files.as_deref().unwrap_or(beside))?;
    let selected: Vec<usize> = (cli.skip..checks.len())
        .filter(|i| checks.name(*i).contains(&cli.only))
        .collect();
    let threads = match cli.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let mut report = Report::default();
    let rest = execute(&checks, &selected, &choice, threads, &mut report)?;
    if let Some(next) = rest.first() {
        add_fresh_process(cli, &own, *next, rest.len(), &mut report);
    }
    report.seconds = start.elapsed().as_secs_f64();
    if let Some(path) = &cli.report {
        let text = serde_json::to_string_pretty(&report).expect("plain data always serialises");
        std::fs::write(path, text).map_err(Error::io("write", path))?;
    }
    // Whoever continues for a process that lost its device leaves the sum to it.
    if cli.skip == 0 {
        println!("{}", summary(&report));
    }
    Ok(report)
}

fn summary(report: &Report) -> String {
    let missing = match report.not_run {
        0 => String::new(),
        n => format!(", {n} not run"),
    };
    let (passed, failed, seconds) = (report.passed, report.failed, report.seconds);
    format!(
        "{passed} passed, {failed} failed{missing}, on {} in {seconds:.0} s",
        report.device
    )
}

/// Runs checks in order; those that are left where a GPU has failed, after which it does nothing more for a process.
fn execute(
    checks: &Checks,
    selected: &[usize],
    choice: &Choice,
    threads: usize,
    report: &mut Report,
) -> Result<Vec<usize>, Error> {
    let mut device = checks.kernels.device(choice, threads)?;
    report.device = device.name();
    let kernels: Vec<usize> = selected
        .iter()
        .copied()
        .filter(|i| *i < checks.kernel_checks.len())
        .collect();
    // Once, by whoever begins.
    if selected.first() == Some(&0)
        && let Some(outcome) = communicator::check(&mut *device)
    {
        println!("{}", outcome.text());
        report.passed += outcome.passed as usize;
        report.failed += !outcome.passed as usize;
        report.checks.push(outcome);
    }
    // Many at a time are compiled in parallel. One that cannot be compiled says so when its turn comes.
    device.prepare(&kernels).ok();
    for (at, i) in selected.iter().enumerate() {
        let outcome = match checks.kernel_checks.get(*i) {
            Some(check) => kernels::check(&mut *device, *i, check),
            None => {
                let (model, check) = checks.training(*i);
                training::check(&mut model.session(choice, threads)?, model.precision(), check)
            }
        };
        println!("{}", outcome.text());
        report.passed += outcome.passed as usize;
        report.failed += !outcome.passed as usize;
        let lost = outcome.device_failed && !matches!(choice, Choice::Emulator(_));
        report.checks.push(outcome);
        if lost {
            return Ok(selected[at + 1..].to_vec());
        }
    }
    Ok(vec![])
}

/// Lets a new process do the rest, for which the GPU works again.
fn add_fresh_process(cli: &Cli, own: &Path, next: usize, rest: usize, report: &mut Report) {
    let part = std::env::temp_dir().join(format!("w2vc-gpu-check-{}.json", std::process::id()));
    let mut command = Command::new(own);
    command.args([
        "--device",
        &cli.device,
        "--only",
        &cli.only,
        "--skip",
        &next.to_string(),
    ]);
    command
        .args(["--threads", &cli.threads.to_string()])
        .arg("--report")
        .arg(&part);
    if let Some(files) = &cli.files {
        command.arg("--files").arg(files);
    }
    // A process that dies without a report leaves its checks undone, which is told.
    let ended = command.status();
    let text = ended.ok().and_then(|_| std::fs::read_to_string(&part).ok());
    std::fs::remove_file(&part).ok();
    match text.and_then(|t| serde_json::from_str::<Report>(&t).ok()) {
        Some(more) => {
            report.passed += more.passed;
            report.failed += more.failed;
            report.not_run += more.not_run;
            report.checks.extend(more.checks);
        }
        None => report.not_run += rest,
    }
}
