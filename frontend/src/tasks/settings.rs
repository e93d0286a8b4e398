//! The settings of a task: the engine's, its own, and the values that recipes give them.

use super::definition::{DoesDef, TaskDef, present};
use super::scope::Offer;
use crate::data;
use crate::definitions::Datum;
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use ir::artifact::SettingValue;
use ir::task::{Declared, Range};

/// All settings in the order of their names.
pub fn settings(offer: &Offer, name: &Spanned<String>, def: &TaskDef) -> Result<Vec<Declared>> {
    let mut all = of_engine(offer, def);
    let engine: Vec<String> = all.iter().map(|d| d.name.clone()).collect();
    let own = present(&def.settings, "setting")?;
    for (name, s) in &own {
        match (&s.range, engine.contains(&name.value)) {
            (Some(_), true) => {
                let message = format!("the engine declares the setting `{}`, with its kind", name.value);
                return Err(Diagnostic::new(name.span, message, "expected a value alone"));
            }
            (Some(range), false) => {
                let value = checked(offer, name, &s.value, s.span, range)?;
                all.push(Declared {
                    name: name.value.clone(),
                    value,
                    range: range.clone(),
                    doc: s.doc.clone().unwrap_or_default(),
                });
            }
            (None, true) => assign(offer, &mut all, name, &s.value, s.span, s.doc.as_deref())?,
            (None, false) => {
                let message = format!("there is no setting `{}` to give a value", name.value);
                let label = "expected a known setting, or a kind as in `Count(3, \"what it is\")`";
                let known = engine.iter().chain(own.iter().map(|(n, _)| &n.value));
                let known = known.filter(|n| **n != name.value).map(String::as_str);
                return Err(Diagnostic::new(name.span, message, label).suggest(&name.value, known));
            }
        }
    }
    let recipes = &offer.globals.defs.recipes;
    for s in recipes
        .iter()
        .filter(|r| r.command.value == name.value)
        .flat_map(|r| &r.settings)
    {
        if all.iter().all(|d| d.name != s.name.value) {
            let message = format!("`{}` has no setting `{}`", name.value, s.name.value);
            let d = Diagnostic::new(s.name.span, message, "expected a setting of the task");
            return Err(d.suggest(&s.name.value, all.iter().map(|d| d.name.as_str())));
        }
        assign(offer, &mut all, &s.name, &s.value, s.span, s.doc.as_deref())?;
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn of_engine(offer: &Offer, def: &TaskDef) -> Vec<Declared> {
    match &def.does {
        DoesDef::Train(t) => {
            let mut all = (offer.host.training)();
            if t.judge.as_ref().is_some_and(|j| j.name.value == super::TEXT) {
                all.extend((offer.host.texts)());
            }
            all
        }
        DoesDef::Predict(_) => (offer.host.prediction)(),
    }
}

fn assign(
    offer: &Offer,
    all: &mut [Declared],
    name: &Spanned<String>,
    value: &Datum,
    span: Span,
    doc: Option<&str>,
) -> Result<()> {
    for d in all.iter_mut().filter(|d| d.name == name.value) {
        d.value = checked(offer, name, value, span, &d.range)?;
        d.doc = doc.map_or(std::mem::take(&mut d.doc), str::to_string);
    }
    Ok(())
}

pub(super) fn checked(
    offer: &Offer,
    name: &Spanned<String>,
    value: &Datum,
    span: Span,
    range: &Range,
) -> Result<SettingValue> {
    let value = data::value(offer.globals, name, value)?;
    if range.holds(&value) {
        return Ok(value);
    }
    let shown = match &value {
        SettingValue::Number(n) => n.to_string(),
        SettingValue::Text(t) => t.clone(),
        SettingValue::Flag(f) => f.to_string(),
    };
    let words = range.words();
    let message = format!("`{}` takes {words}, not {shown}", name.value);
    let d = Diagnostic::new(span, message, format!("expected {words}"));
    Err(match range {
        Range::Choice(all) => d.suggest(&shown, all.iter().map(String::as_str)),
        _ => d,
    })
}
