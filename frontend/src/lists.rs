//! Lists known when compiling, and what is chosen or written out by them.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::{Call, Expr, Fold};
use crate::limits;
use crate::value::{Value, evaluate};

/// Functions of lists.
pub const NAMES: [&str; 3] = ["len", "range", "zip"];

/// A choice among values by a name: `pick(norm, group: a, layer: b)`.
pub const PICK: &str = "pick";
const OTHERWISE: &str = "otherwise";

/// `len(list)`, `range(from, to)`, `zip(a, b)`; none if there is no such function.
pub fn function(name: &str, args: &[Value], span: Span) -> Option<Result<Value>> {
    let wrong = |message: &str, label: &str| Err(Diagnostic::new(span, message, label));
    Some(match (name, args) {
        ("len", [Value::List(all)]) => Ok(Value::Int(all.len() as i64)),
        ("len", _) => wrong("`len` takes a list", "expected `len(list)`"),
        ("range", [from, to]) => range(from, to, span),
        ("range", _) => wrong(
            "`range` takes the first number and the one after the last",
            "expected `range(0, n)`",
        ),
        ("zip", args) => {
            let lists: Option<Vec<&Vec<Value>>> = args.iter().map(as_list).collect();
            match lists.as_deref() {
                Some([first, rest @ ..]) if rest.iter().all(|l| l.len() == first.len()) => {
                    let item =
                        |i: usize| Value::List(args.iter().filter_map(|l| as_list(l)?.get(i).cloned()).collect());
                    Value::list((0..first.len()).map(item).collect(), span)
                }
                Some([_, ..]) => {
                    let lengths: Vec<String> = lists.iter().flatten().map(|l| l.len().to_string()).collect();
                    let message = format!("lists of {} items", lengths.join(", "));
                    Err(Diagnostic::new(span, message, "expected lists of the same length"))
                }
                _ => wrong("`zip` takes lists", "expected `zip(a, b)`"),
            }
        }
        _ => return None,
    })
}

fn as_list(v: &Value) -> Option<&Vec<Value>> {
    match v {
        Value::List(all) => Some(all),
        _ => None,
    }
}

fn range(from: &Value, to: &Value, span: Span) -> Result<Value> {
    let (from, to) = (from.as_int(span)?, to.as_int(span)?);
    if to.saturating_sub(from) > limits::ITEMS as i64 {
        let message = format!("a list of more than {} items", limits::ITEMS);
        return Err(Diagnostic::new(span, message, "expected a shorter one"));
    }
    Value::list((from..to).map(Value::Int).collect(), span)
}

/// `list[at]`, from 0; from the end where `at` is below 0.
pub fn index(list: &Value, at: &Value, span: Span) -> Result<Value> {
    let Value::List(all) = list else {
        let message = format!("{} has no items", list.what());
        return Err(Diagnostic::new(span, message, "expected a list"));
    };
    let at = at.as_int(span)?;
    let place = if at < 0 { at + all.len() as i64 } else { at };
    let item = usize::try_from(place).ok().and_then(|i| all.get(i));
    item.cloned().ok_or_else(|| {
        let message = format!("there is no item {at} in a list of {}", all.len());
        let label = match all.len() {
            0 => "expected a list with items".into(),
            n => format!("expected 0 to {}", n - 1),
        };
        Diagnostic::new(span, message, label)
    })
}

/// What each item of a list binds: names to values.
pub fn bindings(names: &[Spanned<String>], list: Value, span: Span) -> Result<Vec<Vec<(String, Value)>>> {
    let Value::List(all) = list else {
        let message = format!("{} has no items to go through", list.what());
        return Err(Diagnostic::new(span, message, "expected a list"));
    };
    let each = |item: Value| match (names, item) {
        ([one], item) => Ok(vec![(one.value.clone(), item)]),
        (several, Value::List(parts)) if parts.len() == several.len() => {
            Ok(several.iter().map(|n| n.value.clone()).zip(parts).collect())
        }
        (several, item) => {
            let found = match &item {
                Value::List(parts) => format!("an item has {} parts", parts.len()),
                other => format!("an item is {}", other.what()),
            };
            let message = format!("{found}, for {} names", several.len());
            Err(Diagnostic::new(span, message, "expected a list of lists, or one name"))
        }
    };
    all.into_iter().map(each).collect()
}

/// The value of a fold over what is known when compiling.
pub fn fold(f: &Fold, lookup: &mut dyn FnMut(&Spanned<String>) -> Result<Value>) -> Result<Value> {
    let mut value = evaluate(&f.start, lookup)?;
    let list = evaluate(&f.list, lookup)?;
    for item in bindings(&f.items, list, f.list.span)? {
        value = evaluate(&f.step, &mut |n| {
            if n.value == f.name.value {
                return Ok(value.clone());
            }
            match item.iter().find(|(name, _)| *name == n.value) {
                Some((_, v)) => Ok(v.clone()),
                None => lookup(n),
            }
        })?;
    }
    Ok(value)
}

/// Which of the choices is meant by the name that `pick` is given first.
pub fn picked<'e>(call: &'e Call, by: &Value) -> Result<&'e Expr> {
    let key = match by {
        Value::Text(t) | Value::Word(t) => t.as_str(),
        // What comparisons of numbers give.
        Value::Int(1) => "true",
        Value::Int(0) => "false",
        Value::None => "none",
        // Any other number is nothing but there.
        Value::Int(_) | Value::Float(_) => OTHERWISE,
        other => {
            let message = format!("`{PICK}` cannot choose by {}", other.what());
            let label = "expected a word in single quotes, or true or false";
            return Err(Diagnostic::new(call.args[0].span, message, label));
        }
    };
    let choice = |name: &str| call.named.iter().find(|(n, _)| n.value == name).map(|(_, e)| e);
    choice(key).or_else(|| choice(OTHERWISE)).ok_or_else(|| {
        let known: Vec<&str> = call.named.iter().map(|(n, _)| n.value.as_str()).collect();
        let d = Diagnostic::new(
            call.args[0].span,
            format!("`{key}` is none of the choices"),
            format!("expected one of: {}", known.join(", ")),
        );
        d.suggest(key, known)
    })
}

/// Whether a call is a choice; one without what it chooses by is an error.
pub fn is_pick(call: &Call) -> Result<bool> {
    if call.name.value != PICK {
        return Ok(false);
    }
    if call.args.len() == 1 && !call.named.is_empty() {
        return Ok(true);
    }
    let message = "`pick` takes what to choose by, then the choices by name";
    let label = "expected `pick(norm, group: a, layer: b)`";
    Err(Diagnostic::new(call.name.span, message, label))
}
