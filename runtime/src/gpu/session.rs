//! A compiled program on a device: parameters stay there, inputs go there, outputs come back.

use super::device::{Area, Device};
use super::memory::{AreaLayout, Arenas, Claim, size_text};
use super::mirror::Mirror;
use super::prepared::{Shapes, Timed};
use super::profile::{self, Sums};
use super::schedule::{Bases, Flag, schedule};
use crate::bytes;
use crate::error::Error;
use crate::exec::program::{adam_scalars, find, input, output, range_sizes, sizes, touches};
use crate::exec::resolve::{Resolved, resolve};
use crate::log::tell;
use crate::ranks::Ranks;
use crate::session::{AdamStep, Data, KernelTime, Session, Tensor};
use ir::artifact::{Artifact, BufferKind, Grid, Program};
use ir::dim::Env;
use ir::optimizer::{SCALARS, Update};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Shapes whose plan is kept, per program.
const PLANS: usize = 64;
/// What part of an area is added to it when it has to grow.
const ROOM: usize = 16;

type Plans = HashMap<String, HashMap<Env, Arc<Resolved>>>;

/// Memory that grows; what was in it is lost then.
#[derive(Default)]
struct Block {
    address: Option<u64>,
    bytes: usize,
}

impl Block {
    fn grow(&mut self, device: &mut dyn Device, bytes: usize) -> Result<u64, Error> {
        if let Some(address) = self.address.filter(|_| bytes <= self.bytes) {
            return Ok(address);
        }
        // Freed first, so that old and new are never held at once.
        if let Some(old) = self.address.take() {
            device.synchronise()?;
            device.free(old)?;
        }
        // A program without inputs, outputs and temporaries still has an address for its workspace.
        let address = device.alloc(bytes.max(256))?;
        *self = Block {
            address: Some(address),
            bytes,
        };
        Ok(address)
    }
}

pub struct GpuSession {
    artifact: Arc<Artifact>,
    /// Of each kernel.
    grids: Arc<Vec<Vec<Grid>>>,
    device: Box<dyn Device>,
    params: Mirror,
    grads: Mirror,
    moments: [Mirror; 2],
    /// The parameters in bf16.
    narrow: Option<u64>,
    narrow_is_fresh: bool,
    /// Arenas that a run has asked for.
    arenas: Arenas,
    /// By [`Area`].
    areas: [Block; 2],
    plans: RefCell<Plans>,
    shapes: Shapes,
    /// Gradients are summed over ranks on the devices.
    joined: bool,
    /// Of the launches timed so far, while they are.
    profile: Option<Sums>,
}

impl GpuSession {
    /// Nothing is allocated on the device before the first run.
    pub fn new(artifact: Arc<Artifact>, device: Box<dyn Device>) -> GpuSession {
        let n = artifact.param_elements;
        let mut artifact = Arc::unwrap_or_clone(artifact);
        let code = &device.code().kernels;
        for (info, own) in artifact.kernels.iter_mut().zip(code) {
            info.workspace = own.workspace.clone();
        }
        GpuSession {
            artifact: Arc::new(artifact),
            grids: Arc::new(code.iter().map(|k| k.grids.clone()).collect()),
            device,
            params: Mirror::new(n),
            grads: Mirror::new(n),
            moments: [Mirror::new(n), Mirror::new(n)],
            narrow: None,
            narrow_is_fresh: false,
            arenas: Arenas::default(),
            areas: Default::default(),
            plans: RefCell::default(),
            shapes: Shapes::new(),
            joined: false,
            profile: None,
        }
    }

    fn resolved(&self, program: &Program, env: &Env) -> Result<Arc<Resolved>, Error> {
        let mut plans = self.plans.borrow_mut();
        let plans = plans.entry(program.name.clone()).or_default();
        if let Some(r) = plans.get(env) {
            return Ok(r.clone());
        }
        if plans.len() >= PLANS {
            plans.clear();
        }
        let r = Arc::new(resolve(&self.artifact, program, env)?);
        plans.insert(env.clone(), r.clone());
        Ok(r)
    }

