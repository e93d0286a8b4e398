//! Which parameters a task needs of the weights that it is given.

use ir::artifact::Artifact;
use ir::task::{Task, matches};

/// How much a parameter is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// None of the task's programs reads it.
    None,
    /// It starts at random where it is absent.
    Optional,
    Required,
}

/// What a task needs.
pub(super) struct Needs<'a> {
    task: &'a Task,
    read: Vec<bool>,
}

impl<'a> Needs<'a> {
    pub fn of(artifact: &Artifact, task: &'a Task) -> Needs<'a> {
        let mut read = vec![false; artifact.params.len()];
        let programs = task.programs().filter_map(|name| artifact.program(name));
        for index in programs.flat_map(|p| &p.reads) {
            read[*index] = true;
        }
        Needs { task, read }
    }

    pub fn of_param(&self, index: usize, name: &str) -> Need {
        let optional = || self.task.training().is_some_and(|t| matches(&t.may_lack, name));
        match self.read.get(index) {
            Some(false) => Need::None,
            _ if optional() => Need::Optional,
            _ => Need::Required,
        }
    }

    /// Whether a parameter has a row per class.
    pub fn is_head(&self, name: &str) -> bool {
        matches(self.task.heads(), name)
    }
}
