//! How a task learns.

use super::definition::{PhaseDef, TaskDef, TrainDef, WarnDef, present};
use super::scope::{Scope, Want};
use super::{Checked, LABEL, TEXT, feeds::feeds, judged, missing};
use crate::diagnostic::{Diagnostic, Result};
use crate::model::Program;
use crate::parse::Form;
use ir::task::{Criterion, DataRules, Divisor, Does, Judge, Longer, Phase, Report, Schedule, Sign, Training, Warning};

pub fn training(scope: &Scope, def: &TaskDef, t: &TrainDef) -> Result<Checked> {
    let phases = t.phases.as_deref().filter(|p| !p.is_empty());
    let phases = phases.ok_or_else(|| missing(scope.name, "program"))?;
    let trained = phases
        .iter()
        .map(|p| learner(scope, p))
        .collect::<Result<Vec<&Program>>>()?;
    let validates = t.validates.as_ref().ok_or_else(|| missing(scope.name, "validates"))?;
    let valid = scope.program(validates)?;
    let mut programs: Vec<&Program> = vec![];
    for p in trained.iter().copied().chain([valid]) {
        if programs.iter().all(|known| known.name != p.name) {
            programs.push(p);
        }
    }
    let feeds = feeds(scope, def, &programs)?;
    let need = |form: &Option<Form>, field: &str| form.clone().ok_or_else(|| missing(scope.name, field));
    let rules = t.data.as_ref().ok_or_else(|| missing(scope.name, "data"))?;
    let judge = t.judge.as_ref().map(|f| judge(scope, f, valid)).transpose()?;
    let best = t.best.as_deref().filter(|b| !b.is_empty());
    let best = best.ok_or_else(|| missing(scope.name, "best"))?;
    let report = present(&t.report, "number of the log")?;
    let training = Training {
        phases: in_turn(scope, phases)?,
        validates: valid.name.clone(),
        data: DataRules {
            min: scope.amount(&rules.min)?,
            max: scope.amount(&rules.max)?,
            longer: longer(scope, &rules.longer)?,
            drop_silent: rules.drop_silent,
        },
        schedule: schedule(scope, &need(&t.schedule, "schedule")?)?,
        divide_by: divisor(scope, &need(&t.divide_by, "divide_by")?, &programs)?,
        report: report
            .into_iter()
            .map(|(name, form)| Ok((name.value.clone(), number(scope, form, &programs)?)))
            .collect::<Result<_>>()?,
        best: best
            .iter()
            .map(|form| criterion(scope, form, valid, judge.as_ref()))
            .collect::<Result<_>>()?,
        judge,
        warn: t
            .warn
            .iter()
            .flatten()
            .map(|w| warning(scope, w, &trained))
            .collect::<Result<_>>()?,
        may_lack: scope.patterns(t.may_lack.as_deref().unwrap_or_default(), false)?,
        heads: scope.patterns(t.heads.as_deref().unwrap_or_default(), false)?,
        exports: match &t.exports {
            Some(own) => scope.patterns(own, true)?,
            None => vec!["*".into()],
        },
    };
    Ok(Checked {
        does: Does::Train(Box::new(training)),
        feeds,
        programs: programs.iter().map(|p| p.name.clone()).collect(),
    })
}

fn learner<'a>(scope: &Scope<'a, '_>, phase: &PhaseDef) -> Result<&'a Program> {
    let program = scope.program(&phase.program)?;
    if program.loss.is_some() && !program.trains.is_empty() {
        return Ok(program);
    }
    let message = format!("the program `{}` trains nothing", program.name);
    Err(Diagnostic::new(
        phase.program.span,
        message,
        "expected a program with `loss` and `trains`",
    ))
}

fn in_turn(scope: &Scope, phases: &[PhaseDef]) -> Result<Vec<Phase>> {
    let last = phases.len() - 1;
    let each = phases.iter().enumerate().map(|(i, p)| {
        let until = match (&p.until, i == last) {
            (Some(until), false) => Some(scope.amount(until)?),
            (None, true) => None,
            (Some(until), true) => {
                let message = "the last phase has no end";
                return Err(Diagnostic::new(
                    until.span,
                    message,
                    "expected no `until` here: it runs to the end",
                ));
            }
            (None, false) => {
                let message = format!("the phases after `{}` never begin", p.program.value);
                return Err(Diagnostic::new(
                    p.program.span,
                    message,
                    "expected `until: ...` as well",
                ));
            }
        };
        Ok(Phase {
            program: p.program.value.clone(),
            until,
        })
    });
    each.collect()
}

