//! What a task may name: settings, sizes, programs with their inputs and outputs.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::Kind;
use crate::globals::Globals;
use crate::model::{ParamDecl, Program};
use crate::parse::Atom;
use crate::value::evaluate;
use ir::dim::Dim;
use ir::ops::Op;
use ir::task::{Amount, Declared, Host, Range, matches};
use ir::types::Type;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Of the whole model.
#[derive(Clone, Copy)]
pub struct Offer<'a, 'd> {
    pub globals: &'a Globals<'d>,
    pub host: &'a Host,
    pub programs: &'a [Program],
    pub params: &'a [ParamDecl],
}

/// Of one task.
pub struct Scope<'a, 'd> {
    pub offer: Offer<'a, 'd>,
    pub name: &'a Spanned<String>,
    pub settings: Vec<Declared>,
    /// Settings that something reads.
    pub read: RefCell<BTreeSet<String>>,
}

/// What an output must be.
#[derive(Clone, Copy)]
pub enum Want {
    Single,
    Floats,
    Axes(usize),
}

impl Want {
    fn holds(self, ty: &Type) -> bool {
        ty.dtype.is_float()
            && match self {
                Want::Single => ty.shape.iter().all(Dim::is_one),
                Want::Floats => true,
                Want::Axes(n) => ty.rank() == n,
            }
    }

    fn words(self) -> String {
        match self {
            Want::Single => "expected a single float".into(),
            Want::Floats => "expected floats".into(),
            Want::Axes(1) => "expected floats with one axis".into(),
            Want::Axes(n) => format!("expected floats with {n} axes"),
        }
    }
}

impl<'a> Scope<'a, '_> {
    /// A number: as it stands, a setting's name, or an expression of constants.
    pub fn amount(&self, atom: &Atom) -> Result<Amount> {
        if atom.quoted && self.settings.iter().any(|s| s.name == atom.text) {
            return self.setting(atom);
        }
        let e = atom.expr()?;
        let unknown = match &e.kind {
            Kind::Name(name) if self.offer.globals.find(&spanned(name, e.span))?.is_none() => Some(name),
            _ => None,
        };
        if let Some(name) = unknown {
            let message = format!("`{name}` is neither a setting of `{}` nor a constant", self.name.value);
            let d = Diagnostic::new(e.span, message, "expected a number, or the name of one in quotes");
            let constants = self.offer.globals.defs.constants.iter().map(|c| c.name.value.as_str());
            return Err(d.suggest(name, self.settings.iter().map(|s| s.name.as_str()).chain(constants)));
        }
        match evaluate(&e, &mut |n| self.offer.globals.value(n))?.as_number(e.span)? {
            n if n.is_finite() && n >= 0.0 => Ok(Amount::Fixed(n)),
            n => Err(Diagnostic::new(
                e.span,
                format!("this cannot be {n}"),
                "expected a finite number, 0 or more",
            )),
        }
    }

    fn setting(&self, atom: &Atom) -> Result<Amount> {
        let is_word = |s: &&Declared| s.name == atom.text && matches!(s.range, Range::Choice(_));
        if self.settings.iter().find(is_word).is_some() {
            let message = format!("the setting `{}` is a word", atom.text);
            return Err(Diagnostic::new(
                atom.span,
                message,
                "expected a setting that is a number",
            ));
        }
        self.read.borrow_mut().insert(atom.text.clone());
        Ok(Amount::Setting(atom.text.clone()))
    }

    /// A size in terms of symbols.
    pub fn size(&self, atom: &Atom) -> Result<Dim> {
        self.offer.globals.dim(&atom.expr()?)
    }

    pub fn program(&self, name: &Spanned<String>) -> Result<&'a Program> {
        let all = self.offer.programs;
        all.iter().find(|p| p.name == name.value).ok_or_else(|| {
            let message = format!("there is no program `{}`", name.value);
            let d = Diagnostic::new(name.span, message, "expected a program");
            d.suggest(&name.value, all.iter().map(|p| p.name.as_str()))
        })
    }

    /// The name of an output that all of the programs have.
    pub fn output(&self, programs: &[&Program], atom: &Atom, want: Want) -> Result<String> {
        let name = atom.name("an output's name")?;
        for p in programs {
            let Some((_, v)) = p.graph.outputs.iter().find(|(n, _)| *n == name.value) else {
                let message = format!("the program `{}` has no output `{}`", p.name, name.value);
                let d = Diagnostic::new(name.span, message, "expected an output");
                return Err(d.suggest(&name.value, p.graph.outputs.iter().map(|(n, _)| n.as_str())));
            };
            let ty = p.graph.ty(*v);
            if !want.holds(ty) {
                let shown = self.offer.globals.with_size_names(&ty.to_string());
                let message = format!("the output `{}` of the program `{}` is {shown}", name.value, p.name);
                return Err(Diagnostic::new(name.span, message, want.words()));
            }
        }
        Ok(name.value)
    }

    /// Patterns of names, `!` in front of those that take out where they may, each of which matches some parameter.
    pub fn patterns(&self, all: &[Spanned<String>], may_take_out: bool) -> Result<Vec<String>> {
        for pattern in all {
            let text = match may_take_out {
                true => pattern.value.strip_prefix('!').unwrap_or(&pattern.value),
                false => &pattern.value,
            };
            if !self.offer.params.iter().any(|p| is_named(text, p)) {
                let message = format!("`{text}` matches no parameter");
                let d = Diagnostic::new(pattern.span, message, "expected part of a name and `*`");
                return Err(d.suggest(text, self.offer.params.iter().map(|p| p.name.as_str())));
            }
        }
        Ok(all.iter().map(|p| p.value.clone()).collect())
    }
}

/// Whether a pattern matches a parameter, or that of a layer which it names by its number.
fn is_named(pattern: &str, p: &ParamDecl) -> bool {
    let layer = |part: &str| part.parse().is_ok_and(|i: i64| p.count.is_some_and(|n| i < n));
    let part = |part| if layer(part) { "{i}" } else { part };
    matches(&[pattern], &p.name) || matches(&[pattern.split('.').map(part).collect::<Vec<_>>().join(".")], &p.name)
}

pub fn spanned(name: &str, span: Span) -> Spanned<String> {
    Spanned {
        value: name.into(),
        span,
    }
}

/// Inputs of a program with their types.
pub fn inputs(p: &Program) -> impl Iterator<Item = (&str, &Type)> {
    p.graph.inputs.iter().filter_map(|v| match &p.graph.node(*v).op {
        Op::Input(i) => Some((i.name.as_str(), &i.ty)),
        _ => None,
    })
}