    fn claim<'a>(&'a self, program: &'a Program, env: &'a Env, area: usize) -> Claim<'a> {
        let n = self.artifact.param_elements;
        let arenas = self.arenas.and(Arenas::of(program)).bytes(n);
        let own = &self.areas[place(program) as usize];
        Claim {
            artifact: &self.artifact,
            program,
            env,
            area,
            arenas,
            held: own.bytes + self.held(),
        }
    }

    /// Bytes of the arenas that are on the device.
    fn held(&self) -> usize {
        let mirrors = [&self.params, &self.grads, &self.moments[0], &self.moments[1]];
        let narrow = if self.narrow.is_some() {
            self.artifact.param_elements * 2
        } else {
            0
        };
        mirrors.iter().map(|m| m.held()).sum::<usize>() + narrow
    }

    /// Says what will be allocated for this run, checks that it is there, and allocates; the address of the area.
    fn reserve(&mut self, program: &Program, env: &Env, bytes: usize) -> Result<u64, Error> {
        let place = place(program);
        let arenas = self.arenas.and(Arenas::of(program));
        let known = arenas == self.arenas && self.params.held() > 0;
        let area = &self.areas[place as usize];
        let (small, exists) = (area.bytes < bytes, area.address.is_some());
        let mut wanted = bytes;
        if !known || small || !exists {
            let memory = self.device.memory()?;
            // Batches differ a little in how many frames are masked. With some room the next larger one moves nothing, for
            // recordings hold only where they were made.
            let roomy = self.claim(program, env, bytes + bytes / ROOM);
            if small && exists && roomy.check(memory, "").is_ok() {
                wanted = roomy.area;
            }
            let claim = self.claim(program, env, wanted);
            if place == Area::Model {
                let state = match (arenas.grads, arenas.moments) {
                    (true, true) => "parameters, gradients and moments",
                    (true, false) => "parameters and gradients",
                    _ => "parameters",
                };
                tell(&format!(
                    "memory: {} for activations, {} for {state}; {} of {} are free on {}",
                    size_text(claim.area),
                    size_text(claim.arenas),
                    size_text(memory.free + claim.held),
                    size_text(memory.total),
                    self.device.name()
                ));
            }
            claim.check(memory, "give fewer or shorter clips")?;
            self.arenas = arenas;
            self.allocate_arenas()?;
        }
        let area = &mut self.areas[place as usize];
        match area.grow(&mut *self.device, wanted) {
            // Free memory may lie in pieces.
            Err(_) if wanted > bytes => area.grow(&mut *self.device, bytes),
            grown => grown,
        }
    }

    /// Brings every arena in use to the device, with its newest values.
    fn allocate_arenas(&mut self) -> Result<(), Error> {
        let device = &mut *self.device;
        if self.arenas.narrow && self.narrow.is_none() {
            self.narrow = Some(device.alloc(self.artifact.param_elements * 2)?);
            self.narrow_is_fresh = false;
        }
        self.narrow_is_fresh &= !self.params.device_is_behind();
        self.params.on_device(device)?;
        if self.arenas.grads {
            self.grads.on_device(device)?;
        }
        if self.arenas.moments {
            self.moments
                .iter_mut()
                .try_for_each(|m| m.on_device(device).map(|_| ()))?;
        }
        Ok(())
    }

    fn bases(&mut self, layout: &AreaLayout, area: u64) -> Result<Bases, Error> {
        self.allocate_arenas()?;
        let device = &mut *self.device;
        let at = |offset: &usize| area + *offset as u64;
        let Arenas { grads, moments, .. } = self.arenas;
        let mut address = |used: bool, mirror: &mut Mirror| if used { mirror.on_device(device) } else { Ok(0) };
        let [first, second] = &mut self.moments;
        Ok(Bases {
            temp: at(&layout.temp),
            params: address(true, &mut self.params)?,
            narrow: self.narrow.unwrap_or(0),
            grads: address(grads, &mut self.grads)?,
            moments: [address(moments, first)?, address(moments, second)?],
            inputs: layout.inputs.iter().map(at).collect(),
            outputs: layout.outputs.iter().map(at).collect(),
        })
    }

    fn execute(&mut self, name: &str, env: &Env, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        if self.profile.is_none() {
            return self.execute_timed(name, env, inputs, None);
        }
        let mut times = vec![];
        let outputs = self.execute_timed(name, env, inputs, Some(&mut times))?;
        if let Some(sums) = &mut self.profile {
            profile::add(sums, &self.artifact, find(&self.artifact, name)?, env.clone(), &times)?;
        }
        Ok(outputs)
    }

    fn execute_timed(
        &mut self,
        name: &str,
        env: &Env,
        inputs: &[(&str, &Tensor)],
        times: Option<&mut Vec<Timed>>,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let (artifact, grids) = (self.artifact.clone(), self.grids.clone());
        let program = find(&artifact, name)?;
        let resolved = self.resolved(program, env)?;
        let layout = AreaLayout::new(program, env, &resolved)?;
        let area = self.reserve(program, env, layout.bytes)?;
        let bases = self.bases(&layout, area)?;
        if Update::of(program) != Some(Update::Narrow)
            && touches(program, BufferKind::NarrowParams)
            && !self.narrow_is_fresh
        {
            self.execute(Update::Narrow.name(), &range_sizes((0, artifact.param_elements)), &[])?;
            self.narrow_is_fresh = true;
        }
        let given: Vec<&Data> = program
            .inputs
            .iter()
            .map(|p| input(program, p, inputs))
            .collect::<Result<_, _>>()?;
        let staged: Vec<(u64, &[u8])> = bases
            .inputs
            .iter()
            .zip(&given)
            .map(|(a, d)| (*a, bytes::of_data(d)))
            .collect();
        let place = place(program);
        self.device.stage(place, &staged)?;
        let on = |f: Flag| matches!(given[f.input], Data::F32(v) if v.get(f.element).is_some_and(|k| *k != 0.0));
        let schedule = || schedule((&artifact, &grids), program, &resolved, env, &bases);
        self.shapes
            .run(&mut *self.device, (name, env, &bases), &on, schedule, times)?;
        self.device.staged_is_used(place)?;
        self.mark_written(program);
        self.outputs(program, env, &bases)
    }

    /// What a program wrote is newest on the device.
    fn mark_written(&mut self, program: &Program) {
        match Update::of(program) {
            Some(Update::Adam) => {
                self.params.written_by_device();
                self.moments.iter_mut().for_each(Mirror::written_by_device);
                self.narrow_is_fresh = false;
            }
            Some(Update::GradNorm | Update::Narrow) => {}
            None if touches(program, BufferKind::Grads) => self.grads.written_by_device(),
            None => {}
        }
    }

    /// Waits for the program and takes its outputs; a program of the optimizer without any is not waited for.
    fn outputs(&mut self, program: &Program, env: &Env, bases: &Bases) -> Result<Vec<(String, Tensor)>, Error> {
        let mut out = vec![];
        for (port, address) in program.outputs.iter().zip(&bases.outputs) {
            let (name, mut tensor) = output(program, port, env)?;
            self.device.download(*address, bytes::of_data_mut(&mut tensor.data))?;
            out.push((name, tensor));
        }
        if out.is_empty() && place(program) == Area::Model {
            self.device.synchronise()?;
        }
        Ok(out)
    }
}

