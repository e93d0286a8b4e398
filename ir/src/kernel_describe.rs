//! A one-line description of a kernel, for reports.

use crate::kernel::{Kernel, Value};
use crate::scalar::Unary;

/// The loop it is, what it reduces, and which functions its fused values compute.
pub fn describe(kernel: &Kernel) -> String {
    let what = kernel.body.describe();
    let mut fused: Vec<&str> = kernel.body.values().iter().filter_map(notable).collect();
    fused.sort();
    fused.dedup();
    if fused.is_empty() {
        what
    } else {
        format!("{what}; with {}", fused.join(", "))
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
