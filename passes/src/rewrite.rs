//! Rewrites forward algebra into cheaper algebra with an e-graph: rules add equal terms, extraction picks.
//!
//! Runs before differentiation, so what a rule introduces owns its gradient. Bodies of repeats are rewritten by themselves;
//! a repeat is one term to the graph around it. Nothing outside this module knows egg.

pub(crate) mod cost;
mod extract;
mod language;
mod rule;
mod rules;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::module::Module;
use crate::pipeline::{CompileError, Settings};
use cost::Work;
use egg::Id;
use extract::{Choice, Group, Menu};
use ir::examples::Examples;
use ir::graph::{Graph, ValueId};
use ir::ops::{Op, Repeat};
use language::{Classes, Term, Typing};
use rule::{Rule, Terms};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Limits of a rewriting: counts, so that it is the same on every machine. Ours saturate long before.
const ROUNDS: usize = 16;
const TERMS: usize = 20_000;

/// A rule by name, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleInfo {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// What a rule did.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// The name of the rule.
    pub rule: &'static str,
    /// How many equalities it found, bodies of repeats counted once.
    pub times: usize,
    /// How much more the graph would take without this rule, at example sizes, layers of repeats counted each. Rules that
    /// need one another save the same work.
    pub saved_flops: f64,
    /// The same in bytes.
    pub saved_bytes: f64,
}

/// A rewritten graph, and what was done.
pub struct Rewritten {
    /// Same inputs and outputs in the same order.
    pub graph: Graph,
    /// Rules that fired, in their order in `rules()`.
    pub report: Vec<Fired>,
    /// What is nearly attention.
    pub misses: Vec<Miss>,
}

/// Something that is nearly attention, which would need no tensor of time x time.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// The type of what is computed, e.g. `f32[B, T, 12, 64]`.
    pub ty: String,
    /// Layers that compute it.
    pub layers: i64,
    /// What does not fit.
    pub why: String,
}

pub(crate) fn run(m: &mut Module, settings: &Settings) -> Result<(), CompileError> {
    let every: Vec<String> = all_rules().map(|r| r.name.to_string()).collect();
    let names: Vec<&str> = settings
        .rules
        .as_ref()
        .unwrap_or(&every)
        .iter()
        .map(String::as_str)
        .collect();
    let Module {
        stage, examples, notes, ..
    } = m;
    for unit in stage.graphs() {
        let rewritten = rewrite_with(&unit.graph, &names, examples);
        notes.fired.insert(unit.name.clone(), rewritten.report);
        notes.misses.insert(unit.name.clone(), rewritten.misses);
        unit.graph = rewritten.graph;
    }
    Ok(())
}

fn all_rules() -> impl Iterator<Item = &'static Rule> {
    rules::ALL.iter().copied().flatten()
}

/// Every rule, in order.
pub fn rules() -> Vec<RuleInfo> {
    all_rules()
        .map(|r| RuleInfo {
            name: r.name,
            doc: r.doc,
        })
        .collect()
}

/// Rewrites with every rule, to what is cheapest at example sizes.
pub fn rewrite(g: &Graph, sizes: &Examples) -> Rewritten {
    rewrite_with(g, &all_rules().map(|r| r.name).collect::<Vec<_>>(), sizes)
}

/// Rewrites with the named rules only.
pub fn rewrite_with(g: &Graph, names: &[&str], sizes: &Examples) -> Rewritten {
    let rules: Vec<&Rule> = all_rules().filter(|r| names.contains(&r.name)).collect();
    let mut report: BTreeMap<usize, Fired> = BTreeMap::new();
    let mut misses = vec![];
    let g = with_bodies(g, names, &rules, sizes, &mut report, &mut misses);
    let space = Space::explore(&g, &rules, sizes);
    misses.extend(space.misses(&g));
    let (choice, work) = space.extract();
    for (i, times) in space.fired.iter().enumerate().filter(|(_, n)| **n > 0) {
        let others: Vec<&Rule> = rules.iter().copied().filter(|r| r.name != rules[i].name).collect();
        let without = Space::explore(&g, &others, sizes).extract().1;
        let (saved_flops, saved_bytes) = (without.flops - work.flops, without.bytes - work.bytes);
        add(
            &mut report,
            i,
            Fired {
                rule: rules[i].name,
                times: *times,
                saved_flops,
                saved_bytes,
            },
        );
    }
    Rewritten {
        graph: space.build(&g, &choice),
        report: report.into_values().collect(),
        misses,
    }
}

