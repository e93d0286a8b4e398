//! The machine of a compiled program: arenas, threads, and the loop that launches kernels.

use super::arena::Arena;
use super::bundle::Bundle;
use super::image::{EntryFn, Image};
use super::program::{ADAM, GRAD_NORM, adam_scalars, find, input, output, range_sizes, ranges, sizes, touches};
use super::recorder::{Busy, Recorder};
use super::resolve::{Action, Address, Memory, Resolved, Run, resolve};
use super::{bandwidth, peak, processor};
use crate::cli::Runner;
use crate::error::Error;
use crate::session::{AdamStep, Data, KernelTime, Session, Tensor};
use ir::artifact::{Artifact, BufferKind, Port, Program};
use ir::dim::Env;
use rayon::ThreadPool;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// A compiled program that runs on this machine's own processor.
pub struct Native {
    artifact: Arc<Artifact>,
    image: Arc<Image>,
}

impl Native {
    /// The program appended to a file, which is usually the running one.
    ///
    /// # Errors
    /// Where there is none, or one for the GPU.
    pub fn open(path: &Path) -> Result<Native, Error> {
        Native::new(Bundle::read(path)?)
    }

    pub(crate) fn new(bundle: Bundle) -> Result<Native, Error> {
        if bundle.artifact.gpu.is_some() {
            let what = format!("`{}` was compiled for the GPU", bundle.path.display());
            return Err(Error::Usage(what));
        }
        let image = Arc::new(Image::load(&bundle)?);
        Ok(Native {
            artifact: Arc::new(bundle.artifact),
            image,
        })
    }

    /// Memory for parameters and threads to compute with; 0 threads: one per core.
    ///
    /// # Errors
    /// Where this processor lacks instructions that the program was compiled to, or threads cannot be started.
    pub fn machine(&self, threads: usize) -> Result<Machine, Error> {
        processor::require(&self.artifact.cpu_features)?;
        let threads = if threads == 0 {
            std::thread::available_parallelism().map_or(1, |n| n.get())
        } else {
            threads
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::Usage(format!("cannot start {threads} threads: {e}")))?;
        let artifact = self.artifact.clone();
        let params = Arena::new(artifact.param_elements * 4);
        let scratch = (0..threads).map(|_| Arena::default()).collect();
        let (grads, moments) = (Arena::default(), [Arena::default(), Arena::default()]);
        let resolved = HashMap::new();
        Ok(Machine {
            artifact,
            image: self.image.clone(),
            pool,
            params,
            grads,
            moments,
            temp: Arena::default(),
            scratch,
            resolved,
            recorder: None,
        })
    }
}

impl Runner for Native {
    fn artifact(&self) -> &Artifact {
        &self.artifact
    }
    fn open(&self, threads: usize, device: Option<&str>) -> Result<Box<dyn Session>, Error> {
        if device.is_some() {
            let what = "--device is for executables compiled for the GPU (w2vc compile --target cuda)";
            return Err(Error::Usage(format!("{what}; this one computes on the processor")));
        }
        Ok(Box::new(self.machine(threads)?))
    }
    fn flops(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<f64, Error> {
        let program = find(&self.artifact, program)?;
        Ok(resolve(&self.artifact, program, &sizes(&self.artifact, program, inputs)?)?.flops)
    }
    fn peak_gflops(&self, threads: usize) -> Option<f64> {
        Some(peak::gflops(threads))
    }
    fn bandwidth_gbs(&self, threads: usize) -> Option<f64> {
        Some(bandwidth::gbs(threads))
    }
}

pub struct Machine {
    artifact: Arc<Artifact>,
    image: Arc<Image>,
    pool: ThreadPool,
    params: Arena,
    grads: Arena,
    moments: [Arena; 2],
    temp: Arena,
    /// One per thread.
    scratch: Vec<Arena>,
    /// The program last resolved, by program: most batches repeat its sizes.
    resolved: HashMap<String, (Env, Arc<Resolved>)>,
    /// While launches are timed.
    recorder: Option<Recorder>,
}

/// Addresses of everything a run touches.
struct Bases<'a> {
    inputs: Vec<*mut u8>,
    outputs: Vec<*mut u8>,
    temp: *mut u8,
    params: *mut u8,
    grads: *mut u8,
    moments: [*mut u8; 2],
    scratch: &'a [usize],
    image: &'a Image,
    pool: &'a ThreadPool,
    recorder: Option<&'a Recorder>,
}

impl Machine {
    /// The parameter arena; here, unlike in [`Session::params`], nothing can fail.
    pub fn params(&mut self) -> &mut [f32] {
        let n = self.artifact.param_elements;
        self.params.floats(n)
    }

    /// The gradient arena.
    pub fn grads(&mut self) -> &mut [f32] {
        let n = self.artifact.param_elements;
        self.grads.grow(n * 4);
        self.grads.floats(n)
    }

