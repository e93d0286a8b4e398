//! What a machine with its own memory can do: the seam between a program for the GPU and what executes it.

use super::map::MapArgument;
use crate::error::Error;
use ir::artifact::{Artifact, Grid, PtxImage};
use ir::dim::Dim;

/// Kernels as PTX text for one architecture.
#[derive(Clone)]
pub struct Code {
    /// As ptxas names it: `sm_80`, `sm_90a`.
    pub arch: String,
    /// By the index of the kernel in the artifact.
    pub kernels: Vec<KernelCode>,
}

#[derive(Clone)]
pub struct KernelCode {
    /// For messages.
    pub name: String,
    pub ptx: String,
    pub grids: Vec<Grid>,
    /// Bytes shared by the functions of one launch.
    pub workspace: Dim,
}

impl Code {
    /// # Errors
    /// Where the image is not one of this artifact.
    pub fn new(artifact: &Artifact, image: PtxImage) -> Result<Code, Error> {
        if image.kernels.len() != artifact.kernels.len() {
            let what = format!(
                "the executable has {} kernels and code of {}; compile it again",
                artifact.kernels.len(),
                image.kernels.len()
            );
            return Err(Error::Usage(what));
        }
        let kernels = artifact.kernels.iter().zip(image.kernels);
        Ok(Code {
            arch: image.arch,
            kernels: kernels
                .map(|(info, own)| KernelCode {
                    name: info.name.clone(),
                    ptx: own.text,
                    grids: own.grids,
                    workspace: own.workspace,
                })
                .collect(),
        })
    }
}

/// One launch with every number known.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub kernel: usize,
    /// Which of the kernel's grids.
    pub grid: usize,
    pub blocks: [u32; 3],
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Addresses and sizes, 8 bytes each.
    pub params: Vec<u64>,
    /// Parameters after those.
    pub maps: Vec<MapArgument>,
    /// All that the launch may touch.
    pub regions: Vec<Region>,
}

/// Memory that a launch may read, and write where `write` says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    pub address: u64,
    pub bytes: u64,
    pub write: bool,
}

/// Bytes of a device's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceMemory {
    pub free: usize,
    pub total: usize,
}

/// Launches recorded by a device, to be replayed with little work of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphId(pub usize);

/// One of the places that inputs are copied to. Copies to one place wait for the launches that read it; copies to the
/// other do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Programs of the model.
    Model,
    /// Programs of the optimizer.
    Optimizer,
}

/// Executes launches in the order given. Only `download` and `synchronise` wait for them.
pub trait Device {
    fn name(&self) -> String;

    /// The kernels it launches.
    fn code(&self) -> &Code;

    fn memory(&self) -> Result<DeviceMemory, Error>;

    /// Memory aligned to 256 bytes, of unknown contents.
    fn alloc(&mut self, bytes: usize) -> Result<u64, Error>;

    /// Gives memory back, once all launches are done.
    fn free(&mut self, address: u64) -> Result<(), Error>;

    /// Copies after all launches so far.
    fn upload(&mut self, to: u64, from: &[u8]) -> Result<(), Error>;

    /// Copies after all launches so far, and waits.
    fn download(&mut self, from: u64, to: &mut [u8]) -> Result<(), Error>;

    fn zero(&mut self, at: u64, bytes: usize) -> Result<(), Error>;

    /// Copies a program's inputs, before launches to come and after those that read the area before (see [`Area`]).
    fn stage(&mut self, area: Area, parts: &[(u64, &[u8])]) -> Result<(), Error>;

    /// Says that the launches that read what was staged have been made.
    fn staged_is_used(&mut self, area: Area) -> Result<(), Error>;

    /// Makes kernels (by index) ready to be launched.
    fn prepare(&mut self, kernels: &[usize]) -> Result<(), Error>;

    /// Launches a prepared kernel.
    fn launch(&mut self, launch: &Launch) -> Result<(), Error>;

    /// Does one launch, waits for it, and says how many seconds it took.
    fn time(&mut self, launch: &Launch) -> Result<f64, Error> {
        self.synchronise()?;
        let start = std::time::Instant::now();
        self.launch(launch)?;
        self.synchronise()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Records launches without doing them; `None` where the device does not record.
    fn record(&mut self, launches: &[Launch]) -> Result<Option<GraphId>, Error>;

    fn replay(&mut self, graph: GraphId) -> Result<(), Error>;

    /// Drops a recorded graph.
    fn forget(&mut self, graph: GraphId);

    fn synchronise(&mut self) -> Result<(), Error>;

    /// What tells it from every other device, where two processes may not have the same.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Makes ready to sum with the devices of other ranks; the version of what does that. `None` where there is nothing.
    fn sums_by(&mut self) -> Result<Option<i32>, Error> {
        Ok(None)
    }

    /// What rank 0 gives the others before all [`Device::join`].
    fn invitation(&mut self) -> Result<Vec<u8>, Error> {
        Ok(vec![])
    }

    /// Connects it with the devices of all other ranks, which do so at once.
    fn join(&mut self, _invitation: &[u8], _rank: usize, _size: usize) -> Result<(), Error> {
        Ok(())
    }

    /// Sums f32 over all ranks that have joined, where they lie and after all launches so far. Parts are address and count.
    fn sum(&mut self, _parts: &[(u64, usize)]) -> Result<(), Error> {
        Ok(())
    }
}