/// The graph with rewritten bodies.
fn with_bodies(
    g: &Graph,
    names: &[&str],
    rules: &[&Rule],
    sizes: &Examples,
    report: &mut BTreeMap<usize, Fired>,
    misses: &mut Vec<Miss>,
) -> Graph {
    let mut out = g.clone();
    for node in &mut out.nodes {
        let Op::Repeat(r) = &node.op else { continue };
        let body = rewrite_with(&r.body, names, sizes);
        misses.extend(body.misses.into_iter().map(|m| Miss {
            layers: m.layers * r.count,
            ..m
        }));
        for fired in body.report {
            let at = rules
                .iter()
                .position(|r| r.name == fired.rule)
                .expect("bodies are rewritten with the same rules");
            let n = r.count as f64;
            add(
                report,
                at,
                Fired {
                    saved_flops: n * fired.saved_flops,
                    saved_bytes: n * fired.saved_bytes,
                    ..fired
                },
            );
        }
        node.op = Repeat {
            body: Arc::new(body.graph),
            ..r.clone()
        }
        .into();
    }
    out
}

fn add(report: &mut BTreeMap<usize, Fired>, at: usize, fired: Fired) {
    let known = report.entry(at).or_insert(Fired {
        times: 0,
        saved_flops: 0.0,
        saved_bytes: 0.0,
        ..fired
    });
    known.times += fired.times;
    known.saved_flops += fired.saved_flops;
    known.saved_bytes += fired.saved_bytes;
}

/// A graph and everything the rules find equal to its parts.
struct Space<'a> {
    classes: Classes,
    sizes: &'a Examples,
    /// Class of every node of the graph.
    of_node: Vec<Id>,
    terms: Vec<Term>,
    outputs: Vec<Id>,
    /// Times that each rule fired, and the terms it gave.
    fired: Vec<usize>,
    made: Vec<Group>,
}

