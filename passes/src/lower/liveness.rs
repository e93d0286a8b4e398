//! Lifetimes of buffers.

use ir::artifact::{Program, Step};
use std::collections::BTreeMap;

/// Numbers steps depth-first, a loop before its body and `prepare` before the rest, and sets every buffer's `live`. A buffer
/// that is also used outside a loop, or whose place moves with the layer, lives through the whole loop.
pub fn annotate(p: &mut Program) {
    let mut touched: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut moving: Vec<(usize, (usize, usize))> = vec![];
    let mut loops: Vec<(usize, usize)> = vec![];
    let mut next = 0;
    for steps in [&p.prepare, &p.steps] {
        walk(steps, &mut next, &mut touched, &mut moving, &mut loops);
    }
    for (i, buffer) in p.buffers.iter_mut().enumerate() {
        let Some(at) = touched.get(&i) else { continue };
        let (mut first, mut last) = (at[0], at[at.len() - 1]);
        for (start, end) in &loops {
            let inside = at.iter().any(|s| (*start..=*end).contains(s));
            let outside = at.iter().any(|s| !(*start..=*end).contains(s));
            let moves = moving.contains(&(i, (*start, *end)));
            if inside && (outside || moves) {
                first = first.min(*start);
                last = last.max(*end);
            }
        }
        buffer.live = (first, last);
    }
}

fn walk(
    steps: &[Step],
    next: &mut usize,
    touched: &mut BTreeMap<usize, Vec<usize>>,
    moving: &mut Vec<(usize, (usize, usize))>,
    loops: &mut Vec<(usize, usize)>,
) {
    for step in steps {
        match step {
            Step::Launch(l) => {
                l.operands
                    .iter()
                    .for_each(|o| touched.entry(o.buffer).or_default().push(*next));
                *next += 1;
            }
            Step::Loop { keep, body, .. } => {
                let start = *next;
                *next += 1;
                if let Some(k) = keep {
                    touched.entry(k.buffer).or_default().push(start);
                }
                walk(body, next, touched, moving, loops);
                let range = (start, *next - 1);
                loops.push(range);
                for l in body
                    .iter()
                    .filter_map(|s| if let Step::Launch(l) = s { Some(l) } else { None })
                {
                    let moves = l.operands.iter().filter(|o| !o.layer_stride.is_zero());
                    moving.extend(moves.map(|o| (o.buffer, range)));
                }
            }
        }
    }
}