fn longer(scope: &Scope, form: &Form) -> Result<Longer> {
    let (kind, args) = form.take(
        "rule for longer clips",
        &[("Dropped", vec![]), ("Cropped", vec!["pad"])],
    )?;
    match kind {
        0 => Ok(Longer::Dropped),
        _ => Ok(Longer::Cropped {
            pad: scope.amount(args[0])?,
        }),
    }
}

fn schedule(scope: &Scope, form: &Form) -> Result<Schedule> {
    let kinds = [
        ("Constant", vec!["peak"]),
        ("WarmupLinear", vec!["peak", "warmup"]),
        ("TriStage", vec!["peak", "rise", "hold", "fall", "start", "end"]),
    ];
    let (kind, args) = form.take("schedule", &kinds)?;
    let args = args.into_iter().map(|a| scope.amount(a)).collect::<Result<Vec<_>>>()?;
    let mut args = args.into_iter();
    let mut next = || args.next().expect("as many as the kind names");
    Ok(match kind {
        0 => Schedule::Constant { peak: next() },
        1 => Schedule::WarmupLinear {
            peak: next(),
            warmup: next(),
        },
        _ => Schedule::TriStage {
            peak: next(),
            rise: next(),
            hold: next(),
            fall: next(),
            start: next(),
            end: next(),
        },
    })
}

fn divisor(scope: &Scope, form: &Form, programs: &[&Program]) -> Result<Divisor> {
    let (kind, args) = form.take("divisor", &[("Clips", vec![]), ("Output", vec!["output"])])?;
    match kind {
        0 => Ok(Divisor::Clips),
        _ => Ok(Divisor::Output(scope.output(programs, args[0], Want::Floats)?)),
    }
}

fn number(scope: &Scope, form: &Form, programs: &[&Program]) -> Result<Report> {
    let of_output = ["Bits", "BitsPerFrame", "Share", "Each"].map(|name| (name, vec!["output"]));
    let kinds: Vec<_> = of_output.into_iter().chain([("Weight", vec![])]).collect();
    let (kind, args) = form.take("number of the log", &kinds)?;
    let output = |want| scope.output(programs, args[0], want);
    Ok(match kind {
        0 => Report::Bits(output(Want::Single)?),
        1 => Report::BitsPerFrame(output(Want::Single)?),
        2 => Report::Share(output(Want::Single)?),
        3 => Report::Each(output(Want::Axes(1))?),
        _ => Report::Weight,
    })
}

fn judge(scope: &Scope, form: &Form, valid: &Program) -> Result<Judge> {
    let kinds = [(TEXT, vec!["logits"]), (LABEL, vec!["logits"])];
    let (kind, args) = form.take("judge", &kinds)?;
    let logits = scope.output(&[valid], args[0], Want::Axes(3 - kind))?;
    Ok(match kind {
        0 => Judge::Text { logits },
        _ => Judge::Label { logits },
    })
}

/// An output of the validating program, or a number that the judge gives.
fn criterion(scope: &Scope, form: &Form, valid: &Program, judge: Option<&Judge>) -> Result<Criterion> {
    let kinds = [("Least", vec!["output"]), ("Greatest", vec!["output"])];
    let (kind, args) = form.take("criterion", &kinds)?;
    let name = args[0].name("an output's name")?;
    let judged = judged(judge);
    let has = valid.graph.outputs.iter().any(|(n, _)| *n == name.value);
    let name = match judged.contains(&name.value.as_str()) {
        true => name.value,
        false if has => scope.output(&[valid], args[0], Want::Single)?,
        false => {
            let message = format!("validation gives no `{}`", name.value);
            let label = format!(
                "expected an output of the program `{}`, or a number of the judge",
                valid.name
            );
            let known = valid.graph.outputs.iter().map(|(n, _)| n.as_str());
            let d = Diagnostic::new(name.span, message, label);
            return Err(d.suggest(&name.value, known.chain(judged.iter().copied())));
        }
    };
    Ok(match kind {
        0 => Criterion::Least(name),
        _ => Criterion::Greatest(name),
    })
}

fn warning(scope: &Scope, w: &WarnDef, trained: &[&Program]) -> Result<Warning> {
    let kinds = [
        ("Below", vec!["output", "least"]),
        ("Guess", vec!["output", "others", "after"]),
    ];
    let (kind, args) = w.when.take("sign to warn of", &kinds)?;
    let when = match kind {
        0 => Sign::Below {
            output: scope.output(trained, args[0], Want::Axes(1))?,
            least: scope.amount(args[1])?,
        },
        _ => Sign::Guess {
            output: scope.output(trained, args[0], Want::Single)?,
            others: scope.amount(args[1])?,
            after: scope.amount(args[2])?,
        },
    };
    Ok(Warning {
        name: w.name.clone(),
        when,
        remedy: w.remedy.clone(),
    })
}
