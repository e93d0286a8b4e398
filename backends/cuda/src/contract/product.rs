//! A contraction in the form that is tiled: long steps of the summed axis, and as many rows as there are.

use crate::builder::V;
use crate::function::Function;
use ir::dim::{Dim, numel};
use ir::kernel::{Contract, Strided};
use ir::rounding::Rounding;

/// `rows` x `n` products for every position along the batch axes that are left.
pub struct Product {
    /// Batch axes of the kernel with their extents.
    pub batch: Vec<(usize, Dim)>,
    /// Batch axes, outermost first, whose rows follow each other as those of one position do; then axis i.
    pub row_axes: Vec<(usize, Dim)>,
    pub rows: Dim,
    pub n: Dim,
    pub k_outer: Dim,
    pub k: Dim,
    /// `batch` holds the strides of the batch axes that are left.
    pub a: Strided,
    pub b: Strided,
    pub round: Rounding,
    /// Number of the kernel's axes.
    pub axes: usize,
}

impl Product {
    pub fn new(c: &Contract) -> Product {
        let mut p = Product {
            batch: c.batch.iter().cloned().enumerate().collect(),
            row_axes: vec![(c.batch.len(), c.m.clone())],
            rows: c.m.clone(),
            n: c.n.clone(),
            k_outer: c.k_outer.clone(),
            k: c.k.clone(),
            a: c.a.clone(),
            b: c.b.clone(),
            round: c.round,
            axes: c.batch.len() + 2,
        };
        p.lengthen_steps();
        p.gather_rows();
        p
    }

    /// Makes the inner part of the summed axis long where that is free: one axis if both operands allow it.
    fn lengthen_steps(&mut self) {
        if self.k.is_one() {
            std::mem::swap(&mut self.k, &mut self.k_outer);
            for operand in [&mut self.a, &mut self.b] {
                std::mem::swap(&mut operand.k, &mut operand.k_outer);
            }
        }
        let follows = |s: &Strided| s.k_outer == s.k.clone() * self.k.clone();
        if follows(&self.a) && follows(&self.b) {
            self.k = self.k_outer.clone() * self.k.clone();
            self.k_outer = Dim::from(1);
        }
    }

    /// Takes batch axes of extent 1 away, and makes those rows that continue the rows and share the right operand.
    fn gather_rows(&mut self) {
        for i in (0..self.batch.len()).rev() {
            let (axis, extent) = self.batch[i].clone();
            let continues = self.a.batch[i] == self.rows.clone() * self.a.free.clone() && self.b.batch[i].is_zero();
            if !extent.is_one() && !continues {
                continue;
            }
            if !extent.is_one() {
                self.rows = self.rows.clone() * extent.clone();
            }
            self.row_axes.insert(0, (axis, extent));
            self.batch.remove(i);
            self.a.batch.remove(i);
            self.b.batch.remove(i);
        }
    }

    /// Positions along the batch axes that are left.
    pub fn batches(&self) -> Dim {
        self.batch.iter().map(|(_, extent)| extent.clone()).product()
    }

    /// Where the numbers of results go: axis i of the kernel is the last of `row_axes`.
    pub fn results(&self) -> Dim {
        self.batches() * numel(&[self.rows.clone(), self.n.clone()])
    }
}

/// A number (i32) as coordinates (i64) of axes, the last one running fastest; they are given from the last to the first.
pub fn coordinates<'c>(f: &Function<'_, 'c>, number: V<'c>, axes: &[(usize, Dim)]) -> Vec<(usize, V<'c>)> {
    let mut rest = number;
    let mut out = vec![];
    for (i, (axis, extent)) in axes.iter().enumerate().rev() {
        let at = if extent.is_one() {
            f.i32(0)
        } else if i == 0 {
            rest
        } else {
            let extent = f.dim32(extent);
            let at = f.urem(rest, extent);
            rest = f.udiv(rest, extent);
            at
        };
        out.push((*axis, f.widen(at, crate::builder::Ty::I64)));
    }
    out
}
