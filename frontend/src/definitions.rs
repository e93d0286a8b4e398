//! The document with its strings parsed, and how one file extends another.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::document::{BlockText, Document, Entries, InitText, ParamText, ProgramText, Reader};
use crate::expr::{Expr, Statement, TypeExpr};
use crate::limits;
use crate::tasks::definition::{self as task, Entry, TaskDef};
use ron::value::RawValue;
use std::collections::BTreeSet;

/// All that a file and those it extends define.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    pub name: Option<Spanned<String>>,
    pub constants: Vec<ConstantDef>,
    /// Sizes that a run chooses, with their defaults.
    pub run_sizes: Vec<ConstantDef>,
    pub symbols: Vec<SymbolDef>,
    pub sizes: Vec<SizeDef>,
    pub blocks: Vec<Block>,
    pub programs: Vec<ProgramDef>,
    /// Programs of the extended file that this one takes out.
    pub without: Vec<Spanned<String>>,
    pub tasks: Vec<Entry<TaskDef>>,
    pub recipes: Vec<Recipe>,
    pub by_hours: Vec<ByHours>,
    pub export: Vec<Export>,
    /// Fields of a config.json that decide what the network is, with the values that they have where it is silent.
    pub config_defaults: Vec<(Spanned<String>, Datum)>,
    /// Fields of a config.json that take the value of a setting.
    pub config_settings: Vec<(Spanned<String>, Spanned<String>)>,
}

/// A number of the model that `--set` may change.
#[derive(Clone, Debug)]
pub struct ConstantDef {
    pub name: Spanned<String>,
    pub value: Expr,
    pub doc: String,
}

/// A size known only when a program runs.
#[derive(Clone, Debug)]
pub struct SymbolDef {
    pub name: Spanned<String>,
    /// What it is like in a typical run.
    pub example: Option<Expr>,
    pub doc: String,
}

