//! What the compiler did, for people: kernels with their work, and the memory plan, at example sizes.

use crate::compile::{Output, named_sizes};
use ir::artifact::{BufferKind, Grid, Program, PtxImage, PtxKernel, Step};
use ir::dim::{Dim, Env};
use passes::narrow::Reason;
use passes::rewrite::{Fired, Miss};
use std::collections::BTreeMap;
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
        .filter(|(k, _)| k.as_ref() != ir::names::LAYER)
        .map(|(k, v)| format!("{k} = {v}"))
        .collect();
    let _ = writeln!(text, "Figures for {}.", sizes.join(", "));
    if let Some(schedule) = &o.schedule {
        let _ = writeln!(text, "Products:{schedule}");
    }
    for p in &o.artifact.programs {
        // The optimizer's programs come from no model; their sizes are those of a range of parameters.
        if let Some(fired) = o.notes.fired.get(&p.name) {
            let _ = writeln!(text, "\nprogram {}", p.name);
            rules(fired, &mut text);
            let misses = o.notes.misses.get(&p.name).map_or(&[][..], |m| m);
            near_attention(misses, &o.artifact.dims, &mut text);
            program(o, p, env, &mut text);
        }
    }
    text
}

/// Rules that fired, with what the graph would take more without each, at the rewriter's example sizes.
fn rules(fired: &[Fired], text: &mut String) {
    let _ = writeln!(
        text,
        "  {:<32} {:>6} {:>14} {:>12}",
        "rule", "fired", "saved MFLOP", "saved MB"
    );
    for f in fired {
        let (flops, bytes) = (f.saved_flops / 1e6, f.saved_bytes / 1e6);
        let _ = writeln!(text, "  {:<32} {:>6} {:>14.3} {:>12.3}", f.rule, f.times, flops, bytes);
    }
}

/// What takes a tensor of time x time and is nearly attention, which takes none, and why it is not.
fn near_attention(misses: &[Miss], dims: &[(String, Dim)], text: &mut String) {
    for m in misses {
        let layers = match m.layers {
            1 => String::new(),
            n => format!(" in {n} layers"),
        };
        let (ty, why) = (named_sizes(dims, &m.ty), named_sizes(dims, &m.why));
        let _ = writeln!(text, "  not recognised as attention: {ty}{layers}: {why}");
    }
}

fn program(o: &Output, p: &Program, env: &Env, text: &mut String) {
    if !p.prepare.is_empty() {
        table(
            o,
            &p.prepare,
            env,
            "launches that prepare, once where parameters stay",
            text,
        );
    }
    table(o, &p.steps, env, "launches", text);
    memory(o, p, env, text);
    let number = o.artifact.programs.iter().position(|q| q.name == p.name);
    if let Some(reasons) = number.and_then(|n| o.notes.reasons.get(n)) {
        narrowed(p, reasons, env, text);
    }
}

/// Temporaries that are kept in bf16, and why the others are not.
fn narrowed(p: &Program, reasons: &[Option<Reason>], env: &Env, text: &mut String) {
    let mut kinds: BTreeMap<Option<Reason>, (usize, f64)> = BTreeMap::new();
    for (b, reason) in p.buffers.iter().zip(reasons).filter(|(b, _)| b.kind.is_planned()) {
        let (count, bytes) = kinds.entry(*reason).or_default();
        *count += 1;
        *bytes += b.elements.eval(env).unwrap_or(0) as f64 * b.dtype.bytes() as f64;
    }
    let _ = writeln!(text, "  kept in bf16, and why not:");
    for (reason, (count, bytes)) in kinds {
        let why = reason.map_or("bf16", Reason::text);
        let mib = bytes / 1048576.0;
        let _ = writeln!(text, "    {mib:>9.2} MiB in {count:>3} buffers: {why}");
    }
}

