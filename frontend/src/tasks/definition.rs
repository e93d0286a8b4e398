//! Tasks with their texts parsed, and how one file's are laid over those of the file that it extends.

use super::text::{DataText, PhaseText, SettingText, TaskText, WarnText};
use crate::definitions::{Datum, datum, entries, with_doc};
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::document::Reader;
use crate::expr::Expr;
use crate::parse::{Atom, Form};
use ir::task::{Range, range};
use ron::value::RawValue;

/// One of a map.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    pub name: Spanned<String>,
    /// `None` takes out what the extended file has under this name.
    pub value: Option<T>,
}

#[derive(Clone, Debug)]
pub struct TaskDef {
    pub about: Option<String>,
    pub settings: Vec<Entry<SettingDecl>>,
    pub feeds: Vec<Entry<Form>>,
    pub does: DoesDef,
}

#[derive(Clone, Debug)]
pub struct SettingDecl {
    /// `None` for another default of a setting that is declared elsewhere.
    pub range: Option<Range>,
    pub value: Datum,
    pub span: Span,
    pub doc: Option<String>,
}

#[derive(Clone, Debug)]
pub enum DoesDef {
    Train(Box<TrainDef>),
    Predict(PredictDef),
}

#[derive(Clone, Debug)]
pub struct TrainDef {
    pub phases: Option<Vec<PhaseDef>>,
    pub validates: Option<Spanned<String>>,
    pub data: Option<DataDef>,
    pub schedule: Option<Form>,
    pub divide_by: Option<Form>,
    pub report: Vec<Entry<Form>>,
    pub judge: Option<Form>,
    pub best: Option<Vec<Form>>,
    pub warn: Option<Vec<WarnDef>>,
    pub may_lack: Option<Vec<Spanned<String>>>,
    pub exports: Option<Vec<Spanned<String>>>,
    pub heads: Option<Vec<Spanned<String>>>,
}

#[derive(Clone, Debug)]
pub struct PhaseDef {
    pub program: Spanned<String>,
    pub until: Option<Atom>,
}

#[derive(Clone, Debug)]
pub struct DataDef {
    pub min: Atom,
    pub max: Atom,
    pub longer: Form,
    pub drop_silent: bool,
}

#[derive(Clone, Debug)]
pub struct WarnDef {
    pub name: String,
    pub when: Form,
    pub remedy: String,
}

#[derive(Clone, Debug)]
pub struct PredictDef {
    pub program: Option<Spanned<String>>,
    pub gives: Option<Form>,
}

/// What is there of a map, once all files are laid over each other.
pub fn present<'a, T>(all: &'a [Entry<T>], what: &str) -> Result<Vec<(&'a Spanned<String>, &'a T)>> {
    let each = all.iter().map(|e| match &e.value {
        Some(v) => Ok((&e.name, v)),
        None => {
            let message = format!("there is no {what} `{}` to take out", e.name.value);
            Err(Diagnostic::new(
                e.name.span,
                message,
                "expected one of the file that this one extends",
            ))
        }
    });
    each.collect()
}

/// Entries of `new` over those of `old`.
pub fn over<T>(old: Vec<Entry<T>>, new: Vec<Entry<T>>, join: impl Fn(T, T) -> T) -> Vec<Entry<T>> {
    let mut all = old;
    for Entry { name, value } in new {
        let Some(at) = all.iter().position(|e| e.name.value == name.value) else {
            all.push(Entry { name, value });
            continue;
        };
        match (all[at].value.take(), value) {
            (Some(a), Some(b)) => {
                all[at] = Entry {
                    name,
                    value: Some(join(a, b)),
                }
            }
            (None, Some(b)) => all[at] = Entry { name, value: Some(b) },
            (_, None) => drop(all.remove(at)),
        }
    }
    all
}

impl TaskDef {
    /// This definition over that of the extended file, field by field.
    pub fn over(self, base: TaskDef) -> TaskDef {
        let does = match (self.does, base.does) {
            (DoesDef::Train(new), DoesDef::Train(old)) => DoesDef::Train(Box::new(new.over(*old))),
            (DoesDef::Predict(new), DoesDef::Predict(old)) => DoesDef::Predict(PredictDef {
                program: new.program.or(old.program),
                gives: new.gives.or(old.gives),
            }),
            // Another kind of task has nothing in common with the old one but its name.
            (does, _) => return TaskDef { does, ..self },
        };
        TaskDef {
            about: self.about.or(base.about),
            settings: over(base.settings, self.settings, |old, new| SettingDecl {
                range: new.range.or(old.range),
                doc: new.doc.or(old.doc),
                ..new
            }),
            feeds: over(base.feeds, self.feeds, |_, new| new),
            does,
        }
    }

