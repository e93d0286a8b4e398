//! Finding a driver and a device that can run a program, with a clear word where there is none.

use super::super::arch::{self, Version};
use super::super::device::{Code, KernelCode};
use super::{CudaDevice, driver};
use crate::error::Error;
use cudarc::driver::sys::CUresult;
use ir::artifact::{Artifact, PtxImage};
use std::panic::AssertUnwindSafe;

/// The GPU with this number, or the first that is suitable.
///
/// # Errors
/// Without a driver, with one too old for the code, and without a suitable device: each an error of its own.
pub fn open(ordinal: Option<usize>, artifact: &Artifact, images: Vec<PtxImage>) -> Result<CudaDevice, Error> {
    // A function of the driver is looked up when it is first called, and a library that lacks it ends in a panic.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| find(ordinal, artifact, images)));
    std::panic::set_hook(hook);
    opened.unwrap_or_else(|why| {
        let said = why.downcast_ref::<String>().cloned();
        let what = said.unwrap_or_else(|| "it is not a driver's library".into());
        Err(Error::Device {
            call: "opening libcuda.so".into(),
            what: format!("{what}; install the driver again"),
        })
    })
}

fn find(ordinal: Option<usize>, artifact: &Artifact, mut images: Vec<PtxImage>) -> Result<CudaDevice, Error> {
    let need = arch::least_cuda(&images);
    if !driver::is_present() {
        return Err(Error::NoDriver { need: arch::text(need) });
    }
    let have = driver::version()?;
    if have < need {
        return Err(too_old(have, need));
    }
    init(have, need)?;
    let count = driver::device_count()?;
    let candidates = match ordinal {
        Some(n) if n >= count => {
            let what = match count {
                0 => "the driver sees none".into(),
                _ => format!("there is no cuda:{n}, the last is cuda:{}", count - 1),
            };
            return Err(no_device(what));
        }
        Some(n) => n..n + 1,
        None => 0..count,
    };
    let mut refused = vec![];
    for n in candidates {
        let device = driver::device(n)?;
        let (name, capability) = (driver::device_name(device)?, driver::capability(device)?);
        match arch::choose(&images, capability, have) {
            Some(image) => {
                let code = Code::new(artifact, images.swap_remove(image))?;
                fits(&code, &name, driver::shared_limit(device)?)?;
                return CudaDevice::new(name, device, code);
            }
            None => refused.push(format!(
                "cuda:{n} ({name}) has compute capability {}",
                arch::text(capability)
            )),
        }
    }
    if refused.is_empty() {
        return Err(no_device("the driver sees none".into()));
    }
    let archs: Vec<&str> = images.iter().map(|i| i.arch.as_str()).collect();
    let what = format!(
        "{}, and this executable has code for {}",
        refused.join(", "),
        archs.join(" and ")
    );
    Err(Error::NoDevice {
        what,
        remedy: "code for sm_80 runs on compute capability 8.0 (A100) and later, code for sm_90a on 9.0 (H100) alone"
            .into(),
    })
}

/// GPUs of one capability may have less shared memory than others.
fn fits(code: &Code, device: &str, limit: u32) -> Result<(), Error> {
    let needs = |k: &KernelCode| k.grids.iter().map(|g| g.shared).max().unwrap_or(0);
    match code.kernels.iter().max_by_key(|k| needs(k)) {
        Some(k) if needs(k) > limit => Err(Error::NoDevice {
            what: format!(
                "kernel `{}` needs {} bytes of shared memory, and {device} has {limit} for a block",
                k.name,
                needs(k)
            ),
            remedy: "compile the model with narrower heads (more of them), or take a GPU that has more".into(),
        }),
        _ => Ok(()),
    }
}

fn too_old(have: Version, need: Version) -> Error {
    Error::OldDriver {
        have: arch::text(have),
        need: arch::text(need),
    }
}

fn no_device(what: String) -> Error {
    Error::NoDevice {
        what,
        remedy: "see what `nvidia-smi` lists, and CUDA_VISIBLE_DEVICES".into(),
    }
}

fn init(have: Version, need: Version) -> Result<(), Error> {
    driver::init().map_err(|e| match e.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => no_device("the driver sees none".into()),
        // The library that is there to link against, not the driver's own.
        CUresult::CUDA_ERROR_STUB_LIBRARY => Error::NoDriver { need: arch::text(need) },
        CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => too_old(have, need),
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => Error::NoDevice {
            what: "the driver's library and its kernel module are of different versions".into(),
            remedy: "restart the machine, or install the driver again".into(),
        },
        _ => driver::failed("cuInit", e),
    })
}
