//! What passes make, for people: texts after a pass, and passes over texts.

use crate::failure::Failure;
use frontend::{Model, nearest};
use passes::module::{Module, parse};
use passes::pipeline::{self, PASSES, Pass, Settings};
use passes::rewrite::rules;
use std::fs;
use std::io::Read;
use std::path::Path;
use w2vc_compiler::args::{OptArgs, pass_list};
use w2vc_compiler::compile::module;

/// Where texts go.
pub type Show = dyn Fn(&str) -> Result<(), Failure>;

/// The pass of a name.
fn find(name: &str) -> Result<&'static Pass, Failure> {
    pipeline::find(name).map_err(|_| {
        let meant = nearest(name, &pipeline::names()).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        Failure::usage(format!("there is no pass `{name}`{meant}\n{}", pass_list().trim_end()))
    })
}

/// Shows the text of a model after a pass, or after each of them; also what does not hold.
pub fn dump_after(model: &Model, settings: &Settings, pass: &str, show: &Show) -> Result<(), Failure> {
    let passes = match pass {
        "all" => pipeline::passes(settings.target),
        name => between(settings, None, find(name)?)?,
    };
    let (mut m, _) = module(model);
    let mut shown = Ok(());
    let mut see = |p: &Pass, m: &Module| {
        if shown.is_ok() && (pass == "all" || p.name == pass) {
            shown = show(&m.to_string());
        }
    };
    let run = pipeline::run(&mut m, settings, &passes, &mut see).map_err(Failure::of_passes);
    shown.and(run)
}

/// Checks what must hold after each pass.
pub fn verify(model: &Model, settings: &Settings) -> Result<(), Failure> {
    let settings = Settings {
        verify: true,
        ..settings.clone()
    };
    let passes = pipeline::passes(settings.target);
    pipeline::run(&mut module(model).0, &settings, &passes, &mut |_, _| ()).map_err(Failure::of_passes)
}

/// The passes up to and with one that the target must have.
fn between(settings: &Settings, after: Option<&str>, last: &Pass) -> Result<Vec<&'static Pass>, Failure> {
    if !last.targets.contains(&settings.target) {
        return Err(Failure::usage(format!(
            "the pass `{}` is for another --target",
            last.name
        )));
    }
    Ok(pipeline::between(settings.target, after, last))
}

/// Runs passes over a text and gives the text that they make.
pub fn opt(args: &OptArgs, settings: Settings) -> Result<String, Failure> {
    let known: Vec<&str> = rules().iter().map(|r| r.name).collect();
    if let Some(unknown) = args.rule.iter().find(|r| !known.contains(&r.as_str())) {
        let meant = nearest(unknown, &known).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        let all = known.join(", ");
        return Err(Failure::usage(format!(
            "there is no rule `{unknown}`{meant}\nrules are {all}"
        )));
    }
    let settings = Settings {
        rules: (!args.rule.is_empty()).then(|| args.rule.clone()),
        verify: true,
        ..settings
    };
    let named = args.pass.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
    let last = args.after.as_deref().map(find).transpose()?;
    let text = read(&args.file)?;
    let mut m = parse(&text).map_err(|e| Failure::model(format!("{}: {e}", args.file.display())))?;
    let passes: Vec<&Pass> = match last {
        Some(last) => between(&settings, m.after, last)?,
        None => PASSES
            .iter()
            .filter(|p| named.iter().any(|n| n.name == p.name))
            .collect(),
    };
    if let (true, Some(last), Some(after)) = (passes.is_empty(), last, m.after) {
        return Err(Failure::usage(format!(
            "`{}` is what is there after the pass `{after}`, which comes after `{}`: give it to --pass to run it all the same",
            args.file.display(),
            last.name
        )));
    }
    pipeline::run(&mut m, &settings, &passes, &mut |_, _| ()).map_err(Failure::of_passes)?;
    Ok(m.to_string())
}

/// What stands before a line `---`, behind which file tests have what must come out.
fn read(file: &Path) -> Result<String, Failure> {
    let cannot = |e: std::io::Error| Failure::other(format!("cannot read `{}`: {e}", file.display()));
    let mut text = String::new();
    match file.as_os_str() == "-" {
        true => std::io::stdin().read_to_string(&mut text).map(|_| ()).map_err(cannot)?,
        false => text = fs::read_to_string(file).map_err(cannot)?,
    }
    let end = text.find("\n---\n").map_or(text.len(), |at| at + 1);
    text.truncate(end);
    Ok(text)
}
