//! Programs that store activations in bf16 and multiply matrices in bf16.
//!
//! bf16 has the exponent of f32 and 8 of its 24 significant bits, so nothing needs to be scaled, and every number is
//! off by at most about 2^-9 of itself. That is little compared with the noise of a gradient over few clips, and it
//! halves what activations take in memory and in traffic. It is much for sums of many numbers and for differences of
//! nearly equal ones. Therefore:
//!
//! - **Matrix multiplications** round their operands to bf16 and accumulate in f32 (`Contract::round`), whatever their
//!   operands are stored in: that is what tensor cores do.
//! - **Temporaries** are stored in bf16 unless there is a [`Reason`] not to.
//! - **Parameters** stay in f32, because an update is often smaller than 2^-9 of what it changes. Matrix multiplications
//!   round them: on a GPU they read a second arena, rounded once per update by the program
//!   [`optimizer::narrow`](crate::optimizer::narrow); the CPU rounds where it packs into panels, which it does anyway, and
//!   once if parameters are frozen ([`Weights`]). What is multiplied is the same. Other readers of parameters (norms,
//!   biases, weight norm) read the f32 ones.
//! - **Gradients** of parameters and moments of the optimizer stay in f32: they are sums.
//! - **Inputs and outputs** stay as they are declared; f64 stays f64, someone asked for it.
//!
//! The interpreter runs the result like any program, which makes it the meaning of training in bf16.

mod choose;
mod variant;

pub use choose::{Reason, reasons};

use crate::lower::Kernels;
use crate::module::Module;
use crate::optimizer;
use crate::pipeline::{CompileError, Settings};
use ir::artifact::{Buffer, BufferKind, Launch, Program, Step};
use ir::examples::Examples;
use ir::kernel::Kernel;
use ir::kernel_verify::verify;
use ir::scalar::DType;

/// Where products read parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// From an arena of rounded ones.
    Rounded,
    /// From the parameters, which they round.
    AsTheyAre,
}

pub(crate) fn run(m: &mut Module, settings: &Settings) -> Result<(), CompileError> {
    let Some(weights) = settings.bf16 else { return Ok(()) };
    let (programs, kernels) = m.stage.programs();
    m.notes.reasons = programs.iter().map(|p| reasons(p, kernels, &m.examples)).collect();
    *kernels = narrow(programs, kernels, weights, &m.examples);
    if weights == Weights::Rounded {
        programs.push(optimizer::narrow(kernels));
    }
    Ok(())
}

/// Rewrites programs, and gives the kernels that they then launch. Programs without temporaries and products stay as they
/// are, and so do products of levels.
pub fn narrow(programs: &mut [Program], kernels: &Kernels, weights: Weights, sizes: &Examples) -> Kernels {
    let mut made = Kernels::default();
    for program in programs {
        let reasons = reasons(program, kernels, sizes);
        for (buffer, reason) in program.buffers.iter_mut().zip(&reasons) {
            if reason.is_none() {
                buffer.dtype = DType::Bf16;
            }
        }
        let [mut prepare, mut steps] = [&mut program.prepare, &mut program.steps].map(std::mem::take);
        let mut rewrite = Rewrite {
            from: kernels,
            made: &mut made,
            weights,
            buffers: &mut program.buffers,
        };
        rewrite.steps(&mut prepare);
        rewrite.steps(&mut steps);
        (program.prepare, program.steps) = (prepare, steps);
    }
    made
}

struct Rewrite<'a> {
    from: &'a Kernels,
    made: &'a mut Kernels,
    weights: Weights,
    buffers: &'a mut Vec<Buffer>,
}

impl Rewrite<'_> {
    fn steps(&mut self, steps: &mut [Step]) {
        for step in steps {
            match step {
                Step::Launch(launch) => self.launch(launch),
                Step::Loop { body, .. } => self.steps(body),
            }
        }
    }

    fn launch(&mut self, launch: &mut Launch) {
        let stem = self.from.stem(launch.kernel);
        let mut kernel = self.from.list[launch.kernel].1.clone();
        for (slot, operand) in kernel.slots.iter_mut().zip(&launch.operands) {
            slot.dtype = self.buffers[operand.buffer].dtype;
        }
        for slot in variant::round_product(&mut kernel) {
            let arena = launch.operands[slot].buffer;
            if self.buffers[arena].kind != BufferKind::Params || self.weights == Weights::AsTheyAre {
                continue;
            }
            let slot = variant::own_operand(&mut kernel, &mut launch.operands, slot);
            launch.operands[slot].buffer = self.narrow_arena(arena);
            kernel.slots[slot].dtype = DType::Bf16;
        }
        launch.kernel = self.add(stem, kernel);
    }

    /// The arena of rounded parameters that belongs to one of parameters.
    fn narrow_arena(&mut self, params: usize) -> usize {
        let is_narrow = |b: &Buffer| b.kind == BufferKind::NarrowParams;
        self.buffers.iter().position(is_narrow).unwrap_or_else(|| {
            self.buffers.push(Buffer {
                kind: BufferKind::NarrowParams,
                dtype: DType::Bf16,
                ..self.buffers[params].clone()
            });
            self.buffers.len() - 1
        })
    }

    fn add(&mut self, stem: &str, kernel: Kernel) -> usize {
        if let Err(e) = verify(&kernel) {
            panic!("narrowing built an invalid kernel: {e}\n{kernel}");
        }
        self.made.add(stem, kernel)
    }
}
