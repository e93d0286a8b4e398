//! What a recipe would take on so many processors: computed, not measured.

use crate::error::Error;
use crate::log::pace::duration;
use crate::session::Session;
use crate::trainer::Load;
use clap::Args;
use serde::Serialize;

/// Of a recipe on several processors.
#[derive(Args)]
pub struct PlanArgs {
    /// Seconds that one micro-batch takes on one GPU: what `bench --update` measures for such clips.
    #[arg(long, value_name = "S")]
    pub seconds_per_step: f64,
    /// Number of GPUs; may be given several times.
    #[arg(long, value_name = "N", default_values_t = [1, 8, 64])]
    pub gpus: Vec<u64>,
    /// The task. Default: the first that trains.
    #[arg(long)]
    pub task: Option<String>,
    /// Gigabytes per second at which a GPU exchanges gradients with others. Default: sums cost nothing.
    #[arg(long, value_name = "GB/S")]
    pub bandwidth: Option<f64>,
    /// Change a setting of the recipe; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// One row of the table.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    gpus: u64,
    /// Micro-batches of an update that each computes.
    steps_per_update: u64,
    /// Of an update, those of its sums among them.
    seconds_per_update: f64,
    seconds_of_sums: f64,
    /// Of all updates.
    seconds: f64,
    /// The time that one would take, divided by this time and their number.
    efficiency: f64,
    bytes_per_gpu: usize,
}

#[derive(Serialize)]
struct Plan {
    computed: bool,
    task: String,
    updates: u64,
    accumulate: u64,
    clips: usize,
    samples: usize,
    seconds_per_step: f64,
    rows: Vec<Row>,
}

impl Row {
    fn new(load: &Load, gpus: u64, step: f64, bandwidth: Option<f64>) -> Row {
        // Fewer micro-batches than ranks become as many.
        let accumulate = load.accumulate.max(gpus);
        let steps = accumulate.div_ceil(gpus);
        let bytes = 4.0 * load.trained as f64;
        // In a ring each sends and receives every value twice, but for its own part.
        let moved = 2.0 * bytes * (gpus - 1) as f64 / gpus as f64;
        let sums = bandwidth.map_or(0.0, |b| moved / (b * 1e9));
        let update = steps as f64 * step + sums;
        // Parameters, gradients and two moments; a copy in bf16 where programs read one.
        let each = if load.narrow { 18 } else { 16 };
        Row {
            gpus,
            steps_per_update: steps,
            seconds_per_update: update,
            seconds_of_sums: sums,
            seconds: update * load.updates as f64,
            efficiency: accumulate as f64 * step / (update * gpus as f64),
            bytes_per_gpu: each * load.parameters + load.activations,
        }
    }
}

/// The table, as text or as JSON.
///
/// # Errors
/// Where there is no such task, or numbers make no sense.
pub fn run(session: &dyn Session, args: &PlanArgs) -> Result<String, Error> {
    let sound = |x: f64| x > 0.0 && x.is_finite();
    if !sound(args.seconds_per_step) || args.bandwidth.is_some_and(|b| !sound(b)) || args.gpus.contains(&0) {
        return Err(Error::Usage(
            "--seconds-per-step, --bandwidth and --gpus must be more than 0".into(),
        ));
    }
    let artifact = session.artifact();
    let first = artifact
        .tasks
        .iter()
        .find(|t| t.training().is_some())
        .map(|t| t.name.clone());
    let task = args.task.clone().or(first);
    let task = task.ok_or_else(|| Error::Usage(format!("`{}` has no task that trains", artifact.name)))?;
    let load = Load::of(session, &task, &args.set)?;
    let row = |gpus: &u64| Row::new(&load, *gpus, args.seconds_per_step, args.bandwidth);
    let plan = Plan {
        computed: true,
        task,
        updates: load.updates,
        accumulate: load.accumulate,
        clips: load.clips,
        samples: load.samples,
        seconds_per_step: args.seconds_per_step,
        rows: args.gpus.iter().map(row).collect(),
    };
    Ok(match args.json {
        true => serde_json::to_string(&plan).expect("plain data always serialises") + "\n",
        false => text(&plan, args.bandwidth),
    })
}

fn text(plan: &Plan, bandwidth: Option<f64>) -> String {
    let sums = match bandwidth {
        Some(b) => format!("sums at {b} GB/s, none of them hidden"),
        None => "sums for nothing".into(),
    };
    let mut text = format!(
        "Computed, not measured: {} with {} updates of {} micro-batches ({} clips of {:.1} s at most), {} s each; {sums}.\n\n  gpus  \
         steps/update  s/update  efficiency  memory each  in all\n",
        plan.task,
        plan.updates,
        plan.accumulate,
        plan.clips,
        plan.samples as f64 / crate::audio::RATE as f64,
        plan.seconds_per_step
    );
    for row in &plan.rows {
        text += &format!(
            "{:>6}  {:>12}  {:>8.3}  {:>9.0} %  {:>7.1} GiB  {}\n",
            row.gpus,
            row.steps_per_update,
            row.seconds_per_update,
            100.0 * row.efficiency,
            row.bytes_per_gpu as f64 / (1u64 << 30) as f64,
            duration(row.seconds)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            task: "pretrain".into(),
            updates: 1000,
            accumulate: 64,
            clips: 6,
            samples: 250_000,
            trained: 100_000_000,
            parameters: 100_000_000,
            activations: 1 << 30,
            narrow: false,
        }
    }

    #[test]
    fn rows_follow_from_the_step() {
        let one = Row::new(&load(), 1, 0.5, Some(10.0));
        assert_eq!((one.steps_per_update, one.seconds, one.efficiency), (64, 32_000.0, 1.0));
        assert_eq!(one.bytes_per_gpu, 1_600_000_000 + (1 << 30));
        // 0.8 GB times 7/8 at 10 GB/s.
        let eight = Row::new(&load(), 8, 0.5, Some(10.0));
        assert!((eight.seconds_of_sums - 0.07).abs() < 1e-12 && (eight.seconds_per_update - 4.07).abs() < 1e-12);
        assert!((eight.efficiency - 4.0 / 4.07).abs() < 1e-12);
        // More than there are micro-batches: an update becomes larger.
        let many = Row::new(&load(), 128, 0.5, None);
        assert_eq!((many.steps_per_update, many.efficiency), (1, 1.0));
        // A share that is not even makes some wait.
        assert_eq!(Row::new(&load(), 48, 0.5, None).steps_per_update, 2);
    }
}