    /// Adam's first and second moments.
    pub fn moments(&mut self) -> (&mut [f32], &mut [f32]) {
        let n = self.artifact.param_elements;
        let [a, b] = &mut self.moments;
        a.grow(n * 4);
        b.grow(n * 4);
        (a.floats(n), b.floats(n))
    }

    fn resolved(&mut self, program: &str, env: &Env) -> Result<Arc<Resolved>, Error> {
        if let Some((have, r)) = self.resolved.get(program)
            && have == env
        {
            return Ok(r.clone());
        }
        let r = Arc::new(resolve(&self.artifact, find(&self.artifact, program)?, env)?);
        self.resolved.insert(program.into(), (env.clone(), r.clone()));
        Ok(r)
    }

    fn execute(&mut self, name: &str, env: &Env, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let artifact = self.artifact.clone();
        let program = find(&artifact, name)?;
        let r = self.resolved(name, env)?;
        self.temp.grow(r.temp_bytes);
        self.scratch.iter_mut().for_each(|s| s.grow(r.scratch_bytes));
        let n = artifact.param_elements * 4;
        let touches = |kind| touches(program, kind);
        if touches(BufferKind::Grads) && !program.trains.is_empty() || name == ADAM || name == GRAD_NORM {
            self.grads.grow(n);
        }
        if touches(BufferKind::Moment1) {
            self.moments.iter_mut().for_each(|m| m.grow(n));
        }
        let mut outputs = program
            .outputs
            .iter()
            .map(|p| output(program, p, env))
            .collect::<Result<Vec<_>, _>>()?;
        let scratch: Vec<usize> = self.scratch.iter_mut().map(|s| s.address() as usize).collect();
        let bases = Bases {
            inputs: program
                .inputs
                .iter()
                .map(|p| input_address(program, p, inputs))
                .collect::<Result<_, _>>()?,
            outputs: outputs.iter_mut().map(|(_, t)| address_of(t)).collect(),
            temp: self.temp.address(),
            params: self.params.address(),
            grads: self.grads.address(),
            moments: [self.moments[0].address(), self.moments[1].address()],
            scratch: &scratch,
            image: &self.image,
            pool: &self.pool,
            recorder: self.recorder.as_ref(),
        };
        let mut values: Vec<i64> = artifact
            .symbols
            .iter()
            .map(|s| env.get(s).copied().unwrap_or(0))
            .collect();
        let layer = artifact.symbols.iter().position(|s| &**s == "layer");
        walk(&r.actions, &bases, &mut values, layer, 0);
        Ok(outputs)
    }
}

fn address_of(t: &mut Tensor) -> *mut u8 {
    match &mut t.data {
        Data::F32(v) => v.as_mut_ptr().cast(),
        Data::I32(v) => v.as_mut_ptr().cast(),
    }
}

/// Inputs are only read, though kernels take all operands as mutable addresses.
fn input_address(program: &Program, port: &Port, inputs: &[(&str, &Tensor)]) -> Result<*mut u8, Error> {
    Ok(match input(program, port, inputs)? {
        Data::F32(v) => v.as_ptr().cast_mut().cast(),
        Data::I32(v) => v.as_ptr().cast_mut().cast(),
    })
}

fn walk(actions: &[Action], bases: &Bases, values: &mut Vec<i64>, layer_at: Option<usize>, layer: i64) {
    for action in actions {
        match action {
            Action::Run(run) => launch(run, bases, values, layer),
            Action::Loop { layers, keep, body } => {
                for layer in layers {
                    if keep.is_some_and(|k| flag(k, bases, *layer) == 0.0) {
                        continue;
                    }
                    if let Some(at) = layer_at {
                        values[at] = *layer;
                    }
                    walk(body, bases, values, layer_at, *layer);
                }
                if let Some(at) = layer_at {
                    values[at] = 0;
                }
            }
        }
    }
}

/// Element `layer` of a loop's keep flags.
fn flag(keep: Address, bases: &Bases, layer: i64) -> f32 {
    let at = locate(&keep, bases, 0).cast::<f32>();
    // SAFETY: the type checker made `keep` an f32 [count], and layer < count.
    unsafe { at.add(layer as usize).read() }
}

fn locate(a: &Address, bases: &Bases, layer: i64) -> *mut u8 {
    let base = match a.memory {
        Memory::Temp => bases.temp,
        Memory::Params => bases.params,
        Memory::NarrowParams => unreachable!("programs for the CPU have no parameters in bf16"),
        Memory::Grads => bases.grads,
        Memory::Moment1 => bases.moments[0],
        Memory::Moment2 => bases.moments[1],
        Memory::Input(i) => bases.inputs[i],
        Memory::Output(i) => bases.outputs[i],
    };
    base.wrapping_offset((a.byte + a.layer_bytes * layer) as isize)
}

