//! The terms of the e-graph: an op over classes of equal values. Types, and values known to be one number everywhere, are
//! its analysis.

use egg::{Analysis, DidMerge, EGraph, Id, Language};
use ir::lower::Lower;
use ir::ops::Op;
use ir::scalar::Float;
use ir::types::{Type, TypeError};

/// An op and the classes it reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    pub op: Op,
    pub args: Vec<Id>,
}

impl Language for Term {
    type Discriminant = &'static str;
    fn discriminant(&self) -> &'static str {
        self.op.name()
    }
    fn matches(&self, other: &Self) -> bool {
        self.op == other.op && self.args.len() == other.args.len()
    }
    fn children(&self) -> &[Id] {
        &self.args
    }
    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.args
    }
}

/// What is known of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// One per result.
    pub types: Vec<Type>,
    /// The number that every element is, if that is known.
    pub constant: Option<Float>,
}

#[derive(Clone, Default)]
pub struct Typing;

pub type Classes = EGraph<Term, Typing>;

/// Result types of a term, or why it has none.
pub fn infer(classes: &Classes, term: &Term) -> Result<Vec<Type>, TypeError> {
    if let (Op::Get(get), [from]) = (&term.op, &term.args[..]) {
        let all = &classes[*from].data.types;
        return match all.get(get.index) {
            Some(ty) => Ok(vec![ty.clone()]),
            None => Err(TypeError(format!("there is no result {}", get.index))),
        };
    }
    let args = term.args.iter().map(|a| match &classes[*a].data.types[..] {
        [ty] => Ok(ty.clone()),
        _ => Err(TypeError("a node of several results is read through `get`".into())),
    });
    term.op.infer(&args.collect::<Result<Vec<_>, _>>()?)
}

impl Analysis<Term> for Typing {
    type Data = Facts;

    fn make(classes: &mut Classes, term: &Term, _: Id) -> Facts {
        let types = infer(classes, term).expect("terms are added only after their types were inferred");
        let constant = match &term.op {
            Op::Constant(c) => Some(c.value),
            op if op.is_view() || matches!(op.lower(), Lower::Reshape) => classes[term.args[0]].data.constant,
            _ => None,
        };
        Facts { types, constant }
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        assert_eq!(a.types, b.types, "only values of one type are equal");
        let (before, gained) = (a.constant, a.constant.is_none() && b.constant.is_some());
        a.constant = before.or(b.constant);
        DidMerge(gained, b.constant.is_none() && before.is_some())
    }
}
