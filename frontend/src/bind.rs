//! Calls of blocks: binds values to names.

use crate::definitions::Block;
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::Call;
use crate::value::Value;
use std::collections::BTreeMap;

/// A block's arguments and numbers by name.
pub fn bind(
    block: &Block,
    call: &Call,
    args: Vec<Value>,
    named: Vec<(&Spanned<String>, Value, Span)>,
) -> Result<BTreeMap<String, Value>> {
    let name = &block.name.value;
    let list = |all: &[Spanned<String>]| all.iter().map(|a| a.value.as_str()).collect::<Vec<_>>().join(", ");
    if args.len() != block.args.len() {
        let message = format!(
            "`{name}` takes {} values, and here are {}",
            block.args.len(),
            args.len()
        );
        let d = Diagnostic::new(
            call.name.span,
            message,
            format!("expected {name}({})", list(&block.args)),
        );
        return Err(d.related(block.name.span, "defined here"));
    }
    let mut names: BTreeMap<String, Value> = block.args.iter().map(|a| a.value.clone()).zip(args).collect();
    for (key, value, _) in named {
        if !block.dims.iter().any(|d| d.value == key.value) {
            let message = format!("`{name}` has no `{}`", key.value);
            let d = Diagnostic::new(key.span, message, format!("expected one of: {}", list(&block.dims)));
            return Err(d.suggest(&key.value, block.dims.iter().map(|d| d.value.as_str())));
        }
        names.insert(key.value.clone(), value);
    }
    match block.dims.iter().find(|d| !names.contains_key(&d.value)) {
        Some(missing) => {
            let message = format!("`{name}` lacks its argument `{}`", missing.value);
            let d = Diagnostic::new(
                call.name.span,
                message,
                format!("expected `{}: ...` among the attributes", missing.value),
            );
            Err(d.related(missing.span, "declared here"))
        }
        None => Ok(names),
    }
}