    /// Every expression, and every text that may be one.
    pub fn expressions(&self, see: &mut dyn FnMut(&Expr)) {
        let settings = self.settings.iter().filter_map(|s| s.value.as_ref());
        settings.for_each(|s| s.value.expressions(see));
        let mut atom = |a: &Atom| a.expr().iter().for_each(&mut *see);
        let mut form = |f: &Form| f.args.iter().for_each(|(_, a)| atom(a));
        self.feeds.iter().filter_map(|f| f.value.as_ref()).for_each(&mut form);
        let DoesDef::Train(t) = &self.does else { return };
        t.schedule.iter().for_each(&mut form);
        t.warn.iter().flatten().for_each(|w| form(&w.when));
        t.data.iter().for_each(|d| form(&d.longer));
        t.data
            .iter()
            .for_each(|d| [&d.min, &d.max].into_iter().for_each(&mut atom));
        t.phases
            .iter()
            .flatten()
            .filter_map(|p| p.until.as_ref())
            .for_each(&mut atom);
    }
}

impl TrainDef {
    fn over(self, base: TrainDef) -> TrainDef {
        TrainDef {
            phases: self.phases.or(base.phases),
            validates: self.validates.or(base.validates),
            data: self.data.or(base.data),
            schedule: self.schedule.or(base.schedule),
            divide_by: self.divide_by.or(base.divide_by),
            report: over(base.report, self.report, |_, new| new),
            judge: self.judge.or(base.judge),
            best: self.best.or(base.best),
            warn: self.warn.or(base.warn),
            may_lack: self.may_lack.or(base.may_lack),
            exports: self.exports.or(base.exports),
            heads: self.heads.or(base.heads),
        }
    }
}

/// Reads the tasks of a file.
pub fn read<'a>(r: &Reader<'a>, raw: Option<&'a RawValue>) -> Result<Vec<Entry<TaskDef>>> {
    map(r, raw, "a task", task)
}

/// Reads a map in which `None` takes out what an extended file has.
fn map<'a, T>(
    r: &Reader<'a>,
    raw: Option<&'a RawValue>,
    what: &str,
    read: impl Fn(&Reader<'a>, &'a RawValue) -> Result<T>,
) -> Result<Vec<Entry<T>>> {
    entries(r, raw, what, |name, raw: &RawValue| {
        let value = match r.spanned(raw).value {
            "None" => None,
            _ => Some(read(r, raw)?),
        };
        Ok(Entry { name, value })
    })
}

fn task<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<TaskDef> {
    let line = |raw: Option<&'a RawValue>| raw.map(|raw| sentence(r, raw)).transpose();
    let name = |raw: Option<&'a RawValue>| raw.map(|raw| r.name(raw, "a program's name")).transpose();
    let forms = |raws: Option<Vec<&'a RawValue>>| {
        let read = |raws: Vec<&'a RawValue>| raws.into_iter().map(|raw| form(r, raw)).collect::<Result<Vec<_>>>();
        raws.map(read).transpose()
    };
    let patterns = |raws: Option<Vec<&'a RawValue>>| {
        raws.map(|raws| r.names(&raws, "a pattern of parameter names"))
            .transpose()
    };
    let one = |raw: Option<&'a RawValue>| raw.map(|raw| form(r, raw)).transpose();
    match r.parse::<TaskText>(raw)? {
        TaskText::Train {
            about,
            settings,
            feeds,
            program,
            phases: in_turn,
            validates,
            data: rules,
            schedule,
            divide_by,
            report,
            judge,
            best,
            warn,
            may_lack,
            exports,
            heads,
        } => {
            let train = TrainDef {
                phases: phases(r, program, in_turn)?,
                validates: name(validates)?,
                data: rules.map(|d| data(r, d)).transpose()?,
                schedule: one(schedule)?,
                divide_by: one(divide_by)?,
                report: map(r, report, "a number of the log", form)?,
                judge: one(judge)?,
                best: forms(best)?,
                warn: warn
                    .map(|all| all.into_iter().map(|w| warning(r, w)).collect())
                    .transpose()?,
                may_lack: patterns(may_lack)?,
                exports: patterns(exports)?,
                heads: patterns(heads)?,
            };
            Ok(TaskDef {
                about: line(about)?,
                settings: map(r, settings, "a setting", setting)?,
                feeds: map(r, feeds, "an input", form)?,
                does: DoesDef::Train(Box::new(train)),
            })
        }
        TaskText::Predict {
            about,
            settings,
            feeds,
            program,
            gives,
        } => Ok(TaskDef {
            about: line(about)?,
            settings: map(r, settings, "a setting", setting)?,
            feeds: map(r, feeds, "an input", form)?,
            does: DoesDef::Predict(PredictDef {
                program: name(program)?,
                gives: one(gives)?,
            }),
        }),
    }
}

