//! Cost of a term: a roofline without overlap over the kernels it roughly becomes.
//!
//! Element-wise work with one reader runs inside that reader's kernel, so its result is not written; with more it may
//! be.

use ir::examples::Examples;
use ir::ops::{Op, Work as OpWork};
use ir::scalar::DType;
use ir::types::Type;

/// Work of a term at example sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    pub flops: f64,
    pub bytes: f64,
    pub launches: f64,
    /// Bytes of a result that is only written if several kernels read it.
    pub shared_bytes: f64,
}

/// Of one machine of the kind we compile for; only ratios matter.
const FLOPS_PER_SECOND: f64 = 1e11;
const BYTES_PER_SECOND: f64 = 1e10;
const SECONDS_PER_LAUNCH: f64 = 5e-6;
/// So that among equals the smaller term wins and no cycle is free.
const SECONDS_PER_TERM: f64 = 1e-9;

impl Work {
    pub fn seconds(&self) -> f64 {
        self.flops / FLOPS_PER_SECOND
            + self.bytes / BYTES_PER_SECOND
            + self.launches * SECONDS_PER_LAUNCH
            + SECONDS_PER_TERM
    }
    /// This work where `readers` terms read the result.
    pub fn read_by(self, readers: usize) -> Work {
        let shared = if readers > 1 { self.shared_bytes } else { 0.0 };
        Work {
            bytes: self.bytes + shared,
            shared_bytes: 0.0,
            ..self
        }
    }
    pub fn plus(self, o: Work) -> Work {
        Work {
            flops: self.flops + o.flops,
            bytes: self.bytes + o.bytes,
            launches: self.launches + o.launches,
            shared_bytes: self.shared_bytes + o.shared_bytes,
        }
    }
}

pub fn work(op: &Op, args: &[&Type], results: &[Type], sizes: &Examples) -> Work {
    let (elements, bytes) = (|ty: &Type| sizes.elements(ty), |ty: &Type| sizes.bytes(ty));
    let out = &results[0];
    let moved: f64 = args.iter().copied().chain(results).map(bytes).sum();
    let kernel = |flops: f64, bytes: f64| Work {
        flops,
        bytes,
        launches: 1.0,
        shared_bytes: 0.0,
    };
    let work = match op.work(args, results) {
        OpWork::Nothing => Work::default(),
        OpWork::Element(operations) => Work {
            flops: elements(out) * operations,
            shared_bytes: bytes(out),
            ..Work::default()
        },
        OpWork::Rows { operations, reads } => {
            let x = args[0];
            kernel(elements(x) * operations, reads * bytes(x) + bytes(out))
        }
        OpWork::Kernel { operations } => kernel(sizes.size(&operations), moved),
    };
    // Half as many numbers fit into a vector.
    if out.dtype == DType::F64 {
        Work {
            flops: 2.0 * work.flops,
            ..work
        }
    } else {
        work
    }
}
