//! Products of matrices of parts in fewer multiplications, as data.
//!
//! Where rows of the left operand overlap, as those of a convolution over time do, its parts are not independent: a tap of one
//! output is another tap of the next. Toom-Cook's method for short filters (Winograd, Arithmetic Complexity of Computations,
//! 1980, chapter V) then needs fewer products of parts than there are pairs of outputs and taps. A method is a sum of products
//! of three linear forms, of inputs, of taps and of outputs. Read as it stands it computes outputs; with the forms of
//! outputs and taps exchanged it computes the gradient of the taps (Winograd, chapter V, on the dual problem).

use ir::dim::Dim;
use ir::kernel::Contract;

/// A linear form: parts with their factors.
type Sum = &'static [(usize, f32)];

/// A sum of products that computes some outputs of a convolution: output i is the sum over taps l of
/// tap l * input (stride * i + l).
struct Convolution {
    outputs: usize,
    taps: usize,
    stride: usize,
    /// Of inputs, taps and outputs.
    products: &'static [(Sum, Sum, Sum)],
}

/// F(3, 2): three outputs of two taps in 4 products, not 6; points 0, 1, -1 and infinity.
const TWO_TAPS: Convolution = Convolution {
    outputs: 3,
    taps: 2,
    stride: 1,
    products: &[
        (&[(0, 1.0), (2, -1.0)], &[(0, 1.0)], &[(0, 1.0)]),
        (
            &[(1, 1.0), (2, 1.0)],
            &[(0, 0.5), (1, 0.5)],
            &[(0, 1.0), (1, 1.0), (2, 1.0)],
        ),
        (
            &[(2, 1.0), (1, -1.0)],
            &[(0, 0.5), (1, -0.5)],
            &[(0, 1.0), (1, -1.0), (2, 1.0)],
        ),
        (&[(3, 1.0), (1, -1.0)], &[(1, 1.0)], &[(2, 1.0)]),
    ],
};

/// Three taps at every other input: taps 0 and 2 as F(3, 2) of the even inputs, tap 1 as it is. 7 products, not 9.
const THREE_TAPS_BY_TWO: Convolution = Convolution {
    outputs: 3,
    taps: 3,
    stride: 2,
    products: &[
        (&[(0, 1.0), (4, -1.0)], &[(0, 1.0)], &[(0, 1.0)]),
        (&[(1, 1.0)], &[(1, 1.0)], &[(0, 1.0)]),
        (
            &[(2, 1.0), (4, 1.0)],
            &[(0, 0.5), (2, 0.5)],
            &[(0, 1.0), (1, 1.0), (2, 1.0)],
        ),
        (&[(3, 1.0)], &[(1, 1.0)], &[(1, 1.0)]),
        (
            &[(4, 1.0), (2, -1.0)],
            &[(0, 0.5), (2, -0.5)],
            &[(0, 1.0), (1, -1.0), (2, 1.0)],
        ),
        (&[(5, 1.0)], &[(1, 1.0)], &[(2, 1.0)]),
        (&[(6, 1.0), (2, -1.0)], &[(2, 1.0)], &[(2, 1.0)]),
    ],
};

const KNOWN: [Convolution; 2] = [TWO_TAPS, THREE_TAPS_BY_TWO];

/// The axis of a product along which time runs. It is divided by turns, steps 0, 3, 6.. being part 0; the other axis of the
/// left operand, that of taps, is divided into contiguous parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Rows,
    Depth,
}

/// A part of a matrix times a factor. Parts of the left operand are numbered along rows and the summed axis, those of the right
/// one along the summed axis, those of the result along rows.
pub(crate) type Term<P> = (P, f32);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Product {
    /// Numbers of its forms.
    pub(crate) left: usize,
    pub(crate) right: usize,
    /// Parts of the result that it is added to.
    pub(crate) targets: Vec<Term<usize>>,
}

/// How the result's parts are computed from those of the operands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scheme {
    pub(crate) time: Time,
    /// Parts of the rows and of the summed axis.
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) left: Vec<Vec<Term<(usize, usize)>>>,
    pub(crate) right: Vec<Vec<Term<usize>>>,
    pub(crate) products: Vec<Product>,
}

impl Scheme {
    /// Floating-point operations that a product is spared, but for what remains where its axes are not whole turns of parts.
    pub(crate) fn saved(&self, body: &Contract) -> Dim {
        let (rows, depth) = (self.rows as i64, self.depth as i64);
        let spared = rows * depth - self.products.len() as i64;
        let batch = body.batch.iter().cloned().product::<Dim>();
        let part = body.m.floor_div(rows) * body.n.clone() * body.k_outer.clone() * body.k.floor_div(depth);
        Dim::from(2 * spared) * batch * part
    }
}

impl Convolution {
    /// The input as a part of the left operand: as a tap of the earliest output, which is there wherever the input is used.
    fn input(&self, at: usize) -> (usize, usize) {
        let output = (at + 1).saturating_sub(self.taps).div_ceil(self.stride);
        (output, at - self.stride * output)
    }

