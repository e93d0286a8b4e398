//! Alignment of a hypothesis with its reference: one of those with the fewest errors.
//!
//! Several alignments may have as few. The one chosen here is that of rapidfuzz, and so of jiwer, so that insertions,
//! deletions and substitutions are the same numbers: what both begin or end with is equal; of the rest, seen from its
//! end, a deletion is taken where it is one of the best ways, then an insertion where the row falls, else a pair.

use std::ops::Range;

/// One place of an alignment, with indices into reference and hypothesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Hit(usize, usize),
    Substitution(usize, usize),
    Deletion(usize),
    Insertion(usize),
}

/// Distances that are kept at a time; longer texts are cut in two first.
const CELLS: usize = 1 << 24;

/// The operations that turn `reference` into `hypothesis`, in order.
pub fn align<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Vec<Op> {
    let mut ops = Vec::with_capacity(reference.len().max(hypothesis.len()));
    part(reference, hypothesis, 0..reference.len(), 0..hypothesis.len(), &mut ops);
    ops
}

fn part<T: PartialEq>(a: &[T], b: &[T], mut r: Range<usize>, mut h: Range<usize>, ops: &mut Vec<Op>) {
    while !r.is_empty() && !h.is_empty() && a[r.start] == b[h.start] {
        ops.push(Op::Hit(r.start, h.start));
        (r.start, h.start) = (r.start + 1, h.start + 1);
    }
    let same = a[r.clone()].iter().rev().zip(b[h.clone()].iter().rev());
    let same = same.take_while(|(x, y)| x == y).count();
    let (rest, end) = (r.end - same, h.end - same);
    inner(a, b, r.start..rest, h.start..end, ops);
    ops.extend((0..same).map(|i| Op::Hit(rest + i, end + i)));
}

/// Aligns what begins and ends differently.
fn inner<T: PartialEq>(a: &[T], b: &[T], r: Range<usize>, h: Range<usize>, ops: &mut Vec<Op>) {
    let (rows, columns) = (r.len(), h.len());
    if rows == 0 || columns == 0 {
        ops.extend(r.map(Op::Deletion));
        ops.extend(h.map(Op::Insertion));
        return;
    }
    if (rows + 1).saturating_mul(columns + 1) > CELLS && rows > 1 {
        // Hirschberg: the column at which the best way crosses the middle row.
        let middle = r.start + rows / 2;
        let forth = last_row(a[r.start..middle].iter(), &b[h.clone()].iter().collect::<Vec<_>>());
        let back = last_row(
            a[middle..r.end].iter().rev(),
            &b[h.clone()].iter().rev().collect::<Vec<_>>(),
        );
        let cut = (0..=columns).min_by_key(|j| forth[*j] + back[columns - j]).unwrap_or(0);
        part(a, b, r.start..middle, h.start..h.start + cut, ops);
        part(a, b, middle..r.end, h.start + cut..h.end, ops);
        return;
    }
    let width = columns + 1;
    let mut d = vec![0u32; (rows + 1) * width];
    (0..width).for_each(|j| d[j] = j as u32);
    for i in 1..=rows {
        d[i * width] = i as u32;
        for j in 1..=columns {
            let differ = a[r.start + i - 1] != b[h.start + j - 1];
            let pair = d[(i - 1) * width + j - 1] + differ as u32;
            d[i * width + j] = pair.min(d[(i - 1) * width + j] + 1).min(d[i * width + j - 1] + 1);
        }
    }
    let first = ops.len();
    let (mut i, mut j) = (rows, columns);
    while i > 0 || j > 0 {
        let (x, y) = (r.start + i, h.start + j);
        let deletes = i > 0 && (j == 0 || d[i * width + j] == d[(i - 1) * width + j] + 1);
        // Only where the distance falls from the pair's row: elsewhere a pair is as good.
        let inserts = j > 0 && (i == 0 || (j > 1 && d[i * width + j - 1] + 1 == d[(i - 1) * width + j - 1]));
        if deletes {
            ops.push(Op::Deletion(x - 1));
            i -= 1;
        } else if inserts {
            ops.push(Op::Insertion(y - 1));
            j -= 1;
        } else {
            let hit = a[x - 1] == b[y - 1];
            ops.push(if hit {
                Op::Hit(x - 1, y - 1)
            } else {
                Op::Substitution(x - 1, y - 1)
            });
            (i, j) = (i - 1, j - 1);
        }
    }
    ops[first..].reverse();
}

/// Distances from all of `a` to every beginning of `b`.
fn last_row<'a, T: PartialEq + 'a>(a: impl Iterator<Item = &'a T>, b: &[&T]) -> Vec<u32> {
    let mut row: Vec<u32> = (0..=b.len() as u32).collect();
    for (i, x) in a.enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i as u32 + 1);
        for (j, y) in b.iter().enumerate() {
            let pair = diagonal + (x != *y) as u32;
            diagonal = row[j + 1];
            row[j + 1] = pair.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::edit_distance;
    use proptest::prelude::*;

    fn errors(ops: &[Op]) -> usize {
        ops.iter().filter(|op| !matches!(op, Op::Hit(..))).count()
    }

    /// Both texts are gone through once, in order, and hits are hits.
    fn check(a: &[u8], b: &[u8], ops: &[Op]) {
        let (mut i, mut j) = (0, 0);
        for op in ops {
            let (x, y) = match *op {
                Op::Hit(x, y) => {
                    assert_eq!(a[x], b[y]);
                    (Some(x), Some(y))
                }
                Op::Substitution(x, y) => {
                    assert_ne!(a[x], b[y]);
                    (Some(x), Some(y))
                }
                Op::Deletion(x) => (Some(x), None),
                Op::Insertion(y) => (None, Some(y)),
            };
            if let Some(x) = x {
                assert_eq!(x, i);
                i += 1;
            }
            if let Some(y) = y {
                assert_eq!(y, j);
                j += 1;
            }
        }
        assert_eq!((i, j), (a.len(), b.len()));
    }

    proptest! {
        #[test]
        fn an_alignment_has_as_few_errors_as_there_can_be(a in "[abc]{0,12}", b in "[abc]{0,12}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let ops = align(a, b);
            check(a, b, &ops);
            prop_assert_eq!(errors(&ops), edit_distance(a, b));
        }
    }

    #[test]
    fn long_texts_are_aligned_in_parts_with_as_few_errors() {
        let letter = |i: usize, k: usize| b"abcd"[(i * i * k + i / 7) % 4];
        let a: Vec<u8> = (0..5000).map(|i| letter(i, 3)).collect();
        let b: Vec<u8> = (0..4700).map(|i| letter(i, 5)).collect();
        assert!(a.len() * b.len() > CELLS);
        let ops = align(&a, &b);
        check(&a, &b, &ops);
        assert_eq!(errors(&ops), edit_distance(&a, &b));
    }
}
