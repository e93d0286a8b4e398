//! Values of expressions, and arithmetic on those known at compile time.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::{Expr, Infix, Kind};
use crate::limits;
use crate::lists;
use ir::dim::Dim;
use ir::graph::ValueId;
use ir::scalar::{Binary, Unary};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Tensor(ValueId),
    /// Results of a call that has several.
    Tuple(Vec<Value>),
    Int(i64),
    Float(f64),
    /// A size known when a program runs.
    Dim(Dim),
    Text(String),
    /// A word that some attribute understands, such as `f32`.
    Word(String),
    List(Vec<Value>),
    /// An op or a block, to be called by the block it is given to.
    Callable(String),
    /// The absence of a tensor.
    None,
}

impl Value {
    pub fn what(&self) -> &'static str {
        match self {
            Value::Tensor(_) => "a tensor",
            Value::Tuple(_) => "several tensors",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a fraction",
            Value::Dim(_) => "a size known only when a program runs",
            Value::Text(_) => "a string",
            Value::Word(_) => "a word",
            Value::List(_) => "a list",
            Value::Callable(_) => "an op or a block",
            Value::None => "`none`",
        }
    }

    /// What is known when compiling, as the language writes it.
    pub fn text(&self) -> String {
        match self {
            Value::Int(n) => n.to_string(),
            Value::Float(n) => format!("{n:?}"),
            Value::Dim(d) => d.to_string(),
            Value::Text(t) => format!("'{t}'"),
            Value::Word(w) | Value::Callable(w) => w.clone(),
            Value::List(all) => {
                let items: Vec<String> = all.iter().map(Value::text).collect();
                format!("[{}]", items.join(", "))
            }
            Value::None => "none".into(),
            Value::Tensor(_) | Value::Tuple(_) => self.what().into(),
        }
    }

    /// A list, unless it holds too much.
    pub fn list(all: Vec<Value>, span: Span) -> Result<Value> {
        fn items(v: &Value) -> usize {
            match v {
                Value::List(all) => 1 + all.iter().map(items).sum::<usize>(),
                _ => 1,
            }
        }
        let list = Value::List(all);
        if items(&list) > limits::ITEMS {
            let message = format!("a list of more than {} items", limits::ITEMS);
            return Err(Diagnostic::new(span, message, "expected a shorter one"));
        }
        Ok(list)
    }

    /// A number, where it is known when compiling.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            _ => None,
        }
    }

    /// A size; one that is constant is a whole number.
    pub fn size(d: Dim) -> Value {
        d.as_const().map_or_else(|| Value::Dim(d), Value::Int)
    }

    pub fn as_dim(&self, span: Span) -> Result<Dim> {
        match self {
            Value::Int(v) => Ok(Dim::from(*v)),
            Value::Dim(d) => Ok(d.clone()),
            Value::Float(v) => Err(Diagnostic::new(
                span,
                format!("a size is whole, and this is {v}"),
                "expected a whole number",
            )
            .help("floor_div(a, b) divides and rounds down")),
            other => Err(Diagnostic::new(
                span,
                format!("a size cannot be {}", other.what()),
                "expected a size",
            )),
        }
    }

    pub fn as_int(&self, span: Span) -> Result<i64> {
        match self.as_dim(span)?.as_const() {
            Some(v) => Ok(v),
            None => Err(Diagnostic::new(
                span,
                "this must be known when compiling",
                "expected a whole number",
            )),
        }
    }

    pub fn as_number(&self, span: Span) -> Result<f64> {
        self.number().ok_or_else(|| {
            let found = format!("a number cannot be {}", self.what());
            Diagnostic::new(span, found, "expected a number known when compiling")
        })
    }

    /// As an attribute of an op, in RON.
    pub fn attribute(&self, span: Span) -> Result<String> {
        Ok(match self {
            Value::Int(v) => v.to_string(),
            Value::Float(v) => format!("{v:?}"),
            Value::Dim(d) => format!("{:?}", d.to_string()),
            Value::Text(t) => format!("{t:?}"),
            Value::Word(w) => w.clone(),
            Value::List(all) => {
                let all = all.iter().map(|v| v.attribute(span)).collect::<Result<Vec<_>>>()?;
                format!("[{}]", all.join(", "))
            }
            other => {
                let found = format!("an attribute cannot be {}", other.what());
                return Err(
                    Diagnostic::new(span, found, "expected a number, a size, a string or a list")
                        .help("tensors are operands: they come first and have no name"),
                );
            }
        })
    }
}

