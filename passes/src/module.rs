//! What flows through the passes: all programs of a model, from tensor IR to programs over kernels.

mod text;

pub use text::{parse, plan_text};

use crate::fuse::Fused;
use crate::lower::Kernels;
use crate::narrow::Reason;
use crate::rewrite::{Fired, Miss};
use ir::artifact::{Program, Requirement};
use ir::dim::{Dim, numel};
use ir::examples::Examples;
use ir::graph::Graph;
use ir::names::param_of_gradient;
use ir::ops::Op;
use ir::requirements;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// All programs of a model, and what passes must know about them.
pub struct Module {
    /// Where parameters lie.
    pub arena: Arena,
    /// Sizes of a typical run.
    pub examples: Examples,
    /// Programs that run again and again with the same parameters.
    pub fixed: BTreeSet<String>,
    /// The last pass that ran.
    pub after: Option<&'static str>,
    /// The programs.
    pub stage: Stage,
    /// What passes say about them.
    pub notes: Notes,
}

/// All programs, as far as they have come.
pub enum Stage {
    /// In tensor IR.
    Graphs(Vec<Unit>),
    /// Graphs with the plan of their kernels.
    Fused(Vec<(Unit, Fused)>),
    /// Over kernels.
    Programs {
        /// In the order of the model file, then those that update parameters.
        programs: Vec<Program>,
        /// What they launch.
        kernels: Kernels,
    },
}

impl Stage {
    /// Programs in tensor IR.
    ///
    /// # Panics
    /// In another form: the list of passes says which takes what, and is held to it.
    pub(crate) fn graphs(&mut self) -> &mut Vec<Unit> {
        match self {
            Stage::Graphs(units) => units,
            _ => panic!("the pass takes tensor IR"),
        }
    }

    /// Programs over kernels.
    ///
    /// # Panics
    /// In another form.
    pub(crate) fn programs(&mut self) -> (&mut Vec<Program>, &mut Kernels) {
        match self {
            Stage::Programs { programs, kernels } => (programs, kernels),
            _ => panic!("the pass takes programs over kernels"),
        }
    }
}

/// The forms that programs have on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tensor IR.
    Graphs,
    /// Tensor IR and a plan.
    Fused,
    /// Over kernels.
    Programs,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Graphs => "tensor IR",
            Form::Fused => "tensor IR with a plan of kernels",
            Form::Programs => "programs over kernels",
        })
    }
}

/// A program in tensor IR.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// What it computes.
    pub graph: Graph,
    /// The output to differentiate, for training programs.
    pub loss: Option<String>,
    /// Parameters that train.
    pub trains: Vec<String>,
    /// Parameters that it reads as it is written; passes may find that some do not matter.
    pub reads: Vec<String>,
    /// What it needs of its sizes as it is written.
    pub requires: Vec<Requirement>,
}

impl Unit {
    /// A program as it is written, before any pass.
    pub fn new(name: &str, graph: Graph, loss: Option<&str>, trains: Vec<String>) -> Unit {
        Unit {
            name: name.into(),
            loss: loss.map(String::from),
            trains,
            reads: params(&graph).map(|(name, _)| name.to_string()).collect(),
            requires: requirements::of_axes(&graph),
            graph,
        }
    }

    /// A program that has been differentiated, if it trains: what it has gradients of.
    pub fn of_step(name: &str, graph: Graph) -> Unit {
        let trained = graph.outputs.iter().filter_map(|(output, _)| param_of_gradient(output));
        let trains = trained.map(String::from).collect();
        Unit::new(name, graph, None, trains)
    }
}

/// Parameters of a graph, with their elements.
fn params(g: &Graph) -> impl Iterator<Item = (&str, Dim)> {
    g.nodes.iter().filter_map(|n| match &n.op {
        Op::Param(p) => Some((&*p.name, numel(&p.ty.shape))),
        _ => None,
    })
}

/// Where parameters lie.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arena {
    /// By name.
    pub params: BTreeMap<String, Place>,
    /// Of all, with what is between them.
    pub elements: Dim,
}

/// Where a parameter lies, that of all layers of a repeat as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// In elements.
    pub offset: Dim,
    /// Numbers of its layers among the artifact's parameters.
    pub numbers: Range<usize>,
}

impl Arena {
    /// Parameters one after the other, as they come in the programs.
    pub fn packed(units: &[Unit]) -> Arena {
        let mut arena = Arena::default();
        for (name, elements) in units.iter().flat_map(|u| params(&u.graph)) {
            if !arena.params.contains_key(name) {
                let number = arena.params.len();
                let place = Place {
                    offset: arena.elements.clone(),
                    numbers: number..number + 1,
                };
                arena.params.insert(name.into(), place);
                arena.elements = arena.elements + elements;
            }
        }
        arena
    }

    /// Numbers of parameters, in order; names that have no place are left out.
    pub fn numbers<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
        let places = names.filter_map(|n| self.params.get(n));
        let mut all: Vec<usize> = places.flat_map(|p| p.numbers.clone()).collect();
        all.sort();
        all
    }
}

/// What passes tell people.
#[derive(Default)]
pub struct Notes {
    /// The rewrite rules that fired, by program.
    pub fired: BTreeMap<String, Vec<Fired>>,
    /// What is nearly attention, by program.
    pub misses: BTreeMap<String, Vec<Miss>>,
    /// By program and buffer, why it is not kept in bf16; `None` where it is. Empty where none is asked to be.
    pub reasons: Vec<Vec<Option<Reason>>>,
}

impl Module {
    /// Programs before any pass.
    pub fn new(units: Vec<Unit>, arena: Arena, examples: Examples) -> Module {
        Module {
            arena,
            examples,
            fixed: BTreeSet::new(),
            after: None,
            stage: Stage::Graphs(units),
            notes: Notes::default(),
        }
    }

    /// A graph alone, parameters one after the other: for tests.
    pub fn of_graph(name: &str, graph: Graph) -> Module {
        let units = vec![Unit::of_step(name, graph)];
        let arena = Arena::packed(&units);
        Module::new(units, arena, Examples::default())
    }

    /// The form of the programs.
    pub fn form(&self) -> Form {
        match &self.stage {
            Stage::Graphs(_) => Form::Graphs,
            Stage::Fused(_) => Form::Fused,
            Stage::Programs { .. } => Form::Programs,
        }
    }

    /// Programs in tensor IR; none once they are lowered.
    pub fn units(&self) -> Vec<&Unit> {
        match &self.stage {
            Stage::Graphs(units) => units.iter().collect(),
            Stage::Fused(units) => units.iter().map(|(unit, _)| unit).collect(),
            Stage::Programs { .. } => vec![],
        }
    }

    /// The programs and kernels that are left when all passes have run.
    ///
    /// # Panics
    /// Where they have not come so far.
    pub fn into_programs(self) -> (Vec<Program>, Kernels) {
        match self.stage {
            Stage::Programs { programs, kernels } => (programs, kernels),
            _ => panic!("programs are lowered before they are taken"),
        }
    }
}
