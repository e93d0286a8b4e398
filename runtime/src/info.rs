//! What a compiled model is and which settings its commands take.

use crate::error::Error;
use crate::settings::{hours, show};
use ir::artifact::{Artifact, Precision};
use std::fmt::Write;

/// A page of text.
pub fn info(artifact: &Artifact) -> Result<String, Error> {
    let mut page = String::new();
    let total: usize = artifact.params.iter().map(|p| p.len()).sum();
    let mut line = |text: String| writeln!(page, "{text}").expect("writing to a string does not fail");
    line(format!("model       {}", artifact.name));
    line(format!("parameters  {total} in {} tensors", artifact.params.len()));
    line(format!("needs       {}", needs(artifact)));
    line("\nprograms".into());
    for p in &artifact.programs {
        let ports = |ports: &[ir::artifact::Port]| {
            let one = |q: &ir::artifact::Port| {
                let shape = q.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(", ");
                format!("{} {}[{shape}]", q.name, q.dtype.name())
            };
            ports.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        line(format!(
            "  {} ({}) -> ({})",
            p.name,
            ports(&p.inputs),
            ports(&p.outputs)
        ));
    }
    line("\nconstants (set when compiling)".into());
    for (name, value) in &artifact.constants {
        line(format!("  {name:<28} {value}"));
    }
    for task in &artifact.tasks {
        line(format!("\nsettings of `{}` (--set NAME=VALUE)", task.name));
        for s in &task.settings {
            let range = s.range.short();
            line(format!("  {:<22} {:<10} {range:<18} {}", s.name, show(&s.value), s.doc));
        }
        for at in &task.by_hours {
            let values: Vec<String> = at
                .values
                .iter()
                .map(|(name, v)| format!("{name} {}", show(v)))
                .collect();
            let values = if values.is_empty() {
                "the above".into()
            } else {
                values.join(", ")
            };
            line(format!("  for {:<10} of data: {values}", hours(at.hours)));
        }
    }
    Ok(page)
}

fn needs(artifact: &Artifact) -> String {
    match artifact.gpu {
        Some(precision) => {
            let precision = match precision {
                Precision::Bf16 => "bf16",
                Precision::Fp32 => "fp32",
            };
            format!("an NVIDIA GPU of compute capability 8.0 or later and its driver; computes in {precision}")
        }
        None => {
            let features = match &artifact.cpu_features[..] {
                [] => "any x86-64".into(),
                features => features.join(", "),
            };
            let int8 = artifact
                .int8
                .map(|levels| format!("; transcribes with weights quantised to {levels}"));
            let bf16 = match artifact.has_bf16() {
                true => "; computes in bf16",
                false => "",
            };
            features + bf16 + &int8.unwrap_or_default()
        }
    }
}