/// What a launch hands to every thread. Addresses as numbers: threads share them, and the kernels write disjoint items.
struct Shared<'a> {
    slots: Vec<usize>,
    values: &'a [i64],
    workspace: usize,
    scratch: &'a [usize],
}

fn launch(run: &Run, bases: &Bases, values: &[i64], layer: i64) {
    let slots = run.operands.iter().map(|o| locate(o, bases, layer) as usize).collect();
    let workspace = bases.temp.wrapping_add(run.workspace) as usize;
    let shared = Shared {
        slots,
        values,
        workspace,
        scratch: bases.scratch,
    };
    let started = bases.recorder.map(|r| (r, Instant::now()));
    let busy = bases.recorder.map(Recorder::busy);
    for (code, items) in &run.entries {
        entry(bases.image.entry(*code), *items, &shared, bases.pool, busy);
        if let Some(recorder) = bases.recorder {
            recorder.entry_done(run.kernel);
        }
    }
    if let Some((recorder, start)) = started {
        recorder.launch_done(run, start.elapsed().as_secs_f64());
    }
}

/// Does all items of an entry.
fn entry(f: EntryFn, items: i64, shared: &Shared, pool: &ThreadPool, busy: Option<&Busy>) {
    let threads = shared.scratch.len() as i64;
    if threads == 1 || items < 2 {
        timed(busy, 0, || call(f, shared, 0, items, 0));
        return;
    }
    // Shares of what is left, taken by whoever is free: the last are the smallest, so that threads end together. Which
    // thread does an item never changes a bit of it.
    let share = |left: i64| (left / (threads * 4)).max(1);
    let next = AtomicI64::new(0);
    let take = |begin: i64| (begin < items).then(|| begin + share(items - begin));
    pool.broadcast(|context| {
        timed(busy, context.index(), || {
            while let Ok(begin) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                let end = begin + share(items - begin);
                call(f, shared, begin, end, context.index());
            }
        })
    });
}

fn timed(busy: Option<&Busy>, thread: usize, work: impl FnOnce()) {
    match busy {
        Some(busy) => busy.time(thread, work),
        None => work(),
    }
}

fn call(f: EntryFn, s: &Shared, begin: i64, end: i64, thread: usize) {
    if begin >= end {
        return;
    }
    // SAFETY: the kernel was compiled for these operands. The plan gave each a place inside its memory that nothing else
    // alive uses; inputs, outputs, arenas and scratch are borrowed by `execute` for the whole run; every item is done by
    // one thread, and kernels write disjoint memory for distinct items.
    unsafe {
        f(
            s.slots.as_ptr().cast(),
            s.values.as_ptr(),
            begin,
            end,
            s.workspace as *mut u8,
            s.scratch[thread] as *mut u8,
        )
    }
}

impl Session for Machine {
    fn artifact(&self) -> &Artifact {
        &self.artifact
    }
    fn params(&mut self) -> Result<&mut [f32], Error> {
        Ok(Machine::params(self))
    }
    fn grads(&mut self) -> Result<&mut [f32], Error> {
        Ok(Machine::grads(self))
    }
    fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error> {
        Ok(Machine::moments(self))
    }
    fn zero_grads(&mut self) -> Result<(), Error> {
        Machine::grads(self).fill(0.0);
        Ok(())
    }
    fn peak_bytes(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<usize, Error> {
        let program = find(&self.artifact, program)?;
        let r = resolve(&self.artifact, program, &sizes(&self.artifact, program, inputs)?)?;
        Ok(r.temp_bytes + r.scratch_bytes * self.scratch.len())
    }
    fn run(&mut self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let env = sizes(&self.artifact, find(&self.artifact, program)?, inputs)?;
        self.execute(program, &env, inputs)
    }
    fn start_profile(&mut self) {
        self.recorder = Some(Recorder::new(self.scratch.len()));
    }
    fn take_profile(&mut self) -> Option<Vec<KernelTime>> {
        let name = |kernel: usize| self.artifact.kernels[kernel].name.clone();
        Some(self.recorder.take()?.times(name))
    }
    fn grad_norm(&mut self, program: &str, scale: f32) -> Result<f64, Error> {
        let mut total = 0.0;
        for range in ranges(&self.artifact, program)? {
            let out = self.execute(GRAD_NORM, &range_sizes(range), &[])?;
            let squares = out[0].1.as_f32().unwrap_or_default();
            total += squares.iter().map(|s| *s as f64).sum::<f64>();
        }
        Ok(total * scale as f64 * scale as f64)
    }
    fn adam(&mut self, program: &str, a: &AdamStep) -> Result<(), Error> {
        let scalars = adam_scalars(a);
        for range in ranges(&self.artifact, program)? {
            self.execute(ADAM, &range_sizes(range), &[("adam", &scalars)])?;
        }
        Ok(())
    }
}
