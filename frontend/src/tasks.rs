//! Tasks: what a model file declares that may be asked of the model, checked against its programs and against what the
//! runtime offers.

pub mod definition;
mod feeds;
mod hours;
mod prediction;
mod scope;
mod settings;
mod text;
mod training;

use crate::diagnostic::{Diagnostic, Result, Spanned};
use crate::globals::Globals;
use crate::model::{ParamDecl, Program};
use definition::{DoesDef, TaskDef, present};
use ir::task::{Does, Feed, Host, Judge, Task};
use scope::{Offer, Scope, inputs};
use std::cell::RefCell;

/// What is judged and given: the words of the language.
const TEXT: &str = "Text";
const LABEL: &str = "Label";
const STATES: &str = "States";

/// Numbers that a judge gives.
fn judged(judge: Option<&Judge>) -> &'static [&'static str] {
    match judge {
        Some(Judge::Text { .. }) => &["wer", "cer"],
        Some(Judge::Label { .. }) => &["accuracy"],
        None => &[],
    }
}

/// The part of a task that depends on its kind.
struct Checked {
    does: Does,
    feeds: Vec<(String, Feed)>,
    programs: Vec<String>,
}

/// All tasks of a model.
pub fn build(
    globals: &Globals,
    host: &Host,
    programs: &[Program],
    params: &[ParamDecl],
) -> std::result::Result<Vec<Task>, Vec<Diagnostic>> {
    let offer = Offer {
        globals,
        host,
        programs,
        params,
    };
    let defs = present(&globals.defs.tasks, "task").map_err(|d| vec![d])?;
    let (mut tasks, mut wrong) = (vec![], vec![]);
    for (name, def) in &defs {
        match task(offer, name, def) {
            Ok(task) => tasks.push(task),
            Err(d) => wrong.push(d),
        }
    }
    let names = || defs.iter().map(|(name, _)| name.value.as_str());
    let recipes = globals.defs.recipes.iter().map(|r| &r.command);
    let recipes = recipes.chain(globals.defs.by_hours.iter().map(|b| &b.command));
    wrong.extend(recipes.filter(|c| names().all(|n| n != c.value)).map(|c| {
        let message = format!("there is no task `{}`", c.value);
        Diagnostic::new(c.span, message, "expected a task of the model").suggest(&c.value, names())
    }));
    match wrong.is_empty() {
        true => Ok(tasks),
        false => Err(wrong),
    }
}

fn task(offer: Offer, name: &Spanned<String>, def: &TaskDef) -> Result<Task> {
    check_name(offer.host, name)?;
    let settings = settings::settings(&offer, name, def)?;
    let scope = Scope {
        offer,
        name,
        settings,
        read: RefCell::default(),
    };
    let about = def.about.clone().ok_or_else(|| missing(name, "about"))?;
    let checked = match &def.does {
        DoesDef::Train(t) => training::training(&scope, def, t)?,
        DoesDef::Predict(p) => prediction::prediction(&scope, def, p)?,
    };
    unread(&scope, def, &checked)?;
    Ok(Task {
        name: name.value.clone(),
        about,
        by_hours: hours::by_hours(&offer, name, &scope.settings, &checked.does)?,
        feeds: checked.feeds,
        does: checked.does,
        settings: scope.settings,
    })
}

/// A task's name is a word of a command line.
fn check_name(host: &Host, name: &Spanned<String>) -> Result<()> {
    let text = &name.value;
    if host.reserved.contains(&text.as_str()) {
        let message = format!("`{text}` is a command that every compiled model has");
        return Err(Diagnostic::new(name.span, message, "expected another name"));
    }
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(inside) {
        return Ok(());
    }
    Err(Diagnostic::new(
        name.span,
        format!("`{text}` cannot be the name of a command"),
        "expected a letter, then letters, digits, `-` and `_`",
    ))
}

fn missing(task: &Spanned<String>, field: &str) -> Diagnostic {
    let message = format!("the task `{}` has no `{field}`", task.value);
    Diagnostic::new(task.span, message, format!("expected `{field}: ...` in its brackets"))
}

/// A setting that the task declares and that nothing reads is a slip.
fn unread(scope: &Scope, def: &TaskDef, checked: &Checked) -> Result<()> {
    let read = scope.read.borrow();
    let own = present(&def.settings, "setting")?;
    let Some((name, _)) = own.iter().find(|(n, s)| s.range.is_some() && !read.contains(&n.value)) else {
        return Ok(());
    };
    let message = format!("nothing reads the setting `{}` of `{}`", name.value, scope.name.value);
    let d = Diagnostic::new(
        name.span,
        message,
        "expected a feed or a field that names it, or an input of its name",
    );
    let programs = scope
        .offer
        .programs
        .iter()
        .filter(|p| checked.programs.contains(&p.name));
    let names = programs.flat_map(inputs).map(|(n, _)| n);
    let open = names.filter(|n| checked.feeds.iter().all(|(fed, _)| fed != n));
    match crate::diagnostic::nearest(&name.value, &open.collect::<Vec<_>>()) {
        Some(near) => Err(d.help(format!("did you mean `{near}`?"))),
        None => Err(d.help(format!(
            "a file that extends another takes a setting out by `\"{}\": None`",
            name.value
        ))),
    }
}
