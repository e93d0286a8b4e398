//! What a task gives for recordings.

use super::definition::{PredictDef, TaskDef};
use super::scope::{Scope, Want, inputs};
use super::{Checked, LABEL, STATES, TEXT, feeds::feeds, missing};
use crate::diagnostic::{Diagnostic, Result};
use crate::model::Program;
use crate::parse::Atom;
use ir::scalar::DType;
use ir::task::{Does, Gives, Prediction};

pub fn prediction(scope: &Scope, def: &TaskDef, p: &PredictDef) -> Result<Checked> {
    let program = p.program.as_ref().ok_or_else(|| missing(scope.name, "program"))?;
    let program = scope.program(program)?;
    let feeds = feeds(scope, def, &[program])?;
    let form = p.gives.as_ref().ok_or_else(|| missing(scope.name, "gives"))?;
    let kinds = [
        (TEXT, vec!["logits"]),
        (LABEL, vec!["logits"]),
        (STATES, vec!["states", "keep"]),
    ];
    let (kind, args) = form.take("result", &kinds)?;
    let output = |axes| scope.output(&[program], args[0], Want::Axes(axes));
    let gives = match kind {
        0 => Gives::Text { logits: output(3)? },
        1 => Gives::Label { logits: output(2)? },
        _ => Gives::States {
            states: output(3)?,
            keep: layers(program, args[1])?,
        },
    };
    Ok(Checked {
        does: Does::Predict(Prediction {
            program: program.name.clone(),
            gives,
        }),
        feeds,
        programs: vec![program.name.clone()],
    })
}

/// The input that says which layers are kept.
fn layers(program: &Program, atom: &Atom) -> Result<String> {
    let name = atom.name("an input's name")?;
    let Some((_, ty)) = inputs(program).find(|(n, _)| *n == name.value) else {
        let message = format!("the program `{}` has no input `{}`", program.name, name.value);
        let d = Diagnostic::new(name.span, message, "expected an input");
        return Err(d.suggest(&name.value, inputs(program).map(|(n, _)| n)));
    };
    if ty.dtype != DType::F32 || ty.rank() != 1 {
        let message = format!("the input `{}` of the program `{}` is {ty}", name.value, program.name);
        return Err(Diagnostic::new(
            name.span,
            message,
            "expected f32 with one axis, the layers",
        ));
    }
    Ok(name.value)
}
