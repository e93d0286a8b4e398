//! How fast a program runs on made-up clips.

mod together;

use crate::cli::Runner;
use crate::error::Error;
use crate::feeds::{Clips, Feeds, Occasion, Target};
use crate::memory::{Guard, available, peak_resident};
use crate::profile::{Ceilings, Peaks, Profile};
use crate::random::{Purpose, Stream};
use crate::ranks::Ranks;
use crate::session::{AdamStep, KernelTime, Session, Tensor};
use crate::settings::Settings;
use crate::weights::initialize;
use serde::Serialize;
use std::time::Instant;
use together::Together;

/// What a user asks to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    pub program: String,
    /// Seconds of each clip.
    pub seconds: f64,
    /// Clips.
    pub batch: usize,
    pub runs: usize,
    /// Time whole updates: gradients made 0, the program, the norm of the gradients, Adam.
    pub update: bool,
    pub threads: usize,
    /// The value of `--device`.
    pub device: Option<String>,
    /// Also time every launch, in runs of their own.
    pub profile: bool,
    /// Processes that are measured together.
    pub ranks: Ranks,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    pub program: String,
    pub seconds: f64,
    pub batch: usize,
    pub runs: usize,
    /// Whether whole updates were timed, with the optimizer.
    pub update: bool,
    pub threads: usize,
    pub median_s: f64,
    pub min_s: f64,
    /// Of the median run.
    pub gflops: f64,
    /// What the machine's multiply-adds can do, measured just now, where that can be measured.
    #[serde(flatten)]
    pub peaks: Option<Peaks>,
    /// The least time that these allow, per time taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
    /// The device that computes, where that is not the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub peak_rss_mib: f64,
    /// What the device held, where it has memory of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_mib: Option<f64>,
    /// The same updates with sums over all ranks, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<Together>,
    /// Where the time goes; the mean of as many further runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

impl Measurement {
    /// One line, and where there is a profile its table of the `top` longest kernels.
    pub fn text(&self, top: usize) -> String {
        let m = self;
        let place = match &m.device {
            Some(device) => device.clone(),
            None => format!("{} threads", m.threads),
        };
        let share = match (m.share_of_peak, m.peaks) {
            (Some(share), Some(peaks)) => format!(" ({:.0} % of {})", 100.0 * share, peaks.text()),
            _ => String::new(),
        };
        let what = if m.update { " with its update" } else { "" };
        let held = m
            .device_mib
            .map_or(String::new(), |m| format!(", {m:.0} MiB on the device"));
        let together = m.together.as_ref().map_or(String::new(), |t| t.text() + "\n");
        let profile = m.profile.as_ref().map_or(String::new(), |p| p.text(top));
        format!(
            "{}{} on {} x {} s, {place}: median {:.4} s, min {:.4} s, {:.1} GFLOP/s{share}, {:.0} MiB{held}\n{together}{profile}",
            m.program, what, m.batch, m.seconds, m.median_s, m.min_s, m.gflops, m.peak_rss_mib
        )
    }
}

