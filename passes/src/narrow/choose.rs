//! Which buffers are stored in bf16.

use crate::lower::Kernels;
use ir::artifact::{BufferKind, Launch, Program, Step};
use ir::dim::Dim;
use ir::examples::Examples;
use ir::kernel::{Access, Kernel, Reduction, Slot, Wide};
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
pub fn reasons(program: &Program, kernels: &Kernels, sizes: &Examples) -> Vec<Option<Reason>> {
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
        multiplied.extend(kernel.body.multiplied().into_iter().map(buffer));
        together.push(kernel.body.of_one_dtype().into_iter().map(buffer).collect::<Vec<_>>());
    }
    for (i, b) in program.buffers.iter().enumerate() {
        if is_small(&b.elements, sizes) && !multiplied.contains(&i) {
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
fn is_small(elements: &Dim, sizes: &Examples) -> bool {
    let gcd = |a: i64, b: i64| {
        let (mut a, mut b) = (a.abs(), b.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    elements.as_const().is_some()
        || sizes.size(elements) <= FEW_IN_ALL
        || elements.terms().map(|(c, _)| c).fold(0, gcd) < FEW
}

impl From<Wide> for Reason {
    fn from(wide: Wide) -> Reason {
        match wide {
            Wide::Statistic => Reason::Statistic,
            Wide::Scattered => Reason::Scattered,
            Wide::LogSumExp => Reason::LogSumExp,
            Wide::Ctc => Reason::Ctc,
        }
    }
}

/// What one kernel has against bf16, by slot.
fn reasons_of(kernel: &Kernel) -> Vec<(Slot, Reason)> {
    let body = &kernel.body;
    if body.reductions().iter().any(|(how, _)| *how != Reduction::Sum) {
        return (0..kernel.slots.len()).map(|s| (s, Reason::Softmax)).collect();
    }
    let updated = (0..kernel.slots.len()).filter(|s| kernel.slots[*s].access == Access::Update);
    let changed = updated.filter(|s| !body.stores_before_loading(*s));
    let wide = body.kept_wide().into_iter().map(|(s, wide)| (s, wide.into()));
    wide.chain(changed.map(|s| (s, Reason::Accumulated))).collect()
}
