//! An NVIDIA GPU, through the driver that is loaded when a program for it starts.

mod driver;
mod kernels;
mod nccl;
mod open;
mod staging;

#[cfg(test)]
pub use driver::is_present as driver_is_present;
pub use open::open;

use super::device::{Area, Code, Device, DeviceMemory, GraphId, Launch};
use super::map::MapArgument;
use crate::error::Error;
use driver::{CUcontext, CUdevice, CUgraphExec, CUstream, Event};
use kernels::Kernels;
use nccl::{Id, Nccl};
use staging::Staging;
use std::collections::HashMap;

/// Bytes left to the driver for code, recordings and what else it needs.
const RESERVE: usize = 256 << 20;
/// The same with NCCL, whose buffers are its own.
const RESERVE_JOINED: usize = 1 << 30;

pub struct CudaDevice {
    name: String,
    device: CUdevice,
    context: CUcontext,
    /// Does all launches, in order.
    work: CUstream,
    /// Copies inputs while launches go on.
    copies: CUstream,
    code: Code,
    kernels: Kernels,
    /// By [`Area`].
    staging: Option<[Staging; 2]>,
    graphs: HashMap<usize, CUgraphExec>,
    next_graph: usize,
    blocks: Vec<u64>,
    /// Where there are several ranks.
    nccl: Option<Nccl>,
}

impl CudaDevice {
    fn new(name: String, device: CUdevice, code: Code) -> Result<CudaDevice, Error> {
        let context = driver::retain(device)?;
        driver::enter(context)?;
        Ok(CudaDevice {
            name,
            device,
            context,
            work: driver::new_stream()?,
            copies: driver::new_stream()?,
            code,
            kernels: Kernels::default(),
            staging: Some([Staging::new()?, Staging::new()?]),
            graphs: HashMap::new(),
            next_graph: 0,
            blocks: vec![],
            nccl: None,
        })
    }

    fn staging(&mut self, area: Area) -> &mut Staging {
        let both = self.staging.as_mut().expect("taken by drop alone");
        &mut both[area as usize]
    }
}

impl Device for CudaDevice {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn code(&self) -> &Code {
        &self.code
    }

