//! When a reshape maps coordinates without division: splitting axes is affine, merging them is not.

use ir::dim::{Dim, numel};
use ir::kernel::Index;

/// Coordinates in `from` of the element at coordinates `at` in `to`, if they are affine in `at`.
pub fn coordinates(from: &[Dim], to: &[Dim], at: &[Index]) -> Option<Vec<Index>> {
    let mut out = vec![Index::zero(); from.len()];
    let wide: Vec<usize> = (0..from.len()).filter(|i| !from[*i].is_one()).collect();
    let parts: Vec<usize> = (0..to.len()).filter(|i| !to[*i].is_one()).collect();
    let mut next = 0;
    for i in wide {
        // One axis of `from` takes the axes of `to` whose product it is.
        let start = next;
        while numel(&pick(to, &parts[start..next])) != from[i] {
            if next == parts.len() {
                return None;
            }
            next += 1;
        }
        let mut stride = Dim::from(1);
        for p in parts[start..next].iter().rev() {
            out[i] = out[i].clone().plus(&at[*p].clone().scaled(&stride));
            stride = stride * to[*p].clone();
        }
    }
    (next == parts.len()).then_some(out)
}

/// Whether `coordinates` has an answer.
pub fn is_affine(from: &[Dim], to: &[Dim]) -> bool {
    coordinates(from, to, &vec![Index::zero(); to.len()]).is_some()
}

fn pick(dims: &[Dim], at: &[usize]) -> Vec<Dim> {
    at.iter().map(|i| dims[*i].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_affine_and_merges_are_not() {
        let d = |s: &[&str]| s.iter().map(|x| x.parse().unwrap()).collect::<Vec<Dim>>();
        assert!(is_affine(&d(&["B", "T", "768"]), &d(&["B", "T", "12", "64"])));
        assert!(is_affine(&d(&["B", "1", "T"]), &d(&["B", "T", "1", "1"])));
        assert!(!is_affine(&d(&["B", "T", "12", "64"]), &d(&["B", "T", "768"])));
        let at = [Index::axis(0), Index::axis(1)];
        let got = coordinates(&d(&["12"]), &d(&["3", "4"]), &at).unwrap();
        assert_eq!(got[0].stride_of(0), Dim::from(4));
        assert_eq!(got[0].stride_of(1), Dim::from(1));
    }
}
