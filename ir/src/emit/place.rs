//! Where scalar values are computed: each once, as far out as its coordinates are known, and reused further in.

use crate::kernel::{Reduction, Slot, SlotDecl, ValId, Value};
use crate::kernel_needs::{Needs, needs};
use crate::scalar::{DType, Unary};

/// A place in the code: coordinates (`A`) and inputs known there, and the values (`T`) computed from them. A clone is a point
/// further in: set more coordinates on it, and what the outer point computed is reused.
#[derive(Clone)]
pub struct Point<A, T, L = ()> {
    /// By axis; `None` while it is not open.
    pub axes: Vec<Option<A>>,
    /// The accumulated product of a contraction.
    pub acc: Option<T>,
    /// Results of reductions by number.
    pub reduced: Vec<Option<T>>,
    /// What a backend knows of the columns it computes side by side.
    pub lanes: L,
    known: Vec<Option<T>>,
}

impl<A, T: Clone, L> Point<A, T, L> {
    /// What was computed of a value.
    pub fn known(&self, v: ValId) -> Option<&T> {
        self.known[v].as_ref()
    }

    /// A value was computed.
    pub fn learn(&mut self, v: ValId, computed: T) {
        self.known[v] = Some(computed);
    }

    /// Takes over what another point has learnt. Both must be reached from this one by setting the same coordinates.
    pub fn adopt(&mut self, other: &Self) {
        let known = self.known.iter_mut().zip(&other.known);
        for (own, other) in known.chain(self.reduced.iter_mut().zip(&other.reduced)) {
            if own.is_none() {
                own.clone_from(other);
            }
        }
    }
}

/// The values of a kernel, and what each depends on.
pub struct Placement<'k> {
    /// Operands before their users.
    pub values: &'k [Value],
    needs: Vec<Needs>,
}

impl<'k> Placement<'k> {
    /// Of the values of a verified kernel.
    pub fn new(values: &'k [Value]) -> Self {
        Placement {
            values,
            needs: needs(values),
        }
    }

    /// What a value depends on.
    pub fn needs(&self, v: ValId) -> Needs {
        self.needs[v]
    }

    /// A point where no axis is open.
    pub fn point<A: Clone, T: Clone, L: Default>(&self, axes: usize, reductions: usize) -> Point<A, T, L> {
        assert!(
            axes <= 64 && reductions <= 64,
            "a kernel has at most 64 axes and 64 reductions"
        );
        Point {
            axes: vec![None; axes],
            acc: None,
            reduced: vec![None; reductions],
            lanes: L::default(),
            known: vec![None; self.values.len()],
        }
    }

    /// The type of a value once it is computed; `reductions` are those that `Reduced` refers to.
    pub fn dtype(&self, v: ValId, slots: &[SlotDecl], reductions: &[(Reduction, ValId)]) -> DType {
        match &self.values[v] {
            Value::Const { dtype, .. } | Value::Cast(dtype, _) => *dtype,
            Value::Axis(_) | Value::Size(_) | Value::Unary(Unary::Not, _) => DType::I32,
            Value::Load { slot, .. } => slots[*slot].dtype.loaded(),
            Value::Binary(f, ..) if f.is_comparison() => DType::I32,
            Value::Unary(_, x) | Value::Binary(_, x, _) | Value::Select { then: x, .. } => {
                self.dtype(*x, slots, reductions)
            }
            Value::Reduced(r) => match reductions[*r] {
                (Reduction::ArgMax, _) => DType::I32,
                (_, v) => self.dtype(v, slots, reductions),
            },
            Value::Acc | Value::Uniform { .. } => DType::F32,
        }
    }

    /// Whether a point knows all that a value depends on.
    fn is_available<A, T, L>(&self, v: ValId, p: &Point<A, T, L>) -> bool {
        let n = self.needs[v];
        let all = |bits: u64, known: &dyn Fn(usize) -> bool| (0..64).all(|i| bits >> i & 1 == 0 || known(i));
        all(n.axes, &|a| p.axes[a].is_some())
            && all(n.reduced, &|r| p.reduced[r].is_some())
            && (!n.acc || p.acc.is_some())
    }

