//! Selects as branches. Of a concatenation all parts but one are computed in vain if a select computes both its values, so
//! where the choice is the same for all columns of a thread and the values are used nowhere else, only one is computed.

use super::{Lanes, Point, Values};
use crate::builder::V;
use ir::kernel::{ValId, Value};

impl<'c> Values<'_, '_, 'c> {
    /// Whether the values of a select read memory under guards, which are branches anyway, and serve nothing else.
    pub(super) fn worth_a_branch(&self, select: ValId, p: &Point<'c>) -> bool {
        let Value::Select { then, other, .. } = &self.placement.values[select] else {
            return false;
        };
        let known = |v: ValId| {
            let trivial = matches!(
                self.placement.values[v],
                Value::Const { .. } | Value::Axis(_) | Value::Size(_)
            );
            trivial || p.known(v).is_some()
        };
        let (mut own, mut open) = (vec![false; select], vec![*then, *other]);
        let mut guarded = false;
        while let Some(v) = open.pop() {
            if !known(v) && !std::mem::replace(&mut own[v], true) {
                guarded |= matches!(self.placement.values[v], Value::Load { guard: Some(_), .. });
                open.extend(self.placement.values[v].operands());
            }
        }
        // Nobody else uses what is computed only for this.
        let others = (0..self.placement.values.len()).filter(|u| *u != select && !own.get(*u).is_some_and(|o| *o));
        guarded
            && others.into_iter().all(|u| {
                !self.placement.values[u]
                    .operands()
                    .iter()
                    .any(|v| own.get(*v) == Some(&true))
            })
    }

    /// One of two values, the other of which is not computed.
    pub(super) fn branch(
        &self,
        select: ValId,
        condition: V<'c>,
        [then, other]: [ValId; 2],
        p: &Point<'c>,
    ) -> Lanes<'c> {
        let n = self.placement.needs(select);
        let varies = n.axes >> self.column & 1 == 1 || n.reduced != 0 || n.acc;
        let count = if varies { self.lanes } else { 1 };
        let side = |v: ValId| {
            let v = self.eval(v, &mut p.clone());
            (0..count).map(|i| v.get(i)).collect::<Vec<V>>()
        };
        let chosen = self.f.if_else(condition, || side(then), || side(other));
        if varies {
            Lanes::Each(chosen)
        } else {
            Lanes::One(chosen[0])
        }
    }
}
