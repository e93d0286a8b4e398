//! Cost of a kernel: operations and bytes, as symbolic sizes, for reports and decisions. Estimates, not measurements.

use crate::artifact::Factors;
use crate::dim::{Dim, numel};
use crate::kernel::{Attention, Body, Coord, HeadView, Index, Kernel, Phase, Slot, Store, ValId, Value};
use crate::rounding::Rounding;
use crate::scalar::{DType, Unary};
use std::collections::BTreeSet;

/// Work of one launch.
pub struct Cost {
    /// Floating-point operations; a multiply-add counts 2.
    pub flops: Dim,
    /// Bytes read and written at least: every element once.
    pub bytes: Dim,
}

/// Operations of an exponential, a logarithm or the like.
const TRANSCENDENTAL: i64 = 20;

/// The cost of one launch of a kernel.
pub fn estimate(kernel: &Kernel) -> Cost {
    let two = Dim::from(2);
    match &kernel.body {
        Body::Row(b) => {
            let (columns, outer) = b.axes.split_last().expect("a row kernel has a column axis");
            let mut walk = Walk::new(kernel, &b.values);
            for phase in &b.phases {
                match phase {
                    Phase::Columns { reduce, store } => {
                        walk.work(&b.axes, reduce.iter().map(|r| r.1), store);
                        walk.flops = walk.flops.clone() + numel(&b.axes) * Dim::from(reduce.len() as i64);
                    }
                    Phase::Row { store } => walk.work(&[outer, std::slice::from_ref(columns)].concat(), [], store),
                }
            }
            walk.cost()
        }
        Body::Column(b) => {
            let axes = [&b.outer[..], &b.reduced, std::slice::from_ref(&b.columns)].concat();
            let mut walk = Walk::new(kernel, &b.values);
            walk.work(&axes, b.reduce.iter().map(|r| r.1), &[]);
            walk.flops = walk.flops.clone() + numel(&axes) * Dim::from(b.reduce.len() as i64);
            let mut stored = axes.clone();
            for a in &mut stored[b.outer.len()..b.outer.len() + b.reduced.len()] {
                *a = Dim::from(1);
            }
            walk.work(&stored, [], &b.store);
            walk.cost()
        }
        Body::Contract(b) => {
            let axes: Vec<Dim> = b.batch.iter().chain([&b.m, &b.n]).cloned().collect();
            let depth = b.k_outer.clone() * b.k.clone();
            let mut walk = Walk::new(kernel, &b.values);
            walk.work(&axes, [], &b.store);
            walk.flops = walk.flops.clone() + two.clone() * numel(&axes) * depth;
            // Of rows that overlap, each brings a stride of new elements.
            for (operand, free) in [(&b.a, &b.m), (&b.b, &b.n)] {
                let outer = b
                    .batch
                    .iter()
                    .zip(&operand.batch)
                    .chain([(&b.k_outer, &operand.k_outer)]);
                let outer: Dim = outer
                    .filter(|(_, stride)| !stride.is_zero())
                    .map(|(extent, _)| extent.clone())
                    .product();
                let overlap = operand.k.is_one()
                    && operand
                        .free
                        .as_const()
                        .zip(b.k.as_const())
                        .is_some_and(|(stride, k)| stride < k);
                let row = if overlap { operand.free.clone() } else { b.k.clone() };
                let elements = if operand.free.is_zero() {
                    outer * row
                } else {
                    outer * free.clone() * row
                };
                walk.bytes = walk.bytes.clone() + elements * walk.width(operand.slot);
            }
            walk.cost()
        }
        Body::Attention(a) => attention(kernel, a, 2, &[&a.q, &a.k, &a.v, &a.out]),
        Body::AttentionGrad(a) => {
            let f = &a.forward;
            let views = [&f.q, &f.k, &f.v, &f.out, &a.d_out, &a.dq, &a.dk, &a.dv];
            attention(kernel, f, 5, &views)
        }
        Body::Scatter(s) => {
            let moved = s.rows.clone() * s.count.clone() * s.width.clone();
            let out = s.rows.clone() * s.into.clone() * s.width.clone();
            let index = s.rows.clone() * s.count.clone() * Dim::from(4);
            Cost {
                flops: moved.clone(),
                bytes: moved * width(kernel, s.from) + out * width(kernel, s.out) + index,
            }
        }
        Body::Ctc(c) => {
            let cells = c.batch.clone() * c.time.clone() * (two.clone() * c.labels.clone() + Dim::from(1));
            // Two sums of three exponentials and one posterior.
            let flops = cells * Dim::from(9 * TRANSCENDENTAL);
            Cost {
                flops,
                bytes: Dim::from(8) * c.batch.clone() * c.time.clone() * c.vocab.clone(),
            }
        }
    }
}

/// What a kernel multiplies.
pub fn factors(kernel: &Kernel) -> Factors {
    let of = |slot: Slot| match kernel.slots[slot].dtype {
        DType::Bf16 => Factors::Bf16,
        _ => Factors::F32,
    };
    match &kernel.body {
        Body::Contract(k) => match k.round {
            Rounding::F32 => Factors::F32,
            Rounding::Bf16 => Factors::Bf16,
            Rounding::Int8(_) => Factors::Int8,
        },
        Body::Attention(k) => of(k.q.slot),
        Body::AttentionGrad(k) => of(k.forward.q.slot),
        Body::Row(_) | Body::Column(_) | Body::Scatter(_) | Body::Ctc(_) => Factors::F32,
    }
}

