//! Sums of gradients by NCCL with one rank: opening, joining, the order of the stream, and the end. What several GPUs give cannot be
//! seen on one.

use super::{Failure, Outcome, Worst, outcome};
use crate::bytes;
use crate::error::Error;
use crate::gpu::device::Device;
use std::time::Instant;

/// Values that are summed: about the gradients of a layer of base.
const COUNT: usize = 7 << 20;

/// `None` where the device does not sum with others, as where there is no NCCL.
pub fn check(device: &mut dyn Device) -> Option<Outcome> {
    let start = Instant::now();
    match device.sums_by() {
        Ok(None) => None,
        Ok(Some(version)) => Some(outcome("communicator", start, sums(device, version))),
        Err(e) => Some(outcome("communicator", start, Err(e.into()))),
    }
}

fn sums(device: &mut dyn Device, version: i32) -> Result<Worst, Failure> {
    let invitation = device.invitation()?;
    device.join(&invitation, 0, 1)?;
    let address = device.alloc(4 * COUNT)?;
    let given: Vec<f32> = (0..COUNT).map(|i| (i % 1000) as f32 - 500.5).collect();
    let halves = [(address, COUNT / 2), (address + 2 * COUNT as u64, COUNT / 2)];
    device.upload(address, bytes::of(&given))?;
    // The sum of one rank is what it gave.
    device.sum(&halves)?;
    if read(device, address)? != given {
        return Err(Failure::Wrong("the sum of one rank is not what it gave".into()));
    }
    device.synchronise()?;
    let begun = Instant::now();
    device.sum(&halves)?;
    device.synchronise()?;
    let seconds = begun.elapsed().as_secs_f64();
    // What was begun before a sum is done before it, and what comes after sees it.
    device.zero(address, 4 * COUNT)?;
    device.sum(&halves)?;
    let zeros = read(device, address)?.iter().all(|v| *v == 0.0);
    device.free(address)?;
    match zeros {
        true => Ok((
            0.0,
            format!(
                "NCCL {version}, {:.1} MB in {:.3} ms",
                4e-6 * COUNT as f64,
                1e3 * seconds
            ),
        )),
        false => Err(Failure::Wrong("a sum did not wait for what came before it".into())),
    }
}

fn read(device: &mut dyn Device, address: u64) -> Result<Vec<f32>, Error> {
    let mut values = vec![0.0; COUNT];
    device.download(address, bytes::of_mut(&mut values))?;
    Ok(values)
}