    fn scheme(&self, time: Time) -> Scheme {
        let mut scheme = Scheme {
            time,
            rows: if time == Time::Rows { self.outputs } else { self.taps },
            depth: if time == Time::Rows { self.taps } else { self.outputs },
            left: vec![],
            right: vec![],
            products: vec![],
        };
        for (inputs, taps, outputs) in self.products {
            let input = |(at, factor): &(usize, f32)| match (self.input(*at), time) {
                ((output, tap), Time::Rows) => ((output, tap), *factor),
                ((output, tap), Time::Depth) => ((tap, output), *factor),
            };
            let (right, targets) = match time {
                Time::Rows => (taps, outputs),
                Time::Depth => (outputs, taps),
            };
            let product = Product {
                left: number(&mut scheme.left, inputs.iter().map(input).collect()),
                right: number(&mut scheme.right, right.to_vec()),
                targets: targets.to_vec(),
            };
            scheme.products.push(product);
        }
        scheme
    }

    /// Whether a product computes outputs of such a convolution: its rows overlap, a step from row to row being `stride` taps.
    fn computed_by(&self, body: &Contract) -> bool {
        let (Some(depth), Some(row)) = (body.k.as_const(), body.a.free.as_const()) else {
            return false;
        };
        let (taps, stride) = (self.taps as i64, self.stride as i64);
        body.k_outer.is_one() && body.a.k.is_one() && depth % taps == 0 && row == stride * (depth / taps)
    }

    /// Whether a product computes the gradient of its taps, whose rows are those of one tap after those of another.
    fn taps_computed_by(&self, body: &Contract) -> bool {
        let (Some(rows), Some(step)) = (body.m.as_const(), body.a.k.as_const()) else {
            return false;
        };
        let (taps, stride) = (self.taps as i64, self.stride as i64);
        body.a.free.is_one() && rows % taps == 0 && step == stride * (rows / taps)
    }
}

/// The form's place among `forms`, where it is added if it is new.
fn number<T: PartialEq>(forms: &mut Vec<T>, form: T) -> usize {
    forms.iter().position(|f| *f == form).unwrap_or_else(|| {
        forms.push(form);
        forms.len() - 1
    })
}

/// Channels of a part below which its products do not pay for its forms.
const LEAST_PART: i64 = 128;

/// The scheme that computes a product in fewer multiplications, where one is known. Columns of the right operand have unit
/// stride.
pub(crate) fn scheme(body: &Contract) -> Option<Scheme> {
    let wide = |axis: &Dim, parts: usize| axis.as_const().is_some_and(|n| n >= LEAST_PART * parts as i64);
    if !body.b.free.is_one() || !wide(&body.n, 1) {
        return None;
    }
    KNOWN.iter().find_map(|known| {
        if known.computed_by(body) && wide(&body.k, known.taps) {
            Some(known.scheme(Time::Rows))
        } else if known.taps_computed_by(body) && wide(&body.m, known.taps) {
            Some(known.scheme(Time::Depth))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What a scheme adds to every part of the result: factors by (target, input, right part). Factors are dyadic, so
    /// sums are exact.
    fn expanded(scheme: &Scheme, input: impl Fn(usize, usize) -> usize) -> BTreeMap<(usize, usize, usize), f32> {
        let mut sums = BTreeMap::new();
        for product in &scheme.products {
            for (row, target) in &product.targets {
                for ((a_row, a_depth), a) in &scheme.left[product.left] {
                    for (depth, b) in &scheme.right[product.right] {
                        *sums.entry((*row, input(*a_row, *a_depth), *depth)).or_insert(0.0) += target * a * b;
                    }
                }
            }
        }
        sums.retain(|_, factor| *factor != 0.0);
        sums
    }

    #[test]
    fn schemes_compute_products() {
        for known in KNOWN {
            for time in [Time::Rows, Time::Depth] {
                let scheme = known.scheme(time);
                let input = |row, depth| match time {
                    Time::Rows => known.stride * row + depth,
                    Time::Depth => known.stride * depth + row,
                };
                let pairs = (0..scheme.rows).flat_map(|row| (0..scheme.depth).map(move |depth| (row, depth)));
                let wanted: BTreeMap<_, _> = pairs
                    .map(|(row, depth)| ((row, input(row, depth), depth), 1.0))
                    .collect();
                assert_eq!(expanded(&scheme, input), wanted, "{} taps, {time:?}", known.taps);
                assert!(scheme.products.len() < scheme.rows * scheme.depth);
            }
        }
    }

    /// A scheme shall not read a row that no wanted output has.
    #[test]
    fn inputs_are_taps_of_the_earliest_output() {
        let inputs: Vec<_> = (0..7).map(|at| THREE_TAPS_BY_TWO.input(at)).collect();
        assert_eq!(inputs, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
        let inputs: Vec<_> = (0..4).map(|at| TWO_TAPS.input(at)).collect();
        assert_eq!(inputs, [(0, 0), (0, 1), (1, 1), (2, 1)]);
    }
}