/// Bytes of an element of a slot.
fn width(kernel: &Kernel, slot: Slot) -> Dim {
    Dim::from(kernel.slots[slot].dtype.bytes() as i64)
}

/// `products` products of time x time, with `operands` that each hold all heads.
fn attention(kernel: &Kernel, a: &Attention, products: i64, operands: &[&HeadView]) -> Cost {
    let heads = a.batch.clone() * Dim::from(a.heads);
    let scores = heads.clone() * a.time.clone() * a.time.clone();
    let flops = scores * Dim::from(2 * products * a.head_dim + TRANSCENDENTAL);
    let elements = heads * a.time.clone() * Dim::from(a.head_dim);
    let bytes = operands
        .iter()
        .fold(Dim::default(), |sum, v| sum + elements.clone() * width(kernel, v.slot));
    Cost { flops, bytes }
}

/// Adds up expressions and the elements they touch.
struct Walk<'k> {
    kernel: &'k Kernel,
    values: &'k [Value],
    seen: BTreeSet<ValId>,
    touched: Vec<(Slot, &'k Index)>,
    flops: Dim,
    bytes: Dim,
}

impl<'k> Walk<'k> {
    fn new(kernel: &'k Kernel, values: &'k [Value]) -> Self {
        let (flops, bytes) = Default::default();
        Walk {
            kernel,
            values,
            seen: BTreeSet::new(),
            touched: vec![],
            flops,
            bytes,
        }
    }

    fn width(&self, slot: Slot) -> Dim {
        width(self.kernel, slot)
    }

    /// The axes a value depends on.
    fn axes(&self, v: ValId, out: &mut BTreeSet<usize>) {
        match &self.values[v] {
            Value::Axis(a) => {
                out.insert(*a);
            }
            Value::Load { index, .. } | Value::Uniform { index, .. } => axes_of(index, out),
            Value::Acc => out.extend(0..64),
            _ => {}
        }
        for o in self.values[v].operands() {
            self.axes(o, out);
        }
    }

    /// Values and stores over a space; what was counted before is not counted again.
    fn work(&mut self, space: &[Dim], values: impl IntoIterator<Item = ValId>, stores: &'k [Store]) {
        let extent = |axes: &BTreeSet<usize>| -> Dim {
            space
                .iter()
                .enumerate()
                .filter(|(i, _)| axes.contains(i))
                .map(|(_, d)| d.clone())
                .product()
        };
        let mut todo: Vec<ValId> = values.into_iter().chain(stores.iter().map(|s| s.value)).collect();
        while let Some(v) = todo.pop() {
            if !self.seen.insert(v) {
                continue;
            }
            let values = self.values;
            todo.extend(values[v].operands());
            let mut axes = BTreeSet::new();
            self.axes(v, &mut axes);
            let count = extent(&axes);
            let operations = match &values[v] {
                Value::Unary(Unary::Exp | Unary::Log | Unary::Erf | Unary::Tanh, _) => TRANSCENDENTAL,
                Value::Unary(..) | Value::Binary(..) => 1,
                _ => 0,
            };
            self.flops = self.flops.clone() + count.clone() * Dim::from(operations);
            if let Value::Load { slot, index, .. } = &values[v]
                && !self.touched.contains(&(*slot, index))
            {
                self.touched.push((*slot, index));
                self.bytes = self.bytes.clone() + count * self.width(*slot);
            }
        }
        for s in stores {
            let mut axes = BTreeSet::new();
            axes_of(&s.index, &mut axes);
            let times = Dim::from(1 + s.accumulate as i64);
            self.bytes = self.bytes.clone() + extent(&axes) * self.width(s.slot) * times;
        }
    }

    fn cost(self) -> Cost {
        Cost {
            flops: self.flops,
            bytes: self.bytes,
        }
    }
}

fn axes_of(index: &Index, out: &mut BTreeSet<usize>) {
    for (stride, c) in &index.terms {
        if let Coord::Axis(a) = c
            && !stride.is_zero()
        {
            out.insert(*a);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(text: &str) -> Cost {
        estimate(&crate::kernel_text::parse(text).unwrap())
    }

    fn d(s: &str) -> Dim {
        s.parse().unwrap()
    }

    #[test]
    fn elementwise_work_is_counted_once() {
        let cost = cost(
            "row [R, C]\n  s0 read f32\n  s1 read f32\n  s2 update bf16\n  v0 = load s0[C*a0 + a1]\n  v1 = load s1[a1]\n  \
             v2 = mul v0, v1\n  columns\n    s2[C*a0 + a1] = v2\n",
        );
        assert_eq!(cost.flops, d("R*C"));
        assert_eq!(cost.bytes, d("6*R*C + 4*C"));
    }

    #[test]
    fn operands_count_by_their_width() {
        let cost = cost(
            "contract batch [], m M, n N, k_outer 1, k K, round bf16\n  s0 read bf16\n  s1 read f32\n  s2 write f32\n  \
             a = s0[K*i + p]\n  b = s1[N*p + j]\n  v0 = acc\n  store\n    s2[N*a0 + a1] = v0\n",
        );
        assert_eq!(cost.flops, d("2*M*N*K"));
        assert_eq!(cost.bytes, d("2*M*K + 4*N*K + 4*M*N"));
    }
}
