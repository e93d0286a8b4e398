//! Running a kernel over a grid.

use crate::MAX_SHARED;
use crate::exec::block::{Setting, Worker};
use crate::fault::{Error, Fault, LaunchError};
use crate::kernel::Kernel;
use crate::memory::{Memory, Region, View};
use crate::module::Module;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::Builder;

/// Instructions of a block's warps, taken together, after which the block counts as endless.
pub const DEFAULT_STEP_LIMIT: u64 = 1 << 31;
/// Most threads of a block.
const MAX_THREADS: u32 = 1024;

/// A kernel launch.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    pub kernel: &'a str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Parameters, packed: each at the next multiple of its alignment, as [`Module::params`] says.
    pub params: &'a [u8],
    /// The only parts of global memory the launch may touch; all allocations if `None`.
    pub regions: Option<&'a [Region]>,
    /// Warp instructions of a block before it faults as endless, for example [`DEFAULT_STEP_LIMIT`].
    pub step_limit: u64,
}

impl<'a> Launch<'a> {
    /// A launch over a line of blocks of a line of threads, without dynamic shared memory.
    pub fn new(kernel: &'a str, blocks: u32, threads: u32, params: &'a [u8]) -> Self {
        Self {
            kernel,
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            shared: 0,
            params,
            regions: None,
            step_limit: DEFAULT_STEP_LIMIT,
        }
    }
}

/// What a launch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub blocks: u64,
    /// Instructions executed by warps.
    pub warp_instructions: u64,
    /// Instructions executed by threads: those of warps, times the lanes that took part.
    pub thread_instructions: u64,
}

impl Module {
    /// Runs a kernel to its end, its blocks divided among up to `threads` threads.
    ///
    /// If several blocks fault, the fault is that of the first in the grid's order, whatever `threads` is.
    pub fn launch(&self, launch: &Launch<'_>, memory: &Memory, threads: usize) -> Result<Stats, Error> {
        let kernel = self.kernels.iter().find(|k| k.name == launch.kernel);
        let kernel = kernel.ok_or_else(|| LaunchError::UnknownKernel(launch.kernel.to_string()))?;
        check(kernel, launch)?;
        let view = View::new(memory, launch.regions, &self.images, &kernel.name)?;
        let setting = Setting {
            kernel,
            lines: &self.lines,
            view: &view,
            params: launch.params,
            grid: launch.grid,
            block: launch.block,
            dynamic: launch.shared,
            limit: launch.step_limit,
        };
        let run = Blocks::new(launch.grid);
        let workers = (threads.max(1) as u64).min(run.count) as usize;
        std::thread::scope(|scope| {
            for _ in 1..workers {
                // Where the system has no more threads, those that there are do all blocks.
                let _ = Builder::new().spawn_scoped(scope, || run.work(setting));
            }
            run.work(setting);
        });
        run.finish()
    }
}

fn check(kernel: &Kernel, launch: &Launch<'_>) -> Result<(), LaunchError> {
    let name = || kernel.name.clone();
    if launch.grid.contains(&0) {
        return Err(LaunchError::Grid {
            kernel: name(),
            grid: launch.grid,
        });
    }
    let (expected, given) = (kernel.param_bytes(), launch.params.len());
    if expected != given {
        return Err(LaunchError::Params {
            kernel: name(),
            expected,
            given,
        });
    }
    let block = launch.block;
    let wrong = |reason: String| {
        Err(LaunchError::Block {
            kernel: name(),
            block,
            reason,
        })
    };
    let threads = block.iter().map(|&n| u64::from(n)).product::<u64>();
    if threads == 0 || threads > u64::from(MAX_THREADS) {
        return wrong(format!("1 to {MAX_THREADS} are possible"));
    }
    if let Some(required) = kernel.required_threads.filter(|&required| required != block) {
        return wrong(format!("the kernel requires {required:?}"));
    }
    // The limit is on the number of threads, not on each axis.
    let most = kernel
        .max_threads
        .map(|most| most.iter().map(|&n| u64::from(n)).product::<u64>());
    if let Some(most) = most.filter(|&most| threads > most) {
        return wrong(format!("the kernel allows at most {most}"));
    }
    let bytes = kernel.static_shared - kernel.unused + u64::from(launch.shared);
    if bytes > MAX_SHARED {
        return Err(LaunchError::Shared {
            kernel: name(),
            bytes,
            most: MAX_SHARED,
        });
    }
    Ok(())
}

/// The blocks of a grid, handed out in order.
struct Blocks {
    grid: [u32; 3],
    count: u64,
    next: AtomicU64,
    /// The first block that faulted; later ones need not run.
    faulted: AtomicU64,
    fault: Mutex<Option<Box<Fault>>>,
    warp_instructions: AtomicU64,
    thread_instructions: AtomicU64,
}

impl Blocks {
    fn new(grid: [u32; 3]) -> Self {
        Self {
            grid,
            count: grid.iter().map(|&n| u64::from(n)).product(),
            next: AtomicU64::new(0),
            faulted: AtomicU64::new(u64::MAX),
            fault: Mutex::new(None),
            warp_instructions: AtomicU64::new(0),
            thread_instructions: AtomicU64::new(0),
        }
    }

    fn work(&self, setting: Setting<'_>) {
        let mut worker = Worker::new(setting);
        loop {
            let index = self.next.fetch_add(1, Relaxed);
            // Blocks before the first fault have all been taken, so the first fault is found on any number of threads.
            if index >= self.count || index > self.faulted.load(Relaxed) {
                break;
            }
            if let Err(fault) = worker.run(self.coordinates(index)) {
                // Nothing in the locked part can panic.
                let mut kept = self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if index < self.faulted.load(Relaxed) {
                    self.faulted.store(index, Relaxed);
                    *kept = Some(fault);
                }
                break;
            }
        }
        self.warp_instructions.fetch_add(worker.steps, Relaxed);
        self.thread_instructions.fetch_add(worker.lane_steps, Relaxed);
    }

    fn coordinates(&self, index: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [index % x, index / x % y, index / (x * y)].map(|i| i as u32)
    }

    fn finish(self) -> Result<Stats, Error> {
        match self.fault.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(fault) => Err(Error::Fault(fault)),
            None => Ok(Stats {
                blocks: self.count,
                warp_instructions: self.warp_instructions.into_inner(),
                thread_instructions: self.thread_instructions.into_inner(),
            }),
        }
    }
}
