//! Programs compiled for the GPU: memory, copies and launches on a device, which is an NVIDIA GPU or the emulator.

mod arch;
pub mod check;
mod cuda;
mod device;
mod emulator;
mod map;
mod memory;
mod mirror;
mod prepared;
mod profile;
mod schedule;
mod session;
#[cfg(test)]
mod tests;
mod together;

pub use device::{Area, Code, Device, DeviceMemory, GraphId, KernelCode, Launch, Region};
pub use emulator::Emulator;
pub use map::MapArgument;
pub use session::GpuSession;

use crate::cli::Runner;
use crate::error::Error;
use crate::exec::program::{find, sizes};
use crate::exec::resolve::resolve;
use crate::exec::{Bundle, unpack_ptx};
use crate::profile::{Flops, Peaks};
use crate::session::{Session, Tensor};
use ir::artifact::{Artifact, Precision, PtxImage};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// What a user asks to compute on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The first suitable GPU.
    Auto,
    /// The GPU with this number, with the code for an architecture; by default the newest one that it runs.
    Cuda(usize, Option<String>),
    /// This machine's processor, executing the code for an architecture; by default the oldest one.
    Emulator(Option<String>),
}

impl FromStr for Choice {
    type Err = Error;
    fn from_str(text: &str) -> Result<Choice, Error> {
        let slip = || {
            let what = format!(
                "--device `{text}` is none; give auto, cuda:N (N from 0), cuda:N:ARCH, emulator or emulator:ARCH (ARCH as in sm_80)"
            );
            Error::Usage(what)
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Choice::Auto),
            None if text == "cuda" => Ok(Choice::Cuda(0, None)),
            None if text == "emulator" => Ok(Choice::Emulator(None)),
            Some(("cuda", rest)) => {
                let (n, arch) = rest.split_once(':').map_or((rest, None), |(n, arch)| (n, Some(arch)));
                match (n.parse(), arch) {
                    (Ok(n), None) => Ok(Choice::Cuda(n, None)),
                    (Ok(n), Some(arch)) if arch::capability(arch).is_some() => Ok(Choice::Cuda(n, Some(arch.into()))),
                    _ => Err(slip()),
                }
            }
            Some(("emulator", arch)) if arch::capability(arch).is_some() => Ok(Choice::Emulator(Some(arch.into()))),
            _ => Err(slip()),
        }
    }
}

/// A program compiled for the GPU.
pub struct Gpu {
    bundle: Bundle,
    artifact: Arc<Artifact>,
}

impl Gpu {
    /// The program appended to a file, which is usually the running one. Devices are looked for when it is opened.
    ///
    /// # Errors
    /// Where there is none, or one for the CPU.
    pub fn open(path: &Path) -> Result<Gpu, Error> {
        Gpu::new(Bundle::read(path)?)
    }

    pub(crate) fn new(bundle: Bundle) -> Result<Gpu, Error> {
        if bundle.artifact.gpu.is_none() {
            return Err(Error::Usage(format!(
                "`{}` was compiled for the CPU",
                bundle.path.display()
            )));
        }
        Ok(Gpu {
            artifact: Arc::new(bundle.artifact.clone()),
            bundle,
        })
    }

    /// Opens a device; `threads` are those of the emulator.
    ///
    /// # Errors
    /// Where the device cannot be had; each cause has its own error.
    pub fn session(&self, choice: &Choice, threads: usize) -> Result<GpuSession, Error> {
        Ok(GpuSession::new(self.artifact.clone(), self.device(choice, threads)?))
    }

    /// A device with this program's kernels, for whoever launches them one by one.
    ///
    /// # Errors
    /// As [`Gpu::session`].
    pub fn device(&self, choice: &Choice, threads: usize) -> Result<Box<dyn Device>, Error> {
        let images = unpack_ptx(&self.bundle.code()?)?;
        open_device(choice, &self.artifact, images, threads)
    }

    /// What was compiled.
    pub fn compiled(&self) -> &Artifact {
        &self.artifact
    }

    pub fn precision(&self) -> Precision {
        self.artifact.gpu.expect("checked when it was opened")
    }
}

/// Opens a device that has an artifact's kernels; `threads` are those of the emulator.
///
/// # Errors
/// Where the device cannot be had; each cause has its own error.
pub fn open_device(
    choice: &Choice,
    artifact: &Artifact,
    images: Vec<PtxImage>,
    threads: usize,
) -> Result<Box<dyn Device>, Error> {
    Ok(match choice {
        Choice::Auto => Box::new(cuda::open(None, artifact, images)?),
        Choice::Cuda(n, arch) => {
            let images = match arch {
                Some(arch) => vec![made_for(images, Some(arch))?],
                None => images,
            };
            Box::new(cuda::open(Some(*n), artifact, images)?)
        }
        Choice::Emulator(arch) => {
            let image = made_for(images, arch.as_deref())?;
            Box::new(Emulator::new(Code::new(artifact, image)?, threads))
        }
    })
}

/// The image for an architecture, or for the oldest.
fn made_for(images: Vec<PtxImage>, arch: Option<&str>) -> Result<PtxImage, Error> {
    let names = images.iter().map(|i| i.arch.clone()).collect::<Vec<_>>().join(" and ");
    let found = match arch {
        Some(arch) => images.into_iter().find(|i| i.arch == arch),
        None => images.into_iter().min_by_key(|i| arch::capability(&i.arch)),
    };
    found.ok_or_else(|| Error::Usage(format!("this executable has code for {names}")))
}

impl Runner for Gpu {
    fn artifact(&self) -> &Artifact {
        &self.artifact
    }
    fn open(&self, threads: usize, device: Option<&str>) -> Result<Box<dyn Session>, Error> {
        let choice = device.map_or(Ok(Choice::Cuda(0, None)), str::parse)?;
        Ok(Box::new(self.session(&choice, threads)?))
    }
    fn flops(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Flops, Error> {
        let program = find(&self.artifact, program)?;
        Ok(resolve(&self.artifact, program, &sizes(&self.artifact, program, inputs)?)?.flops)
    }
    /// Nothing here measures it; `scripts/gpu` takes the peak of a library's product in the same run.
    fn peaks(&self, _threads: usize, _of: &Flops) -> Option<Peaks> {
        None
    }
}
