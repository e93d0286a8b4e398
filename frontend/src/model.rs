//! What the language says: parameters, and programs as tensor IR.

use ir::artifact::{Init, Setting};
use ir::dim::Dim;
use ir::graph::Graph;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Model {
    pub name: String,
    /// Numbers as compiled, after `--set`.
    pub constants: Vec<Constant>,
    /// Sizes known when a program runs.
    pub symbols: Vec<String>,
    /// Named sizes in terms of symbols alone.
    pub sizes: Vec<(String, Dim)>,
    pub params: Vec<ParamDecl>,
    pub programs: Vec<Program>,
    /// Settings by command.
    pub recipes: BTreeMap<String, Vec<Setting>>,
    /// JSON text by command.
    pub export: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub name: String,
    pub value: f64,
    pub doc: String,
}

/// A parameter that one or more programs read.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamDecl {
    /// With `{i}` for the layer where `count` is given.
    pub name: String,
    /// Of one layer.
    pub shape: Vec<i64>,
    /// Layers of the repeat it belongs to; the graph holds them stacked along a first axis.
    pub count: Option<i64>,
    pub init: Init,
}

impl ParamDecl {
    /// Elements, those of all layers.
    pub fn elements(&self) -> i64 {
        self.shape.iter().product::<i64>() * self.count.unwrap_or(1)
    }
}

#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    /// Inputs in order of declaration; outputs by name.
    pub graph: Graph,
    /// The output that training makes small; none for inference.
    pub loss: Option<String>,
    /// Names of the parameters that it trains.
    pub trains: Vec<String>,
}

impl Model {
    pub fn param(&self, name: &str) -> Option<&ParamDecl> {
        self.params.iter().find(|p| p.name == name)
    }
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|p| p.name == name)
    }
}
