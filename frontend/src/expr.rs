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
}

impl Expr {
    /// Adds every name that is read in it.
    pub fn names(&self, to: &mut std::collections::BTreeSet<String>) {
        fn of_call(c: &Call, to: &mut std::collections::BTreeSet<String>) {
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
pub struct Statement {
    pub targets: Vec<Spanned<String>>,
    pub value: Expr,
}

/// The type of an input: `f32[B, N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeExpr {
    pub dtype: Spanned<String>,
    pub shape: Vec<Expr>,
}