    /// Computes everything that `roots` need and `p` has the coordinates for: to be done before an inner loop is opened.
    pub fn hoist<A, T, L>(
        &self,
        p: &mut Point<A, T, L>,
        roots: impl IntoIterator<Item = ValId>,
        mut eval: impl FnMut(ValId, &mut Point<A, T, L>),
    ) {
        let mut seen = vec![false; self.values.len()];
        let mut todo: Vec<ValId> = roots.into_iter().collect();
        while let Some(v) = todo.pop() {
            if std::mem::replace(&mut seen[v], true) {
                continue;
            }
            if self.is_available(v, p) {
                eval(v, p);
            } else {
                todo.extend(self.values[v].operands());
            }
        }
    }

    /// Forgets what was computed from memory of slots: to be done after stores that later values may read.
    pub fn forget<A, T, L>(&self, p: &mut Point<A, T, L>, is_stored: impl Fn(Slot) -> bool) {
        let mut stale: Vec<bool> = Vec::with_capacity(self.values.len());
        for (known, v) in p.known.iter_mut().zip(self.values) {
            let here = matches!(v, Value::Load { slot, .. } if is_stored(*slot));
            let stale_here = here || v.operands().iter().any(|o| stale[*o]);
            if stale_here {
                *known = None;
            }
            stale.push(stale_here);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Access;

    /// An element of a row, minus the row's sum, which is a reduction of a load along the columns.
    fn values() -> Vec<Value> {
        let text = "row [2, 3]\n s0 read f32\n s1 write f32\n v0 = load s0[3*a0 + a1]\n v1 = r0\n v2 = f32 2.0\n \
                    v3 = mul v1, v2\n v4 = sub v0, v3\n columns\n r0 = sum v0\n columns\n s1[3*a0 + a1] = v4\n";
        crate::kernel_text::parse(text).unwrap().body.values().to_vec()
    }

    #[test]
    fn values_are_computed_as_far_out_as_they_can_be() {
        let values = values();
        let placement = Placement::new(&values);
        let mut row: Point<i64, i64> = placement.point(2, 1);
        (row.axes[0], row.reduced[0]) = (Some(0), Some(0));
        let mut computed = vec![];
        placement.hoist(&mut row, [4], |v, p| {
            computed.push(v);
            p.learn(v, v as i64);
        });
        assert_eq!(
            computed,
            [3],
            "the element needs its column; what it is made of is not asked for by itself"
        );
        let inner = row.clone();
        assert_eq!((inner.known(3), inner.known(4)), (Some(&3), None));
    }

    #[test]
    fn stores_make_forget_what_was_loaded() {
        let values = values();
        let placement = Placement::new(&values);
        let mut p: Point<i64, i64> = placement.point(2, 1);
        (0..values.len()).for_each(|v| p.learn(v, 0));
        placement.forget(&mut p, |slot| slot == 1);
        assert!(p.known(0).is_some());
        placement.forget(&mut p, |slot| slot == 0);
        let known: Vec<bool> = (0..values.len()).map(|v| p.known(v).is_some()).collect();
        assert_eq!(known, [false, true, true, true, false]);
    }

    #[test]
    fn reductions_give_values_their_types() {
        let values = values();
        let placement = Placement::new(&values);
        let slot = |dtype| SlotDecl {
            dtype,
            access: Access::Read,
        };
        let slots = [slot(DType::Bf16), slot(DType::F32)];
        assert_eq!(placement.dtype(1, &slots, &[(Reduction::Sum, 0)]), DType::F32);
        assert_eq!(placement.dtype(1, &slots, &[(Reduction::ArgMax, 0)]), DType::I32);
    }
}