#[derive(Clone, Debug)]
pub struct SizeDef {
    pub name: Spanned<String>,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub struct Block {
    pub name: Spanned<String>,
    pub args: Vec<Spanned<String>>,
    pub dims: Vec<Spanned<String>>,
    pub params: Vec<ParamDef>,
    pub body: Vec<Statement>,
    pub returns: Vec<Spanned<String>>,
}

#[derive(Clone, Debug)]
pub struct ParamDef {
    pub name: Spanned<String>,
    pub shape: Vec<Expr>,
    pub init: InitDef,
}

#[derive(Clone, Debug)]
pub enum InitDef {
    Zeros,
    Ones,
    Normal(Expr),
    Uniform(Expr, Expr),
    KaimingNormal,
    XavierUniform,
    FanIn(Expr),
    NormOf(Spanned<String>, usize),
}

#[derive(Clone, Debug)]
pub struct ProgramDef {
    pub name: Spanned<String>,
    pub like: Option<Spanned<String>>,
    pub inputs: Option<Vec<(Spanned<String>, TypeExpr)>>,
    pub body: Option<Vec<Statement>>,
    pub outputs: Option<Vec<Spanned<String>>>,
    pub loss: Option<Spanned<String>>,
    pub trains: Option<Vec<Spanned<String>>>,
    pub frozen: Option<Vec<Spanned<String>>>,
}

impl ProgramDef {
    /// This program in place of the extended file's of the same name, which it may be like.
    fn over(self, old: ProgramDef) -> ProgramDef {
        if self.like.as_ref().is_none_or(|l| l.value != self.name.value) {
            return self;
        }
        ProgramDef {
            name: self.name,
            like: old.like,
            inputs: self.inputs.or(old.inputs),
            body: self.body.or(old.body),
            outputs: self.outputs.or(old.outputs),
            loss: self.loss.or(old.loss),
            trains: self.trains.or(old.trains),
            frozen: self.frozen.or(old.frozen),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Recipe {
    /// The task whose settings these are.
    pub command: Spanned<String>,
    pub settings: Vec<SettingDef>,
}

/// Settings of a command for amounts of data, in hours; they stand over its recipe.
#[derive(Clone, Debug)]
pub struct ByHours {
    pub command: Spanned<String>,
    pub amounts: Vec<(Spanned<String>, Vec<SettingDef>)>,
}

#[derive(Clone, Debug)]
pub struct SettingDef {
    pub name: Spanned<String>,
    pub value: Datum,
    /// Of the value.
    pub span: Span,
    pub doc: Option<String>,
}

/// Plain data; strings that begin with `$` are expressions.
#[derive(Clone, Debug)]
pub enum Datum {
    Null,
    Flag(bool),
    Text(String),
    Expr(Expr),
    List(Vec<Datum>),
    Map(Vec<(String, Datum)>),
}

#[derive(Clone, Debug)]
pub struct Export {
    pub command: Spanned<String>,
    pub fields: Vec<(Spanned<String>, Datum)>,
}

impl Datum {
    pub fn expressions(&self, see: &mut dyn FnMut(&Expr)) {
        match self {
            Datum::Expr(e) => see(e),
            Datum::List(all) => all.iter().for_each(|d| d.expressions(see)),
            Datum::Map(all) => all.iter().for_each(|(_, d)| d.expressions(see)),
            Datum::Null | Datum::Flag(_) | Datum::Text(_) => {}
        }
    }
}

impl Definitions {
    /// Reads everything but `extends`.
    pub fn read<'a>(r: &Reader<'a>, d: &Document<'a>) -> Result<Definitions> {
        let name = d.name.map(|raw| r.name(raw, "the model's name")).transpose()?;
        let sizes = entries(r, d.sizes, "a size", |name, raw: &RawValue| {
            Ok(SizeDef {
                name,
                value: r.expr(raw)?,
            })
        })?;
        let recipes = entries(r, d.recipes, "a command", |command, raw: &RawValue| {
            let settings = entries(r, Some(raw), "a setting", |name, raw| setting(r, name, raw))?;
            Ok(Recipe { command, settings })
        })?;
        let by_hours = entries(r, d.by_hours, "a command", |command, raw: &RawValue| {
            let amounts = entries(r, Some(raw), "an amount", |hours, raw: &RawValue| {
                let settings = entries(r, Some(raw), "a setting", |name, raw| setting(r, name, raw))?;
                Ok((hours, settings))
            })?;
            Ok(ByHours { command, amounts })
        })?;
        let export = entries(r, d.export, "a command", |command, raw: &RawValue| {
            let fields = entries(r, Some(raw), "a field", |name, raw| Ok((name, datum(r, raw)?)))?;
            Ok(Export { command, fields })
        })?;
        let programs = entries(
            r,
            d.programs,
            "a program",
            |name, text: Option<ProgramText>| match text {
                Some(text) => Ok(Ok(program(r, name, text)?)),
                None => Ok(Err(name)),
            },
        )?;
        let (programs, without): (Vec<_>, Vec<_>) = programs.into_iter().partition(|p| p.is_ok());
        Ok(Definitions {
            name,
            constants: entries(r, d.constants, "a constant", |name, raw| constant(r, name, raw))?,
            run_sizes: entries(r, d.run_sizes, "a run size", |name, raw| constant(r, name, raw))?,
            symbols: d.symbols.map_or(Ok(vec![]), |raw| symbols(r, raw))?,
            sizes,
            blocks: entries(r, d.blocks, "a block", |name, text| block(r, name, text))?,
            programs: programs.into_iter().flatten().collect(),
            without: without.into_iter().filter_map(|p| p.err()).collect(),
            tasks: task::read(r, d.tasks)?,
            recipes,
            by_hours,
            export,
            config_defaults: entries(r, d.config_defaults, "a field", |name, raw| Ok((name, datum(r, raw)?)))?,
            config_settings: entries(r, d.config_settings, "a field", |name, raw| {
                Ok((name, r.name(raw, "a setting's name")?))
            })?,
        })
    }

    /// Every name that an expression anywhere reads.
    pub fn names_read(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let bodies = self.blocks.iter().map(|b| &b.body);
        let bodies = bodies.chain(self.programs.iter().filter_map(|p| p.body.as_ref()));
        bodies.flatten().for_each(|s| s.names(&mut names));
        let mut see = |e: &Expr| e.names(&mut names);
        self.constants.iter().for_each(|c| see(&c.value));
        self.symbols.iter().flat_map(|s| &s.example).for_each(&mut see);
        self.sizes.iter().for_each(|s| see(&s.value));
        for block in &self.blocks {
            for p in &block.params {
                p.shape.iter().for_each(&mut see);
                match &p.init {
                    InitDef::Normal(e) | InitDef::FanIn(e) => see(e),
                    InitDef::Uniform(low, high) => [low, high].into_iter().for_each(&mut see),
                    _ => {}
                }
            }
        }
        for p in &self.programs {
            let inputs = p.inputs.iter().flatten();
            inputs.flat_map(|(_, ty)| &ty.shape).for_each(&mut see);
        }
        let tasks = self.tasks.iter().filter_map(|t| t.value.as_ref());
        tasks.for_each(|t| t.expressions(&mut see));
        let settings = self.recipes.iter().flat_map(|r| &r.settings).map(|s| &s.value);
        let amounts = self.by_hours.iter().flat_map(|b| &b.amounts);
        let by_hours = amounts.flat_map(|(_, settings)| settings).map(|s| &s.value);
        let fields = self.export.iter().flat_map(|e| &e.fields);
        let fields = fields.chain(&self.config_defaults).map(|(_, d)| d);
        settings
            .chain(by_hours)
            .chain(fields)
            .for_each(|d| d.expressions(&mut see));
        names
    }

    /// These definitions over those of the file that is extended: what has the same name takes its place.
    pub fn over(self, mut base: Definitions) -> Definitions {
        base.programs
            .retain(|p| self.without.iter().all(|w| w.value != p.name.value));
        // With a task goes what belongs to it.
        let gone = |command: &Spanned<String>| {
            let mut out = self.tasks.iter().filter(|t| t.value.is_none());
            out.any(|t| t.name.value == command.value)
        };
        base.recipes.retain(|r| !gone(&r.command));
        base.by_hours.retain(|b| !gone(&b.command));
        base.export.retain(|e| !gone(&e.command));
        let documented = |old: ConstantDef, new: ConstantDef| {
            let doc = if new.doc.is_empty() { old.doc } else { new.doc };
            ConstantDef { doc, ..new }
        };
        // `None` takes a field out.
        let mut config_defaults = merge(base.config_defaults, self.config_defaults, |f| &f.0.value, |_, new| new);
        config_defaults.retain(|(_, d)| !matches!(d, Datum::Null));
        // What the base file declares as a run size stays one, whichever of the two lists names it.
        let is_run_size = |c: &ConstantDef| base.run_sizes.iter().any(|s| s.name.value == c.name.value);
        let (defaults, constants): (Vec<_>, Vec<_>) = self.constants.into_iter().partition(is_run_size);
        let run_sizes = self.run_sizes.into_iter().chain(defaults).collect();
        Definitions {
            name: self.name.or(base.name),
            constants: merge(base.constants, constants, |c| &c.name.value, documented),
            run_sizes: merge(base.run_sizes, run_sizes, |c| &c.name.value, documented),
            symbols: merge(
                base.symbols,
                self.symbols,
                |s| &s.name.value,
                |old, new| SymbolDef {
                    example: new.example.or(old.example),
                    doc: if new.doc.is_empty() { old.doc } else { new.doc },
                    ..new
                },
            ),
            sizes: merge(base.sizes, self.sizes, |s| &s.name.value, |_, new| new),
            blocks: merge(base.blocks, self.blocks, |b| &b.name.value, |_, new| new),
            programs: merge(
                base.programs,
                self.programs,
                |p| &p.name.value,
                |old, new| new.over(old),
            ),
            without: vec![],
            tasks: task::over(base.tasks, self.tasks, |old, new| new.over(old)),
            recipes: merge(
                base.recipes,
                self.recipes,
                |r| &r.command.value,
                |old, new| {
                    let settings = merge(
                        old.settings,
                        new.settings,
                        |s| &s.name.value,
                        |old, new| SettingDef {
                            doc: new.doc.or(old.doc),
                            ..new
                        },
                    );
                    Recipe { settings, ..new }
                },
            ),
            // Those for other amounts belong to the recipe that they were made with, and so are taken all or none.
            config_defaults,
            config_settings: merge(base.config_settings, self.config_settings, |f| &f.0.value, |_, new| new),
            by_hours: merge(base.by_hours, self.by_hours, |b| &b.command.value, |_, new| new),
            export: merge(
                base.export,
                self.export,
                |e| &e.command.value,
                |old, new| {
                    let fields = merge(old.fields, new.fields, |f| &f.0.value, |_, new| new);
                    Export { fields, ..new }
                },
            ),
        }
    }
}

/// Items of `new` at the place of those of `old` with the same name, the others after them.
fn merge<T>(old: Vec<T>, new: Vec<T>, name: impl Fn(&T) -> &String, join: impl Fn(T, T) -> T) -> Vec<T> {
    let mut all: Vec<Option<T>> = old.into_iter().map(Some).collect();
    for item in new {
        match all
            .iter_mut()
            .find(|o| o.as_ref().is_some_and(|o| name(o) == name(&item)))
        {
            Some(slot) => *slot = slot.take().map(|o| join(o, item)),
            None => all.push(Some(item)),
        }
    }
    all.into_iter().flatten().collect()
}

/// Reads a map whose keys are names that stand once.
pub fn entries<'a, V: serde::Deserialize<'a>, T>(
    r: &Reader<'a>,
    raw: Option<&'a RawValue>,
    what: &str,
    read: impl Fn(Spanned<String>, V) -> Result<T>,
) -> Result<Vec<T>> {
    let Some(raw) = raw else { return Ok(vec![]) };
    let map: Entries<V> = r.parse(raw)?;
    named(r, map, what).and_then(|all| all.into_iter().map(|(name, v)| read(name, v)).collect())
}

fn named<'a, V>(r: &Reader<'a>, map: Entries<'a, V>, what: &str) -> Result<Vec<(Spanned<String>, V)>> {
    let mut all: Vec<(Spanned<String>, V)> = vec![];
    for (key, value) in map.0 {
        if all.len() == limits::ENTRIES {
            let message = format!("more than {} entries in one map", limits::ENTRIES);
            let label = format!("expected at most {}", limits::ENTRIES);
            return Err(Diagnostic::new(r.spanned(key).span, message, label));
        }
        let name = r.name(key, &format!("{what}'s name"))?;
        if let Some((first, _)) = all.iter().find(|(n, _)| n.value == name.value) {
            let d = Diagnostic::new(
                name.span,
                format!("`{}` is defined twice", name.value),
                "expected another name",
            );
            return Err(d.related(first.span, "first defined here"));
        }
        all.push((name, value));
    }
    Ok(all)
}

/// `value` or `(value, "what it is")`.
pub fn with_doc<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<(&'a RawValue, Option<String>)> {
    if !r.spanned(raw).value.starts_with('(') {
        return Ok((raw, None));
    }
    let (value, doc): (&RawValue, &RawValue) = r.parse(raw)?;
    Ok((value, Some(r.string(doc, "a description in quotes")?.text.to_string())))
}

/// Names alone, or names with examples and descriptions.
fn symbols<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<Vec<SymbolDef>> {
    if r.spanned(raw).value.starts_with('{') {
        return entries(r, Some(raw), "a size", |name, raw: &RawValue| {
            let ConstantDef { name, value, doc } = constant(r, name, raw)?;
            let example = Some(value);
            Ok(SymbolDef { name, example, doc })
        });
    }
    let names = r.names(&r.parse::<Vec<&RawValue>>(raw)?, "a size's name")?;
    let bare = |name| SymbolDef {
        name,
        example: None,
        doc: String::new(),
    };
    Ok(names.into_iter().map(bare).collect())
}

fn constant<'a>(r: &Reader<'a>, name: Spanned<String>, raw: &'a RawValue) -> Result<ConstantDef> {
    let (value, doc) = with_doc(r, raw)?;
    Ok(ConstantDef {
        name,
        value: r.expr(value)?,
        doc: doc.unwrap_or_default(),
    })
}

fn setting<'a>(r: &Reader<'a>, name: Spanned<String>, raw: &'a RawValue) -> Result<SettingDef> {
    let (value, doc) = with_doc(r, raw)?;
    Ok(SettingDef {
        name,
        value: datum(r, value)?,
        span: r.spanned(value).span,
        doc,
    })
}

