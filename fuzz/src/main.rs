//! Feeds damaged inputs to everything that reads what others made, and looks for panics, deaths, hangs and hunger for memory.
//!
//! An input is a function of target, seed and number, so that what was found can be made again anywhere. Each target runs in
//! a process that is started anew when an input ends it.

mod input;
mod limits;
mod mutate;
mod supervise;
mod targets;
mod worker;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static MEMORY: limits::Limited = limits::Limited;

/// Feeds damaged inputs to everything that reads what others made.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  w2vc-fuzz --minutes 10                          all targets, a share of the time each\n  \
                        w2vc-fuzz ptx --inputs 100000 --seed 7\n  w2vc-fuzz ptx --seed 7 --again 4711             one input, and keep it\n\n\
                        Exit code 1: something was found."
)]
struct Options {
    /// Targets; by default all.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(targets::TARGETS.iter().map(|t| t.name)))]
    targets: Vec<String>,
    /// Time in all.
    #[arg(long)]
    minutes: Option<f64>,
    /// Inputs of each target.
    #[arg(long)]
    inputs: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Processes at a time; by default one per core.
    #[arg(long)]
    workers: Option<u64>,
    /// Runs this input alone and keeps it.
    #[arg(long, value_name = "NUMBER")]
    again: Option<u64>,
    /// Folder for inputs that found something.
    #[arg(long, default_value = "target/fuzz-found")]
    found: PathBuf,
    /// Works for another process of this program.
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
    /// First input of a worker.
    #[arg(long, hide = true, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let chosen: Vec<_> = targets::TARGETS
        .iter()
        .filter(|t| options.targets.is_empty() || options.targets.iter().any(|n| n == t.name))
        .collect();
    let time = options.minutes.map(|m| Duration::from_secs_f64(m.max(0.0) * 60.0));
    if let Some(progress) = &options.worker {
        return worker::run(
            chosen[0],
            options.seed,
            options.from,
            options.inputs.unwrap_or(u64::MAX),
            time,
            progress,
        );
    }
    let plan = supervise::Plan {
        seed: options.seed,
        from: options.again.unwrap_or(0),
        inputs: match (options.again, options.inputs, time) {
            (Some(_), _, _) => 1,
            (None, Some(n), _) => n,
            (None, None, Some(_)) => u64::MAX,
            (None, None, None) => 10_000,
        },
        time: time.map(|t| t / chosen.len() as u32),
        workers: options.workers.map(|n| n.max(1)),
        found: options.found,
        keep_all: options.again.is_some(),
    };
    match supervise::run(&chosen, &plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("w2vc-fuzz: {e}");
            ExitCode::FAILURE
        }
    }
}
