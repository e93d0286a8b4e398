//! Settings in the recipes of a model file: those that nothing reads are slips.

use frontend::Model;
use ir::ops::Op;
use runtime::settings::{OF_THE_DATA, complete, nearest};

/// Commands that an executable has and that have recipes.
const COMMANDS: [&str; 3] = ["pretrain", "finetune", "transcribe"];

/// What is wrong, with the nearest name that would be right.
///
/// # Errors
/// The first setting that no command reads and no program has as an input, and a value out of range.
pub fn check(model: &Model) -> Result<(), String> {
    let amounts = model
        .by_hours
        .iter()
        .flat_map(|(command, all)| all.iter().map(move |a| (command, a)));
    for (command, amount) in amounts.clone() {
        // These decide which clips there are, and with them the hours.
        if let Some(s) = amount.settings.iter().find(|s| OF_THE_DATA.contains(&s.name.as_str())) {
            return Err(format!(
                "`{}` of `{command}` cannot depend on the hours of data",
                s.name
            ));
        }
    }
    let amounts = amounts.map(|(command, amount)| (command, &amount.settings));
    for (command, recipe) in model.recipes.iter().chain(amounts) {
        if !COMMANDS.contains(&command.as_str()) {
            // A model of another kind may have commands that only its own users know.
            match nearest(command, COMMANDS.into_iter()) {
                Some(near) => {
                    return Err(format!(
                        "a recipe for `{command}`, which is no command; did you mean `{near}`?"
                    ));
                }
                None => continue,
            }
        }
        complete(command, recipe).map_err(|e| e.to_string())?;
        let known = complete(command, &[]).map_err(|e| e.to_string())?;
        let inputs = inputs(model);
        let names = || known.iter().map(|s| s.name.as_str()).chain(inputs.iter().copied());
        if let Some(own) = recipe.iter().find(|own| names().all(|n| n != own.name)) {
            let hint = nearest(&own.name, names()).map_or("`w2vc check` lists those there are".into(), |n| {
                format!("did you mean `{n}`?")
            });
            return Err(format!(
                "the recipe for `{command}` has the setting `{}`, which neither the command nor a program reads; {hint}",
                own.name
            ));
        }
    }
    Ok(())
}

/// Names of the inputs of all programs: single numbers among them take the value of a setting.
fn inputs(model: &Model) -> Vec<&str> {
    let nodes = model.programs.iter().flat_map(|p| &p.graph.nodes);
    nodes
        .filter_map(|n| match &n.op {
            Op::Input(i) => Some(i.name.as_str()),
            _ => None,
        })
        .collect()
}
