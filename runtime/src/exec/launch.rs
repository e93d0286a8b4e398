//! Launches: kernels on threads, over memory whose places are known.

use super::image::{EntryFn, Image};
use super::recorder::{Busy, Recorder};
use super::resolve::{Action, Address, Memory, Run};
use rayon::ThreadPool;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// Addresses of everything a run touches.
pub struct Bases<'a> {
    pub inputs: Vec<*mut u8>,
    pub outputs: Vec<*mut u8>,
    pub temp: *mut u8,
    pub kept: *mut u8,
    pub params: *mut u8,
    pub grads: *mut u8,
    pub moments: [*mut u8; 2],
    pub scratch: &'a [usize],
    pub image: &'a Image,
    /// None where there is one thread.
    pub pool: Option<&'a ThreadPool>,
    pub recorder: Option<&'a Recorder>,
}

/// The values of run-time sizes, in the order of the artifact's symbols.
pub struct Sizes {
    pub values: Vec<i64>,
    /// Which of them is `layer`.
    pub layer: Option<usize>,
}

impl Sizes {
    pub fn at_layer(&mut self, layer: i64) {
        if let Some(at) = self.layer {
            self.values[at] = layer;
        }
    }
}

/// Which entries of a kernel to run.
#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    /// Those whose work is kept.
    Kept,
    /// All others.
    Rest,
}

pub fn walk(actions: &[Action], bases: &Bases, sizes: &mut Sizes, layer: i64) {
    for action in actions {
        match action {
            Action::Run(run) => launch(run, Part::Rest, bases, &sizes.values, layer),
            Action::Loop { layers, keep, body } => {
                for layer in layers {
                    if keep.is_some_and(|k| flag(k, bases, *layer) == 0.0) {
                        continue;
                    }
                    sizes.at_layer(*layer);
                    walk(body, bases, sizes, *layer);
                }
                sizes.at_layer(0);
            }
        }
    }
}

/// As [`walk`] of a whole program; `after` is called with the number of steps done after each of them: a launch, or an iteration of a
/// loop, left out or not.
pub fn walk_by_step(actions: &[Action], bases: &Bases, sizes: &mut Sizes, after: &mut dyn FnMut(usize)) {
    let mut steps = 0;
    for action in actions {
        match action {
            Action::Run(run) => {
                launch(run, Part::Rest, bases, &sizes.values, 0);
                steps += 1;
                after(steps);
            }
            Action::Loop { layers, keep, body } => {
                for layer in layers {
                    if keep.is_none_or(|k| flag(k, bases, *layer) != 0.0) {
                        sizes.at_layer(*layer);
                        walk(body, bases, sizes, *layer);
                    }
                    steps += 1;
                    after(steps);
                }
                sizes.at_layer(0);
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
        Memory::Kept => bases.kept,
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

pub fn launch(run: &Run, part: Part, bases: &Bases, values: &[i64], layer: i64) {
    let slots = run.operands.iter().map(|o| locate(o, bases, layer) as usize).collect();
    let workspace = locate(&run.workspace, bases, layer) as usize;
    let shared = Shared {
        slots,
        values,
        workspace,
        scratch: bases.scratch,
    };
    let started = bases.recorder.map(|r| (r, Instant::now()));
    let busy = bases.recorder.map(Recorder::busy);
    for call in run.calls.iter().filter(|c| c.kept.is_some() == (part == Part::Kept)) {
        entry(bases.image.entry(call.code), call.items, &shared, bases.pool, busy);
        if let Some(recorder) = bases.recorder {
            recorder.entry_done(run.kernel);
        }
    }
    if let Some((recorder, start)) = started {
        let seconds = start.elapsed().as_secs_f64();
        match part {
            Part::Kept => recorder.entries_done(run.kernel, seconds),
            Part::Rest => recorder.launch_done(run, seconds),
        }
    }
}

/// Does all items of an entry.
fn entry(f: EntryFn, items: i64, shared: &Shared, pool: Option<&ThreadPool>, busy: Option<&Busy>) {
    let threads = shared.scratch.len() as i64;
    let Some(pool) = pool.filter(|_| items > 1) else {
        timed(busy, 0, || call(f, shared, 0, items, 0));
        return;
    };
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
    // alive uses; inputs, outputs, arenas and scratch belong to the machine's caller or the machine, which is borrowed for
    // the whole run; every item is done by one thread, and kernels write disjoint memory for distinct items.
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