/// `program` is short for a single phase.
fn phases<'a>(
    r: &Reader<'a>,
    program: Option<&'a RawValue>,
    phases: Option<Vec<PhaseText<'a>>>,
) -> Result<Option<Vec<PhaseDef>>> {
    let read = |p: PhaseText<'a>| {
        Ok(PhaseDef {
            program: r.name(p.program, "a program's name")?,
            until: p.until.map(|raw| atom(r, raw)).transpose()?,
        })
    };
    match (program, phases) {
        (Some(raw), Some(_)) => Err(Diagnostic::new(
            r.spanned(raw).span,
            "a task has either a program or phases",
            "expected this program among the phases",
        )),
        (Some(program), None) => Ok(Some(vec![read(PhaseText { program, until: None })?])),
        (None, phases) => phases.map(|all| all.into_iter().map(read).collect()).transpose(),
    }
}

fn data<'a>(r: &Reader<'a>, d: DataText<'a>) -> Result<DataDef> {
    Ok(DataDef {
        min: atom(r, d.min)?,
        max: atom(r, d.max)?,
        longer: form(r, d.longer)?,
        drop_silent: d.drop_silent,
    })
}

fn warning<'a>(r: &Reader<'a>, w: WarnText<'a>) -> Result<WarnDef> {
    Ok(WarnDef {
        name: sentence(r, w.name)?,
        when: form(r, w.when)?,
        remedy: sentence(r, w.remedy)?,
    })
}

/// A text in quotes; what is not there is not said.
fn sentence<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<String> {
    let text = r.string(raw, "a text in quotes")?.text;
    match text.trim().is_empty() {
        true => Err(Diagnostic::new(
            r.spanned(raw).span,
            "this text is empty",
            "expected a few words",
        )),
        false => Ok(text.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

fn form<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<Form> {
    let text = r.spanned(raw);
    crate::parse::Text {
        source: text.span.source,
        start: text.span.start,
        text: text.value,
    }
    .form()
}

fn atom<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<Atom> {
    let text = r.spanned(raw);
    let quoted = text.value.contains('"');
    let (inside, span) = match quoted {
        true => {
            let t = r.string(raw, "a number, or a name in quotes")?;
            let span = Span {
                start: t.start,
                end: t.start + t.text.len(),
                ..text.span
            };
            (t.text, span)
        }
        false => (text.value, text.span),
    };
    Ok(Atom {
        text: inside.into(),
        quoted,
        span,
    })
}

/// Beyond this a number is a slip, and would be infinite as the f32 that kernels take before long.
const MOST: f64 = 1e9;

fn setting<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<SettingDecl> {
    let text = r.spanned(raw);
    if !text.value.starts_with(|c: char| c.is_ascii_uppercase()) {
        let (value, doc) = with_doc(r, raw)?;
        return Ok(SettingDecl {
            range: None,
            value: datum(r, value)?,
            span: r.spanned(value).span,
            doc,
        });
    }
    let (range, value, doc) = match r.parse::<SettingText>(raw)? {
        SettingText::Count(value, doc) => (range::UPDATES, value, doc),
        SettingText::Size(value, doc) => (range::EVERY, value, doc),
        SettingText::Share(value, doc) => (range::SHARE, value, doc),
        SettingText::Rate(value, doc) => (range::RATE, value, doc),
        SettingText::Factor(value, doc) => (Range::Above(0.0, 1.0), value, doc),
        SettingText::Number(value, doc) => (Range::Real(0.0, MOST), value, doc),
        SettingText::Positive(value, doc) => (Range::Above(0.0, MOST), value, doc),
        SettingText::Flag(value, doc) => (Range::Switch, value, doc),
    };
    Ok(SettingDecl {
        range: Some(range),
        value: datum(r, value)?,
        span: r.spanned(value).span,
        doc: Some(sentence(r, doc)?),
    })
}
