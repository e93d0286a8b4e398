//! One term of every class: the cheapest graph that can be found.
//!
//! Terms are first chosen by what their whole tree costs, which counts a value once per reader. Then alternatives are tried
//! against the cost of the graph itself, where a value counts once: first all results of a rule together, because they may
//! only pay jointly (they share what each alone would have to bear), then one by one.

use super::cost::{Work, work};
use super::language::{Classes, Term};
use egg::Id;
use ir::examples::Examples;
use std::collections::BTreeMap;

/// Chosen term by class.
pub type Choice = BTreeMap<Id, Term>;

/// Terms with what they cost, by class, in a fixed order.
pub struct Menu {
    terms: BTreeMap<Id, Vec<(Term, Work)>>,
    roots: Vec<Id>,
}

/// Terms that a rule made, tried together.
pub type Group = Vec<(Id, Term)>;

const PASSES: usize = 8;

impl Menu {
    pub fn new(classes: &Classes, roots: &[Id], sizes: &Examples) -> Menu {
        let canonical = |term: &Term| Term {
            args: term.args.iter().map(|a| classes.find(*a)).collect(),
            ..term.clone()
        };
        let priced = |term: &Term, class: Id| {
            let term = canonical(term);
            let args: Vec<_> = term.args.iter().map(|a| &classes[*a].data.types[0]).collect();
            let work = work(&term.op, &args, &classes[class].data.types, sizes);
            (term, work)
        };
        let of_class = |class: Id| {
            let mut all: Vec<_> = classes[class].nodes.iter().map(|term| priced(term, class)).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all.dedup_by(|a, b| a.0 == b.0);
            (class, all)
        };
        Menu {
            terms: classes.classes().map(|c| of_class(c.id)).collect(),
            roots: roots.iter().map(|r| classes.find(*r)).collect(),
        }
    }

    /// The choice whose trees are cheapest where a term costs `price`, a positive function of its work and of how many
    /// terms its class has. It has no cycles.
    pub fn cheapest_trees(&self, mut price: impl FnMut(&Work, usize) -> f64) -> Choice {
        let mut price_all = |all: &[(Term, Work)]| all.iter().map(|(_, work)| price(work, all.len())).collect();
        let prices: BTreeMap<Id, Vec<f64>> = self.terms.iter().map(|(class, all)| (*class, price_all(all))).collect();
        let mut best: BTreeMap<Id, (f64, usize)> = BTreeMap::new();
        loop {
            let mut changed = false;
            for (class, all) in &self.terms {
                for (i, (term, _)) in all.iter().enumerate() {
                    let args: Option<f64> = term.args.iter().map(|a| best.get(a).map(|(cost, _)| cost)).sum();
                    let Some(cost) = args.map(|args| args + prices[class][i]) else {
                        continue;
                    };
                    if best.get(class).is_none_or(|(old, _)| cost < *old) {
                        best.insert(*class, (cost, i));
                        changed = true;
                    }
                }
            }
            if !changed {
                return best
                    .iter()
                    .map(|(class, (_, i))| (*class, self.terms[class][*i].0.clone()))
                    .collect();
            }
        }
    }

    /// Classes that the roots need under a choice, operands before readers; `None` if it runs in a circle.
    pub fn reached(&self, choice: &Choice) -> Option<Vec<Id>> {
        let mut order = vec![];
        let mut done = BTreeMap::new(); // false while a class is being visited
        let mut stack: Vec<(Id, bool)> = self.roots.iter().rev().map(|r| (*r, false)).collect();
        while let Some((class, left)) = stack.pop() {
            if left {
                done.insert(class, true);
                order.push(class);
                continue;
            }
            match done.get(&class) {
                Some(true) => continue,
                Some(false) => return None,
                None => {}
            }
            done.insert(class, false);
            stack.push((class, true));
            for a in &choice[&class].args {
                match done.get(a) {
                    Some(true) => {}
                    Some(false) => return None,
                    None => stack.push((*a, false)),
                }
            }
        }
        Some(order)
    }

    /// Work of every term of the graph that a choice makes, each value once; `None` if it runs in a circle.
    fn works(&self, choice: &Choice) -> Option<Vec<Work>> {
        let reached = self.reached(choice)?;
        let mut readers: BTreeMap<Id, usize> = BTreeMap::new();
        for root in &self.roots {
            *readers.entry(*root).or_default() += 1;
        }
        for class in reached.iter().rev() {
            let term = &choice[class];
            // Who reads what is free reads its operand.
            let n = if term.op.is_free() { readers[class] } else { 1 };
            for a in &term.args {
                *readers.entry(*a).or_default() += n;
            }
        }
        let of = |class: &Id| self.work_of(*class, &choice[class]).read_by(readers[class]);
        Some(reached.iter().map(of).collect())
    }

    /// Work of the graph that a choice makes.
    pub fn total(&self, choice: &Choice) -> Option<Work> {
        Some(self.works(choice)?.into_iter().fold(Work::default(), Work::plus))
    }

    fn seconds(&self, choice: &Choice) -> Option<f64> {
        Some(self.works(choice)?.iter().map(Work::seconds).sum())
    }

    fn work_of(&self, class: Id, term: &Term) -> Work {
        let found = self.terms[&class].iter().find(|(t, _)| t == term);
        found.expect("choices are made from the menu").1
    }

    /// Improves a choice until no group and no single term makes its graph cheaper.
    pub fn improve(&self, mut choice: Choice, groups: &[Group]) -> Choice {
        let mut cost = self.seconds(&choice).expect("a first choice has no cycles");
        let mut attempt = |choice: &mut Choice, changes: &[(Id, Term)]| {
            let mut other = choice.clone();
            other.extend(changes.iter().cloned());
            if let Some(c) = self.seconds(&other).filter(|c| *c < cost) {
                cost = c;
                *choice = other;
                return true;
            }
            false
        };
        for _ in 0..PASSES {
            let mut better = false;
            for group in groups {
                better |= attempt(&mut choice, group);
            }
            for class in self.reached(&choice).expect("cycles are refused") {
                for (term, _) in &self.terms[&class] {
                    if choice[&class] != *term {
                        better |= attempt(&mut choice, &[(class, term.clone())]);
                    }
                }
            }
            if !better {
                break;
            }
        }
        choice
    }

    /// The best of improving several first choices.
    pub fn best(&self, starts: Vec<Choice>, groups: &[Group]) -> Choice {
        let improved = starts
            .into_iter()
            .filter(|c| self.reached(c).is_some())
            .map(|c| self.improve(c, groups));
        let seconds = |c: &Choice| self.seconds(c).unwrap_or(f64::INFINITY);
        let best = improved.min_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        best.expect("cheapest trees have no cycles")
    }

    /// `term` with the classes of this menu, if it is on it.
    pub fn term(&self, classes: &Classes, class: Id, term: &Term) -> Option<(Id, Term)> {
        let class = classes.find(class);
        let args = term.args.iter().map(|a| classes.find(*a)).collect();
        let term = Term { args, ..term.clone() };
        self.terms[&class]
            .iter()
            .any(|(t, _)| *t == term)
            .then_some((class, term))
    }
}
