//! The syntax tree of statements and expressions.

use crate::diagnostic::{Span, Spanned};

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: Kind,
    pub span: Span,
    /// Expressions within each other, this one included: what walks over the tree recurses so deep.
    pub height: usize,
}

impl Expr {
    pub fn new(kind: Kind, span: Span) -> Expr {
        let of_call = |c: &Call| {
            c.args
                .iter()
                .chain(c.named.iter().map(|(_, e)| e))
                .map(|e| e.height)
                .max()
        };
        let inside = match &kind {
            Kind::Int(_) | Kind::Float(_) | Kind::Text(_) | Kind::Name(_) => None,
            Kind::List(all) => all.iter().map(|e| e.height).max(),
            Kind::Negate(e) => Some(e.height),
            Kind::Infix(_, a, b) => Some(a.height.max(b.height)),
            Kind::Call(call) => of_call(call),
            Kind::Repeat { count, keep, call } => {
                let head = keep.iter().map(|e| e.height).chain([count.height]);
                head.chain(of_call(call)).max()
            }
            Kind::Index(list, at) => Some(list.height.max(at.height)),
            Kind::Fold(fold) => [&fold.start, &fold.list, &fold.step]
                .into_iter()
                .map(|e| e.height)
                .max(),
        };
        Expr {
            height: 1 + inside.unwrap_or(0),
            kind,
            span,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Int(i64),
    Float(f64),
    /// In single quotes.
    Text(String),
    Name(String),
    List(Vec<Expr>),
    Negate(Box<Expr>),
    Infix(Infix, Box<Expr>, Box<Expr>),
    Call(Call),
    /// `repeat(count, keep: flags) block(...) as prefix.{i}`
    Repeat {
        count: Box<Expr>,
        keep: Option<Box<Expr>>,
        call: Call,
    },
    /// `list[at]`
    Index(Box<Expr>, Box<Expr>),
    Fold(Box<Fold>),
}

/// `fold name = start for (a, b) in list: step`: the last value of `name`, which every item changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    pub name: Spanned<String>,
    pub start: Expr,
    pub items: Vec<Spanned<String>>,
    pub list: Expr,
    pub step: Expr,
}

impl Expr {
    /// Adds every name that is read in it.
    pub fn names(&self, to: &mut std::collections::BTreeSet<String>) {
        fn of_call(c: &Call, to: &mut std::collections::BTreeSet<String>) {
            to.insert(c.name.value.clone());
            to.extend(c.prefix.iter().flat_map(|p| placeholders(&p.value)).map(String::from));
            c.args
                .iter()
                .chain(c.named.iter().map(|(_, e)| e))
                .for_each(|e| e.names(to));
        }
        match &self.kind {
            Kind::Int(_) | Kind::Float(_) | Kind::Text(_) => {}
            Kind::Name(name) => drop(to.insert(name.clone())),
            Kind::List(all) => all.iter().for_each(|e| e.names(to)),
            Kind::Negate(e) => e.names(to),
            Kind::Infix(_, a, b) => [a, b].into_iter().for_each(|e| e.names(to)),
            Kind::Call(call) => of_call(call, to),
            Kind::Repeat { count, keep, call } => {
                keep.iter().chain([count]).for_each(|e| e.names(to));
                of_call(call, to);
            }
            Kind::Index(list, at) => [list, at].into_iter().for_each(|e| e.names(to)),
            Kind::Fold(f) => [&f.start, &f.list, &f.step].into_iter().for_each(|e| e.names(to)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Infix {
    Add,
    Sub,
    Mul,
    Div,
}

/// A call of an op or a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: Spanned<String>,
    pub args: Vec<Expr>,
    pub named: Vec<(Spanned<String>, Expr)>,
    /// What the names of a block's parameters begin with.
    pub prefix: Option<Spanned<String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `(y, n) = value`
    Let { targets: Vec<Spanned<String>>, value: Expr },
    /// `for (a, b) in list { ... }`, written out once for every item.
    For {
        items: Vec<Spanned<String>>,
        list: Expr,
        body: Vec<Statement>,
    },
}

impl Statement {
    /// Adds every name that is read in it.
    pub fn names(&self, to: &mut std::collections::BTreeSet<String>) {
        match self {
            Statement::Let { value, .. } => value.names(to),
            Statement::For { list, body, .. } => {
                list.names(to);
                body.iter().for_each(|s| s.names(to));
            }
        }
    }
}

/// Names between `{` and `}` in what stands after `as`.
pub fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

/// The type of an input: `f32[B, N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeExpr {
    pub dtype: Spanned<String>,
    pub shape: Vec<Expr>,
}
