//! Control flow: where diverged lanes meet again.

use crate::op::{ALWAYS, Control, Instr, Op};

/// No meeting point: the lanes only end.
pub const NOWHERE: u32 = u32::MAX;

/// Successors of an instruction: the next one, targets, and `None` for the end.
fn successors(code: &[Instr], at: usize) -> Vec<Option<usize>> {
    let next = (at + 1 < code.len()).then_some(at + 1);
    let conditional = code[at].guard != ALWAYS;
    let mut out = match &code[at].op {
        Op::Control(Control::Branch { target, .. }) => vec![Some(*target as usize)],
        Op::Control(Control::Table { targets, .. }) => targets.iter().map(|t| Some(*t as usize)).collect(),
        Op::Control(Control::Exit | Control::Trap) => vec![None],
        _ => return vec![next],
    };
    if conditional {
        out.push(next);
    }
    out
}

/// Fills in where the lanes of each branch meet: the start of its immediate post-dominator.
pub fn fill_meeting_points(code: &mut [Instr]) {
    let graph = Graph::new(code);
    let meets = graph.post_dominators();
    for (at, instr) in code.iter_mut().enumerate() {
        if let Op::Control(Control::Branch { meet, .. } | Control::Table { meet, .. }) = &mut instr.op {
            let dominator = meets[graph.block_of[at]];
            *meet = dominator.map_or(NOWHERE, |block| graph.starts[block] as u32);
        }
    }
}

/// Basic blocks; the virtual exit is the last node.
struct Graph {
    starts: Vec<usize>,
    block_of: Vec<usize>,
    successors: Vec<Vec<usize>>,
}

impl Graph {
    fn new(code: &[Instr]) -> Self {
        let edges: Vec<_> = (0..code.len()).map(|at| successors(code, at)).collect();
        let mut leader = vec![false; code.len()];
        if let Some(first) = leader.first_mut() {
            *first = true;
        }
        for (at, instr) in code.iter().enumerate() {
            if let Op::Control(Control::Branch { .. } | Control::Table { .. } | Control::Exit | Control::Trap) =
                instr.op
            {
                edges[at].iter().flatten().for_each(|&to| leader[to] = true);
                if at + 1 < code.len() {
                    leader[at + 1] = true;
                }
            }
        }
        let starts: Vec<usize> = (0..code.len()).filter(|&at| leader[at]).collect();
        let mut block_of = vec![0; code.len()];
        let mut block = 0;
        for (at, of) in block_of.iter_mut().enumerate() {
            if at > 0 && leader[at] {
                block += 1;
            }
            *of = block;
        }
        let exit = starts.len();
        let successors = (0..exit)
            .map(|b| {
                let last = starts.get(b + 1).copied().unwrap_or(code.len()) - 1;
                edges[last]
                    .iter()
                    .map(|to| to.map_or(exit, |to| block_of[to]))
                    .collect()
            })
            .collect();
        Self {
            starts,
            block_of,
            successors,
        }
    }

    /// The immediate post-dominator of each block, by Cooper, Harvey and Kennedy's algorithm on the reversed graph; `None`
    /// where it is the exit, or where no path leads there.
    fn post_dominators(&self) -> Vec<Option<usize>> {
        let exit = self.starts.len();
        let mut predecessors = vec![vec![]; exit + 1];
        for (from, successors) in self.successors.iter().enumerate() {
            successors.iter().for_each(|&to| predecessors[to].push(from));
        }
        let order = postorder(exit, &predecessors);
        let mut number = vec![usize::MAX; exit + 1];
        order.iter().enumerate().for_each(|(i, &node)| number[node] = i);
        let mut idom = vec![None; exit + 1];
        idom[exit] = Some(exit);
        let mut changed = true;
        while changed {
            changed = false;
            for &node in order.iter().rev().filter(|&&node| node != exit) {
                let mut new = None;
                for &to in self.successors[node].iter().filter(|&&to| idom[to].is_some()) {
                    new = Some(new.map_or(to, |other| intersect(&idom, &number, to, other)));
                }
                if idom[node] != new {
                    idom[node] = new;
                    changed = true;
                }
            }
        }
        idom.truncate(exit);
        idom.into_iter().map(|d| d.filter(|&d| d != exit)).collect()
    }
}

fn postorder(root: usize, edges: &[Vec<usize>]) -> Vec<usize> {
    let mut seen = vec![false; edges.len()];
    let mut order = Vec::new();
    let mut stack = vec![(root, 0)];
    seen[root] = true;
    while let Some((node, next)) = stack.pop() {
        match edges[node].get(next) {
            Some(&to) => {
                stack.push((node, next + 1));
                if !seen[to] {
                    seen[to] = true;
                    stack.push((to, 0));
                }
            }
            None => order.push(node),
        }
    }
    order
}

fn intersect(idom: &[Option<usize>], number: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        let low = if number[a] < number[b] { &mut a } else { &mut b };
        match idom[*low] {
            Some(up) => *low = up,
            None => return a,
        }
    }
    a
}
