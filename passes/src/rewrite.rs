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

use cost::Work;
use egg::Id;
use extract::{Choice, Group, Menu};
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

/// Rewrites with every rule.
pub fn rewrite(g: &Graph) -> Rewritten {
    rewrite_with(g, &all_rules().map(|r| r.name).collect::<Vec<_>>())
}

/// Rewrites with the named rules only.
pub fn rewrite_with(g: &Graph, names: &[&str]) -> Rewritten {
    let rules: Vec<&Rule> = all_rules().filter(|r| names.contains(&r.name)).collect();
    let mut report: BTreeMap<usize, Fired> = BTreeMap::new();
    let g = with_bodies(g, names, &rules, &mut report);
    let space = Space::explore(&g, &rules);
    let (choice, work) = space.extract();
    for (i, times) in space.fired.iter().enumerate().filter(|(_, n)| **n > 0) {
        let others: Vec<&Rule> = rules.iter().copied().filter(|r| r.name != rules[i].name).collect();
        let without = Space::explore(&g, &others).extract().1;
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
    }
}

/// The graph with rewritten bodies.
fn with_bodies(g: &Graph, names: &[&str], rules: &[&Rule], report: &mut BTreeMap<usize, Fired>) -> Graph {
    let mut out = g.clone();
    for node in &mut out.nodes {
        let Op::Repeat(r) = &node.op else { continue };
        let body = rewrite_with(&r.body, names);
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
struct Space {
    classes: Classes,
    /// Class of every node of the graph.
    of_node: Vec<Id>,
    terms: Vec<Term>,
    outputs: Vec<Id>,
    /// Times that each rule fired, and the terms it gave.
    fired: Vec<usize>,
    made: Vec<Group>,
}

impl Space {
    fn explore(g: &Graph, rules: &[&Rule]) -> Space {
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

    /// The cheapest choice found, and its work.
    fn extract(&self) -> (Choice, Work) {
        let menu = Menu::new(&self.classes, &self.outputs);
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
        let menu = Menu::new(&self.classes, &self.outputs);
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
