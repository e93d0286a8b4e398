//! The op that a call with named attributes means.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::Call;
use crate::value::Value;
use ir::ops::{Op, OpError};

/// Makes the op, and says whether it took the random-number site offered.
pub fn make(name: &str, call: &Call, named: &[(&Spanned<String>, Value, Span)], site: u32) -> Result<(Op, bool)> {
    let mut fields = vec![];
    for (i, (key, value, span)) in named.iter().enumerate() {
        if named[..i].iter().any(|(k, ..)| k.value == key.value) {
            return Err(Diagnostic::new(key.span, format!("`{}` is given twice", key.value), "expected it once"));
        }
        fields.push(format!("{}: {}", key.value, value.attribute(*span)?));
    }
    // Every use of random numbers is told apart from the others without the author's help.
    let own_site = matches!(name, "dropout" | "uniform") && !named.iter().any(|(k, ..)| k.value == "site");
    if own_site {
        fields.push(format!("site: {site}"));
    }
    let text = format!("({})", fields.join(", "));
    let op = Op::parse(name, &text).map_err(|e| match e {
        OpError::Unknown(_) => unreachable!("the caller found the op by its name"),
        OpError::Attributes(_, text) => explain(name, call, named, &text),
    })?;
    // An attribute that the op does not have must not pass unseen.
    let known = field_names(&op.attributes());
    match named.iter().find(|(k, ..)| !known.contains(&k.value)) {
        Some((key, ..)) => Err(unknown_attribute(name, key, &known)),
        None => Ok((op, own_site)),
    }
}

fn unknown_attribute(name: &str, key: &Spanned<String>, known: &[String]) -> Diagnostic {
    let known: Vec<&str> = known.iter().map(String::as_str).filter(|k| *k != "site").collect();
    let label = if known.is_empty() { "expected no attributes".into() } else { format!("expected one of: {}", known.join(", ")) };
    let d = Diagnostic::new(key.span, format!("`{name}` has no attribute `{}`", key.value), label);
    if known.is_empty() { d } else { d.suggest(&key.value, known) }
}

/// RON's complaint about attributes, at the attribute it is about.
fn explain(name: &str, call: &Call, named: &[(&Spanned<String>, Value, Span)], text: &str) -> Diagnostic {
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    if let Some(field) = quoted.first().filter(|_| text.contains("missing")) {
        // A near miss among the given names is more likely than nothing at all.
        let given: Vec<&str> = named.iter().map(|(k, ..)| k.value.as_str()).collect();
        if let Some((key, ..)) = crate::diagnostic::nearest(field, &given).and_then(|n| named.iter().find(|(k, ..)| k.value == n)) {
            let message = format!("`{name}` has no attribute `{}`", key.value);
            return Diagnostic::new(key.span, message, format!("expected `{field}`")).help(format!("did you mean `{field}`?"));
        }
        let message = format!("`{name}` needs the attribute `{field}`");
        return Diagnostic::new(call.name.span, message, format!("expected `{field}: ...` in the brackets"));
    }
    // The others are about a value: the one that does not parse alone.
    let span = named.iter().map(|(_, _, span)| *span).reduce(|a, b| a.to(b)).unwrap_or(call.name.span);
    Diagnostic::new(span, format!("attributes of `{name}` do not fit"), text.to_string())
}

/// Names of the fields of `(a:1,b:(c:2))` at the outer level.
fn field_names(ron: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut word, mut all) = (0, false, String::new(), vec![]);
    for c in ron.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ':' if depth == 1 => all.push(std::mem::take(&mut word)),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            _ => word.clear(),
        }
        if matches!(c, '(' | '[' | '{' | ',') {
            word.clear();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_outer_level() {
        assert_eq!(field_names("(stride:2,shape:[\"N:1\",3],x:(y:1),groups:1)"), ["stride", "shape", "x", "groups"]);
        assert_eq!(field_names("()"), Vec::<String>::new());
    }
}
