//! What fills the inputs of a task's programs.

use super::definition::{TaskDef, present};
use super::scope::{Scope, inputs};
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::model::Program;
use crate::parse::{Atom, Form};
use ir::scalar::DType;
use ir::task::{Arg, Feed, ParamKind, Range, Signature};
use ir::types::Type;

/// Feeds by input, in the order in which they are written; every input of the programs has one, or a setting of its name.
pub fn feeds(scope: &Scope, def: &TaskDef, programs: &[&Program]) -> Result<Vec<(String, Feed)>> {
    let own = present(&def.feeds, "feed")?;
    let mut all = vec![];
    for (input, form) in &own {
        let (signature, args) = known(scope, form)?;
        let args = signature.params.iter().zip(args).map(|(p, atom)| match p.kind {
            ParamKind::Amount => Ok(Arg::Amount(scope.amount(atom)?)),
            ParamKind::Size => Ok(Arg::Size(scope.size(atom)?)),
            ParamKind::Input(kind) => Ok(Arg::Input(other_input(&own, form, atom, kind)?)),
        });
        let args = args.collect::<Result<_>>()?;
        fits(scope, input, form, signature, programs)?;
        all.push((
            input.value.clone(),
            Feed {
                kind: signature.name.into(),
                args,
            },
        ));
    }
    for program in programs {
        for (name, ty) in inputs(program) {
            if all.iter().all(|(fed, _)| fed != name) {
                by_setting(scope, program, name, ty)?;
            }
        }
    }
    Ok(all)
}

fn known<'f>(scope: &Scope, form: &'f Form) -> Result<(&'static Signature, Vec<&'f Atom>)> {
    let feeds = scope.offer.host.feeds;
    let kinds: Vec<(&str, Vec<&str>)> = feeds
        .iter()
        .map(|s| (s.name, s.params.iter().map(|p| p.name).collect()))
        .collect();
    let (kind, args) = form.take("feed", &kinds)?;
    Ok((&feeds[kind], args))
}

/// Another input of the task, filled by a feed of the right kind.
fn other_input(own: &[(&Spanned<String>, &Form)], form: &Form, atom: &Atom, kind: &str) -> Result<String> {
    let name = atom.name("an input's name")?;
    let feed = &form.name.value;
    match own.iter().find(|(input, _)| input.value == name.value) {
        Some((_, other)) if other.name.value == kind => Ok(name.value),
        Some((_, other)) => {
            let message = format!("`{feed}` needs an input that {kind} fills");
            let label = format!("expected such an input; {} fills `{}`", other.name.value, name.value);
            Err(Diagnostic::new(name.span, message, label).related(other.name.span, "filled here"))
        }
        None => {
            let message = format!("the task has no feed for an input `{}`", name.value);
            let d = Diagnostic::new(name.span, message, format!("expected an input that {kind} fills"));
            let right = own.iter().filter(|(_, f)| f.name.value == kind);
            Err(d.suggest(&name.value, right.map(|(n, _)| n.value.as_str())))
        }
    }
}

/// Whether the inputs of a name are what the feed gives, and there is one.
fn fits(
    scope: &Scope,
    input: &Spanned<String>,
    form: &Form,
    signature: &Signature,
    programs: &[&Program],
) -> Result<()> {
    let mut found = false;
    for program in programs {
        for (_, ty) in inputs(program).filter(|(name, _)| *name == input.value) {
            found = true;
            if ty.dtype == signature.dtype && ty.rank() == signature.rank() {
                continue;
            }
            let shown = scope.offer.globals.with_size_names(&ty.to_string());
            let message = format!(
                "the input `{}` of the program `{}` is {shown}",
                input.value, program.name
            );
            let label = format!("expected {}, which {} gives", given(signature), signature.name);
            let d = Diagnostic::new(form.name.span, message, label);
            return Err(match declared(scope, &program.name, &input.value) {
                Some(place) => d.related(place, "declared here"),
                None => d,
            });
        }
    }
    if found {
        return Ok(());
    }
    let message = format!("no program of `{}` has an input `{}`", scope.name.value, input.value);
    let d = Diagnostic::new(input.span, message, "expected an input");
    let names = programs.iter().flat_map(|p| inputs(p)).map(|(name, _)| name);
    Err(d.suggest(&input.value, names))
}

fn given(s: &Signature) -> String {
    let dtype = s.dtype.name();
    match s.rank() {
        1 => format!("{dtype} with one axis"),
        n => format!("{dtype} with {n} axes"),
    }
}

/// An input without a feed takes the value of a setting.
fn by_setting(scope: &Scope, program: &Program, name: &str, ty: &Type) -> Result<()> {
    let single = ty.dtype == DType::F32 && ty.rank() == 1 && ty.shape[0].is_one();
    let setting = scope.settings.iter().find(|s| s.name == name);
    match setting {
        Some(s) if single && !matches!(s.range, Range::Choice(_)) => {
            scope.read.borrow_mut().insert(name.into());
            return Ok(());
        }
        _ => {}
    }
    let message = format!("nothing fills the input `{name}` of the program `{}`", program.name);
    let label = match single {
        true => format!("expected a feed for `{name}`, or a setting of this name that is a number"),
        false => format!("expected a feed for `{name}`"),
    };
    let d = Diagnostic::new(scope.name.span, message, label);
    let d = match declared(scope, &program.name, name) {
        Some(place) => d.related(place, "declared here"),
        None => d,
    };
    Err(match single {
        true => d.help(format!("declare it, as in `\"{name}\": Rate(0.1, \"what it is\")`")),
        false => d,
    })
}

/// Where a program, or the one that it is like, declares an input.
fn declared(scope: &Scope, program: &str, input: &str) -> Option<Span> {
    let all = &scope.offer.globals.defs.programs;
    let mut program = all.iter().find(|p| p.name.value == program)?;
    // The chain of `like` has an end: the program was built.
    loop {
        if let Some(inputs) = &program.inputs {
            return inputs
                .iter()
                .find(|(n, _)| n.value == input)
                .map(|(n, ty)| n.span.to(ty.dtype.span));
        }
        let like = program.like.as_ref()?;
        program = all.iter().find(|p| p.name.value == like.value)?;
    }
}
