//! Kernels as the driver's compiler made them from PTX, each when it is first needed.

use super::super::device::{Code, Launch};
use super::driver::{self, CUcontext, CUfunction, Module};
use crate::error::Error;
use crate::log::tell;
use crate::threads::start_in;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Compiling longer than this is told.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct Kernels {
    /// By kernel: the module and its functions, one per grid.
    loaded: HashMap<usize, (Module, Vec<CUfunction>)>,
}

impl Kernels {
    /// Compiles the kernels that are not loaded yet, several at a time.
    pub fn load(&mut self, code: &Code, kernels: &[usize], context: CUcontext) -> Result<(), Error> {
        let new: Vec<usize> = kernels
            .iter()
            .copied()
            .filter(|k| !self.loaded.contains_key(k))
            .collect();
        let (next, told, start) = (AtomicUsize::new(0), AtomicBool::new(false), Instant::now());
        let results = Mutex::new(vec![]);
        // The handle goes to the threads as a number; contexts may be shared between threads.
        let context = context as usize;
        let work = || {
            let entered = driver::enter(context as CUcontext);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(kernel) = new.get(at).copied() else { break };
                let own = &code.kernels[kernel];
                let module = match &entered {
                    Ok(()) => Module::load(&own.name, &own.ptx),
                    Err(e) => Err(Error::Device {
                        call: "cuCtxSetCurrent".into(),
                        what: e.to_string(),
                    }),
                };
                let failed = module.is_err();
                results.lock().unwrap_or_else(|e| e.into_inner()).push((kernel, module));
                if failed {
                    // The others have nothing to wait for.
                    next.store(new.len(), Ordering::Relaxed);
                }
                if start.elapsed() > QUIET && !told.swap(true, Ordering::Relaxed) {
                    tell(&format!(
                        "compiling {} kernels for this GPU; the driver keeps them",
                        new.len()
                    ));
                }
            }
        };
        let threads = std::thread::available_parallelism()
            .map_or(1, |n| n.get())
            .min(16)
            .min(new.len());
        std::thread::scope(|s| {
            for _ in 1..threads {
                // Where there are no more threads, those that there are do the work.
                let _ = start_in(s, work);
            }
            work();
        });
        for (kernel, module) in results.into_inner().unwrap_or_else(|e| e.into_inner()) {
            let module = module?;
            let grids = &code.kernels[kernel].grids;
            let functions = grids
                .iter()
                .map(|g| module.function(&g.function, g.shared))
                .collect::<Result<_, _>>()?;
            self.loaded.insert(kernel, (module, functions));
        }
        if told.into_inner() {
            tell(&format!("compiled in {:.0} s", start.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    pub fn function(&self, code: &Code, l: &Launch) -> Result<CUfunction, Error> {
        let functions = self.loaded.get(&l.kernel).map(|(_, functions)| functions);
        functions
            .and_then(|f| f.get(l.grid))
            .copied()
            .ok_or_else(|| Error::Device {
                call: format!("launch of `{}`", code.kernels[l.kernel].name),
                what: "the kernel is not loaded".into(),
            })
    }

    pub fn unload(&mut self) {
        self.loaded.drain().for_each(|(_, (module, _))| module.unload());
    }
}