fn place(program: &Program) -> Area {
    match Update::of(program) {
        Some(_) => Area::Optimizer,
        None => Area::Model,
    }
}

impl Session for GpuSession {
    fn artifact(&self) -> &Artifact {
        &self.artifact
    }
    fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), Error> {
        if self.held() > 0 {
            return Err(Error::Usage(
                "sizes are chosen before parameters are on the device".into(),
            ));
        }
        let artifact = Arc::make_mut(&mut self.artifact);
        artifact.choose(sizes).map_err(|e| Error::Usage(e.to_string()))?;
        let n = artifact.param_elements;
        (self.params, self.grads) = (Mirror::new(n), Mirror::new(n));
        self.moments = [Mirror::new(n), Mirror::new(n)];
        self.plans.borrow_mut().clear();
        Ok(())
    }
    fn params(&mut self) -> Result<&mut [f32], Error> {
        self.params.on_host(&mut *self.device)
    }
    fn grads(&mut self) -> Result<&mut [f32], Error> {
        self.grads.on_host(&mut *self.device)
    }
    fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error> {
        let [first, second] = &mut self.moments;
        Ok((first.on_host(&mut *self.device)?, second.on_host(&mut *self.device)?))
    }
    fn zero_grads(&mut self) -> Result<(), Error> {
        self.grads.zero(&mut *self.device)
    }
    fn admit(&self, program: &str, inputs: &[(&str, &Tensor)], remedy: &str) -> Option<Result<(), Error>> {
        let judge = || {
            let program = find(&self.artifact, program)?;
            let env = sizes(&self.artifact, program, inputs)?;
            let layout = AreaLayout::new(program, &env, &*self.resolved(program, &env)?)?;
            // Asking the device takes long, and a run that fits into what is held needs no answer.
            if self.params.held() > 0 && layout.bytes <= self.areas[Area::Model as usize].bytes {
                return Ok(());
            }
            self.claim(program, &env, layout.bytes)
                .check(self.device.memory()?, remedy)
        };
        Some(judge())
    }
    fn device(&self) -> Option<String> {
        Some(self.device.name())
    }
    fn device_bytes(&self) -> Option<usize> {
        Some(self.held() + self.areas.iter().map(|a| a.bytes).sum::<usize>())
    }
    fn peak_bytes(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<usize, Error> {
        let program = find(&self.artifact, program)?;
        let env = sizes(&self.artifact, program, inputs)?;
        Ok(AreaLayout::new(program, &env, &*self.resolved(program, &env)?)?.bytes)
    }
    fn run(&mut self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let env = sizes(&self.artifact, find(&self.artifact, program)?, inputs)?;
        self.execute(program, &env, inputs)
    }
    fn start_profile(&mut self) {
        self.profile = Some(Sums::new());
    }
    fn take_profile(&mut self) -> Option<Vec<KernelTime>> {
        Some(self.profile.take()?.into_values().collect())
    }
    fn join(&mut self, ranks: &Ranks) -> Result<Option<String>, Error> {
        let why_not = super::together::join(&mut *self.device, ranks)?;
        self.joined = why_not.is_none();
        Ok(why_not)
    }
    fn sum_here(&mut self, stretches: &[(usize, usize)]) -> Result<bool, Error> {
        if !self.joined {
            return Ok(false);
        }
        let base = self.grads.on_device(&mut *self.device)?;
        let part = |(start, length): &(usize, usize)| (base + 4 * *start as u64, *length);
        let parts: Vec<(u64, usize)> = stretches.iter().map(part).collect();
        self.device.sum(&parts)?;
        self.grads.written_by_device();
        Ok(true)
    }
    fn squares(&mut self, range: (usize, usize)) -> Result<Vec<f32>, Error> {
        let out = self.execute(Update::GradNorm.name(), &range_sizes(range), &[])?;
        Ok(out.first().and_then(|(_, t)| t.as_f32()).unwrap_or_default().to_vec())
    }
    fn adam_over(&mut self, range: (usize, usize), a: &AdamStep) -> Result<(), Error> {
        self.execute(Update::Adam.name(), &range_sizes(range), &[(SCALARS, &adam_scalars(a))])?;
        Ok(())
    }
}
