//! A one-line description of a kernel, for reports.

use crate::kernel::{Body, Kernel, Phase, Reduction, Value};
use crate::rounding::Rounding;
use crate::scalar::Unary;
use crate::types::shape_text;

/// The loop it is, what it reduces, and which functions its fused values compute.
pub fn describe(kernel: &Kernel) -> String {
    let (what, values): (String, &[Value]) = match &kernel.body {
        Body::Row(k) => {
            let reduced = |p: &Phase| match p {
                Phase::Columns { reduce, .. } => reduce.iter().map(|(r, _)| name(*r)).collect(),
                Phase::Row { .. } => vec![],
            };
            let reductions: Vec<&str> = k.phases.iter().flat_map(reduced).collect();
            let space = shape_text(&k.axes);
            let what = match reductions.is_empty() {
                true => format!("elements of {space}"),
                false => format!("rows of {space}: {}", reductions.join(", ")),
            };
            (what, &k.values)
        }
        Body::Column(k) => {
            let reductions: Vec<&str> = k.reduce.iter().map(|(r, _)| name(*r)).collect();
            let (over, columns) = (shape_text(&k.reduced), &k.columns);
            (
                format!("columns: {} over {over} of {columns}", reductions.join(", ")),
                &k.values,
            )
        }
        Body::Contract(k) => {
            let depth = k.k_outer.clone() * k.k.clone();
            let factors = match k.round {
                Rounding::F32 => "",
                Rounding::Bf16 => " of bf16",
                Rounding::Int8(_) => " of int8",
            };
            (
                format!(
                    "product{factors} {} of {} x {} over {depth}",
                    shape_text(&k.batch),
                    k.m,
                    k.n
                ),
                &k.values,
            )
        }
        Body::Attention(k) => (format!("attention of {} heads x {}", k.heads, k.head_dim), &[]),
        Body::AttentionGrad(k) => {
            let f = &k.forward;
            (
                format!("gradient of attention of {} heads x {}", f.heads, f.head_dim),
                &[],
            )
        }
        Body::Scatter(k) => (format!("adds {} rows of {} into {}", k.count, k.width, k.into), &[]),
        Body::Ctc(k) => (format!("CTC over {} classes", k.vocab), &[]),
    };
    let mut fused: Vec<&str> = values.iter().filter_map(notable).collect();
    fused.sort();
    fused.dedup();
    if fused.is_empty() {
        what
    } else {
        format!("{what}; with {}", fused.join(", "))
    }
}

fn name(r: Reduction) -> &'static str {
    match r {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::ArgMax => "arg max",
    }
}

/// Functions that tell a fused value apart; sums and products are everywhere.
fn notable(v: &Value) -> Option<&'static str> {
    match v {
        Value::Unary(f @ (Unary::Exp | Unary::Log | Unary::Erf | Unary::Tanh | Unary::Rsqrt | Unary::Sqrt), _) => {
            Some(f.name())
        }
        Value::Uniform { .. } => Some("random"),
        Value::Acc => Some("epilogue"),
        Value::Load { guard: Some(_), .. } => Some("guarded loads"),
        _ => None,
    }
}
