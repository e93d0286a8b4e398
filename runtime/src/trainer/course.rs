//! A training task bound to its settings: what an update runs, and what becomes of its outputs.

use super::totals::{Totals, sum_of};
use crate::error::Error;
use crate::feeds::Batch;
use crate::schedule::Schedule;
use crate::session::Tensor;
use crate::settings::Settings;
use ir::artifact::{Artifact, Program};
use ir::task::{Criterion, Divisor, Report, Sign, Task, Training};
use std::f64::consts::LN_2;
use std::sync::Arc;

/// Nearer to a guess than this, in bits, nothing has been learnt.
const NEAR_CHANCE: f64 = 0.02;

/// A program, up to an update.
struct Phase {
    program: Arc<Program>,
    until: u64,
    /// What says when it ends.
    named: String,
}

/// A sign that training goes wrong.
struct Watch {
    name: String,
    sign: Bound,
    remedy: String,
    /// It was there when last looked for.
    on: bool,
}

enum Bound {
    Below { output: String, least: f64 },
    Guess { output: String, bits: f64, after: u64 },
}

/// What a task does in its updates.
pub(super) struct Course {
    pub task: String,
    /// It is meant to begin with weights that another task has trained.
    pub other_weights: bool,
    phases: Vec<Phase>,
    pub validates: Arc<Program>,
    schedule: Schedule,
    divide_by: Divisor,
    report: Vec<(String, Report)>,
    best: Vec<Criterion>,
    watches: Vec<Watch>,
    /// Outputs whose sums are wanted, and those of which every element is.
    sums: Vec<String>,
    lists: Vec<String>,
}

impl Course {
    /// # Errors
    /// Where settings do not go together, or the model was compiled without a program that they need.
    pub fn bind(artifact: &Artifact, task: &Task, training: &Training, settings: &Settings) -> Result<Course, Error> {
        let total = settings.count("updates", 0)?;
        let find = |name: &str| artifact.program(name).cloned().map(Arc::new);
        let lacking = |name: &str| Error::program(name, "this model was compiled without it");
        let mut phases = vec![];
        let mut from = 0;
        for phase in &training.phases {
            let until = phase.until.as_ref().map_or(Ok(u64::MAX), |a| settings.whole(a))?;
            if until <= from {
                continue;
            }
            let program = find(&phase.program).ok_or_else(|| match &phase.until {
                None => lacking(&phase.program),
                Some(amount) => Error::Setting(format!(
                    "`{}` is {until} and `{}` was compiled without the program `{}`; use 0",
                    crate::settings::name_of(amount),
                    artifact.name,
                    phase.program
                )),
            })?;
            let named = phase.until.as_ref().map_or(String::new(), crate::settings::name_of);
            phases.push(Phase { program, until, named });
            from = until;
        }
        let mut watches = vec![];
        for warning in &training.warn {
            watches.push(Watch {
                name: warning.name.clone(),
                sign: bind_sign(&warning.when, settings)?,
                remedy: warning.remedy.clone(),
                on: false,
            });
        }
        let mut course = Course {
            task: task.name.clone(),
            other_weights: !training.may_lack.is_empty(),
            schedule: Schedule::bind(&training.schedule, settings, total)?,
            validates: find(&training.validates).ok_or_else(|| lacking(&training.validates))?,
            phases,
            divide_by: training.divide_by.clone(),
            report: training.report.clone(),
            best: training.best.clone(),
            watches,
            sums: vec![],
            lists: vec![],
        };
        course.note_outputs();
        Ok(course)
    }

    fn note_outputs(&mut self) {
        let (mut sums, mut lists) = (vec![], vec![]);
        for (_, report) in &self.report {
            match report {
                Report::Bits(o) | Report::BitsPerFrame(o) | Report::Share(o) => sums.push(o.clone()),
                Report::Each(o) => lists.push(o.clone()),
                Report::Weight => {}
            }
        }
        for criterion in &self.best {
            let (Criterion::Least(o) | Criterion::Greatest(o)) = criterion;
            sums.push(o.clone());
        }
        for watch in &self.watches {
            match &watch.sign {
                Bound::Below { output, .. } => lists.push(output.clone()),
                Bound::Guess { output, .. } => sums.push(output.clone()),
            }
        }
        sums.sort();
        sums.dedup();
        lists.sort();
        lists.dedup();
        (self.sums, self.lists) = (sums, lists);
    }

    /// The program of an update, which is counted from 0.
    pub fn program(&self, update: u64) -> &Arc<Program> {
        let phase = self.phases.iter().find(|p| update < p.until).or(self.phases.last());
        &phase.expect("the last phase has no end").program
    }

    /// Programs in turn and how many of the updates from `done` to `total` each of them has.
    pub fn stretches(&self, done: u64, total: u64) -> Vec<(Arc<Program>, u64)> {
        let mut from = done;
        let mut all = vec![];
        for phase in &self.phases {
            let until = phase.until.min(total);
            if until > from {
                all.push((phase.program.clone(), until - from));
                from = until;
            }
        }
        all
    }

    /// Where there are phases before the last: what says when that begins, the update, and its program.
    pub fn last_phase(&self) -> Option<(String, u64, String)> {
        let [.., before, last] = self.phases.as_slice() else {
            return None;
        };
        Some((before.named.clone(), before.until, last.program.name.clone()))
    }

