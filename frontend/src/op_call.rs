//! Calls of ops: operands, attributes, and what is wrong with them.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::Call;
use crate::limits;
use crate::trace::{Tracer, single_or_tuple};
use crate::value::Value;
use ir::graph::ValueId;
use ir::ops::{Op, OpError};
use ir::scalar::DType;
use ir::types::{Type, TypeError};

impl<'a> Tracer<'a, '_> {
    /// `size(x, axis)`: a size of a tensor.
    pub fn size(&mut self, args: &[Value], call: &Call, span: Span) -> Result<Value> {
        let [Value::Tensor(v), axis] = args else {
            return Err(Diagnostic::new(
                span,
                "`size` takes a tensor and an axis",
                "expected `size(x, 0)`",
            ));
        };
        let axis = axis.as_int(call.args[1].span)?;
        let ty = self.current().ty(*v).clone();
        match usize::try_from(axis).ok().and_then(|a| ty.shape.get(a)) {
            Some(d) => Ok(Value::size(d.clone())),
            None => Err(Diagnostic::new(
                span,
                format!("axis {axis} of {ty} does not exist"),
                format!("expected 0 to {}", ty.rank() - 1),
            )),
        }
    }

    /// Tensors for positional operands; numbers become constants of the element type of the tensors beside them.
    pub fn operands(&mut self, name: &str, args: &[Value], spans: &[Span]) -> Result<Vec<ValueId>> {
        let beside = args.iter().skip(Op::conditions(name)).find_map(|a| match a {
            Value::Tensor(v) => Some(*v),
            _ => None,
        });
        let dtype = beside.map(|v| self.current().ty(v).dtype);
        let mut all = vec![];
        for (a, span) in args.iter().zip(spans) {
            all.push(match a {
                Value::Tensor(v) => *v,
                Value::Int(v) => {
                    let dtype = dtype.unwrap_or(DType::I32);
                    self.current().constant_of(dtype, *v as f64)
                }
                Value::Float(_) if dtype == Some(DType::I32) => {
                    return Err(Diagnostic::new(
                        *span,
                        "a fraction with an i32 tensor",
                        "expected a whole number",
                    ));
                }
                Value::Float(v) => {
                    let dtype = dtype.unwrap_or(DType::F32);
                    self.current().constant_of(dtype, *v)
                }
                other => {
                    let d = Diagnostic::new(
                        *span,
                        format!("`{name}` cannot read {}", other.what()),
                        "expected a tensor or a number",
                    );
                    return Err(match other {
                        Value::Tuple(_) => d.help("take the results apart first: `(a, b) = ...`"),
                        _ => d,
                    });
                }
            });
        }
        Ok(all)
    }

    pub fn call_op(
        &mut self,
        name: &str,
        call: &'a Call,
        args: &[Value],
        named: &[(&Spanned<String>, Value, Span)],
        span: Span,
    ) -> Result<Value> {
        let site = self.sites;
        let (op, used) = make(name, call, named, site)?;
        self.sites += used as u32;
        let spans: Vec<Span> = call.args.iter().map(|a| a.span).collect();
        let args = self.operands(name, args, &spans)?;
        self.push(op, &args, span)
    }

    /// Adds a node; what type inference says becomes the message.
    pub fn push(&mut self, op: Op, args: &[ValueId], span: Span) -> Result<Value> {
        let types: Vec<String> = args.iter().map(|a| self.current().ty(*a).to_string()).collect();
        let advice = op.advice();
        let nodes = self.graph.nodes.len() + self.body.as_ref().map_or(0, |b| b.graph.nodes.len());
        if nodes + self.bodies > limits::NODES {
            return Err(self.expands(span, limits::NODES, "ops"));
        }
        let pushed = self.current().push(op, args);
        let node = pushed.and_then(|v| {
            self.current().node(v).types.iter().try_for_each(Type::check_axes)?;
            Ok(v)
        });
        let node = node.map_err(|TypeError(text)| {
            let label = match types.len() {
                0 => "there are no operands".to_string(),
                1 => format!("the operand is {}", types[0]),
                _ => format!("the operands are {}", types.join(" and ")),
            };
            let d = Diagnostic::new(
                span,
                self.globals.with_size_names(&text),
                self.globals.with_size_names(&label),
            );
            match advice {
                Some(advice) => d.help(advice),
                None => d,
            }
        })?;
        let results = self.current().results(node);
        Ok(single_or_tuple(results.into_iter().map(Value::Tensor).collect()))
    }
}

/// Makes the op, and says whether it took the random-number site offered.
fn make(name: &str, call: &Call, named: &[(&Spanned<String>, Value, Span)], site: u32) -> Result<(Op, bool)> {
    let mut fields = vec![];
    for (i, (key, value, span)) in named.iter().enumerate() {
        if named[..i].iter().any(|(k, ..)| k.value == key.value) {
            return Err(Diagnostic::new(
                key.span,
                format!("`{}` is given twice", key.value),
                "expected it once",
            ));
        }
        fields.push(format!("{}: {}", key.value, value.attribute(*span)?));
    }
    // Every use of random numbers is told apart from the others without the author's help.
    let own_site = Op::has_site(name) && !named.iter().any(|(k, ..)| k.value == "site");
    if own_site {
        fields.push(format!("site: {site}"));
    }
    let text = format!("({})", fields.join(", "));
    let op = Op::parse(name, &text).map_err(|e| match e {
        OpError::Unknown(_) => unreachable!("the caller found the op by its name"),
        OpError::Attributes(_, text) => explain(name, call, named, &text),
    })?;
    // An attribute that the op does not have must not pass unseen.
    let known = op.attribute_names();
    match named.iter().find(|(k, ..)| !known.contains(&k.value)) {
        Some((key, ..)) => Err(unknown_attribute(name, key, &known)),
        None => Ok((op, own_site)),
    }
}

fn unknown_attribute(name: &str, key: &Spanned<String>, known: &[String]) -> Diagnostic {
    let known: Vec<&str> = known.iter().map(String::as_str).filter(|k| *k != "site").collect();
    let label = if known.is_empty() {
        "expected no attributes".into()
    } else {
        format!("expected one of: {}", known.join(", "))
    };
    let d = Diagnostic::new(key.span, format!("`{name}` has no attribute `{}`", key.value), label);
    if known.is_empty() {
        d
    } else {
        d.suggest(&key.value, known)
    }
}

/// RON's complaint about attributes, at the attribute it is about.
fn explain(name: &str, call: &Call, named: &[(&Spanned<String>, Value, Span)], text: &str) -> Diagnostic {
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    if let Some(field) = quoted.first().filter(|_| text.contains("missing field")) {
        // A near miss among the given names is more likely than nothing at all.
        let given: Vec<&str> = named.iter().map(|(k, ..)| k.value.as_str()).collect();
        if let Some((key, ..)) =
            crate::diagnostic::nearest(field, &given).and_then(|n| named.iter().find(|(k, ..)| k.value == n))
        {
            let message = format!("`{name}` has no attribute `{}`", key.value);
            return Diagnostic::new(key.span, message, format!("expected `{field}`"))
                .help(format!("did you mean `{field}`?"));
        }
        let message = format!("`{name}` needs the attribute `{field}`");
        return Diagnostic::new(
            call.name.span,
            message,
            format!("expected `{field}: ...` in the brackets"),
        );
    }
    // The others are about a value: the one that does not parse alone.
    let span = named
        .iter()
        .map(|(_, _, span)| *span)
        .reduce(|a, b| a.to(b))
        .unwrap_or(call.name.span);
    Diagnostic::new(span, format!("attributes of `{name}` do not fit"), lower_first(text))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}
