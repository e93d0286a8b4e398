//! The machine of a compiled program: arenas, threads, and the loop that launches kernels.

use super::arena::Arena;
use super::bundle::Bundle;
use super::fence::Ports;
use super::guarded::Edge;
use super::image::Image;
use super::launch::{Bases, Sizes, walk, walk_by_step};
use super::once::Preparation;
use super::points::points;
use super::program::{adam_scalars, find, input, output, range_sizes, sizes, touches};
use super::recorder::Recorder;
use super::resolve::{Parameters, Resolved, resolve, resolve_with};
use super::{bandwidth, peak, processor};
use crate::cli::Runner;
use crate::error::Error;
use crate::profile::{Flops, Peaks};
use crate::session::{AdamStep, Data, Final, KernelTime, Session, Take, Tensor};
use crate::threads;
use ir::artifact::{Artifact, BufferKind};
use ir::dim::Env;
use ir::optimizer::{SCALARS, Update};
use rayon::ThreadPool;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

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
        self.machine_with(threads, None)
    }

    /// A machine for tests: whoever leaves the memory of an arena, an input or an output at this end, or goes more than a page
    /// beyond the other, ends the process.
    ///
    /// # Errors
    /// As [`Native::machine`].
    pub fn fenced(&self, threads: usize, edge: Edge) -> Result<Machine, Error> {
        self.machine_with(threads, Some(edge))
    }

    fn machine_with(&self, threads: usize, fence: Option<Edge>) -> Result<Machine, Error> {
        processor::require(&self.artifact.cpu_features)?;
        let pool = threads::pool(threads::wanted(threads)?);
        let threads = pool.as_ref().map_or(1, ThreadPool::current_num_threads);
        let artifact = self.artifact.clone();
        let arena = || Arena::at(fence.unwrap_or_default());
        let mut params = arena();
        params.try_grow(artifact.param_elements.saturating_mul(4), "the model's parameters")?;
        let scratch = (0..threads).map(|_| arena()).collect();
        let resolved = HashMap::new();
        Ok(Machine {
            artifact,
            image: self.image.clone(),
            pool,
            params,
            grads: arena(),
            moments: [arena(), arena()],
            temp: arena(),
            scratch,
            resolved,
            frozen: None,
            recorder: None,
            fence,
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
    fn flops(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Flops, Error> {
        let program = find(&self.artifact, program)?;
        Ok(resolve(&self.artifact, program, &sizes(&self.artifact, program, inputs)?)?.flops)
    }
    fn peaks(&self, threads: usize, of: &Flops) -> Option<Peaks> {
        Some(peak::measure(threads, of))
    }
    fn bandwidth_gbs(&self, threads: usize) -> Option<f64> {
        Some(bandwidth::gbs(threads))
    }
}

pub struct Machine {
    artifact: Arc<Artifact>,
    image: Arc<Image>,
    /// None where there is one thread, the caller's.
    pool: Option<ThreadPool>,
    params: Arena,
    grads: Arena,
    moments: [Arena; 2],
    temp: Arena,
    /// One per thread.
    scratch: Vec<Arena>,
    /// The program last resolved, by program: most batches repeat its sizes.
    resolved: HashMap<String, (Env, Arc<Resolved>)>,
    frozen: Option<Frozen>,
    /// While launches are timed.
    recorder: Option<Recorder>,
    /// In tests, which end of memory touches a guard.
    fence: Option<Edge>,
}

/// From [`Session::freeze`] on.
struct Frozen {
    program: String,
    /// What is made from parameters alone.
    kept: Arena,
    /// Whether it is made already.
    ready: bool,
}

impl Machine {
    /// The gradient arena; here and in [`Machine::moments`], unlike in [`Session::grads`], nothing can fail.
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
        let found = find(&self.artifact, program)?;
        let r = Arc::new(resolve_with(&self.artifact, found, env, self.parameters())?);
        self.resolved.insert(program.into(), (env.clone(), r.clone()));
        Ok(r)
    }

    fn parameters(&self) -> Parameters {
        match self.frozen {
            Some(_) => Parameters::Stay,
            None => Parameters::Change,
        }
    }

    /// Fails where the session was frozen, unless for this program.
    fn unless_frozen(&self, program: Option<&str>, what: &'static str) -> Result<(), Error> {
        match &self.frozen {
            Some(frozen) if program != Some(&frozen.program) => Err(Error::Frozen {
                program: frozen.program.clone(),
                what,
            }),
            _ => Ok(()),
        }
    }

    fn execute(&mut self, name: &str, env: &Env, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        self.execute_giving(name, env, inputs, None)
    }

    /// Executes a program; `take` is given gradients once they are final.
    fn execute_giving(
        &mut self,
        name: &str,
        env: &Env,
        inputs: &[(&str, &Tensor)],
        take: Option<Take>,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let artifact = self.artifact.clone();
        let program = find(&artifact, name)?;
        self.unless_frozen(Some(name), "another program cannot be run")?;
        let r = self.resolved(name, env)?;
        let what = format!("program `{name}`");
        self.temp.try_grow(r.temp_bytes, &what)?;
        for s in &mut self.scratch {
            s.try_grow(r.scratch_bytes, &what)?;
        }
        let n = artifact.param_elements * 4;
        let touches = |kind| touches(program, kind);
        let of_gradients = matches!(Update::of(program), Some(Update::Adam | Update::GradNorm));
        if touches(BufferKind::Grads) && !program.trains.is_empty() || of_gradients {
            self.grads.try_grow(n, "the gradients")?;
        }
        if touches(BufferKind::Moment1) {
            for m in &mut self.moments {
                m.try_grow(n, "the optimizer")?;
            }
        }
        let mut outputs = program
            .outputs
            .iter()
            .map(|p| output(program, p, env))
            .collect::<Result<Vec<_>, _>>()?;
        let given = program
            .inputs
            .iter()
            .map(|p| input(program, p, inputs))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = match self.fence {
            Some(edge) => Some(Ports::new(&given, &outputs, edge)?),
            None => None,
        };
        let scratch: Vec<usize> = self.scratch.iter_mut().map(|s| s.address() as usize).collect();
        let bases = Bases {
            inputs: match &ports {
                Some(ports) => ports.inputs(),
                None => given.iter().map(|d| input_address(d)).collect(),
            },
            outputs: match &ports {
                Some(ports) => ports.outputs(),
                None => outputs.iter_mut().map(|(_, t)| address_of(t)).collect(),
            },
            temp: self.temp.address(),
            kept: match &mut self.frozen {
                None => std::ptr::null_mut(),
                Some(f) => {
                    // It takes the place of parameters, which go as it comes.
                    f.kept.grow(r.kept.bytes);
                    f.kept.address()
                }
            },
            params: self.params.address(),
            grads: self.grads.address(),
            moments: [self.moments[0].address(), self.moments[1].address()],
            scratch: &scratch,
            image: &self.image,
            pool: self.pool.as_ref(),
            recorder: self.recorder.as_ref(),
        };
        let value = |s: &Arc<str>| env.get(s).copied().unwrap_or(0);
        let mut sizes = Sizes {
            values: artifact.symbols.iter().map(value).collect(),
            layer: artifact.symbols.iter().position(|s| &**s == ir::names::LAYER),
        };
        match &mut self.frozen {
            None => walk(&r.prepare, &bases, &mut sizes, 0),
            Some(frozen) if frozen.ready => {}
            Some(frozen) => {
                Preparation::new(&artifact, &r).run(&bases, &mut sizes, &mut self.params, &mut frozen.kept);
                self.params.stay_small();
                frozen.ready = true;
            }
        }
        match take {
            None => walk(&r.actions, &bases, &mut sizes, 0),
            Some(take) => {
                let points = points(&artifact, program)?;
                let mut left = points.iter().peekable();
                let grads = bases.grads.cast::<f32>();
                walk_by_step(&r.actions, &bases, &mut sizes, &mut |steps| {
                    while let Some(point) = left.next_if(|p| p.steps <= steps) {
                        for (start, length) in &point.stretches {
                            take(Final {
                                start: *start,
                                // A place within the arena.
                                values: grads.wrapping_add(*start),
                                length: *length,
                            });
                        }
                    }
                });
            }
        }
        if let Some(ports) = &ports {
            ports.give(&mut outputs);
        }
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
fn input_address(data: &Data) -> *mut u8 {
    match data {
        Data::F32(v) => v.as_ptr().cast_mut().cast(),
        Data::I32(v) => v.as_ptr().cast_mut().cast(),
    }
}

impl Session for Machine {
    fn artifact(&self) -> &Artifact {
        &self.artifact
    }
    fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), Error> {
        let artifact = Arc::make_mut(&mut self.artifact);
        artifact.choose(sizes).map_err(|e| Error::Usage(e.to_string()))?;
        let arena = || Arena::at(self.fence.unwrap_or_default());
        self.params = arena();
        self.params.grow(artifact.param_elements * 4);
        self.grads = arena();
        self.moments = [arena(), arena()];
        self.resolved.clear();
        Ok(())
    }
    fn freeze(&mut self, program: &str) -> Result<(), Error> {
        find(&self.artifact, program)?;
        self.unless_frozen(Some(program), "another program cannot be prepared for")?;
        if self.frozen.is_none() {
            self.frozen = Some(Frozen {
                program: program.into(),
                kept: Arena::at(self.fence.unwrap_or_default()),
                ready: false,
            });
            self.resolved.clear();
        }
        Ok(())
    }
    fn params(&mut self) -> Result<&mut [f32], Error> {
        self.unless_frozen(None, "parameters cannot be read or changed")?;
        let n = self.artifact.param_elements;
        Ok(self.params.floats(n))
    }
    fn grads(&mut self) -> Result<&mut [f32], Error> {
        self.grads.try_grow(self.artifact.param_elements * 4, "the gradients")?;
        Ok(Machine::grads(self))
    }
    fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error> {
        for m in &mut self.moments {
            m.try_grow(self.artifact.param_elements * 4, "the optimizer")?;
        }
        Ok(Machine::moments(self))
    }
    fn zero_grads(&mut self) -> Result<(), Error> {
        self.grads.try_grow(self.artifact.param_elements * 4, "the gradients")?;
        Machine::grads(self).fill(0.0);
        Ok(())
    }
    fn peak_bytes(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<usize, Error> {
        let program = find(&self.artifact, program)?;
        let env = sizes(&self.artifact, program, inputs)?;
        let r = resolve_with(&self.artifact, program, &env, self.parameters())?;
        let more = Preparation::new(&self.artifact, &r).account().most;
        Ok(r.temp_bytes + r.scratch_bytes * self.scratch.len() + more)
    }
    fn run(&mut self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let env = sizes(&self.artifact, find(&self.artifact, program)?, inputs)?;
        self.execute(program, &env, inputs)
    }
    fn points(&self, program: &str) -> Result<Vec<(usize, usize)>, Error> {
        let points = points(&self.artifact, find(&self.artifact, program)?)?;
        Ok(points.into_iter().flat_map(|p| p.stretches).collect())
    }
    fn run_giving(
        &mut self,
        program: &str,
        inputs: &[(&str, &Tensor)],
        take: Take,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let env = sizes(&self.artifact, find(&self.artifact, program)?, inputs)?;
        self.execute_giving(program, &env, inputs, Some(take))
    }
    fn start_profile(&mut self) {
        self.recorder = Some(Recorder::new(self.scratch.len()));
    }
    fn take_profile(&mut self) -> Option<Vec<KernelTime>> {
        let about = |kernel: usize| {
            let info = &self.artifact.kernels[kernel];
            (info.name.clone(), info.what.clone(), info.factors)
        };
        Some(self.recorder.take()?.times(about))
    }
    fn squares(&mut self, range: (usize, usize)) -> Result<Vec<f32>, Error> {
        let out = self.execute(Update::GradNorm.name(), &range_sizes(range), &[])?;
        Ok(out.first().and_then(|(_, t)| t.as_f32()).unwrap_or_default().to_vec())
    }
    fn adam_over(&mut self, range: (usize, usize), a: &AdamStep) -> Result<(), Error> {
        self.execute(Update::Adam.name(), &range_sizes(range), &[(SCALARS, &adam_scalars(a))])?;
        Ok(())
    }
    fn forget_moments(&mut self, (start, length): (usize, usize)) {
        const PAGE: usize = 4096;
        let (from, to) = ((start * 4).next_multiple_of(PAGE), (start + length) * 4 / PAGE * PAGE);
        for moment in &mut self.moments {
            if from < to.min(moment.len()) {
                moment.give_back(from, to);
            }
        }
    }
}