/// The launches of some steps, with their work.
fn table(o: &Output, steps: &[Step], env: &Env, title: &str, text: &mut String) {
    let value = |d: &ir::dim::Dim| d.eval(env).unwrap_or(0) as f64;
    let mut all = vec![];
    launches(steps, 1, &mut all);
    let _ = writeln!(text, "  {} {title}", all.iter().map(|(_, n)| n).sum::<i64>());
    let _ = writeln!(
        text,
        "  {:<18} {:>6} {:>12} {:>12}  what",
        "kernel", "times", "MFLOP", "MB"
    );
    let (mut flops, mut bytes) = (0.0, 0.0);
    let mut rest = all.as_slice();
    while let Some((first, times)) = rest.first() {
        // The same kernel several times in a row is one line.
        let same = rest
            .iter()
            .take_while(|(l, n)| l.kernel == first.kernel && n == times)
            .count();
        rest = &rest[same..];
        let times = times * same as i64;
        let k = &o.artifact.kernels[first.kernel];
        let (f, b) = (value(&k.flops), value(&k.bytes));
        flops += f * times as f64;
        bytes += b * times as f64;
        let what = &k.what;
        let _ = writeln!(
            text,
            "  {:<18} {:>6} {:>12.3} {:>12.3}  {what}",
            k.name,
            times,
            f / 1e6,
            b / 1e6
        );
        grids(o, first.kernel, env, text);
    }
    let _ = writeln!(text, "  total: {:.3} GFLOP, {:.3} GB", flops / 1e9, bytes / 1e9);
}

/// The GPU functions of a kernel, per architecture where they differ.
fn grids(o: &Output, kernel: usize, env: &Env, text: &mut String) {
    let of = |image: &PtxImage| functions(&image.kernels[kernel], env);
    let all: Vec<(&str, Vec<String>)> = o.ptx.iter().map(|i| (i.arch.as_str(), of(i))).collect();
    let Some((_, first)) = all.first() else { return };
    let same = all.iter().all(|(_, lines)| lines == first);
    for (arch, lines) in all.iter().take(if same { 1 } else { all.len() }) {
        let arch = if same { "" } else { arch };
        for line in lines {
            let _ = writeln!(text, "  {arch:>18} {line}");
        }
    }
}

/// Blocks, threads of each, shared memory, and how the work is cut.
fn functions(k: &PtxKernel, env: &Env) -> Vec<String> {
    let line = |g: &Grid| {
        let blocks: i64 = g.blocks.iter().map(|d| d.eval(env).unwrap_or(0)).product();
        let (threads, shared) = (g.threads, g.shared as f64 / 1024.0);
        format!(
            "{blocks} blocks of {threads} threads, {shared:.1} KiB shared: {}",
            g.schedule
        )
    };
    k.grids.iter().map(line).collect()
}

/// The plan, with the largest buffers and when they matter.
fn memory(o: &Output, p: &Program, env: &Env, text: &mut String) {
    let planned = match runtime::exec::temporaries(&o.artifact, p, env) {
        Ok(n) => n as f64,
        Err(e) => {
            let _ = writeln!(text, "  memory plan: {e}");
            return;
        }
    };
    let size = |b: &ir::artifact::Buffer| b.elements.eval(env).unwrap_or(0) as f64 * b.dtype.bytes() as f64;
    let mut temps: Vec<_> = p.buffers.iter().filter(|b| b.kind.is_planned()).collect();
    let apart: f64 = temps.iter().map(|b| size(b)).sum();
    let mib = |n: f64| n / 1048576.0;
    let (count, apart, planned) = (temps.len(), mib(apart), mib(planned));
    let _ = writeln!(
        text,
        "  memory plan: {count} buffers, {apart:.1} MiB apart, {planned:.1} MiB planned; the largest:"
    );
    temps.sort_by(|a, b| size(b).total_cmp(&size(a)));
    for b in temps.iter().take(8) {
        let (elements, (first, last)) = (named_sizes(&o.artifact.dims, &b.elements.to_string()), b.live);
        let prepared = if b.kind == BufferKind::Prepared {
            ", prepared"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "    {:>9.2} MiB, steps {first} to {last}: {} {elements}{prepared}",
            mib(size(b)),
            b.dtype.name()
        );
    }
    match runtime::exec::memory_plan(&o.artifact, p, env) {
        Ok(m) if p.trains.is_empty() && m.kept > 0 => {
            let [planned, kept, instead] = [m.temporaries, m.kept, m.given_back].map(|n| mib(n as f64));
            let _ = writeln!(
                text,
                "  where parameters stay: {planned:.1} MiB planned, {kept:.1} MiB kept in place of {instead:.1} MiB of parameters"
            );
        }
        _ => {}
    }
}