/// Runs the program once to warm up and `runs` times by the clock.
pub fn bench(runner: &dyn Runner, options: &Options) -> Result<Measurement, Error> {
    if !(options.seconds > 0.0 && options.seconds < 1e5) || options.batch == 0 || options.runs == 0 {
        return Err(Error::Usage("--seconds, --batch and --runs must be more than 0".into()));
    }
    if options.ranks.several() && !options.update {
        return Err(Error::Usage(
            "under a launcher whole updates are timed: add --update".into(),
        ));
    }
    let mut session = crate::cli::open_for(runner, (&options.ranks, options.threads), options.device.as_deref())?;
    let artifact = session.artifact().clone();
    let program = artifact.program(&options.program);
    let program = program.ok_or_else(|| crate::step::no_program(&artifact, &options.program))?;
    let task = artifact.tasks.iter().find(|t| t.programs().any(|p| p == program.name));
    let task = task.ok_or_else(|| Error::Usage(format!("the program `{}` belongs to no task", program.name)))?;
    let settings = Settings::new(&artifact, &task.name)?;
    let feeds = Feeds::bind(&artifact, task, &settings, Target::default())?;
    if options.update && program.trains.is_empty() {
        return Err(Error::Usage(format!(
            "`{}` does not train, so it has no --update",
            program.name
        )));
    }
    initialize(&artifact, session.params()?, 1, &|_| true);
    if task.gives_text() {
        // As the command does.
        session.freeze(&program.name)?;
    }

    let mut stream = Stream::new(1, Purpose::Synthetic, 0, 0);
    let samples = (options.seconds * crate::audio::RATE as f64) as usize;
    // The clips, and the batch that they are copied into.
    let bytes = samples
        .saturating_mul(8)
        .saturating_add(64)
        .saturating_mul(options.batch);
    if let Some(available) = available().filter(|free| bytes > *free) {
        return Err(Error::Memory {
            program: program.name.clone(),
            needed: bytes,
            available,
            remedy: "lower --batch or --seconds".into(),
        });
    }
    let waves: Vec<Vec<f32>> = (0..options.batch)
        .map(|_| (0..samples).map(|_| 0.1 * stream.normal() as f32).collect())
        .collect();
    let labels = feeds.made_up_labels(&waves, &mut stream);
    let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
    let clips = Clips {
        waves: &waves,
        labels: &labels,
    };
    let batch = feeds.draw(program, clips, &Occasion::MEASURED)?;
    let inputs = batch.inputs.refs();
    Guard::default().check(&*session, &program.name, &inputs, "lower --batch or --seconds")?;

    let mut updates = 0;
    let mut time = |session: &mut dyn Session| -> Result<f64, Error> {
        let start = Instant::now();
        if options.update {
            updates += 1;
            update(session, &program.name, &inputs, updates, &mut |_| Ok(()))?;
        } else {
            session.run(&program.name, &inputs)?;
        }
        Ok(start.elapsed().as_secs_f64())
    };
    time(&mut *session)?;
    let mut times = (0..options.runs)
        .map(|_| time(&mut *session))
        .collect::<Result<Vec<_>, _>>()?;
    // Before the measurement of the bandwidth, which takes memory of its own.
    let peak_rss = peak_resident().unwrap_or(0);
    let flops = runner.flops(&program.name, &inputs)?;
    let peaks = runner.peaks(options.threads, &flops);
    let profile = match options.profile {
        true => {
            let ceilings = Ceilings {
                peaks,
                bandwidth_gbs: runner.bandwidth_gbs(options.threads),
            };
            profile(&mut *session, options.runs, &mut time)?.map(|(times, s)| Profile::new(times, s, ceilings))
        }
        false => None,
    };
    let median = median(&mut times);
    let together = match options.ranks.several() {
        true => Some(Together::measure(&mut *session, (program, &inputs), options, median)?),
        false => None,
    };
    Ok(Measurement {
        program: program.name.clone(),
        seconds: options.seconds,
        batch: options.batch,
        runs: options.runs,
        update: options.update,
        threads: options.threads,
        median_s: median,
        min_s: times[0],
        gflops: flops.total() / median / 1e9,
        peaks,
        share_of_peak: peaks.map(|peaks| flops.least_seconds(&peaks) / median),
        device: session.device(),
        device_mib: session.device_bytes().map(|bytes| bytes as f64 / (1 << 20) as f64),
        profile,
        together,
        peak_rss_mib: peak_rss as f64 / (1 << 20) as f64,
    })
}

/// The middle of some times, which are sorted by that.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0
}

/// Times every launch of some runs: the mean of each kernel and of the whole run, in seconds.
fn profile(
    session: &mut dyn Session,
    runs: usize,
    time: &mut dyn FnMut(&mut dyn Session) -> Result<f64, Error>,
) -> Result<Option<(Vec<KernelTime>, f64)>, Error> {
    session.start_profile();
    let mut seconds = 0.0;
    for _ in 0..runs {
        seconds += time(session)?;
    }
    let n = runs as f64;
    let mean = |t: KernelTime| KernelTime {
        launches: t.launches / runs,
        seconds: t.seconds / n,
        flops: t.flops / n,
        bytes: t.bytes / n,
        ..t
    };
    let times = session.take_profile();
    Ok(times.map(|t| (t.into_iter().map(mean).collect(), seconds / n)))
}

/// One update as training makes it; `sum` adds up gradients over ranks. The next one's run waits for Adam, so its time is counted there.
fn update(
    session: &mut dyn Session,
    program: &str,
    inputs: &[(&str, &Tensor)],
    number: u64,
    sum: &mut dyn FnMut(&mut dyn Session) -> Result<(), Error>,
) -> Result<(), Error> {
    session.zero_grads()?;
    session.run(program, inputs)?;
    sum(session)?;
    let squares = session.grad_norm(program, 1.0)?;
    let adam = AdamStep {
        lr: 1e-5,
        beta1: 0.9,
        beta2: 0.98,
        eps: 1e-6,
        weight_decay: 0.01,
        step: number,
        scale: 1.0 / squares.sqrt().max(1.0) as f32,
    };
    session.adam(program, &adam)
}