pub fn datum<'a>(r: &Reader<'a>, raw: &'a RawValue) -> Result<Datum> {
    let text = r.spanned(raw);
    Ok(match text.value.as_bytes().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = r.parse(raw)?;
            Datum::List(items.into_iter().map(|raw| datum(r, raw)).collect::<Result<_>>()?)
        }
        Some(b'{') => Datum::Map(entries(r, Some(raw), "a field", |name, raw| {
            Ok((name.value, datum(r, raw)?))
        })?),
        Some(b'"') => match text.value.strip_prefix("\"$") {
            Some(_) => {
                let mut inside = r.string(raw, "an expression")?;
                inside.text = &inside.text[1..];
                inside.start += 1;
                Datum::Expr(inside.expr()?)
            }
            None => Datum::Text(r.parse(raw)?),
        },
        _ => match text.value {
            "true" => Datum::Flag(true),
            "false" => Datum::Flag(false),
            "None" | "()" => Datum::Null,
            _ => Datum::Expr(r.expr(raw)?),
        },
    })
}

fn block<'a>(r: &Reader<'a>, name: Spanned<String>, text: BlockText<'a>) -> Result<Block> {
    let params = named(r, text.params, "a parameter")?;
    let params = params
        .into_iter()
        .map(|(name, p)| param(r, name, p))
        .collect::<Result<_>>()?;
    Ok(Block {
        name,
        args: r.names(&text.args, "an argument's name")?,
        dims: r.names(&text.dims, "a number's name")?,
        params,
        body: r.string(text.body, "statements in quotes")?.statements()?,
        returns: r.names(&text.returns, "a value's name")?,
    })
}