    pub fn lr(&self, update: u64) -> f64 {
        self.schedule.at(update)
    }

    pub fn warmup(&self) -> u64 {
        self.schedule.warmup()
    }

    /// Divisor and sums of a micro-batch. `loss` is always among the sums.
    pub fn read(&self, program: &Program, batch: &Batch, outputs: &[(String, Tensor)]) -> Result<Totals, Error> {
        let need = |name: &str| {
            sum_of(outputs, name).ok_or_else(|| Error::program(&program.name, format!("it has no output `{name}`")))
        };
        let weight = match &self.divide_by {
            Divisor::Output(name) => need(name)?,
            Divisor::Clips => batch.frames.len() as f64,
        };
        let mut sums = vec![];
        if let Some(loss) = &program.loss {
            sums.push((LOSS.to_string(), need(loss)?));
        }
        sums.push((FRAMES.into(), batch.frames.iter().sum::<usize>() as f64));
        for name in &self.sums {
            sums.extend(sum_of(outputs, name).map(|v| (name.clone(), v)));
        }
        for name in &self.lists {
            let found = outputs.iter().find(|(n, _)| n == name).and_then(|(_, t)| t.as_f32());
            let values = found.into_iter().flatten().enumerate();
            sums.extend(values.map(|(i, v)| (format!("{name}_{i}"), *v as f64)));
        }
        Ok(Totals::of(weight, sums))
    }

    /// Numbers for the log.
    pub fn report(&self, totals: &Totals) -> Vec<(String, f64)> {
        let mut fields = vec![];
        let mut add = |name: &str, value: Option<f64>| fields.extend(value.map(|v| (name.to_string(), v)));
        for (name, report) in &self.report {
            match report {
                Report::Bits(o) => add(name, totals.find(o).map(|v| v / totals.weight / LN_2)),
                Report::BitsPerFrame(o) => add(name, totals.find(o).map(|v| v / totals.get(FRAMES) / LN_2)),
                Report::Share(o) => add(name, totals.find(o).map(|v| v / totals.weight)),
                Report::Weight => add(name, Some(totals.weight / totals.batches.max(1.0))),
                Report::Each(o) => {
                    for (i, value) in each(totals, o) {
                        add(&format!("{name}_{i}"), Some(value));
                    }
                }
            }
        }
        fields
    }

    /// Signs that training goes wrong, each reported once until it has gone: name and message.
    pub fn warnings(&mut self, update: u64, totals: &Totals) -> Vec<(String, String)> {
        let mut all = vec![];
        for watch in &mut self.watches {
            let seen = seen(&watch.sign, update, totals);
            let was = std::mem::replace(&mut watch.on, seen.is_some());
            if let (Some(what), false) = (seen, was) {
                all.push((watch.name.clone(), format!("{what}: {}", watch.remedy)));
            }
        }
        all
    }

    /// What makes a checkpoint better than another: lower numbers, compared in order. `judged` is what the judge found.
    pub fn key(&self, totals: &Totals, judged: &[(String, f64)]) -> Vec<f64> {
        let value = |name: &str| {
            let found = judged.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
            found
                .or(totals.find(name).map(|v| v / totals.weight))
                .unwrap_or(f64::NAN)
        };
        let one = |c: &Criterion| match c {
            Criterion::Least(name) => value(name),
            Criterion::Greatest(name) => -value(name),
        };
        self.best.iter().map(one).collect()
    }
}

/// The sum of losses, whatever the program calls it.
pub(super) const LOSS: &str = "the loss";
const FRAMES: &str = "the frames";

/// Elements of an output, averaged over micro-batches.
fn each<'a>(totals: &'a Totals, output: &'a str) -> impl Iterator<Item = (usize, f64)> + 'a {
    (0..).map_while(move |i| Some((i, totals.find(&format!("{output}_{i}"))? / totals.batches)))
}

fn bind_sign(sign: &Sign, settings: &Settings) -> Result<Bound, Error> {
    Ok(match sign {
        Sign::Below { output, least } => Bound::Below {
            output: output.clone(),
            least: settings.amount(least)?,
        },
        Sign::Guess { output, others, after } => Bound::Guess {
            output: output.clone(),
            bits: (settings.amount(others)? + 1.0).log2(),
            after: settings.whole(after)?.max(1),
        },
    })
}

/// What is seen of a sign, in words, where it is there.
fn seen(sign: &Bound, update: u64, totals: &Totals) -> Option<String> {
    if totals.weight <= 0.0 {
        return None;
    }
    match sign {
        Bound::Below { output, least } => {
            let (i, value) = each(totals, output).min_by(|a, b| a.1.total_cmp(&b.1))?;
            (value < *least).then(|| format!("`{output}` {i} is {value:.2}, below {least}"))
        }
        Bound::Guess { output, bits, after } => {
            let loss = totals.find(output)? / totals.weight / LN_2;
            let near = update >= *after && (loss - bits).abs() <= NEAR_CHANCE;
            let (loss, others) = (format!("{loss:.2}"), bits.exp2());
            near.then(|| {
                format!("`{output}` is {loss} bits after the warm-up, and a guess among {others:.0} gives {bits:.2}")
            })
        }
    }
}
