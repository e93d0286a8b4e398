//! A model as the frontend returns it: parameters, programs as tensor IR, tasks.

use ir::artifact::{ConfigFacts, Init, RunSize};
use ir::dim::{Dim, Env, numel};
use ir::examples::Examples;
use ir::graph::Graph;
use ir::task::Task;
use std::collections::BTreeMap;

/// A model: its parameters, programs and tasks.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name of the model.
    pub name: String,
    /// Numbers as compiled, after `--set`.
    pub constants: Vec<Constant>,
    /// Sizes that a run chooses, with their defaults.
    pub run_sizes: Vec<RunSize>,
    /// Sizes known when a program runs.
    pub symbols: Vec<Symbol>,
    /// Named sizes in terms of symbols alone.
    pub sizes: Vec<(String, Dim)>,
    /// The parameters of all programs.
    pub params: Vec<ParamDecl>,
    /// The programs, in order of declaration.
    pub programs: Vec<Program>,
    /// What may be asked of it.
    pub tasks: Vec<Task>,
    /// JSON text by command.
    pub export: BTreeMap<String, String>,
    /// How a config.json is read and written.
    pub config: ConfigFacts,
    /// Fields of a config.json that say nothing but what a constant or run size is: (field, its name).
    pub config_constants: Vec<(String, String)>,
}

/// A size known when a program runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// What it is like in a typical run: the compiler weighs its choices with it.
    pub example: i64,
    /// What it is.
    pub doc: String,
}

/// A constant of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Known,
    /// What it is.
    pub doc: String,
}

/// The value of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// A number.
    Number(f64),
    /// A word, a list, or the name of an op or a block, as the language writes it.
    Text(String),
}

impl Known {
    /// The number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Known::Number(n) => Some(*n),
            Known::Text(_) => None,
        }
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Known::Number(n) => f.pad(&n.to_string()),
            Known::Text(t) => f.pad(t),
        }
    }
}

/// A parameter that one or more programs read.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamDecl {
    /// With `{i}` for the layer where `count` is given.
    pub name: String,
    /// Of one layer, in terms of run sizes.
    pub shape: Vec<Dim>,
    /// Layers of the repeat it belongs to; the graph holds them stacked along a first axis.
    pub count: Option<i64>,
    /// The initial value.
    pub init: Init,
}

impl ParamDecl {
    /// Elements, those of all layers, in terms of run sizes.
    pub fn elements(&self) -> Dim {
        numel(&self.shape) * Dim::from(self.count.unwrap_or(1))
    }
}

/// A program as tensor IR.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Inputs in order of declaration; outputs by name.
    pub graph: Graph,
    /// The output that training makes small; none for inference.
    pub loss: Option<String>,
    /// Names of the parameters that it trains.
    pub trains: Vec<String>,
}

impl Model {
    /// Run sizes at their defaults.
    pub fn run_env(&self) -> Env {
        self.run_sizes.iter().map(|s| (s.name.clone(), s.value)).collect()
    }
    /// Sizes of a typical run: the examples of the file, and run sizes at their defaults.
    pub fn examples(&self) -> Examples {
        let own = self.symbols.iter().map(|s| (s.name.as_str(), s.example));
        let chosen = self.run_sizes.iter().map(|s| (&*s.name, s.value));
        own.chain(chosen).collect()
    }
    /// Elements of a parameter, those of all layers, at the default run sizes.
    pub fn elements(&self, p: &ParamDecl) -> i64 {
        self.shape(p).iter().product::<i64>() * p.count.unwrap_or(1)
    }
    /// Shape of one layer of a parameter at the default run sizes.
    pub fn shape(&self, p: &ParamDecl) -> Vec<i64> {
        let env = self.run_env();
        let size = |d: &Dim| d.eval(&env).expect("a parameter depends on run sizes alone");
        p.shape.iter().map(size).collect()
    }
    /// A parameter by name.
    pub fn param(&self, name: &str) -> Option<&ParamDecl> {
        self.params.iter().find(|p| p.name == name)
    }
    /// A program by name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|p| p.name == name)
    }
}
