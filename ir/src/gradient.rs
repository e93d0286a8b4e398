//! Reverse-mode differentiation of graphs, repeats included.
//!
//! A repeat's backward pass is a repeat in the other direction. What it reads of the forward pass is either computed again
//! (cheap element-wise values) or *saved*: `save_slots` makes the forward repeat give those values as stacked results.

use crate::dim::Dim;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::{Get, Input, Op, Repeat, Vjp};
use crate::types::Type;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Adds the gradients of the seeded values with respect to `wrt` to the graph. `seeds` pairs values with their own
/// gradients. Entry i of the result belongs to `wrt[i]`; `None` where nothing depends on it.
pub fn backward(g: &mut Graph, seeds: &[(ValueId, ValueId)], wrt: &[ValueId]) -> Vec<Option<ValueId>> {
    let forward = g.nodes.len();
    let mut relevant = vec![false; forward];
    for i in 0..forward {
        let node = &g.nodes[i];
        relevant[i] = wrt.contains(&ValueId(i)) || node.args.iter().any(|a| relevant[a.0]);
    }
    // Gradients per result of every node.
    let mut grads: BTreeMap<ValueId, Vec<Option<ValueId>>> = BTreeMap::new();
    for (v, d) in seeds {
        receive(g, &mut grads, *v, *d);
    }
    for i in (0..forward).rev() {
        let v = ValueId(i);
        if !relevant[i] || wrt.contains(&v) {
            continue;
        }
        let Some(results_grads) = grads.get(&v).cloned() else {
            continue;
        };
        let args = g.node(v).args.clone();
        let op = g.node(v).op.clone();
        let results = g.results(v);
        let at = Vjp {
            args: &args,
            results: &results,
            grads: &results_grads,
        };
        for (arg, d) in args.iter().zip(op.vjp(g, &at)) {
            if let Some(d) = d.filter(|_| relevant[arg.0]) {
                receive(g, &mut grads, *arg, d);
            }
        }
    }
    wrt.iter().map(|v| grads.get(v).and_then(|d| d[0])).collect()
}

/// Adds a gradient to a value's; `get` passes it to the node it reads.
fn receive(g: &mut Graph, grads: &mut BTreeMap<ValueId, Vec<Option<ValueId>>>, v: ValueId, d: ValueId) {
    let (target, index) = match &g.node(v).op {
        Op::Get(get) => (g.node(v).args[0], get.index),
        _ => (v, 0),
    };
    let n = g.node(target).types.len();
    let have = grads.entry(target).or_insert_with(|| vec![None; n])[index];
    let total = match have {
        None => d,
        Some(old) => g.add(old, d),
    };
    if let Some(all) = grads.get_mut(&target) {
        all[index] = Some(total);
    }
}

const SAVED: &str = "saved:";

/// The backward body of a repeat and what it needs.
struct Plan {
    /// Body values (of the forward body) that the backward body reads as stacked operands.
    saved: Vec<ValueId>,
    /// Indices of forward stacked and invariant operands that it reads.
    stacked: Vec<usize>,
    invariants: Vec<usize>,
    /// Forward operands whose gradient it gives, in this order: carries, invariants (as sums), stacked.
    d_carries: Vec<usize>,
    d_invariants: Vec<usize>,
    d_stacked: Vec<usize>,
    body: Graph,
}

fn own_outputs(body: &Graph) -> usize {
    body.outputs.iter().filter(|(n, _)| !n.starts_with(SAVED)).count()
}

/// The body without what was saved for a backward pass. Every result of its nodes is a value, so that each can be saved: an
/// op is not done again for a result that only its gradient reads.
fn own_body(r: &Repeat) -> Graph {
    let mut body = (*r.body).clone();
    body.outputs.truncate(own_outputs(&body));
    let mut body = body.prune();
    for i in 0..body.nodes.len() {
        body.results(ValueId(i));
    }
    body
}