impl<'a> Space<'a> {
    fn explore(g: &Graph, rules: &[&Rule], sizes: &'a Examples) -> Space<'a> {
        let mut classes = Classes::new(Typing);
        let (mut of_node, mut terms) = (Vec::<Id>::new(), vec![]);
        for node in &g.nodes {
            let term = Term {
                op: node.op.clone(),
                args: node.args.iter().map(|a| of_node[a.0]).collect(),
            };
            of_node.push(classes.add(term.clone()));
            terms.push(term);
        }
        classes.rebuild();
        let outputs = g.outputs.iter().map(|(_, v)| of_node[v.0]).collect();
        let mut space = Space {
            classes,
            sizes,
            of_node,
            terms,
            outputs,
            fired: vec![0; rules.len()],
            made: vec![vec![]; rules.len()],
        };
        for _ in 0..ROUNDS {
            let before = (space.classes.total_number_of_nodes(), space.classes.number_of_classes());
            for (i, rule) in rules.iter().enumerate() {
                space.apply(i, rule);
                space.classes.rebuild();
            }
            let after = (space.classes.total_number_of_nodes(), space.classes.number_of_classes());
            if after == before || after.0 > TERMS {
                break;
            }
        }
        space
    }

    fn apply(&mut self, number: usize, rule: &Rule) {
        let mut found = vec![];
        for root in rule.roots {
            let mut ids: Vec<Id> = self
                .classes
                .classes_for_op(root)
                .map(|ids| ids.collect())
                .unwrap_or_default();
            ids.sort();
            for id in ids {
                let of_root = self.classes[id].nodes.iter().filter(|t| t.op.name() == *root);
                found.extend(of_root.map(|t| (id, t.clone())));
            }
        }
        for (class, term) in found {
            let Some(equal) = (rule.apply)(
                &mut Terms {
                    classes: &mut self.classes,
                    sizes: self.sizes,
                },
                &term,
            ) else {
                continue;
            };
            let made: Vec<Term> = self.classes[equal].nodes.clone();
            if self.classes.union(class, equal) {
                self.fired[number] += 1;
                self.made[number].extend(made.into_iter().map(|term| (class, term)));
            }
        }
    }

    /// Products that are nearly attention. What they are equal to is asked of a copy, which asking adds terms to.
    fn misses(&self, g: &Graph) -> Vec<Miss> {
        let mut classes = self.classes.clone();
        let mut found = vec![];
        for (node, (id, term)) in g.nodes.iter().zip(self.of_node.iter().zip(&self.terms)) {
            let mut terms = Terms {
                classes: &mut classes,
                sizes: self.sizes,
            };
            if let Some(why) = rules::attention::near_miss(&mut terms, *id, term) {
                found.push(Miss {
                    ty: node.types[0].to_string(),
                    layers: 1,
                    why,
                });
            }
        }
        found
    }

    fn menu(&self) -> Menu {
        Menu::new(&self.classes, &self.outputs, self.sizes)
    }

    /// The cheapest choice found, and its work.
    fn extract(&self) -> (Choice, Work) {
        let menu = self.menu();
        let trees = menu.cheapest_trees(|work, _| work.seconds());
        let mut as_written = trees.clone();
        as_written.extend(
            self.of_node
                .iter()
                .zip(&self.terms)
                .filter_map(|(id, t)| menu.term(&self.classes, *id, t)),
        );
        let groups: Vec<Group> = self
            .made
            .iter()
            .map(|made| {
                made.iter()
                    .filter_map(|(id, t)| menu.term(&self.classes, *id, t))
                    .collect()
            })
            .collect();
        let choice = menu.best(vec![trees, as_written], &groups);
        let work = menu.total(&choice).expect("the best choice has no cycles");
        (choice, work)
    }

    /// The graph of a choice; values keep the order of the nodes they come from.
    fn build(&self, g: &Graph, choice: &Choice) -> Graph {
        let menu = self.menu();
        let needed = menu.reached(choice).expect("choices have no cycles");
        let mut out = Graph::default();
        let mut values: BTreeMap<Id, ValueId> = BTreeMap::new();
        let class = |v: ValueId| self.classes.find(self.of_node[v.0]);
        for v in &g.inputs {
            values.insert(class(*v), out.add_op(g.node(*v).op.clone(), &[]));
        }
        // Operands of a value stand before it in `needed`, those of an old value's new form are added just before it.
        for v in (0..g.nodes.len()).map(ValueId).filter(|v| needed.contains(&class(*v))) {
            add_value(choice, class(v), &mut out, &mut values);
        }
        out.outputs = g
            .outputs
            .iter()
            .map(|(name, v)| (name.clone(), values[&class(*v)]))
            .collect();
        out
    }
}

fn add_value(choice: &Choice, class: Id, out: &mut Graph, values: &mut BTreeMap<Id, ValueId>) -> ValueId {
    if let Some(v) = values.get(&class) {
        return *v;
    }
    let term = &choice[&class];
    let args: Vec<ValueId> = term.args.iter().map(|a| add_value(choice, *a, out, values)).collect();
    let v = match &term.op {
        Op::Get(get) => out.results(args[0])[get.index],
        op => out.add_op(op.clone(), &args),
    };
    values.insert(class, v);
    v
}
