//! Values of a training's settings for other amounts of data.

use super::scope::Offer;
use super::settings::checked;
use crate::definitions::SettingDef;
use crate::diagnostic::{Diagnostic, Result, Spanned};
use ir::artifact::SettingValue;
use ir::task::{Amount, AtHours, Declared, Does, Training};

/// What `by_hours` says of a task, the least amount first.
pub fn by_hours(offer: &Offer, name: &Spanned<String>, settings: &[Declared], does: &Does) -> Result<Vec<AtHours>> {
    let own = offer
        .globals
        .defs
        .by_hours
        .iter()
        .find(|b| b.command.value == name.value);
    let Some(own) = own else { return Ok(vec![]) };
    let Does::Train(training) = does else {
        let message = format!("`{}` does not train", name.value);
        return Err(Diagnostic::new(
            own.command.span,
            message,
            "expected a task that trains",
        ));
    };
    let mut all = vec![];
    for (hours, values) in &own.amounts {
        let number = hours.value.parse::<f64>().ok().filter(|h| h.is_finite() && *h > 0.0);
        let Some(number) = number else {
            let message = format!("`{}` is no amount of data", hours.value);
            let label = "expected hours, a number above 0 in quotes";
            return Err(Diagnostic::new(hours.span, message, label));
        };
        let values = values
            .iter()
            .map(|s| value(offer, settings, training, s))
            .collect::<Result<_>>()?;
        all.push(AtHours { hours: number, values });
    }
    all.sort_by(|a, b| a.hours.total_cmp(&b.hours));
    Ok(all)
}

fn value(
    offer: &Offer,
    settings: &[Declared],
    training: &Training,
    own: &SettingDef,
) -> Result<(String, SettingValue)> {
    let name = &own.name.value;
    let Some(declared) = settings.iter().find(|d| d.name == *name) else {
        let message = format!("there is no setting `{name}`");
        let d = Diagnostic::new(own.name.span, message, "expected a setting of the task");
        return Err(d.suggest(name, settings.iter().map(|d| d.name.as_str())));
    };
    // These decide which clips there are, and with them the hours.
    let of_rules = [&training.data.min, &training.data.max];
    if offer.host.of_the_data.contains(&name.as_str()) || of_rules.contains(&&Amount::Setting(name.clone())) {
        let message = format!("`{name}` cannot depend on the hours of data");
        return Err(Diagnostic::new(
            own.name.span,
            message,
            "expected another setting: this one decides how many hours there are",
        ));
    }
    Ok((
        name.clone(),
        checked(offer, &own.name, &own.value, own.span, &declared.range)?,
    ))
}