fn plan(r: &Repeat) -> Plan {
    let mut g = own_body(r);
    let forward = g.nodes.len();
    let n_inputs = g.inputs.len();
    let is_float = |g: &Graph, i: usize| g.ty(g.inputs[i]).dtype.is_float();
    let floats =
        |g: &Graph, range: std::ops::Range<usize>| -> Vec<usize> { range.filter(|i| is_float(g, *i)).collect() };
    let d_carries = floats(&g, 0..r.carries);
    let mut seeds = vec![];
    for c in &d_carries {
        let (v, ty) = (g.outputs[*c].1, g.ty(g.inputs[*c]).clone());
        let d = g.input(&format!("d_carry:{c}"), ty);
        seeds.push((v, d));
    }
    let wrt: Vec<usize> = floats(&g, 0..n_inputs);
    let wrt_values: Vec<ValueId> = wrt.iter().map(|i| g.inputs[*i]).collect();
    let grads: BTreeMap<usize, Option<ValueId>> =
        wrt.iter().copied().zip(backward(&mut g, &seeds, &wrt_values)).collect();
    let has = |i: &usize| grads.get(i).is_some_and(|d| d.is_some());
    let d_stacked: Vec<usize> = (r.carries..r.carries + r.stacked).filter(has).collect();
    let d_invariants: Vec<usize> = (r.carries + r.stacked..n_inputs).filter(has).collect();

    let mut b = Extract {
        from: &g,
        forward,
        r,
        out: Graph::default(),
        map: BTreeMap::new(),
        saved: vec![],
    };
    let mut used = BTreeSet::new();
    let zero_carry = |e: &mut Extract, i: usize| {
        let (c, shape) = (e.out.constant(0.0), e.from.shape(e.from.inputs[i]).to_vec());
        e.out.broadcast_to(c, shape)
    };
    // Inputs are created in the order the repeat binds them: carries, stacked, invariants. What is saved is only known
    // after extraction, so everything is extracted under provisional inputs and ordered at the end.
    let mut carries_out = vec![];
    for (c, (_, d_in)) in d_carries.iter().zip(&seeds) {
        let input = b.out.input(&format!("d_carry:{c}"), g.ty(*d_in).clone());
        b.map.insert(*d_in, input);
    }
    for i in &d_invariants {
        b.out.input(&format!("d_invariant:{i}"), g.ty(g.inputs[*i]).clone());
    }
    for c in &d_carries {
        let v = match grads[c] {
            Some(d) => b.value(d, &mut used),
            None => zero_carry(&mut b, *c),
        };
        carries_out.push((format!("d_carry:{c}"), v));
    }
    for (n, i) in d_invariants.iter().enumerate() {
        let d = grads[i].expect("filtered above");
        let d = b.value(d, &mut used);
        let sum = b.out.inputs[d_carries.len() + n];
        let total = b.out.add(sum, d);
        carries_out.push((format!("d_invariant:{i}"), total));
    }
    for i in &d_stacked {
        let d = b.value(grads[i].expect("filtered above"), &mut used);
        carries_out.push((format!("d_stacked:{i}"), d));
    }
    let saved = b.saved.clone();
    let stacked: Vec<usize> = used.iter().copied().filter(|i| *i < r.carries + r.stacked).collect();
    let invariants: Vec<usize> = used.iter().copied().filter(|i| *i >= r.carries + r.stacked).collect();
    let mut body = b.out;
    body.outputs = carries_out;
    let by_name = |name: String| {
        let named = |v: &&ValueId| matches!(&body.node(**v).op, Op::Input(i) if i.name == name);
        *body
            .inputs
            .iter()
            .find(named)
            .expect("every operand was given an input")
    };
    let mut inputs: Vec<ValueId> = body.inputs[..d_carries.len() + d_invariants.len()].to_vec();
    inputs.extend(saved.iter().map(|v| by_name(format!("{SAVED}{}", v.0))));
    inputs.extend(
        stacked
            .iter()
            .chain(&invariants)
            .map(|i| by_name(format!("operand:{i}"))),
    );
    body.inputs = inputs;
    Plan {
        saved,
        stacked,
        invariants,
        d_carries,
        d_invariants,
        d_stacked,
        body,
    }
}

/// Copies gradient nodes into a backward body, turning forward values into operands or recomputing them.
struct Extract<'a> {
    from: &'a Graph,
    forward: usize,
    r: &'a Repeat,
    out: Graph,
    map: BTreeMap<ValueId, ValueId>,
    saved: Vec<ValueId>,
}

