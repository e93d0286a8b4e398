//! Comparisons, predicate logic and selection.

use super::warp::Warp;
use crate::lanes::{WARP, mask1};
use crate::op::{Combined, Predicate, Reg};

impl Warp {
    /// Executes an instruction on predicates in the lanes of `mask`.
    #[inline(always)]
    pub fn predicate(&mut self, op: &Predicate, mask: u32) {
        match op {
            Predicate::Set32 {
                ty,
                by,
                to,
                other,
                a,
                b,
                combined,
            } => {
                let value = ty.compare(*by, self.get32(*a), self.get32(*b));
                self.set_compared(*to, *other, combined, mask, value);
            }
            Predicate::Set64 {
                ty,
                by,
                to,
                other,
                a,
                b,
                combined,
            } => {
                let value = ty.compare(*by, self.get64(*a), self.get64(*b));
                self.set_compared(*to, *other, combined, mask, value);
            }
            Predicate::Value32 { ty, by, to, a, b, one } => {
                let holds = ty.compare(*by, self.get32(*a), self.get32(*b));
                let mut value = [0; WARP];
                for (i, v) in value.iter_mut().enumerate() {
                    *v = if holds & (1 << i) != 0 { *one } else { 0 };
                }
                self.set32(*to, mask, &value);
            }
            Predicate::Test { test, to, a } => {
                let value = mask1(self.get32(*a), |x| test.holds(f32::from_bits(x)));
                self.set_predicate(*to, mask, value);
            }
            Predicate::Logic { by, to, a, b } => {
                let value = by.apply(self.predicates[usize::from(*a)], self.predicates[usize::from(*b)]);
                self.set_predicate(*to, mask, value);
            }
            Predicate::Not { to, a } => self.set_predicate(*to, mask, !self.predicates[usize::from(*a)]),
            Predicate::Select32 { to, a, b, by } => {
                let (by, mut value) = (self.predicates[usize::from(*by)], *self.get32(*b));
                for (i, (v, a)) in value.iter_mut().zip(self.get32(*a)).enumerate() {
                    *v = if by & (1 << i) != 0 { *a } else { *v };
                }
                self.set32(*to, mask, &value);
            }
            Predicate::Select64 { to, a, b, by } => {
                let (by, mut value) = (self.predicates[usize::from(*by)], *self.get64(*b));
                for (i, (v, a)) in value.iter_mut().zip(self.get64(*a)).enumerate() {
                    *v = if by & (1 << i) != 0 { *a } else { *v };
                }
                self.set64(*to, mask, &value);
            }
        }
    }

    /// The second result of `setp` is the comparison's negation, combined in the same way.
    fn set_compared(&mut self, to: Reg, other: Option<Reg>, combined: &Combined, mask: u32, value: u32) {
        let with = self.predicates[usize::from(combined.with)] ^ combined.flip;
        self.set_predicate(to, mask, combined.by.apply(value, with));
        if let Some(other) = other {
            self.set_predicate(other, mask, combined.by.apply(!value, with));
        }
    }
}
