//! Which buffers are stored in bf16.

use crate::lower::Kernels;
use crate::rewrite::cost::example;
use ir::artifact::{BufferKind, Launch, Program, Step};
use ir::dim::Dim;
use ir::kernel::{Access, Attention, Body, Kernel, Phase, Reduction, Slot, Store, Value};
use ir::kernel_values::{needed, reductions, store_roots};
use ir::scalar::DType;
use std::collections::BTreeSet;

/// Why a buffer stays as it is. Where there are several reasons, the first of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Inputs, outputs and the arenas belong to the runner.
    NotTemporary,
    /// bf16 is half of an f32, not of anything else.
    NotF32,
    /// Steps of a loop are skipped by it, by the runner.
    Keep,
    /// Kernels add to it or change it in place. A number that is much smaller than the sum so far would be lost.
    Accumulated,
    /// A scatter adds up in it.
    Scattered,
    /// One number per row, or sums over rows: means, deviations, norms, counts, losses. One of them goes into many numbers,
    /// and differences of them are taken.
    Statistic,
    /// An operand of a kernel that takes a maximum, so of a softmax, a choice or a loss: an error there is one of an
    /// exponent, and close classes would become equal ones.
    Softmax,
    /// An operand of CTC, which adds up log-probabilities over all frames.
    Ctc,
    /// The log-sum-exps of attention, which are subtracted from scores in its gradient.
    LogSumExp,
    /// Less than [`FEW`] numbers per frame, clip or model, or less than [`FEW_IN_ALL`], and no operand of a product: there is
    /// nothing to be saved, and it may be a weight, a bias, a count, a loss or a gradient of parameters on its way to the arena.
    Small,
    /// An operand of attention, another of which stays f32; a kernel has them all in one type.
    Together,
}

impl Reason {
    /// For people who look at what became bf16.
    pub fn text(self) -> &'static str {
        match self {
            Reason::NotTemporary => "inputs, outputs and what is made of parameters alone",
            Reason::NotF32 => "integers and numbers in f64",
            Reason::Keep => "which layers are run",
            Reason::Accumulated => "sums that kernels add to, or numbers changed in place",
            Reason::Scattered => "sums of rows by index",
            Reason::Statistic => "one number per row or sums over rows: means, norms, losses",
            Reason::Softmax => "operands of a maximum: softmax, choices, losses",
            Reason::Ctc => "operands of CTC",
            Reason::LogSumExp => "the log-sum-exps of attention",
            Reason::Small => "few numbers per frame or clip",
            Reason::Together => "operands of attention, another of which stays f32",
        }
    }
}

/// A frame of the models has hundreds of numbers.
const FEW: i64 = 16;
/// At the sizes that the rewriter takes for an example.
const FEW_IN_ALL: f64 = 4096.0;

/// By buffer, why it is not kept in bf16; `None` where it is.
pub fn reasons(program: &Program, kernels: &Kernels) -> Vec<Option<Reason>> {
    let mut found: Vec<Option<Reason>> = program
        .buffers
        .iter()
        .map(|b| {
            if b.kind != BufferKind::Temp {
                Some(Reason::NotTemporary)
            } else if b.dtype != DType::F32 {
                Some(Reason::NotF32)
            } else {
                None
            }
        })
        .collect();
    let mut note = |buffer: usize, reason: Reason| {
        let known = &mut found[buffer];
        *known = Some(known.map_or(reason, |r| r.min(reason)));
    };
    let (mut launches, mut keeps) = (vec![], vec![]);
    for steps in [&program.prepare, &program.steps] {
        collect(steps, &mut launches, &mut keeps);
    }
    keeps.into_iter().for_each(|buffer| note(buffer, Reason::Keep));
    let (mut multiplied, mut together) = (BTreeSet::new(), vec![]);
    for launch in launches {
        let kernel = &kernels.list[launch.kernel].1;
        let buffer = |slot: Slot| launch.operands[slot].buffer;
        for (slot, reason) in reasons_of(kernel) {
            note(buffer(slot), reason);
        }
        multiplied.extend(factors(&kernel.body).into_iter().map(buffer));
        if matches!(kernel.body, Body::Attention(_) | Body::AttentionGrad(_)) {
            together.push(factors(&kernel.body).into_iter().map(buffer).collect::<Vec<_>>());
        }
    }
    for (i, b) in program.buffers.iter().enumerate() {
        if is_small(&b.elements) && !multiplied.contains(&i) {
            note(i, Reason::Small);
        }
    }
    stay_together(&mut found, &together);
    found
}