impl Extract<'_> {
    fn value(&mut self, v: ValueId, used: &mut BTreeSet<usize>) -> ValueId {
        if let Some(m) = self.map.get(&v) {
            return *m;
        }
        let node = self.from.node(v);
        let operand = self
            .from
            .inputs
            .iter()
            .position(|i| *i == v)
            .filter(|_| v.0 < self.forward);
        let new = match operand {
            Some(i) if i >= self.r.carries => {
                used.insert(i);
                self.out.add_op(
                    Input {
                        name: format!("operand:{i}"),
                        ty: node.types[0].clone(),
                    },
                    &[],
                )
            }
            None if v.0 >= self.forward || node.op.is_cheap() => self.copy(v, used),
            _ => {
                self.saved.push(v);
                self.out.add_op(
                    Input {
                        name: format!("{SAVED}{}", v.0),
                        ty: node.types[0].clone(),
                    },
                    &[],
                )
            }
        };
        self.map.insert(v, new);
        new
    }

    fn copy(&mut self, v: ValueId, used: &mut BTreeSet<usize>) -> ValueId {
        let node = self.from.node(v).clone();
        if let Op::Get(Get { index }) = node.op {
            let whole = self.whole(node.args[0], used);
            return self.out.results(whole)[index];
        }
        let args: Vec<ValueId> = node.args.iter().map(|a| self.value(*a, used)).collect();
        self.out.add_op(node.op, &args)
    }

    /// A node of several results, which is only ever read through `get`.
    fn whole(&mut self, v: ValueId, used: &mut BTreeSet<usize>) -> ValueId {
        let node = self.from.node(v).clone();
        let args: Vec<ValueId> = node.args.iter().map(|a| self.value(*a, used)).collect();
        self.out.add_op(node.op, &args)
    }
}

/// The same graph, where every repeat also gives what its backward pass reads. Run before `backward`.
pub fn save_slots(g: &Graph) -> Graph {
    let mut out = Graph::default();
    let mut map: Vec<ValueId> = vec![];
    for node in &g.nodes {
        let args: Vec<ValueId> = node.args.iter().map(|a| map[a.0]).collect();
        let new = match &node.op {
            Op::Repeat(r) => {
                let whole = out.add_op(with_saved(r), &args);
                let was_single = node.types.len() == 1;
                if was_single { out.results(whole)[0] } else { whole }
            }
            Op::Get(get) => out.results(args[0])[get.index],
            op => push_copy(
                &mut out,
                Node {
                    op: op.clone(),
                    args,
                    types: node.types.clone(),
                },
            ),
        };
        map.push(new);
    }
    out.inputs = g.inputs.iter().map(|v| map[v.0]).collect();
    out.outputs = g.outputs.iter().map(|(n, v)| (n.clone(), map[v.0])).collect();
    out
}

fn push_copy(out: &mut Graph, node: Node) -> ValueId {
    out.add_op(node.op, &node.args)
}

fn with_saved(r: &Repeat) -> Repeat {
    let mut body = own_body(r);
    for v in plan(r).saved {
        body.outputs.push((format!("{SAVED}{}", v.0), v));
    }
    Repeat {
        body: Arc::new(body),
        ..r.clone()
    }
}

/// The vjp of a repeat that `save_slots` prepared.
pub fn repeat_vjp(r: &Repeat, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
    let p = plan(r);
    let own = own_outputs(&r.body);
    assert_eq!(
        r.body.outputs.len() - own,
        p.saved.len(),
        "save_slots runs before backward"
    );
    assert!(
        at.grads[r.carries..].iter().all(|d| d.is_none()),
        "gradients of stacked results are not supported"
    );
    let mut args = vec![];
    for c in &p.d_carries {
        let d = at.grads[*c].unwrap_or_else(|| zeros(g, at.results[*c]));
        args.push(d);
    }
    for i in &p.d_invariants {
        args.push(zeros(g, at.args[*i]));
    }
    args.extend(&at.results[own..]);
    args.extend(p.stacked.iter().chain(&p.invariants).map(|i| at.args[*i]));
    if r.keep {
        args.push(at.args[at.args.len() - 1]);
    }
    let op = Repeat {
        count: r.count,
        carries: p.d_carries.len() + p.d_invariants.len(),
        stacked: p.saved.len() + p.stacked.len(),
        keep: r.keep,
        reverse: !r.reverse,
        body: Arc::new(p.body),
    };
    let node = g.add_op(op, &args);
    let results = g.results(node);
    let mut all = vec![None; at.args.len()];
    for (i, v) in p
        .d_carries
        .iter()
        .chain(&p.d_invariants)
        .chain(&p.d_stacked)
        .zip(results)
    {
        all[*i] = Some(v);
    }
    all
}

fn zeros(g: &mut Graph, like: ValueId) -> ValueId {
    let Type { dtype, shape } = g.ty(like).clone();
    let zero = g.constant_of(dtype, 0.0);
    g.broadcast_to(zero, shape.into_iter().collect::<Vec<Dim>>())
}