fn param<'a>(r: &Reader<'a>, name: Spanned<String>, text: ParamText<'a>) -> Result<ParamDef> {
    let init = match r.parse(text.init)? {
        InitText::Zeros => InitDef::Zeros,
        InitText::Ones => InitDef::Ones,
        InitText::Normal(std) => InitDef::Normal(r.expr(std)?),
        InitText::Uniform(low, high) => InitDef::Uniform(r.expr(low)?, r.expr(high)?),
        InitText::KaimingNormal => InitDef::KaimingNormal,
        InitText::XavierUniform => InitDef::XavierUniform,
        InitText::FanIn(n) => InitDef::FanIn(r.expr(n)?),
        InitText::NormOf(other, axis) => InitDef::NormOf(r.name(other, "a parameter's name")?, axis),
    };
    Ok(ParamDef {
        name,
        shape: r.exprs(&text.shape)?,
        init,
    })
}

fn program<'a>(r: &Reader<'a>, name: Spanned<String>, text: ProgramText<'a>) -> Result<ProgramDef> {
    let inputs = text.inputs.map(|map| -> Result<Vec<_>> {
        let all = named(r, map, "an input")?;
        all.into_iter()
            .map(|(name, raw)| Ok((name, r.string(raw, "a type such as \"f32[B, N]\"")?.ty()?)))
            .collect()
    });
    let names = |raws: Option<Vec<&'a RawValue>>, what: &str| raws.map(|raws| r.names(&raws, what)).transpose();
    Ok(ProgramDef {
        name,
        like: text.like.map(|raw| r.name(raw, "a program's name")).transpose()?,
        inputs: inputs.transpose()?,
        body: text
            .body
            .map(|raw| r.string(raw, "statements in quotes")?.statements())
            .transpose()?,
        outputs: names(text.outputs, "a value's name")?,
        loss: text.loss.map(|raw| r.name(raw, "an output's name")).transpose()?,
        trains: names(text.trains, "a pattern of parameter names")?,
        frozen: names(text.frozen, "a pattern of parameter names")?,
    })
}
