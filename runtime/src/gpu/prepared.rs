//! Programs at sizes that were run before: their launches, and recordings of them once they repeat.

use super::device::{Device, GraphId};
use super::schedule::{Bases, Flag, Segment};
use crate::error::Error;
use crate::log::tell;
use ir::dim::Env;
use std::collections::HashMap;

/// Shapes kept per program; the one not used for longest makes room.
const SHAPES: usize = 32;
/// Fewer launches than this are not worth recording.
const WORTH: usize = 4;

/// A launch done on its own, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    pub kernel: usize,
    pub grid: usize,
    pub seconds: f64,
}

struct Prepared {
    env: Env,
    bases: Bases,
    segments: Vec<Segment>,
    /// One per segment, once recorded.
    graphs: Vec<Option<GraphId>>,
    runs: u64,
    used: u64,
}

impl Prepared {
    /// Does the segments whose flags are not 0. The first run loads code and so is not recorded; the second is.
    fn run(&mut self, device: &mut dyn Device, on: &dyn Fn(Flag) -> bool, record: &mut bool) -> Result<(), Error> {
        if self.runs == 0 {
            self.load(device)?;
        }
        if self.runs == 1 && *record {
            self.record(device, record);
        }
        self.runs += 1;
        for (segment, graph) in self.segments.iter().zip(&self.graphs) {
            if !segment.keep.iter().all(|f| on(*f)) {
                continue;
            }
            match graph {
                Some(graph) => device.replay(*graph)?,
                None => segment.launches.iter().try_for_each(|l| device.launch(l))?,
            }
        }
        Ok(())
    }

    fn load(&self, device: &mut dyn Device) -> Result<(), Error> {
        let mut kernels: Vec<usize> = self
            .segments
            .iter()
            .flat_map(|s| &s.launches)
            .map(|l| l.kernel)
            .collect();
        kernels.sort_unstable();
        kernels.dedup();
        device.prepare(&kernels)
    }

    /// Does what `run` does, one launch at a time; each with its seconds.
    fn time(&self, device: &mut dyn Device, on: &dyn Fn(Flag) -> bool) -> Result<Vec<Timed>, Error> {
        self.load(device)?;
        let kept = self.segments.iter().filter(|s| s.keep.iter().all(|f| on(*f)));
        let launches = kept.flat_map(|s| &s.launches);
        launches
            .map(|l| {
                Ok(Timed {
                    kernel: l.kernel,
                    grid: l.grid,
                    seconds: device.time(l)?,
                })
            })
            .collect()
    }

    /// A device that fails to record still launches: training goes on, more slowly.
    fn record(&mut self, device: &mut dyn Device, record: &mut bool) {
        for (segment, graph) in self.segments.iter().zip(&mut self.graphs) {
            if segment.launches.len() < WORTH {
                continue;
            }
            match device.record(&segment.launches) {
                Ok(recorded) => *graph = recorded,
                Err(e) => {
                    tell(&format!(
                        "note: launches are made one by one, since recording them failed ({e})"
                    ));
                    *record = false;
                    return;
                }
            }
        }
    }

    fn forget(self, device: &mut dyn Device) {
        self.graphs.into_iter().flatten().for_each(|g| device.forget(g));
    }
}

/// The shapes of all programs.
pub struct Shapes {
    of: HashMap<String, Vec<Prepared>>,
    clock: u64,
    record: bool,
}

impl Shapes {
    pub fn new() -> Shapes {
        Shapes {
            of: HashMap::new(),
            clock: 0,
            record: true,
        }
    }

    /// Runs a program at these sizes and addresses; `schedule` makes its segments where they are not known yet. With
    /// `times`, launches are timed one by one.
    pub fn run(
        &mut self,
        device: &mut dyn Device,
        (program, env, bases): (&str, &Env, &Bases),
        on: &dyn Fn(Flag) -> bool,
        schedule: impl FnOnce() -> Result<Vec<Segment>, Error>,
        times: Option<&mut Vec<Timed>>,
    ) -> Result<(), Error> {
        self.clock += 1;
        let shapes = self.of.entry(program.to_string()).or_default();
        let at = match shapes.iter().position(|p| p.env == *env && p.bases == *bases) {
            Some(at) => at,
            None => {
                let segments = schedule()?;
                // The same sizes at addresses that are no more, or else the oldest.
                let outlived = shapes.iter().position(|p| p.env == *env);
                let oldest = (0..shapes.len()).min_by_key(|i| shapes[*i].used);
                if let Some(old) = outlived.or(oldest.filter(|_| shapes.len() >= SHAPES)) {
                    shapes.swap_remove(old).forget(device);
                }
                shapes.push(Prepared {
                    env: env.clone(),
                    bases: bases.clone(),
                    graphs: vec![None; segments.len()],
                    segments,
                    runs: 0,
                    used: 0,
                });
                shapes.len() - 1
            }
        };
        shapes[at].used = self.clock;
        match times {
            Some(times) => *times = shapes[at].time(device, on)?,
            None => shapes[at].run(device, on, &mut self.record)?,
        }
        Ok(())
    }
}
