//! Files to a model.

use crate::data;
use crate::definitions::{Definitions, ProgramDef};
use crate::diagnostic::{Diagnostic, Diagnostics, Result, Source, Span, Spanned};
use crate::document::Reader;
use crate::globals::Globals;
use crate::limits;
use crate::model::Model;
use crate::params::Params;
use crate::parse::Text;
use crate::program;
use crate::tasks;
use ir::stack::with_stack;
use ir::task::Host;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Reads a model file and those it extends, with constants overridden by `sets` (name, value). Its tasks are checked against
/// what the `host` offers.
///
/// # Errors
/// Every mistake found, each with its place in the text.
pub fn load(path: &Path, sets: &[(String, String)], host: &Host) -> std::result::Result<Model, Diagnostics> {
    with_stack(limits::STACK, || load_here(path, sets, Some(host)))
}

/// The same without the model's tasks, which are not checked: for whoever has no runtime to carry them out.
///
/// # Errors
/// As those of [`load`].
pub fn load_programs(path: &Path, sets: &[(String, String)]) -> std::result::Result<Model, Diagnostics> {
    with_stack(limits::STACK, || load_here(path, sets, None))
}

/// Programs of a model that is text in memory; `name` takes the place of a path in messages.
///
/// # Errors
/// As those of [`load`].
pub fn load_text(name: &str, text: &str) -> std::result::Result<Model, Diagnostics> {
    with_stack(limits::STACK, || {
        let mut sources = Sources::default();
        let source = sources.add(name.into(), name.into(), text.into());
        let definitions = sources.merged(source, &[]);
        built(sources, definitions, None)
    })
}

fn load_here(path: &Path, sets: &[(String, String)], host: Option<&Host>) -> std::result::Result<Model, Diagnostics> {
    let mut sources = Sources::default();
    let definitions = sources.definitions(path, sets);
    built(sources, definitions, host)
}

fn built(
    sources: Sources,
    definitions: Result<Definitions>,
    host: Option<&Host>,
) -> std::result::Result<Model, Diagnostics> {
    let definitions = match definitions {
        Ok(d) => d,
        Err(d) => {
            return Err(Diagnostics {
                sources: sources.list,
                list: vec![d],
            });
        }
    };
    build(&definitions, host).map_err(|mut list| {
        list.sort();
        list.dedup();
        Diagnostics {
            sources: sources.list,
            list,
        }
    })
}

fn build(defs: &Definitions, host: Option<&Host>) -> std::result::Result<Model, Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    let globals = Globals::new(defs).map_err(one)?;
    let mut params = Params::default();
    let (mut programs, mut wrong) = (vec![], vec![]);
    for p in &defs.programs {
        match program::build(&globals, &mut params, p) {
            Ok(built) => programs.push(built),
            Err(d) => wrong.push(d),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let tasks = match host {
        Some(host) => tasks::build(&globals, host, &programs, &params.list)?,
        None => vec![],
    };
    Ok(Model {
        name: defs.name.as_ref().map_or_else(String::new, |n| n.value.clone()),
        constants: globals.constants().map_err(one)?,
        run_sizes: globals.run_sizes().map_err(one)?,
        symbols: globals.symbols().map_err(one)?,
        sizes: globals.sizes().map_err(one)?,
        params: params.list,
        programs,
        tasks,
        export: data::export(&globals).map_err(one)?,
        config: data::config(&globals).map_err(one)?,
        config_constants: data::config_constants(&globals),
    })
}

/// Why there is no text.
enum Unreadable {
    File(String),
    /// Something that is no text, after the text before it.
    Text {
        text: String,
        start: usize,
        what: &'static str,
    },
}

/// The text of a file, which must be one: a device or a pipe may never end.
fn read(path: &Path) -> std::result::Result<String, Unreadable> {
    let file = |e: std::io::Error| Unreadable::File(e.to_string());
    let about = std::fs::metadata(path).map_err(file)?;
    if !about.is_file() {
        let what = if about.is_dir() {
            "it is a folder"
        } else {
            "it is no regular file"
        };
        return Err(Unreadable::File(what.into()));
    }
    let mut bytes = vec![];
    // One more than may be there, whatever the file's length is said to be.
    let limited = std::fs::File::open(path).map(|f| f.take(limits::FILE_BYTES + 1));
    limited.and_then(|mut f| f.read_to_end(&mut bytes)).map_err(file)?;
    if bytes.len() as u64 > limits::FILE_BYTES {
        return Err(Unreadable::File(format!(
            "it is larger than {} bytes",
            limits::FILE_BYTES
        )));
    }
    let broken = |valid: &[u8], what| {
        let text = String::from_utf8_lossy(valid).into_owned();
        Unreadable::Text {
            start: text.len(),
            text,
            what,
        }
    };
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        broken(valid, "here begins something that is not UTF-8")
    })?;
    match text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Some(at) => Err(broken(&text.as_bytes()[..at], "here is a control character")),
        None => Ok(text),
    }
}

