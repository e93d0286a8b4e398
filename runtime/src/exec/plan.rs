//! Where every temporary lies, decided per shape before anything runs, so that the peak is known beforehand.

use ir::artifact::ALIGN;

/// Something that needs memory during steps `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
}

/// Offsets in bytes, one per request, and the size of the arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub offsets: Vec<usize>,
    pub bytes: usize,
}

/// Puts large requests first, each at the lowest offset where nothing alive at the same time lies (Pisarchyk & Lee 2020,
/// "greedy by size").
pub fn layout(requests: &[Request]) -> Layout {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(requests[*i].bytes), *i));
    let mut offsets = vec![0; requests.len()];
    let mut placed: Vec<usize> = vec![];
    let mut total = 0;
    for i in order {
        let r = requests[i];
        let overlaps = |j: &&usize| requests[**j].first <= r.last && r.first <= requests[**j].last;
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(overlaps)
            .map(|j| (offsets[*j], offsets[*j] + requests[*j].bytes))
            .collect();
        taken.sort();
        let mut at = 0;
        for (start, end) in taken {
            if start >= at + r.bytes {
                break;
            }
            at = at.max(end.next_multiple_of(ALIGN));
        }
        offsets[i] = at;
        total = total.max(at + r.bytes);
        placed.push(i);
    }
    Layout { offsets, bytes: total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> impl Strategy<Value = Request> {
        (0usize..2000, 0usize..20, 0usize..10).prop_map(|(bytes, first, len)| Request {
            bytes,
            first,
            last: first + len,
        })
    }

    proptest! {
        #[test]
        fn what_lives_together_does_not_overlap(requests in prop::collection::vec(request(), 0..40)) {
            let l = layout(&requests);
            for (i, a) in requests.iter().enumerate() {
                prop_assert!(l.offsets[i].is_multiple_of(ALIGN) && l.offsets[i] + a.bytes <= l.bytes);
                for (j, b) in requests.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let apart = l.offsets[i] + a.bytes <= l.offsets[j] || l.offsets[j] + b.bytes <= l.offsets[i];
                    prop_assert!(!together || apart || a.bytes == 0 || b.bytes == 0, "{i} and {j}");
                }
            }
        }
    }

    #[test]
    fn memory_is_used_again() {
        let r = |first, last| Request {
            bytes: 640,
            first,
            last,
        };
        assert_eq!(layout(&[r(0, 1), r(2, 3), r(4, 4)]).bytes, 640);
        assert_eq!(layout(&[r(0, 1), r(1, 3), r(4, 4)]).bytes, 1280);
    }
}
