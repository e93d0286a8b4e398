//! Where the time of a run goes, kernel by kernel.

use super::prepared::Timed;
use crate::error::Error;
use crate::exec::program::size_value;
use crate::session::KernelTime;
use ir::artifact::{Artifact, Program};
use ir::dim::Env;
use std::collections::BTreeMap;

/// By index of the kernel.
pub type Sums = BTreeMap<usize, KernelTime>;

/// Adds a run's launches to the sums of each kernel.
pub fn add(
    sums: &mut Sums,
    artifact: &Artifact,
    program: &Program,
    mut env: Env,
    times: &[Timed],
) -> Result<(), Error> {
    env.entry(ir::names::LAYER.into()).or_insert(0);
    for timed in times {
        let info = &artifact.kernels[timed.kernel];
        let sum = sums.entry(timed.kernel).or_insert_with(|| KernelTime {
            kernel: info.name.clone(),
            what: info.what.clone(),
            launches: 0,
            seconds: 0.0,
            flops: 0.0,
            bytes: 0.0,
            factors: info.factors,
            imbalance: None,
        });
        sum.seconds += timed.seconds;
        // A kernel of several grids does its work once.
        if timed.grid == 0 {
            sum.launches += 1;
            sum.flops += size_value(program, &env, &info.flops)? as f64;
            sum.bytes += size_value(program, &env, &info.bytes)? as f64;
        }
    }
    Ok(())
}