/// Where one buffer of a group stays as it is, all do, until nothing changes: a buffer may be in several groups.
fn stay_together(found: &mut [Option<Reason>], groups: &[Vec<usize>]) {
    while let Some(group) = groups.iter().find(|g| {
        let stay = g.iter().filter(|b| found[**b].is_some()).count();
        stay > 0 && stay < g.len()
    }) {
        for b in group {
            found[*b].get_or_insert(Reason::Together);
        }
    }
}

fn collect<'a>(steps: &'a [Step], launches: &mut Vec<&'a Launch>, keeps: &mut Vec<usize>) {
    for step in steps {
        match step {
            Step::Launch(l) => launches.push(l),
            Step::Loop { keep, body, .. } => {
                keeps.extend(keep.iter().map(|k| k.buffer));
                collect(body, launches, keeps);
            }
        }
    }
}

/// Whether a number of elements is small, or its constant factor is less than [`FEW`], or it is all constant.
fn is_small(elements: &Dim) -> bool {
    let gcd = |a: i64, b: i64| {
        let (mut a, mut b) = (a.abs(), b.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    elements.as_const().is_some()
        || example(elements) <= FEW_IN_ALL
        || elements.terms().map(|(c, _)| c).fold(0, gcd) < FEW
}

/// Slots whose elements a kernel multiplies in products of bf16, and what it makes of them in attention.
fn factors(body: &Body) -> Vec<Slot> {
    let heads = |k: &Attention| [&k.q, &k.k, &k.v, &k.out].map(|v| v.slot).to_vec();
    match body {
        Body::Contract(k) => vec![k.a.slot, k.b.slot],
        Body::Attention(k) => heads(k),
        Body::AttentionGrad(g) => {
            let grads = [&g.d_out, &g.dq, &g.dk, &g.dv].map(|v| v.slot);
            heads(&g.forward).into_iter().chain(grads).collect()
        }
        Body::Row(_) | Body::Column(_) | Body::Scatter(_) | Body::Ctc(_) => vec![],
    }
}

/// What one kernel has against bf16, by slot.
fn reasons_of(kernel: &Kernel) -> Vec<(Slot, Reason)> {
    let all = |reason| (0..kernel.slots.len()).map(|s| (s, reason)).collect();
    let stored = |stores: &[Store], reason| stores.iter().map(|s| (s.slot, reason)).collect::<Vec<_>>();
    if reductions(&kernel.body).iter().any(|(how, _)| *how != Reduction::Sum) {
        return all(Reason::Softmax);
    }
    let mut found = match &kernel.body {
        Body::Row(k) => k
            .phases
            .iter()
            .flat_map(|p| match p {
                Phase::Row { store } => stored(store, Reason::Statistic),
                Phase::Columns { .. } => vec![],
            })
            .collect(),
        Body::Column(k) => stored(&k.store, Reason::Statistic),
        Body::Contract(_) => vec![],
        Body::Attention(k) => heads_reasons(k),
        Body::AttentionGrad(g) => heads_reasons(&g.forward),
        Body::Scatter(k) => vec![(k.out, Reason::Scattered)],
        Body::Ctc(_) => return all(Reason::Ctc),
    };
    let updated = (0..kernel.slots.len()).filter(|s| kernel.slots[*s].access == Access::Update);
    let changed = updated.filter(|s| !is_written_first(&kernel.body, *s));
    found.extend(changed.map(|s| (s, Reason::Accumulated)));
    found
}

/// Whether a row kernel only loads from a slot what one of its earlier phases has stored there.
fn is_written_first(body: &Body, slot: Slot) -> bool {
    let Body::Row(k) = body else { return false };
    let mut written = false;
    for phase in &k.phases {
        let (reduce, store) = match phase {
            Phase::Columns { reduce, store } => (&reduce[..], store),
            Phase::Row { store } => (&[][..], store),
        };
        let roots = store_roots(store).chain(reduce.iter().map(|(_, v)| *v));
        let loads = |v: usize| matches!(&k.values[v], Value::Load { slot: s, .. } if *s == slot);
        if !written && needed(&k.values, roots).into_iter().any(loads) {
            return false;
        }
        let mut own = store.iter().filter(|s| s.slot == slot);
        if own.clone().any(|s| s.accumulate) {
            return false;
        }
        written |= own.next().is_some();
    }
    written
}

fn heads_reasons(k: &Attention) -> Vec<(Slot, Reason)> {
    let rate = k.dropout.iter().map(|d| (d.rate, Reason::Statistic));
    std::iter::once((k.lse, Reason::LogSumExp)).chain(rate).collect()
}
