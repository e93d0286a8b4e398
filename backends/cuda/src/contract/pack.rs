//! Weights that cannot be copied asynchronously as they lie (strides, f32, addresses off multiples of 16 bytes), laid
//! out anew in the workspace by a separate function. It reads each of their elements once; the tiles read them many
//! times.

use super::panel::Panel;
use super::product::{Product, coordinates};
use crate::Error;
use crate::arith::Cmp;
use crate::builder::Ty;
use crate::function::{Finished, Function, Unit, blocks_of};
use ir::dim::Dim;
use ir::kernel::Strided;
use ir::rounding::Rounding;
use ir::scalar::DType;
use melior::Context;

const THREADS: u32 = 256;
/// Elements of bf16 in 16 bytes.
const CHUNK: i64 = 8;
/// Elements of the largest operand that is packed.
const MOST: i64 = 1 << 25;

/// The right operand as bf16 [batches.., k_outer, k, n].
pub struct Packed {
    /// Batch axes of the product along which it differs, by their place among them, with extents.
    batch: Vec<(usize, Dim)>,
    /// Where it is in the workspace.
    pub operand: Strided,
    pub bytes: Dim,
}

impl Packed {
    /// `None` where packing is of no use: unless a constant operand meets many rows.
    pub fn new(p: &Product, b: &Panel) -> Option<Packed> {
        let differs = |i: &usize| !p.b.batch[*i].is_zero();
        let batch: Vec<(usize, Dim)> = (0..p.batch.len())
            .filter(differs)
            .map(|i| (i, p.batch[i].1.clone()))
            .collect();
        let (k_outer, k) = (p.n.clone() * p.k.clone(), p.n.clone());
        let matrix = k_outer.clone() * p.k_outer.clone();
        let elements = batch.iter().map(|(_, extent)| extent.clone()).product::<Dim>() * matrix.clone();
        let known = elements.as_const().is_some_and(|n| n > 0 && n <= MOST);
        let rows = p.rows.as_const().is_none();
        let whole = p.n.as_const().is_some_and(|n| n % CHUNK == 0);
        if b.asynchronous || p.round != Rounding::Bf16 || !(known && rows && whole) {
            return None;
        }
        let mut strides = vec![Dim::from(0); p.batch.len()];
        let mut stride = matrix;
        for (i, extent) in batch.iter().rev() {
            strides[*i] = stride.clone();
            stride = stride * extent.clone();
        }
        let operand = Strided {
            base: Dim::from(0),
            batch: strides,
            k_outer,
            free: Dim::from(1),
            k,
            ..p.b.clone()
        };
        Some(Packed {
            batch,
            operand,
            bytes: Dim::from(DType::Bf16.bytes() as i64) * elements,
        })
    }

    /// The function that packs, one element per thread.
    pub fn write<'c>(&self, context: &'c Context, unit: &Unit, p: &Product) -> Result<Finished<'c>, Error> {
        let f = Function::new(context, unit, 0, THREADS);
        f.scheduled("packs b as bf16");
        // Axes after those of the batch: k_outer, k, n.
        let sums = [p.k_outer.clone(), p.k.clone(), p.n.clone()].into_iter().enumerate();
        let first = p.batch.len();
        let axes: Vec<(usize, Dim)> = self
            .batch
            .iter()
            .cloned()
            .chain(sums.map(|(i, d)| (first + i, d)))
            .collect();
        let total: Dim = axes.iter().map(|(_, extent)| extent.clone()).product();
        let number = f.add(f.mul(f.block(0), f.i32(THREADS as i32)), f.thread());
        f.when(f.cmp(Cmp::Lt, number, f.dim32(&total)), || {
            let strides =
                p.b.batch
                    .iter()
                    .chain([&p.b.k_outer, &p.b.k, &p.b.free])
                    .collect::<Vec<_>>();
            let from = coordinates(&f, number, &axes)
                .into_iter()
                .fold(f.dim(&p.b.base), |from, (axis, at)| {
                    f.add(from, f.mul(at, f.dim(strides[axis])))
                });
            let value = f.to_bf16(f.load_element(p.b.slot, from));
            f.store(f.offset(f.workspace, Ty::Bf16, f.widen(number, Ty::I64)), value, 2);
        });
        f.finish([blocks_of(&total, THREADS as i64), Dim::from(1), Dim::from(1)])
    }
}
