//! Work done once when parameters are frozen, and the memory of those that are no longer read.
//!
//! Matrix by matrix: as soon as the last of what is made from a parameter is made, its pages go back to the system, so
//! that what is kept takes their place and never comes on top of all of them.

use super::arena::Arena;
use super::launch::{Bases, Part, Sizes, launch};
use super::pieces::Pieces;
use super::resolve::{Action, Parameters, Resolved, Run, resolve_with};
use crate::error::Error;
use ir::artifact::{Artifact, Program};
use ir::dim::Env;

/// A launch at a layer, or those of its entries whose work is kept.
struct Task<'a> {
    run: &'a Run,
    /// Where it is in a loop.
    layer: Option<i64>,
    part: Part,
}

impl Task<'_> {
    /// Which operands are read and written.
    fn slots(&self) -> Vec<usize> {
        match self.part {
            Part::Kept => self.run.calls.iter().filter_map(|c| c.kept).collect(),
            Part::Rest => (0..self.run.operands.len()).collect(),
        }
    }
}

/// `prepare`, then the entries of all other launches whose work is kept.
pub struct Preparation<'a> {
    tasks: Vec<Task<'a>>,
    pieces: Pieces,
    /// By task, the pieces whose last use it is.
    last: Vec<Vec<usize>>,
    /// By task, the pieces of what is kept that it is the first to write.
    first: Vec<Vec<usize>>,
    /// Parameters that the program does not read at all.
    unread: Vec<usize>,
}

impl<'a> Preparation<'a> {
    pub fn new(artifact: &Artifact, resolved: &'a Resolved) -> Preparation<'a> {
        let mut tasks = vec![];
        each_run(&resolved.prepare, None, &mut |run, layer| {
            tasks.push(Task {
                run,
                layer,
                part: Part::Rest,
            });
        });
        each_run(&resolved.actions, None, &mut |run, layer| {
            let again = run.workspace.layer_bytes == 0 && layer.is_some_and(|l| l != 0);
            if run.calls.iter().any(|c| c.kept.is_some()) && !again {
                tasks.push(Task {
                    run,
                    layer,
                    part: Part::Kept,
                });
            }
        });
        let pieces = Pieces::new(artifact, resolved);
        let mut stays = vec![false; pieces.count()];
        each_address(&resolved.actions, &pieces, &mut |i| stays[i] = true);
        let (mut first, mut last) = (vec![None; pieces.count()], vec![None; pieces.count()]);
        for (n, task) in tasks.iter().enumerate() {
            for slot in task.slots() {
                for i in pieces.touched(&task.run.operands[slot], task.layer) {
                    first[i].get_or_insert(n);
                    last[i] = Some(n);
                }
            }
        }
        let by_task = |when: &[Option<usize>], wanted: &dyn Fn(usize) -> bool| {
            let mut out = vec![vec![]; tasks.len()];
            for (i, n) in when.iter().enumerate().filter(|(i, _)| wanted(*i)) {
                n.iter().for_each(|n: &usize| out[*n].push(i));
            }
            out
        };
        Preparation {
            last: by_task(&last, &|i| !stays[i]),
            first: by_task(&first, &|i| pieces.is_kept(i)),
            unread: (0..pieces.count())
                .filter(|i| last[*i].is_none() && !stays[*i] && !pieces.is_kept(*i))
                .collect(),
            tasks,
            pieces,
        }
    }

    /// Does all of it, and gives the pages of what was needed for nothing else back to the system.
    pub fn run(&self, bases: &Bases, sizes: &mut Sizes, params: &mut Arena, kept: &mut Arena) {
        let mut gone = vec![false; self.pieces.count()];
        let mut give_back = |pieces: &[usize]| {
            for i in pieces {
                gone[*i] = true;
                let (from, to) = self.pieces.pages(*i, &gone);
                let arena = if self.pieces.is_kept(*i) {
                    &mut *kept
                } else {
                    &mut *params
                };
                arena.give_back(from, to);
            }
        };
        give_back(&self.unread);
        for (task, last) in self.tasks.iter().zip(&self.last) {
            let layer = task.layer.unwrap_or(0);
            sizes.at_layer(layer);
            launch(task.run, task.part, bases, &sizes.values, layer);
            give_back(last);
        }
        sizes.at_layer(0);
    }

    /// What this does to memory, in bytes; parameters that the program does not read are not counted, they may never have
    /// been in memory.
    pub fn account(&self) -> Account {
        let mut gone = vec![false; self.pieces.count()];
        self.unread.iter().for_each(|i| gone[*i] = true);
        let mut a = Account::default();
        for (n, task) in self.tasks.iter().enumerate() {
            let made: usize = self.first[n].iter().map(|i| self.pieces.bytes(*i)).sum();
            let workspace = match (task.part, task.run.workspace) {
                (Part::Rest, _) => 0,
                (Part::Kept, w) if w.layer_bytes == 0 => (w.end - w.byte) as usize,
                (Part::Kept, w) => w.layer_bytes as usize,
            };
            a.kept += made + workspace;
            a.most = a.most.max(a.kept.saturating_sub(a.given_back));
            for i in &self.last[n] {
                gone[*i] = true;
                let (from, to) = self.pieces.pages(*i, &gone);
                let pages = to - from;
                if self.pieces.is_kept(*i) {
                    a.kept -= pages.min(a.kept);
                } else {
                    a.given_back += pages;
                }
            }
        }
        a
    }
}

/// Bytes of what is kept in the end, of parameters that are given back for it, and by how much memory grows at most while
/// one takes the place of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    pub kept: usize,
    pub given_back: usize,
    pub most: usize,
}

