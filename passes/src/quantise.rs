//! Products of weights in 8 bits, for transcribing on the CPU.
//!
//! A product of something with a weight is computed in levels (`ir::rounding::Levels`): the weight's columns and the other
//! operand's rows are divided into them block by block. What stays in f32:
//!
//! - **Products of two activations**: attention has kernels of its own, and few others are left.
//! - **Short sums**: of less than [`SHORT`] products each, scales would cost as much as they save.
//! - **The last product**: what a program gives out is written by it directly, it is small, and nothing after it evens out
//!   its error.

use crate::lower::Kernels;
use ir::artifact::{BufferKind, Launch, Program, Step};
use ir::kernel::{Access, Body, Kernel};
use ir::kernel_verify::verify;
use ir::rounding::{Levels, Rounding};

/// Steps of the summed axis.
const SHORT: i64 = 64;

/// Rewrites a program without gradients; its new kernels are added to the list.
pub fn quantise(program: &mut Program, kernels: &mut Kernels, levels: Levels) {
    let mut steps = std::mem::take(&mut program.steps);
    each_launch(&mut steps, &mut |launch| {
        let (name, kernel) = &kernels.list[launch.kernel];
        if !is_of_weights(program, launch, kernel) {
            return;
        }
        let base = name.rsplit_once('_').map_or(&name[..], |(base, _)| base).to_string();
        let mut kernel = kernel.clone();
        if let Body::Contract(c) = &mut kernel.body {
            c.round = Rounding::Int8(levels);
        }
        if let Err(e) = verify(&kernel) {
            panic!("quantising built an invalid kernel: {e}\n{kernel}");
        }
        launch.kernel = kernels.add(&base, kernel);
    });
    program.steps = steps;
}

fn is_of_weights(program: &Program, launch: &Launch, kernel: &Kernel) -> bool {
    let Body::Contract(c) = &kernel.body else { return false };
    let kind = |slot: usize| program.buffers[launch.operands[slot].buffer].kind;
    let weight = matches!(kind(c.b.slot), BufferKind::Params | BufferKind::Prepared);
    let depth = (c.k_outer.clone() * c.k.clone()).as_const();
    let writes = (0..kernel.slots.len()).filter(|slot| kernel.slots[*slot].access != Access::Read);
    weight
        && depth.is_some_and(|depth| depth >= SHORT)
        && writes.into_iter().all(|slot| kind(slot) != BufferKind::Output)
}

fn each_launch(steps: &mut [Step], f: &mut dyn FnMut(&mut Launch)) {
    for step in steps {
        match step {
            Step::Launch(launch) => f(launch),
            Step::Loop { body, .. } => each_launch(body, f),
        }
    }
}
