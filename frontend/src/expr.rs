//! The syntax tree of statements and expressions.

use crate::diagnostic::{Span, Spanned};

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: Kind,
    pub span: Span,
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
