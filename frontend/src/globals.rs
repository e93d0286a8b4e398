//! Names that hold everywhere in a model: constants, sizes, blocks.

use crate::definitions::{Block, Definitions, SymbolDef};
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::Expr;
use crate::limits;
use crate::model::{Constant, Known, Symbol};
use crate::value::{Value, evaluate};
use ir::artifact::{LARGEST_RUN_SIZE, RunSize};
use ir::dim::Dim;
use ir::examples;
use ir::names::OWN_SIZES;
use ir::ops::Op;
use ir::types::MAX_AXIS;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Words that attributes of ops understand.
const WORDS: &[&str] = &["f32", "f64", "i32", "true", "false"];

/// Names of ops that statements may call.
pub fn op_names() -> impl Iterator<Item = &'static str> {
    Op::names().filter(|n| Op::is_callable(n))
}

pub struct Globals<'a> {
    pub defs: &'a Definitions,
    blocks: BTreeMap<&'a str, &'a Block>,
    /// Constants and sizes, evaluated when first asked for; `None` while that is under way.
    values: RefCell<BTreeMap<&'a str, Option<Value>>>,
}

impl<'a> Globals<'a> {
    pub fn new(defs: &'a Definitions) -> Result<Globals<'a>> {
        let blocks = defs.blocks.iter().map(|b| (b.name.value.as_str(), b)).collect();
        let globals = Globals {
            defs,
            blocks,
            values: RefCell::default(),
        };
        globals.check_names()?;
        for name in globals.defined() {
            globals.value(name)?;
        }
        globals.run_sizes()?;
        globals.symbols()?;
        Ok(globals)
    }

    /// One name must mean one thing.
    fn check_names(&self) -> Result<()> {
        let run_sizes = || self.defs.run_sizes.iter().map(|s| &s.name);
        let mut symbols = self.symbol_names().chain(run_sizes());
        if let Some(name) = symbols.find(|n| OWN_SIZES.contains(&n.value.as_str())) {
            let message = format!("`{}` is reserved in every program", name.value);
            return Err(Diagnostic::new(name.span, message, "expected another name"));
        }
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        let all = self
            .defined()
            .into_iter()
            .chain(self.symbol_names())
            .chain(run_sizes())
            .chain(self.defs.blocks.iter().map(|b| &b.name));
        for name in all {
            if let Some(first) = seen.insert(&name.value, name.span) {
                let d = Diagnostic::new(
                    name.span,
                    format!("`{}` means two things", name.value),
                    "expected another name",
                );
                return Err(d.related(first, "this has the same name"));
            }
        }
        Ok(())
    }

    fn defined(&self) -> Vec<&'a Spanned<String>> {
        let constants = self.defs.constants.iter().map(|c| &c.name);
        constants.chain(self.defs.sizes.iter().map(|s| &s.name)).collect()
    }

    fn definition(&self, name: &str) -> Option<(&'a str, &'a Expr, bool)> {
        let constant = self.defs.constants.iter().find(|c| c.name.value == name);
        let size = || self.defs.sizes.iter().find(|s| s.name.value == name);
        constant
            .map(|c| (c.name.value.as_str(), &c.value, true))
            .or_else(|| size().map(|s| (s.name.value.as_str(), &s.value, false)))
    }

