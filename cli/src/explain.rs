//! What the compiler did, for people: kernels with their work, and the memory plan, at example sizes.

use crate::compile::Output;
use ir::artifact::{BufferKind, Program, Step};
use ir::dim::Env;
use std::fmt::Write;

/// Launches of a program in order, loops marked by their count.
fn launches<'a>(steps: &'a [Step], times: i64, out: &mut Vec<(&'a ir::artifact::Launch, i64)>) {
    for s in steps {
        match s {
            Step::Launch(l) => out.push((l, times)),
            Step::Loop { count, body, .. } => launches(body, times * count, out),
        }
    }
}

/// A table per program.
pub fn explain(o: &Output, env: &Env) -> String {
    let mut text = String::new();
    let sizes: Vec<String> = env
        .iter()
        .filter(|(k, _)| k.as_ref() != "layer")
        .map(|(k, v)| format!("{k} = {v}"))
        .collect();
    let _ = writeln!(text, "Figures for {}.", sizes.join(", "));
    for p in &o.artifact.programs {
        if p.name != "adam" && p.name != "grad_norm" {
            let _ = writeln!(text, "\nprogram {}", p.name);
            rules(o, &p.name, &mut text);
            program(o, p, env, &mut text);
        }
    }
    text
}

/// Rules that fired, with what the graph would take more without each, at the rewriter's example sizes.
fn rules(o: &Output, name: &str, text: &mut String) {
    let Some((_, stages)) = o.stages.iter().find(|(n, _)| n == name) else {
        return;
    };
    let _ = writeln!(
        text,
        "  {:<32} {:>6} {:>14} {:>12}",
        "rule", "fired", "saved MFLOP", "saved MB"
    );
    for f in &stages.fired {
        let (flops, bytes) = (f.saved_flops / 1e6, f.saved_bytes / 1e6);
        let _ = writeln!(text, "  {:<32} {:>6} {:>14.3} {:>12.3}", f.rule, f.times, flops, bytes);
    }
}

fn program(o: &Output, p: &Program, env: &Env, text: &mut String) {
    let value = |d: &ir::dim::Dim| d.eval(env).unwrap_or(0) as f64;
    let mut all = vec![];
    launches(&p.steps, 1, &mut all);
    let _ = writeln!(text, "  {} launches", all.iter().map(|(_, n)| n).sum::<i64>());
    let _ = writeln!(text, "  {:<24} {:>6} {:>12} {:>12}", "kernel", "times", "MFLOP", "MB");
    let (mut flops, mut bytes) = (0.0, 0.0);
    for (l, times) in all {
        let k = &o.artifact.kernels[l.kernel];
        let (f, b) = (value(&k.flops), value(&k.bytes));
        flops += f * times as f64;
        bytes += b * times as f64;
        let _ = writeln!(
            text,
            "  {:<24} {:>6} {:>12.3} {:>12.3}",
            k.name,
            times,
            f / 1e6,
            b / 1e6
        );
    }
    let _ = writeln!(text, "  total: {:.3} GFLOP, {:.3} GB", flops / 1e9, bytes / 1e9);
    match runtime::exec::temporaries(&o.artifact, p, env) {
        Ok(n) => {
            let temps = p.buffers.iter().filter(|b| b.kind == BufferKind::Temp);
            let apart: f64 = temps.clone().map(|b| value(&b.elements) * b.dtype.bytes() as f64).sum();
            let _ = writeln!(
                text,
                "  memory plan: {} buffers, {:.1} MiB apart, {:.1} MiB planned",
                temps.count(),
                apart / 1048576.0,
                n as f64 / 1048576.0
            );
        }
        Err(e) => {
            let _ = writeln!(text, "  memory plan: {e}");
        }
    }
}
