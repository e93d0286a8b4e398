//! Files to a model.

use crate::data;
use crate::definitions::Definitions;
use crate::diagnostic::{Diagnostic, Diagnostics, Result, Source, Span, Spanned};
use crate::document::Reader;
use crate::globals::Globals;
use crate::model::Model;
use crate::params::Params;
use crate::parse::Text;
use crate::program;
use std::path::{Path, PathBuf};

/// Reads a model file and those it extends, with constants overridden by `sets` (name, value).
///
/// # Errors
/// Every mistake found, each with its place in the text.
pub fn load(path: &Path, sets: &[(String, String)]) -> std::result::Result<Model, Diagnostics> {
    let mut sources = Sources::default();
    let definitions = match sources.definitions(path, sets) {
        Ok(d) => d,
        Err(d) => {
            return Err(Diagnostics {
                sources: sources.list,
                list: vec![d],
            });
        }
    };
    build(&definitions).map_err(|mut list| {
        list.sort();
        list.dedup();
        Diagnostics {
            sources: sources.list,
            list,
        }
    })
}

fn build(defs: &Definitions) -> std::result::Result<Model, Vec<Diagnostic>> {
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
    Ok(Model {
        name: defs.name.as_ref().map_or_else(String::new, |n| n.value.clone()),
        constants: globals.constants().map_err(one)?,
        symbols: defs.symbols.iter().map(|s| s.value.clone()).collect(),
        sizes: globals.sizes().map_err(one)?,
        params: params.list,
        programs,
        recipes: data::recipes(&globals).map_err(one)?,
        export: data::export(&globals).map_err(one)?,
    })
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
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                self.add(path.display().to_string(), path.into(), String::new());
                return Err(Diagnostic::new(
                    nowhere,
                    format!("cannot read {}: {e}", path.display()),
                    "expected a model file",
                ));
            }
        };
        let source = self.add(path.display().to_string(), path.into(), text);
        let mut defs = self.file(source, &mut vec![])?;
        if defs.name.is_none() {
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
        let Some(raw) = document.extends else { return Ok(own) };
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
        let base_text = std::fs::read_to_string(&base).map_err(|e| {
            let message = format!("cannot read {}: {e}", base.display());
            let d = Diagnostic::new(span, message, "expected a file, seen from the folder of this one");
            let folder = base.parent().and_then(|p| std::fs::read_dir(p).ok());
            let files = folder
                .into_iter()
                .flatten()
                .flatten()
                .map(|f| f.file_name().to_string_lossy().into_owned());
            let files: Vec<String> = files.filter(|f| f.ends_with(".ron")).collect();
            d.suggest(inside.text, files.iter().map(String::as_str))
        })?;
        let base = self.add(base.display().to_string(), base, base_text);
        let base = self.file(base, open)?;
        Ok(own.over(base))
    }

    fn set(&mut self, defs: &mut Definitions, name: &str, value: &str) -> Result<()> {
        let text = format!("{name}={value}");
        let source = self.add("--set".into(), PathBuf::new(), text);
        let Some(constant) = defs.constants.iter_mut().find(|c| c.name.value == name) else {
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
            return Err(d.suggest(name, defs.constants.iter().map(|c| c.name.value.as_str())));
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