/// A constant that an extending file adds and nothing reads is most likely another one's name with a slip.
fn unused(all: &Definitions, added: &[Spanned<String>], known: &[String]) -> Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    let names = all.names_read();
    match added.iter().find(|name| !names.contains(&name.value)) {
        Some(name) => {
            let message = format!(
                "nothing reads the constant `{}`, and the model that this one extends has none",
                name.value
            );
            let d = Diagnostic::new(
                name.span,
                message,
                "expected a constant of the model, or one that is used",
            );
            Err(d.suggest(&name.value, known.iter().map(String::as_str)))
        }
        None => Ok(()),
    }
}

/// What a file takes out must be there.
fn taken_out(own: &Definitions, base: &[ProgramDef]) -> Result<()> {
    let known = || base.iter().map(|p| p.name.value.as_str());
    match own.without.iter().find(|w| known().all(|k| k != w.value)) {
        Some(name) => {
            let message = format!("there is no program `{}` to take out", name.value);
            let d = Diagnostic::new(name.span, message, "expected one of the file that this one extends");
            Err(d.suggest(&name.value, known()))
        }
        None => Ok(()),
    }
}

#[derive(Default)]
struct Sources {
    list: Vec<Source>,
}

impl Sources {
    fn add(&mut self, name: String, path: PathBuf, text: String) -> usize {
        self.list.push(Source { name, path, text });
        self.list.len() - 1
    }

    fn definitions(&mut self, path: &Path, sets: &[(String, String)]) -> Result<Definitions> {
        let nowhere = Span {
            source: 0,
            start: 0,
            end: 0,
        };
        // The source is there before its text, so that there is a place to show.
        let source = self.add(path.display().to_string(), path.into(), String::new());
        self.list[source].text = read(path).map_err(|e| self.unreadable(source, nowhere, e))?;
        self.merged(source, sets)
    }

