//! The meaning of kernel IR: a plain interpreter, written to be read and to be compared with.
//!
//! # Arithmetic
//! Every value has its dtype's precision: f32 operations are computed in f64 and rounded to f32 once (for `+ - * / sqrt`
//! that is the correctly rounded f32 result), f64 ones are not rounded further, i32 ones wrap. A cast from float to i32
//! rounds toward zero and saturates. bf16 is only stored: rounded to nearest, ties to even, when it is. Sums over many elements (`Reduction::Sum`, the product of a contraction, attention,
//! CTC) are accumulated in f64 and rounded to the result's dtype at the end, whatever order or precision a backend uses:
//! this is the reference that backends approximate, not a bit-exact model of them. Stores that accumulate, and the sums
//! of a scatter, go through memory and so round at each step.
//!
//! # Order
//! Items of work run one after the other. Within one position of a phase all loads come before all stores.

mod attention;
mod contract;
mod ctc;
mod expr;
mod maps;
mod memory;
mod poison;
mod program;
mod scatter;

pub use memory::{Buffer, Place};
pub use poison::{run_poisoned, step_count};
pub use program::run_program;

use ir::dim::{Env, SizeError};
use ir::kernel::{Body, Kernel, Slot};
use ir::kernel_verify::VerifyError;
use std::sync::Arc;

/// Why a kernel or program could not be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("a {body} kernel reaches element {index} of slot {slot}, which holds {len}")]
    OutOfBounds {
        body: &'static str,
        slot: Slot,
        index: i64,
        len: usize,
    },
    #[error("slot {slot} of a {body} kernel holds {expected}, its buffer {found}")]
    DType {
        body: &'static str,
        slot: Slot,
        expected: &'static str,
        found: &'static str,
    },
    #[error("a {body} kernel has {expected} slots, but was given {found} operands")]
    Operands {
        body: &'static str,
        expected: usize,
        found: usize,
    },
    #[error("there is no buffer {buffer}; {count} were given")]
    NoBuffer { buffer: usize, count: usize },
    #[error("there is no kernel {kernel}; {count} were given")]
    NoKernel { kernel: usize, count: usize },
    #[error("the {what} is {value}, which is not in 0..{limit}")]
    BadData { what: &'static str, value: i64, limit: i64 },
    #[error("the kernel is invalid: {0}")]
    Invalid(#[from] VerifyError),
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error(
        "buffer {buffer} holds {found} elements of {found_dtype}, the program wants {expected} of {expected_dtype}"
    )]
    Buffer {
        buffer: usize,
        expected: usize,
        expected_dtype: &'static str,
        found: usize,
        found_dtype: &'static str,
    },
    #[error("the plan lays buffers {a} and {b} over each other, and both are live at step {step}")]
    Overlap { a: usize, b: usize, step: usize },
    #[error("step {step} uses buffer {buffer}, which is live only in steps {} to {}", live.0, live.1)]
    NotLive {
        buffer: usize,
        step: usize,
        live: (usize, usize),
    },
    #[error("the plan gives {found} offsets for {expected} buffers")]
    PlanLength { expected: usize, found: usize },
}

/// Runs one kernel. `operands[s]` is where slot `s` begins; several may lie in one buffer. `sizes` must give every size the
/// kernel names, `layer` too where it draws random numbers.
///
/// # Errors
/// An invalid kernel, operands that do not fit it, unknown sizes, and any access outside a buffer. Buffers are left as
/// they were at that moment.
pub fn run(kernel: &Kernel, buffers: &mut [Buffer], operands: &[Place], sizes: &Env) -> Result<(), Error> {
    ir::kernel_verify::verify(kernel)?;
    let mut memory = memory::Slots::bind(kernel, buffers, operands)?;
    match &kernel.body {
        Body::Row(k) => maps::row(k, &mut memory, sizes),
        Body::Column(k) => maps::column(k, &mut memory, sizes),
        Body::Contract(k) => contract::run(k, &mut memory, sizes),
        Body::Attention(k) => attention::forward(k, &mut memory, sizes),
        Body::AttentionGrad(k) => attention::backward(k, &mut memory, sizes),
        Body::Scatter(k) => scatter::run(k, &mut memory, sizes),
        Body::Ctc(k) => ctc::run(k, &mut memory, sizes),
    }
}

/// The run-time size named `layer`.
fn layer(sizes: &Env) -> Result<u32, Error> {
    let name: Arc<str> = ir::names::LAYER.into();
    match sizes.get(&name) {
        Some(v) => Ok(*v as u32),
        None => Err(SizeError::Unbound(name).into()),
    }
}

/// Every position of a box, the last axis fastest.
fn positions(extents: &[i64]) -> impl Iterator<Item = Vec<i64>> {
    let total = extents.iter().map(|e| (*e).max(0)).product::<i64>();
    let extents = extents.to_vec();
    (0..total).map(move |mut n| {
        let mut at = vec![0; extents.len()];
        for (axis, extent) in extents.iter().enumerate().rev() {
            at[axis] = n % extent;
            n /= extent;
        }
        at
    })
}