    fn memory(&self) -> Result<DeviceMemory, Error> {
        let (free, total) = driver::memory()?;
        Ok(DeviceMemory {
            free: free.saturating_sub(if self.nccl.is_some() { RESERVE_JOINED } else { RESERVE }),
            total,
        })
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64, Error> {
        // The driver refuses to allocate nothing.
        let address = driver::alloc(bytes.max(1))?;
        self.blocks.push(address);
        Ok(address)
    }

    fn free(&mut self, address: u64) -> Result<(), Error> {
        driver::wait_for_stream(self.copies)?;
        driver::wait_for_stream(self.work)?;
        self.blocks.retain(|b| *b != address);
        driver::free(address)
    }

    fn upload(&mut self, to: u64, from: &[u8]) -> Result<(), Error> {
        if from.is_empty() {
            return Ok(());
        }
        driver::copy_to_device(to, from, self.work)?;
        driver::wait_for_stream(self.work)
    }

    fn download(&mut self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        if to.is_empty() {
            return self.synchronise();
        }
        driver::copy_to_host(to, from, self.work)?;
        driver::wait_for_stream(self.work)
    }

    fn zero(&mut self, at: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        driver::zero(at, bytes, self.work)
    }

    fn stage(&mut self, area: Area, parts: &[(u64, &[u8])]) -> Result<(), Error> {
        let (copies, work) = (self.copies, self.work);
        self.staging(area).stage(parts, copies, work)
    }

    fn staged_is_used(&mut self, area: Area) -> Result<(), Error> {
        let work = self.work;
        self.staging(area).used(work)
    }

    fn prepare(&mut self, kernels: &[usize]) -> Result<(), Error> {
        self.kernels.load(&self.code, kernels, self.context)
    }

    fn launch(&mut self, l: &Launch) -> Result<(), Error> {
        let function = self.kernels.function(&self.code, l)?;
        let encode = |(n, map): (usize, &MapArgument)| {
            let kernel = &self.code.kernels[l.kernel].name;
            driver::encode(map).map_err(|e| driver::failed(format!("cuTensorMapEncodeTiled: map {n} of `{kernel}`"), e))
        };
        let maps: Vec<_> = l.maps.iter().enumerate().map(encode).collect::<Result<_, _>>()?;
        let shape = (l.blocks, l.threads, l.shared);
        driver::launch(function, shape, (&l.params, &maps), self.work).map_err(|e| {
            let kernel = &self.code.kernels[l.kernel];
            let function = &kernel.grids[l.grid].function;
            let shape = format!(
                "{:?} blocks of {} threads, {} bytes shared",
                l.blocks, l.threads, l.shared
            );
            driver::failed(format!("cuLaunchKernel `{function}` of `{}` ({shape})", kernel.name), e)
        })
    }

    fn time(&mut self, launch: &Launch) -> Result<f64, Error> {
        let (start, end) = (Event::with_time()?, Event::with_time()?);
        start.record(self.work)?;
        self.launch(launch)?;
        end.record(self.work)?;
        end.wait()?;
        end.seconds_since(&start)
    }

    fn record(&mut self, launches: &[Launch]) -> Result<Option<GraphId>, Error> {
        driver::begin_record(self.work)?;
        let made = launches.iter().try_for_each(|l| self.launch(l));
        // Recording ends in any case, so that later launches are done.
        let graph = driver::end_record(self.work);
        made?;
        let id = self.next_graph;
        self.next_graph += 1;
        self.graphs.insert(id, graph?);
        Ok(Some(GraphId(id)))
    }

    fn replay(&mut self, graph: GraphId) -> Result<(), Error> {
        match self.graphs.get(&graph.0) {
            Some(graph) => driver::replay(*graph, self.work),
            None => Err(Error::Device {
                call: "cuGraphLaunch".into(),
                what: "the recording was dropped".into(),
            }),
        }
    }

    fn forget(&mut self, graph: GraphId) {
        if let Some(graph) = self.graphs.remove(&graph.0) {
            // A graph may be replaying still.
            driver::wait_for_stream(self.work).ok();
            driver::forget(graph);
        }
    }

    fn synchronise(&mut self) -> Result<(), Error> {
        driver::wait_for_stream(self.work)
    }

    fn identity(&self) -> Option<String> {
        driver::uuid(self.device).ok()
    }

    fn sums_by(&mut self) -> Result<Option<i32>, Error> {
        self.nccl = Nccl::open()?;
        self.nccl.as_ref().map(Nccl::version).transpose()
    }

    fn invitation(&mut self) -> Result<Vec<u8>, Error> {
        let id = self.nccl.as_ref().map(Nccl::id).transpose()?;
        Ok(id.map_or(vec![], |id| id.0.to_vec()))
    }

    fn join(&mut self, invitation: &[u8], rank: usize, size: usize) -> Result<(), Error> {
        let id = invitation.try_into().map(Id).map_err(|_| Error::Device {
            call: "ncclCommInitRank".into(),
            what: "rank 0 gave no id".into(),
        })?;
        self.nccl.as_mut().map_or(Ok(()), |nccl| nccl.join(id, rank, size))
    }

    fn sum(&mut self, parts: &[(u64, usize)]) -> Result<(), Error> {
        self.nccl.as_ref().map_or(Ok(()), |nccl| nccl.sum(parts, self.work))
    }
}

impl Drop for CudaDevice {
    /// After a fault every call fails, and the context takes all with it.
    fn drop(&mut self) {
        driver::wait_for_stream(self.copies).ok();
        driver::wait_for_stream(self.work).ok();
        self.nccl.take();
        self.graphs.drain().for_each(|(_, g)| driver::forget(g));
        self.staging.take();
        self.blocks.drain(..).for_each(|b| {
            driver::free(b).ok();
        });
        self.kernels.unload();
        driver::end_stream(self.copies);
        driver::end_stream(self.work);
        driver::release(self.device);
    }
}