    pub fn block(&self, name: &str) -> Option<&'a Block> {
        self.blocks.get(name).copied()
    }

    pub fn block_names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.blocks.keys().copied()
    }

    /// The meaning of a name outside all blocks.
    pub fn value(&self, name: &Spanned<String>) -> Result<Value> {
        self.find(name)?.ok_or_else(|| self.unknown(name, std::iter::empty()))
    }

    pub fn find(&self, name: &Spanned<String>) -> Result<Option<Value>> {
        let text = name.value.as_str();
        if let Some((key, expr, constant)) = self.definition(text) {
            let known = self.values.borrow().get(key).cloned();
            return match known {
                Some(Some(v)) => Ok(Some(v)),
                Some(None) => {
                    let label = "expected a definition that does not lead back to itself";
                    Err(Diagnostic::new(
                        name.span,
                        format!("`{text}` is defined by itself"),
                        label,
                    ))
                }
                None => {
                    let open = self.values.borrow().values().filter(|v| v.is_none()).count();
                    if open == limits::CHAIN {
                        let message = format!("more than {open} definitions lead on to each other");
                        return Err(Diagnostic::new(name.span, message, "expected a shorter chain"));
                    }
                    self.values.borrow_mut().insert(key, None);
                    let v = evaluate(expr, &mut |n| self.value(n))?;
                    let v = if constant {
                        self.check_constant(v, expr)?
                    } else {
                        Value::size(v.as_dim(expr.span)?)
                    };
                    self.values.borrow_mut().insert(key, Some(v.clone()));
                    Ok(Some(v))
                }
            };
        }
        Ok(match text {
            "none" => Some(Value::None),
            "inf" => Some(Value::Float(f64::INFINITY)),
            _ if self.symbol_names().any(|s| s.value == text) => Some(Value::Dim(Dim::sym(text))),
            _ if self.defs.run_sizes.iter().any(|s| s.name.value == text) => Some(Value::Dim(Dim::sym(text))),
            _ if WORDS.contains(&text) => Some(Value::Word(text.into())),
            _ if self.blocks.contains_key(text) || op_names().any(|n| n == text) => Some(Value::Callable(text.into())),
            _ => None,
        })
    }

    /// A number, a word, an op or a block, or a list of such.
    fn check_constant(&self, v: Value, e: &Expr) -> Result<Value> {
        let finite = |n: f64| match n.is_finite() {
            true => Ok(()),
            false => Err(Diagnostic::new(
                e.span,
                format!("a constant cannot be {n}"),
                "expected a finite number",
            )),
        };
        match &v {
            Value::Text(_) | Value::Word(_) | Value::Callable(_) | Value::None => {}
            Value::List(all) => all
                .iter()
                .try_for_each(|item| self.check_constant(item.clone(), e).map(drop))?,
            number => finite(number.as_number(e.span)?)?,
        }
        Ok(v)
    }

    /// The value of a constant; none where no constant has the name.
    pub fn constant(&self, name: &str) -> Result<Option<Value>> {
        match self.defs.constants.iter().find(|c| c.name.value == name) {
            Some(c) => self.find(&c.name),
            None => Ok(None),
        }
    }

    pub fn unknown<'b>(&'b self, name: &Spanned<String>, local: impl Iterator<Item = &'b str>) -> Diagnostic {
        let own = self
            .defined()
            .into_iter()
            .chain(self.symbol_names())
            .chain(self.defs.run_sizes.iter().map(|s| &s.name))
            .map(|n| -> &'b str { n.value.as_str() });
        let message = format!("`{}` is not defined", name.value);
        Diagnostic::new(name.span, message, "expected a value, a size or a constant")
            .suggest(&name.value, own.chain(local))
    }

    /// A size in terms of constants, sizes and symbols.
    pub fn dim(&self, e: &Expr) -> Result<Dim> {
        evaluate(e, &mut |n| self.value(n))?.as_dim(e.span)
    }

    /// Text about shapes, with named sizes by their names.
    pub fn with_size_names(&self, text: &str) -> String {
        self.sizes()
            .map_or_else(|_| text.into(), |sizes| crate::report::with_size_names(text, &sizes))
    }

    pub fn constants(&self) -> Result<Vec<Constant>> {
        let number = |c: &'a crate::definitions::ConstantDef| -> Result<Constant> {
            let value = self.value(&c.name)?;
            Ok(Constant {
                name: c.name.value.clone(),
                value: value.number().map_or_else(|| Known::Text(value.text()), Known::Number),
                doc: c.doc.clone(),
            })
        };
        self.defs.constants.iter().map(number).collect()
    }

    /// Whether a size is nothing but one that a run chooses.
    pub fn is_run_size(&self, d: &Dim) -> bool {
        self.defs.run_sizes.iter().any(|s| *d == Dim::sym(&s.name.value))
    }

    /// Sizes that a run chooses, with their defaults.
    pub fn run_sizes(&self) -> Result<Vec<RunSize>> {
        let size = |s: &'a crate::definitions::ConstantDef| -> Result<RunSize> {
            let value = evaluate(&s.value, &mut |n| self.value(n))?.as_int(s.value.span)?;
            let message = || format!("the run size `{}` is {value}", s.name.value);
            if value < 1 {
                return Err(Diagnostic::new(s.value.span, message(), "expected at least 1"));
            }
            if value > LARGEST_RUN_SIZE {
                let label = format!("expected at most {LARGEST_RUN_SIZE}");
                return Err(Diagnostic::new(s.value.span, message(), label));
            }
            Ok(RunSize {
                name: s.name.value.as_str().into(),
                value,
                doc: s.doc.clone(),
            })
        };
        self.defs.run_sizes.iter().map(size).collect()
    }

    fn symbol_names(&self) -> impl Iterator<Item = &'a Spanned<String>> {
        self.defs.symbols.iter().map(|s| &s.name)
    }

    /// Sizes known when a program runs, with their examples.
    pub fn symbols(&self) -> Result<Vec<Symbol>> {
        let symbol = |s: &'a SymbolDef| -> Result<Symbol> {
            let example = match &s.example {
                None => examples::DEFAULT,
                Some(e) => match evaluate(e, &mut |n| self.value(n))?.as_int(e.span)? {
                    n if (1..=MAX_AXIS).contains(&n) => n,
                    n => {
                        let message = format!("the example of the size `{}` is {n}", s.name.value);
                        let label = format!("expected a whole number from 1 to {MAX_AXIS}");
                        return Err(Diagnostic::new(e.span, message, label));
                    }
                },
            };
            Ok(Symbol {
                name: s.name.value.clone(),
                example,
                doc: s.doc.clone(),
            })
        };
        self.defs.symbols.iter().map(symbol).collect()
    }

    pub fn sizes(&self) -> Result<Vec<(String, Dim)>> {
        let dim =
            |s: &'a crate::definitions::SizeDef| Ok((s.name.value.clone(), self.value(&s.name)?.as_dim(s.value.span)?));
        self.defs.sizes.iter().map(dim).collect()
    }
}