    /// The definitions of a source over those it extends, with constants overridden.
    fn merged(&mut self, source: usize, sets: &[(String, String)]) -> Result<Definitions> {
        let mut defs = self.file(source, &mut vec![])?;
        if defs.name.is_none() {
            let path = self.list[source].path.clone();
            let nowhere = Span {
                source,
                start: 0,
                end: 0,
            };
            let stem = path
                .file_stem()
                .map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned());
            defs.name = Some(Spanned {
                value: stem,
                span: nowhere,
            });
        }
        for (name, value) in sets {
            self.set(&mut defs, name, value)?;
        }
        Ok(defs)
    }

    /// The definitions of a source over those it extends. `open` holds the files being read.
    fn file(&mut self, source: usize, open: &mut Vec<PathBuf>) -> Result<Definitions> {
        let Source { path, text, .. } = self.list[source].clone();
        let reader = Reader { source, text: &text };
        let document = reader.document()?;
        let own = Definitions::read(&reader, &document)?;
        let Some(raw) = document.extends else {
            taken_out(&own, &[])?;
            return Ok(own);
        };
        let inside = reader.string(raw, "the path of a model file")?;
        let span = Span {
            source,
            start: inside.start,
            end: inside.start + inside.text.len(),
        };
        let base = path.parent().unwrap_or(Path::new("")).join(inside.text);
        let canonical = |p: &Path| p.canonicalize().unwrap_or_else(|_| p.into());
        open.push(canonical(&path));
        if open.contains(&canonical(&base)) {
            let message = format!("`{}` extends itself, directly or through others", inside.text);
            return Err(Diagnostic::new(
                span,
                message,
                "expected a file that does not lead back here",
            ));
        }
        if open.len() == limits::FILES {
            let message = format!("more than {} files extend each other", limits::FILES);
            return Err(Diagnostic::new(span, message, "expected fewer"));
        }
        // Messages show lines of the file, which must not be one that nobody meant to read.
        if base.extension().is_none_or(|e| e != "ron") {
            let message = format!("`{}` is no model file", inside.text);
            return Err(Diagnostic::new(span, message, "expected a name that ends in `.ron`"));
        }
        let source = self.add(base.display().to_string(), base.clone(), String::new());
        let base_text = read(&base).map_err(|e| match e {
            Unreadable::Text { .. } => self.unreadable(source, span, e),
            Unreadable::File(e) => {
                let message = format!("cannot read {}: {e}", base.display());
                let d = Diagnostic::new(span, message, "expected a file, seen from the folder of this one");
                let folder = base.parent().and_then(|p| std::fs::read_dir(p).ok());
                let files = folder
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|f| f.file_name().to_string_lossy().into_owned());
                let files: Vec<String> = files.filter(|f| f.ends_with(".ron")).take(100).collect();
                d.suggest(inside.text, files.iter().map(String::as_str))
            }
        })?;
        self.list[source].text = base_text;
        let base = source;
        let base = self.file(base, open)?;
        let added: Vec<Spanned<String>> = own
            .constants
            .iter()
            .map(|c| c.name.clone())
            .filter(|name| base.constants.iter().all(|c| c.name.value != name.value))
            .collect();
        taken_out(&own, &base.programs)?;
        let known: Vec<String> = base.constants.iter().map(|c| c.name.value.clone()).collect();
        let merged = own.over(base);
        unused(&merged, &added, &known)?;
        Ok(merged)
    }

    /// Why a file cannot be taken: at the place in it, or at `at`, where it is asked for.
    fn unreadable(&mut self, source: usize, at: Span, e: Unreadable) -> Diagnostic {
        let path = self.list[source].path.display().to_string();
        match e {
            Unreadable::File(e) => Diagnostic::new(at, format!("cannot read {path}: {e}"), "expected a model file"),
            Unreadable::Text { text, start, what } => {
                self.list[source].text = text;
                let end = start;
                let place = Span { source, start, end };
                Diagnostic::new(
                    place,
                    format!("{path} is no text: {what}"),
                    "expected a model file in UTF-8",
                )
            }
        }
    }

    fn set(&mut self, defs: &mut Definitions, name: &str, value: &str) -> Result<()> {
        let text = format!("{name}={value}");
        let source = self.add("--set".into(), PathBuf::new(), text);
        let mut known = defs.constants.iter_mut().chain(&mut defs.run_sizes);
        let Some(constant) = known.find(|c| c.name.value == name) else {
            let span = Span {
                source,
                start: 0,
                end: name.len(),
            };
            let d = Diagnostic::new(
                span,
                format!("the model has no constant `{name}`"),
                "expected a constant of the model",
            );
            let names = defs.constants.iter().chain(&defs.run_sizes);
            return Err(d.suggest(name, names.map(|c| c.name.value.as_str())));
        };
        constant.value = Text {
            source,
            start: name.len() + 1,
            text: value,
        }
        .expr()?;
        Ok(())
    }
}
