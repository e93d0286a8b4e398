//! Cost of a kernel: operations and bytes, as symbolic sizes, for reports and decisions. Estimates, not measurements.

use crate::dim::Dim;
use crate::kernel::{Coord, Index, Slot, SlotDecl, Store, ValId, Value};
use crate::scalar::Unary;
use std::collections::BTreeSet;

/// Work of one launch.
pub struct Cost {
    /// Floating-point operations; a multiply-add counts 2.
    pub flops: Dim,
    /// Bytes read and written at least: every element once.
    pub bytes: Dim,
}

/// Operations of an exponential, a logarithm or the like.
pub const TRANSCENDENTAL: i64 = 20;

/// Bytes of an element of a slot.
pub fn width(slots: &[SlotDecl], slot: Slot) -> Dim {
    Dim::from(slots[slot].dtype.bytes() as i64)
}

/// Adds up expressions and the elements they touch.
pub struct Walk<'k> {
    slots: &'k [SlotDecl],
    values: &'k [Value],
    seen: BTreeSet<ValId>,
    touched: Vec<(Slot, &'k Index)>,
    flops: Dim,
    bytes: Dim,
}

impl<'k> Walk<'k> {
    pub fn new(slots: &'k [SlotDecl], values: &'k [Value]) -> Self {
        let (flops, bytes) = Default::default();
        Walk {
            slots,
            values,
            seen: BTreeSet::new(),
            touched: vec![],
            flops,
            bytes,
        }
    }

    fn width(&self, slot: Slot) -> Dim {
        width(self.slots, slot)
    }

    /// Adds operations beside those of values.
    pub fn operations(&mut self, count: Dim) {
        self.flops = self.flops.clone() + count;
    }

    /// Adds the bytes of elements of a slot.
    pub fn elements(&mut self, slot: Slot, count: Dim) {
        self.bytes = self.bytes.clone() + count * self.width(slot);
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
    pub fn work(&mut self, space: &[Dim], values: impl IntoIterator<Item = ValId>, stores: &'k [Store]) {
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

    /// All of it.
    pub fn cost(self) -> Cost {
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
        {
            let kernel = crate::kernel_text::parse(text).unwrap();
            kernel.body.cost(&kernel.slots)
        }
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
