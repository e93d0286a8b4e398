//! Data of a model: settings of its recipes, and the configuration of its exports.

use crate::definitions::Datum;
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::{Expr, Kind};
use crate::globals::Globals;
use crate::value::{Value, evaluate};
use ir::artifact::{ConfigFacts, SettingValue};
use std::collections::BTreeMap;

/// The value of a setting.
pub fn value(globals: &Globals, name: &Spanned<String>, value: &Datum) -> Result<SettingValue> {
    Ok(match value {
        Datum::Flag(f) => SettingValue::Flag(*f),
        Datum::Text(t) => SettingValue::Text(t.clone()),
        Datum::Expr(e) => match evaluate(e, &mut |n| globals.value(n))?.as_number(e.span)? {
            n if n.is_finite() => SettingValue::Number(n),
            n => {
                let message = format!("the setting `{}` cannot be {n}", name.value);
                return Err(Diagnostic::new(e.span, message, "expected a finite number"));
            }
        },
        Datum::Null | Datum::List(_) | Datum::Map(_) => {
            let message = format!(
                "the setting `{}` is neither a number, a word nor true or false",
                name.value
            );
            let label = "expected one of these, or `(value, \"what it is\")`";
            return Err(Diagnostic::new(name.span, message, label));
        }
    })
}

/// What every command's configuration has.
const SHARED: &str = "*";

/// JSON text by command.
pub fn export(globals: &Globals) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let (shared, own): (Vec<_>, Vec<_>) = globals.defs.export.iter().partition(|e| e.command.value == SHARED);
    for e in own {
        let common = shared
            .iter()
            .flat_map(|s| &s.fields)
            .filter(|(n, _)| e.fields.iter().all(|(m, _)| m.value != n.value));
        let fields: Vec<String> = common
            .chain(&e.fields)
            .map(|(name, d)| Ok(format!("  {}: {}", quoted(&name.value), json(globals, d)?)))
            .collect::<Result<_>>()?;
        all.insert(e.command.value.clone(), format!("{{\n{}\n}}", fields.join(",\n")));
    }
    Ok(all)
}

/// How a config.json is read and written.
pub fn config(globals: &Globals) -> Result<ConfigFacts> {
    let field = |(name, d): &(Spanned<String>, Datum)| Ok(format!("{}: {}", quoted(&name.value), json(globals, d)?));
    let fields: Vec<String> = globals.defs.config_defaults.iter().map(field).collect::<Result<_>>()?;
    let settings = globals.defs.config_settings.iter();
    Ok(ConfigFacts {
        defaults: if fields.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", fields.join(", "))
        },
        settings: settings.map(|(f, s)| (f.value.clone(), s.value.clone())).collect(),
    })
}

/// Fields that every command's configuration has and that are one constant or run size each.
pub fn config_constants(globals: &Globals) -> Vec<(String, String)> {
    let shared = globals.defs.export.iter().filter(|e| e.command.value == SHARED);
    let constant = |(field, d): &(Spanned<String>, Datum)| match d {
        Datum::Expr(Expr {
            kind: Kind::Name(name), ..
        }) => Some((field.value.clone(), name.clone())),
        _ => None,
    };
    let known = |name: &str| {
        let mut all = globals.defs.constants.iter().chain(&globals.defs.run_sizes);
        all.any(|c| c.name.value == name)
    };
    let all = shared.flat_map(|e| &e.fields).filter_map(constant);
    all.filter(|(_, name)| known(name)).collect()
}

fn json(globals: &Globals, d: &Datum) -> Result<String> {
    Ok(match d {
        Datum::Null => "null".into(),
        Datum::Flag(f) => f.to_string(),
        Datum::Text(t) => quoted(t),
        Datum::Expr(e) => json_value(globals, &evaluate(e, &mut |n| globals.value(n))?, e.span)?,
        Datum::List(all) => {
            let items = all.iter().map(|d| json(globals, d)).collect::<Result<Vec<_>>>()?;
            format!("[{}]", items.join(", "))
        }
        Datum::Map(all) => {
            let field = |(name, d): &(String, Datum)| Ok(format!("{}: {}", quoted(name), json(globals, d)?));
            format!("{{{}}}", all.iter().map(field).collect::<Result<Vec<_>>>()?.join(", "))
        }
    })
}

fn json_value(globals: &Globals, value: &Value, span: Span) -> Result<String> {
    Ok(match value {
        Value::Int(v) => v.to_string(),
        Value::Float(v) if v.is_finite() => format!("{v:?}"),
        Value::Text(t) => quoted(t),
        Value::Word(w) if w == "true" || w == "false" => w.clone(),
        Value::None => "null".into(),
        Value::List(all) => {
            let items: Vec<String> = all
                .iter()
                .map(|v| json_value(globals, v, span))
                .collect::<Result<_>>()?;
            format!("[{}]", items.join(", "))
        }
        // Filled in when a run has chosen it.
        Value::Dim(d) if globals.is_run_size(d) => quoted(&format!("${d}")),
        other => {
            let message = format!("{} has no place in a configuration", other.what());
            return Err(Diagnostic::new(span, message, "expected a number known when compiling"));
        }
    })
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}
