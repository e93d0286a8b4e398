//! Matrix multiplications by weights in 8 bits, for programs with fixed weights on the CPU.
//!
//! A matrix multiplication by a weight is quantised (`ir::rounding::Levels`): the weight's columns and the other
//! operand's rows are quantised block by block. What stays in f32:
//!
//! - **Multiplications of two activations**: attention has separate kernels, and few others are left.
//! - **Small multiplications**: those with less than one in [`FEW`] of the work with weights. They are the last
//!   convolutions, the projection to the Transformer's width and the output layer: they take little time, and cause a
//!   third of the error (docs/notebook/int8.md).
//! - **Short sums**: of less than [`SHORT`] products each, scales would cost as much as they save.

use crate::lower::Kernels;
use crate::module::Module;
use crate::pipeline::{CompileError, Settings};
use ir::artifact::{BufferKind, Launch, Program, Step};
use ir::examples::Examples;
use ir::kernel::{Body, Contract, Kernel};
use ir::kernel_verify::verify;
use ir::rounding::{Levels, Rounding};

/// Of the multiplications of a program, at typical sizes.
const FEW: f64 = 30.0;
/// Steps of the summed axis.
const SHORT: i64 = 64;

pub(crate) fn run(m: &mut Module, settings: &Settings) -> Result<(), CompileError> {
    let Some(levels) = settings.int8 else { return Ok(()) };
    let (programs, kernels) = m.stage.programs();
    let fixed = programs.iter_mut().filter(|p| m.fixed.contains(&p.name));
    fixed.for_each(|p| quantise(p, kernels, levels, &m.examples));
    Ok(())
}

/// Rewrites a program without gradients; its new kernels are added to the list.
pub fn quantise(program: &mut Program, kernels: &mut Kernels, levels: Levels, sizes: &Examples) {
    let mut all = 0.0;
    each_launch(&mut program.steps.clone(), 1.0, &mut |launch, times| {
        let kernel = &kernels.list[launch.kernel].1;
        all += product_of_weight(program, launch, kernel).map_or(0.0, |c| times * multiplications(c, sizes));
    });
    let mut steps = std::mem::take(&mut program.steps);
    each_launch(&mut steps, 1.0, &mut |launch, times| {
        let kernel = &kernels.list[launch.kernel].1;
        let Some(c) = product_of_weight(program, launch, kernel) else {
            return;
        };
        let depth = (c.k_outer.clone() * c.k.clone()).as_const();
        if depth.is_none_or(|depth| depth < SHORT) || times * multiplications(c, sizes) * FEW < all {
            return;
        }
        let stem = kernels.stem(launch.kernel).to_string();
        let mut kernel = kernel.clone();
        if let Body::Contract(c) = &mut kernel.body {
            c.round = Rounding::Int8(levels);
        }
        if let Err(e) = verify(&kernel) {
            panic!("quantising built an invalid kernel: {e}\n{kernel}");
        }
        launch.kernel = kernels.add(&stem, kernel);
    });
    program.steps = steps;
}

/// The product that a launch is, where its right operand is made of parameters alone.
fn product_of_weight<'a>(program: &Program, launch: &Launch, kernel: &'a Kernel) -> Option<&'a Contract> {
    let Body::Contract(c) = &kernel.body else { return None };
    let kind = program.buffers[launch.operands[c.b.slot].buffer].kind;
    matches!(kind, BufferKind::Params | BufferKind::Prepared).then_some(c)
}

fn multiplications(c: &Contract, sizes: &Examples) -> f64 {
    let extents = c.batch.iter().chain([&c.m, &c.n, &c.k_outer, &c.k]);
    extents.map(|d| sizes.size(d)).product()
}

/// Every launch, with how often it runs.
fn each_launch(steps: &mut [Step], times: f64, f: &mut dyn FnMut(&mut Launch, f64)) {
    for step in steps {
        match step {
            Step::Launch(launch) => f(launch, times),
            Step::Loop { count, body, .. } => each_launch(body, times * *count as f64, f),
        }
    }
}