/// `a op b` without tensors. Whole numbers stay whole where the result is; a size is divided rounding down.
pub fn arithmetic(op: Infix, a: &Value, b: &Value, span: Span) -> Result<Value> {
    let wrong = |v: &Value| {
        Diagnostic::new(
            span,
            format!("there is no arithmetic on {}", v.what()),
            "expected numbers",
        )
    };
    for v in [a, b] {
        if !matches!(v, Value::Int(_) | Value::Float(_) | Value::Dim(_)) {
            return Err(wrong(v));
        }
    }
    if let (Value::Int(x), Value::Int(y)) = (a, b) {
        let whole = match op {
            Infix::Add => x.checked_add(*y),
            Infix::Sub => x.checked_sub(*y),
            Infix::Mul => x.checked_mul(*y),
            Infix::Div if *y == 0 => return Err(Diagnostic::new(span, "division by zero", "expected another divisor")),
            // Of the least number, -1 has no quotient in 64 bits.
            Infix::Div if x.checked_rem(*y).is_none() => None,
            Infix::Div if x % y == 0 => Some(x / y),
            Infix::Div => return Ok(Value::Float(*x as f64 / *y as f64)),
        };
        let large = || Diagnostic::new(span, "this number is too large", "expected at most 64 bits");
        return whole.map(Value::Int).ok_or_else(large);
    }
    if let (Some(x), Some(y)) = (a.number(), b.number()) {
        return Ok(Value::Float(match op {
            Infix::Add => x + y,
            Infix::Sub => x - y,
            Infix::Mul => x * y,
            Infix::Div => x / y,
        }));
    }
    let (x, y) = (a.as_dim(span)?, b.as_dim(span)?);
    if op == Infix::Div && y.is_zero() {
        return Err(Diagnostic::new(span, "division by zero", "expected another divisor"));
    }
    let result = match op {
        Infix::Add => x + y,
        Infix::Sub => x - y,
        Infix::Mul => x * y,
        Infix::Div => match y.as_const() {
            Some(y) if y > 0 => x.floor_div(y),
            _ => x.exact_div(&y).ok_or_else(|| {
                Diagnostic::new(
                    span,
                    format!("{x} is not a multiple of {y}"),
                    "expected a positive constant divisor",
                )
            })?,
        },
    };
    if result.is_too_large() {
        let label = "expected a size that fits 64 bits and a few thousand terms";
        return Err(Diagnostic::new(span, "this size is too large", label));
    }
    Ok(Value::size(result))
}

/// Beyond these, not every whole number is an f64.
const WHOLE: f64 = (1u64 << 53) as f64;

/// A scalar function of numbers; none if there is no such function.
pub fn function(name: &str, args: &[Value], span: Span) -> Option<Result<Value>> {
    if let Some(of_lists) = lists::function(name, args, span) {
        return Some(of_lists);
    }
    let unary = Unary::parse(name);
    let binary = Binary::parse(name);
    match args {
        [a] if unary.is_some() => {
            let x = a.number()?;
            let y = unary?.eval(x);
            let whole = matches!(a, Value::Int(_)) && y.fract() == 0.0 && y.abs() < WHOLE;
            Some(Ok(if whole { Value::Int(y as i64) } else { Value::Float(y) }))
        }
        [Value::Dim(d), b] if name == "floor_div" => Some(arithmetic(Infix::Div, &Value::Dim(d.clone()), b, span)),
        [a, b] if binary.is_some() => {
            let (x, by) = (a.number()?, b.number()?);
            if binary? == Binary::FloorDiv && by < 1.0 {
                let message = format!("floor_div by {by}");
                return Some(Err(Diagnostic::new(span, message, "expected a divisor of at least 1")));
            }
            let y = binary?.eval(x, by);
            let whole = matches!((a, b), (Value::Int(_), Value::Int(_))) && y.fract() == 0.0 && y.abs() < WHOLE;
            Some(Ok(if whole { Value::Int(y as i64) } else { Value::Float(y) }))
        }
        _ => None,
    }
}

/// Evaluates an expression that holds no tensors.
pub fn evaluate(e: &Expr, lookup: &mut dyn FnMut(&Spanned<String>) -> Result<Value>) -> Result<Value> {
    match &e.kind {
        Kind::Int(v) => Ok(Value::Int(*v)),
        Kind::Float(v) => Ok(Value::Float(*v)),
        Kind::Text(t) => Ok(Value::Text(t.clone())),
        Kind::Name(n) => lookup(&Spanned {
            value: n.clone(),
            span: e.span,
        }),
        Kind::List(all) => Value::list(all.iter().map(|x| evaluate(x, lookup)).collect::<Result<_>>()?, e.span),
        Kind::Negate(x) => {
            let x = evaluate(x, lookup)?;
            arithmetic(Infix::Mul, &Value::Int(-1), &x, e.span)
        }
        Kind::Infix(op, a, b) => {
            let (a, b) = (evaluate(a, lookup)?, evaluate(b, lookup)?);
            arithmetic(*op, &a, &b, e.span)
        }
        Kind::Index(list, at) => {
            let (list, at) = (evaluate(list, lookup)?, evaluate(at, lookup)?);
            lists::index(&list, &at, e.span)
        }
        Kind::Fold(f) => lists::fold(f, lookup),
        Kind::Call(call) if lists::is_pick(call)? => {
            let by = evaluate(&call.args[0], lookup)?;
            evaluate(lists::picked(call, &by)?, lookup)
        }
        Kind::Call(call) => {
            let args = call
                .args
                .iter()
                .map(|x| evaluate(x, lookup))
                .collect::<Result<Vec<_>>>()?;
            function(&call.name.value, &args, e.span).unwrap_or_else(|| {
                let known = Unary::ALL
                    .iter()
                    .map(|f| f.name())
                    .chain(Binary::ALL.iter().map(|f| f.name()))
                    .chain(lists::NAMES);
                let message = format!("`{}` is no function of these numbers", call.name.value);
                Err(
                    Diagnostic::new(call.name.span, message, "expected a function of numbers")
                        .suggest(&call.name.value, known),
                )
            })
        }
        Kind::Repeat { .. } => Err(Diagnostic::new(
            e.span,
            "there is nothing to repeat here",
            "expected a number",
        )),
    }
}