/// Memory of a program where parameters do not change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryPlan {
    /// Bytes of temporaries.
    pub temporaries: usize,
    /// Bytes that are kept from one run to the next.
    pub kept: usize,
    /// Bytes of parameters that they take the place of.
    pub given_back: usize,
}

/// What a program needs at these sizes once its parameters do not change any more.
///
/// # Errors
/// Where a size has no value.
pub fn memory_plan(artifact: &Artifact, program: &Program, env: &Env) -> Result<MemoryPlan, Error> {
    let resolved = resolve_with(artifact, program, env, Parameters::Stay)?;
    let account = Preparation::new(artifact, &resolved).account();
    Ok(MemoryPlan {
        temporaries: resolved.temp_bytes,
        kept: account.kept,
        given_back: account.given_back,
    })
}

/// Every launch at every layer; outside loops the layer is `None`.
fn each_run<'a>(actions: &'a [Action], layer: Option<i64>, f: &mut dyn FnMut(&'a Run, Option<i64>)) {
    for action in actions {
        match action {
            Action::Run(run) => f(run, layer),
            Action::Loop { layers, body, .. } => layers.iter().for_each(|l| each_run(body, Some(*l), f)),
        }
    }
}

/// Every piece that runs read, what they keep anyway aside.
fn each_address(actions: &[Action], pieces: &Pieces, f: &mut dyn FnMut(usize)) {
    each_run(actions, None, &mut |run, layer| {
        let kept: Vec<usize> = run.calls.iter().filter_map(|c| c.kept).collect();
        let read = (0..run.operands.len()).filter(|slot| !kept.contains(slot));
        read.for_each(|slot| pieces.touched(&run.operands[slot], layer).for_each(&mut *f));
    });
    each_flag(actions, &mut |flag| pieces.touched(flag, None).for_each(&mut *f));
}

fn each_flag(actions: &[Action], f: &mut dyn FnMut(&super::resolve::Address)) {
    for action in actions {
        if let Action::Loop { keep, body, .. } = action {
            keep.iter().for_each(&mut *f);
            each_flag(body, f);
        }
    }
}
