//! Parameters, and what `prepare` makes, in pieces that are used and given back one by one.

use super::resolve::{Action, Address, Memory, PAGE, Resolved};
use ir::artifact::Artifact;
use std::ops::Range;

/// Bytes of a memory that belong to one parameter of one layer, or to one layer of a buffer.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    start: usize,
    /// One past the last byte; with what lies between this piece and the next, which is nobody's.
    end: usize,
    /// Bytes from one layer to the next.
    stride: usize,
    /// One past the last piece of the same parameter or buffer, of all layers.
    group_end: usize,
}

/// All pieces, those of the parameters first, each memory's in order.
pub struct Pieces {
    all: Vec<Piece>,
    params: usize,
}

impl Pieces {
    pub fn new(artifact: &Artifact, resolved: &Resolved) -> Pieces {
        let mut all = of_parameters(artifact);
        let params = all.len();
        for (start, end) in &resolved.kept.buffers {
            let first = all.len();
            let stride = layer_stride(resolved, (*start, *end)).unwrap_or(end - start);
            let starts = (*start..*end).step_by(stride.max(1));
            all.extend(starts.map(|at| Piece {
                start: at,
                end: (at + stride).min(*end),
                stride,
                group_end: 0,
            }));
            let group_end = all.len();
            all[first..].iter_mut().for_each(|p| p.group_end = group_end);
        }
        Pieces { all, params }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether it is a piece of what is kept, not of a parameter.
    pub fn is_kept(&self, i: usize) -> bool {
        i >= self.params
    }

    pub fn bytes(&self, i: usize) -> usize {
        self.all[i].end - self.all[i].start
    }

    /// The pieces that an operand may reach into. It lies within one parameter or buffer, and where it moves on from layer to
    /// layer by as much as that does, within one layer's part.
    pub fn touched(&self, a: &Address, layer: Option<i64>) -> Range<usize> {
        let Some(memory) = self.memory(a.memory) else {
            return 0..0;
        };
        let at = (a.byte + a.layer_bytes * layer.unwrap_or(0)).max(0) as usize;
        let i = memory.start + self.all[memory.clone()].partition_point(|p| p.end <= at);
        if i == memory.end {
            return 0..0;
        }
        let piece = &self.all[i];
        if layer.is_some() && a.layer_bytes == piece.stride as i64 {
            i..i + 1
        } else if self.is_kept(i) {
            let first = self.all[memory.clone()].partition_point(|p| p.group_end < piece.group_end);
            memory.start + first..piece.group_end
        } else {
            i..piece.group_end
        }
    }

    /// Pages of a piece, as bytes from and to, that hold nothing but pieces that are `gone`, this one among them.
    pub fn pages(&self, i: usize, gone: &[bool]) -> (usize, usize) {
        let piece = &self.all[i];
        let memory = match self.is_kept(i) {
            true => self.params..self.all.len(),
            false => 0..self.params,
        };
        let (from, to) = (piece.start / PAGE * PAGE, piece.end.next_multiple_of(PAGE));
        let mut before = (memory.start..i).rev().take_while(|j| self.all[*j].end > from);
        let mut after = (i + 1..memory.end).take_while(|j| self.all[*j].start < to);
        let from = from + PAGE * before.any(|j| !gone[j]) as usize;
        let to = to - PAGE * after.any(|j| !gone[j]) as usize;
        (from, to.max(from))
    }

    fn memory(&self, memory: Memory) -> Option<Range<usize>> {
        match memory {
            Memory::Params => Some(0..self.params),
            Memory::Kept => Some(self.params..self.all.len()),
            _ => None,
        }
    }
}

/// Neighbours of one shape are taken for layers of one parameter: where they are not, more is left in memory than need be.
fn of_parameters(artifact: &Artifact) -> Vec<Piece> {
    let mut params: Vec<_> = artifact.params.iter().collect();
    params.sort_by_key(|p| p.offset);
    let ends = params.iter().skip(1).map(|p| p.offset).chain([artifact.param_elements]);
    let mut pieces: Vec<Piece> = params
        .iter()
        .zip(ends)
        .map(|(p, end)| Piece {
            start: p.offset * 4,
            end: end * 4,
            stride: p.len() * 4,
            group_end: 0,
        })
        .collect();
    let mut group_end = pieces.len();
    for i in (0..pieces.len()).rev() {
        if params.get(i + 1).is_none_or(|next| next.shape != params[i].shape) {
            group_end = i + 1;
        }
        pieces[i].group_end = group_end;
    }
    pieces
}

/// By how many bytes uses of a buffer move on from layer to layer, where all that do agree.
fn layer_stride(resolved: &Resolved, (start, end): (usize, usize)) -> Option<usize> {
    let mut strides = vec![];
    for actions in [&resolved.prepare, &resolved.actions] {
        each_operand(actions, &mut |a| {
            let inside = (start as i64..end as i64).contains(&a.byte);
            if a.memory == Memory::Kept && inside && a.layer_bytes > 0 {
                strides.push(a.layer_bytes as usize);
            }
        });
    }
    strides.sort();
    strides.dedup();
    match strides[..] {
        [stride] => Some(stride),
        _ => None,
    }
}

fn each_operand(actions: &[Action], f: &mut dyn FnMut(&Address)) {
    for action in actions {
        match action {
            Action::Run(run) => run.operands.iter().for_each(&mut *f),
            Action::Loop { body, .. } => each_operand(body, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of these many bytes side by side, some of them parameters, the others of what is kept.
    fn pieces(sizes: &[usize], params: usize) -> Pieces {
        let mut all: Vec<Piece> = vec![];
        for (i, size) in sizes.iter().enumerate() {
            let start = if i == params {
                0
            } else {
                all.last().map_or(0, |p| p.end)
            };
            all.push(Piece {
                start,
                end: start + size,
                stride: *size,
                group_end: i + 1,
            });
        }
        Pieces { all, params }
    }

    proptest! {
        /// A page is given back once, and not before all that lies on it is gone.
        #[test]
        fn pages_go_with_the_last_piece_on_them(
            sizes in prop::collection::vec(prop_oneof![1usize..300, 3000usize..20_000, Just(PAGE)], 1..20),
            params in 0usize..20,
            order in Just((0..20).collect::<Vec<usize>>()).prop_shuffle(),
        ) {
            let params = params.min(sizes.len());
            let pieces = pieces(&sizes, params);
            let mut gone = vec![false; sizes.len()];
            let mut given = std::collections::BTreeSet::new();
            for i in order.into_iter().filter(|i| *i < sizes.len()) {
                gone[i] = true;
                let (from, to) = pieces.pages(i, &gone);
                for page in (from..to).step_by(PAGE) {
                    prop_assert!(given.insert((pieces.is_kept(i), page)), "page {page} twice");
                    let on = |j: &usize| {
                        let p = &pieces.all[*j];
                        pieces.is_kept(*j) == pieces.is_kept(i) && p.start < page + PAGE && page < p.end
                    };
                    prop_assert!((0..sizes.len()).filter(on).all(|j| gone[j]), "page {page} with piece {i}");
                }
            }
            let pages = |range: Range<usize>| pieces.all[range].last().map_or(0, |p| p.end.div_ceil(PAGE));
            prop_assert_eq!(given.len(), pages(0..params) + pages(params..sizes.len()));
        }
    }
}
