//! One operand's part of a tile: its way from global into shared memory, and its layout there.
//!
//! Wherever a panel goes beyond the operand, in either direction, it is filled with zeros, so that no other check is needed.

use crate::arith::Cmp;
use crate::builder::{Scalar, Ty, V};
use crate::function::{Function, Unit, divisible};
use crate::memory::stored;
use ir::dim::Dim;
use ir::kernel::Strided;
use ir::scalar::DType;

/// An axis of a panel: i or j, or the summed one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    Free,
    Summed,
}

/// How one operand is laid out and moved.
#[derive(Clone, Debug)]
pub struct Panel {
    /// `None`: the workspace.
    slot: Option<usize>,
    stored: DType,
    /// Of numbers in shared memory.
    shared: DType,
    /// Extents of the panel.
    free: u32,
    depth: u32,
    /// Extent of the operand along its free axis.
    extent: Dim,
    strides: (Dim, Dim),
    /// The axis that threads next to each other follow in global memory.
    along: Axis,
    /// The contiguous axis in shared memory.
    pub order: Axis,
    /// Elements of one access of global memory.
    vector: u32,
    pub asynchronous: bool,
}

/// What one thread copies at a time.
pub struct Part<'c> {
    /// Address of its first element in the first step.
    from: V<'c>,
    /// Bytes from the start of the panel.
    to: V<'c>,
    /// Whether it lies within the operand along the free axis.
    inside: V<'c>,
    /// Its position along the summed axis, i32.
    k: V<'c>,
    /// Whether the thread has this part at all; `None`: yes.
    exists: Option<V<'c>>,
}

/// What one thread copies of a panel.
pub struct Parts<'c> {
    parts: Vec<Part<'c>>,
    /// An address that may always be read in the same way.
    safe: V<'c>,
}

/// A step of the summed axis.
#[derive(Clone, Copy)]
pub struct Step<'c> {
    /// Elements from the operand's start.
    pub offset: V<'c>,
    /// Positions left along the inner part of the summed axis, i32.
    pub left: V<'c>,
}

impl Panel {
    /// A panel, of no size yet, of an operand of `extent` x `k`, stored in shared memory as f32 (with the free axis
    /// contiguous) or as bf16.
    pub fn new(unit: &Unit, s: &Strided, (extent, k): (&Dim, &Dim), shared: DType) -> Panel {
        let along = match (s.k.as_const(), s.free.as_const()) {
            (Some(1), _) => Axis::Summed,
            (_, Some(1)) => Axis::Free,
            (Some(k), Some(free)) if k.abs() < free.abs() => Axis::Summed,
            (Some(_), None) => Axis::Summed,
            _ => Axis::Free,
        };
        let from = unit.slots[s.slot].dtype;
        let vector = [8, 4, 2]
            .into_iter()
            .find(|v| vectors(unit, s, (extent, k), along, *v))
            .unwrap_or(1);
        let order = if shared == DType::Bf16 { along } else { Axis::Free };
        Panel {
            slot: Some(s.slot),
            stored: from,
            shared,
            free: 0,
            depth: 0,
            extent: extent.clone(),
            strides: (s.free.clone(), s.k.clone()),
            along,
            order,
            vector: vector as u32,
            asynchronous: from == shared && order == along && vector as usize * from.bytes() == 16,
        }
    }

    /// A panel, of no size yet, of an operand that is packed in the workspace: as bf16, its rows along the free axis.
    pub fn packed(s: &Strided, extent: &Dim) -> Panel {
        Panel {
            slot: None,
            stored: DType::Bf16,
            shared: DType::Bf16,
            free: 0,
            depth: 0,
            extent: extent.clone(),
            strides: (s.free.clone(), s.k.clone()),
            along: Axis::Free,
            order: Axis::Free,
            vector: 8,
            asynchronous: true,
        }
    }

    /// The same with `free` x `depth` elements.
    pub fn sized(self, free: u32, depth: u32) -> Panel {
        Panel { free, depth, ..self }
    }

    /// Bytes between lines of the panel: odd multiples of 16 for bf16, so that the rows of a matrix load lie in different
    /// banks.
    pub fn pitch(&self) -> u32 {
        match (self.shared, self.order) {
            (DType::Bf16, Axis::Free) => 16 * ((self.free / 8) | 1),
            (DType::Bf16, Axis::Summed) => 16 * ((self.depth / 8) | 1),
            _ => 4 * (self.free + 4),
        }
    }

    pub fn bytes(&self) -> u32 {
        self.pitch()
            * if self.order == Axis::Free {
                self.depth
            } else {
                self.free
            }
    }

    /// What this thread copies of the panel whose free axis begins at `first` (i32), of an operand that begins at element
    /// `start` for this block's batch.
    pub fn parts<'c>(&self, f: &Function<'_, 'c>, start: V<'c>, first: V<'c>) -> Parts<'c> {
        let (long, lines) = match self.along {
            Axis::Free => (self.free, self.depth),
            Axis::Summed => (self.depth, self.free),
        };
        let per_line = long / self.vector;
        let count = per_line * lines;
        let free_stride = f.dim(&self.strides.0);
        let start = f.add(start, f.mul(f.widen(first, Ty::I64), free_stride));
        let left = f.sub(f.dim32(&self.extent), first);
        let thread = f.thread();
        let parts = (0..count.div_ceil(f.threads())).map(|i| {
            let number = f.add(thread, f.i32((i * f.threads()) as i32));
            let (line, at) = divided(f, number, per_line, i);
            let at = f.mul(at, f.i32(self.vector as i32));
            let (free, k) = if self.along == Axis::Free {
                (at, line)
            } else {
                (line, at)
            };
            let element = f.add(
                f.mul(f.widen(free, Ty::I64), free_stride),
                f.mul(f.widen(k, Ty::I64), f.dim(&self.strides.1)),
            );
            let partial = (i + 1) * f.threads() > count;
            Part {
                from: self.address(f, f.add(start, element)),
                to: self.place(f, free, k),
                inside: f.cmp(Cmp::Lt, free, left),
                k,
                exists: partial.then(|| f.cmp(Cmp::Lt, number, f.i32(count as i32))),
            }
        });
        Parts {
            parts: parts.collect(),
            safe: self.address(f, start),
        }
    }

    fn address<'c>(&self, f: &Function<'_, 'c>, element: V<'c>) -> V<'c> {
        match self.slot {
            Some(slot) => f.at(slot, element),
            None => f.offset(f.workspace, stored(self.stored), element),
        }
    }

    /// Bytes from the start of the panel to an element, i32.
    pub fn place<'c>(&self, f: &Function<'_, 'c>, free: V<'c>, k: V<'c>) -> V<'c> {
        let (line, at) = if self.order == Axis::Free { (k, free) } else { (free, k) };
        let bytes = f.i32(self.shared.bytes() as i32);
        f.add(f.mul(line, f.i32(self.pitch() as i32)), f.mul(at, bytes))
    }

    /// Begins to copy a step to the panel at `to`.
    pub fn copy<'c>(&self, f: &Function<'_, 'c>, parts: &Parts<'c>, step: Step<'c>, to: V<'c>) {
        for p in &parts.parts {
            let inside = f.and(p.inside, f.cmp(Cmp::Lt, p.k, step.left));
            let from = f.offset(p.from, stored(self.stored), step.offset);
            let to = f.offset(to, Ty::I8, f.widen(p.to, Ty::I64));
            let copy = || f.copy_chunk(to, from, f.select(inside, f.i32(16), f.i32(0)));
            match p.exists {
                None => copy(),
                Some(exists) => f.when(exists, copy),
            }
        }
    }

    /// Loads a step into registers. Nothing is converted yet, so that the loads stay under way.
    pub fn fetch<'c>(&self, f: &Function<'_, 'c>, parts: &Parts<'c>, step: Step<'c>) -> Vec<V<'c>> {
        let ty = self.fetched();
        let load = |p: &Part<'c>| {
            let inside = f.and(p.inside, f.cmp(Cmp::Lt, p.k, step.left));
            let inside = p.exists.map_or(inside, |e| f.and(e, inside));
            let from = f.offset(p.from, stored(self.stored), step.offset);
            // Reading elsewhere instead of not at all keeps the code free of branches.
            let v = f.load(
                ty,
                f.select(inside, from, parts.safe),
                self.vector * self.stored.bytes() as u32,
            );
            f.select(inside, v, zero(f, ty))
        };
        parts.parts.iter().map(load).collect()
    }

    /// What stands for a step that is not fetched.
    pub fn nothing<'c>(&self, f: &Function<'_, 'c>, parts: &Parts<'c>) -> Vec<V<'c>> {
        let count = if self.asynchronous { 0 } else { parts.parts.len() };
        vec![zero(f, self.fetched()); count]
    }

    /// The type of `vector` elements in registers.
    fn fetched(&self) -> Ty {
        match (self.stored, self.vector) {
            (DType::Bf16, 1) => Ty::I16,
            (DType::Bf16, 2) => Ty::I32,
            (DType::Bf16, n) => Ty::Vector(Scalar::I32, n / 2),
            (_, 1) => Ty::F32,
            (_, n) => Ty::Vector(Scalar::F32, n),
        }
    }

    /// Stores what was fetched into the panel at `to`.
    pub fn put<'c>(&self, f: &Function<'_, 'c>, parts: &Parts<'c>, fetched: &[V<'c>], to: V<'c>) {
        for (p, v) in parts.parts.iter().zip(fetched) {
            let put = || self.put_one(f, f.offset(to, Ty::I8, f.widen(p.to, Ty::I64)), *v);
            match p.exists {
                None => put(),
                Some(exists) => f.when(exists, put),
            }
        }
    }

    fn put_one<'c>(&self, f: &Function<'_, 'c>, to: V<'c>, v: V<'c>) {
        let bytes = self.vector * self.shared.bytes() as u32;
        if self.stored == DType::Bf16 && self.shared == DType::Bf16 {
            return f.store(to, v, bytes);
        }
        let values: Vec<V> = match (self.stored, v.ty) {
            (DType::Bf16, Ty::I16) => vec![f.widen_bf16(v)],
            (DType::Bf16, _) => (0..self.vector)
                .map(|i| f.unpack_bf16(word(f, v, i / 2), i % 2))
                .collect(),
            _ => (0..self.vector).map(|i| word(f, v, i)).collect(),
        };
        match self.shared {
            DType::Bf16 if self.vector == 1 => f.store(to, f.to_bf16(values[0]), bytes),
            DType::Bf16 => {
                let words: Vec<V> = values.chunks(2).map(|p| f.pack_bf16(p[0], p[1])).collect();
                f.store(to, packed(f, &words), bytes);
            }
            _ if self.order == self.along => {
                for (i, four) in values.chunks(4).enumerate() {
                    let to = f.offset(to, Ty::I8, f.i64(16 * i as i64));
                    f.store(to, packed(f, four), 4 * four.len() as u32);
                }
            }
            // Contiguous along the summed axis in global memory, along the other in shared memory.
            _ => {
                for (i, value) in values.iter().enumerate() {
                    f.store(f.offset(to, Ty::I8, f.i64(i as i64 * self.pitch() as i64)), *value, 4);
                }
            }
        }
    }
}

fn zero<'c>(f: &Function<'_, 'c>, ty: Ty) -> V<'c> {
    match ty {
        Ty::Vector(scalar, n) => f.pack(&vec![zero(f, scalar.ty()); n as usize]),
        Ty::F32 => f.f32(0.0),
        ty => f.resize(f.i32(0), ty),
    }
}

fn packed<'c>(f: &Function<'_, 'c>, values: &[V<'c>]) -> V<'c> {
    if values.len() == 1 { values[0] } else { f.pack(values) }
}

fn word<'c>(f: &Function<'_, 'c>, v: V<'c>, i: u32) -> V<'c> {
    if matches!(v.ty, Ty::Vector(..)) {
        f.element(v, i)
    } else {
        v
    }
}

/// `number` divided by a constant, with remainder; `number` is this thread's plus `i` times the number of threads.
fn divided<'c>(f: &Function<'_, 'c>, number: V<'c>, by: u32, i: u32) -> (V<'c>, V<'c>) {
    let by_value = f.i32(by as i32);
    if !f.threads().is_multiple_of(by) {
        return (f.udiv(number, by_value), f.urem(number, by_value));
    }
    // Written so that all parts of a thread visibly lie a constant apart.
    let thread = f.thread();
    let line = f.add(f.udiv(thread, by_value), f.i32((i * (f.threads() / by)) as i32));
    (line, f.urem(thread, by_value))
}

/// Whether `v` elements at a time can be read along an axis.
fn vectors(unit: &Unit, s: &Strided, (extent, k): (&Dim, &Dim), along: Axis, v: i64) -> bool {
    let (one, line, long) = match along {
        Axis::Free => (&s.free, &s.k, extent),
        Axis::Summed => (&s.k, &s.free, k),
    };
    let bytes = v * unit.slots[s.slot].dtype.bytes() as i64;
    let aligned = s
        .batch
        .iter()
        .chain([&s.base, &s.k_outer, line, long])
        .all(|d| divisible(d, v));
    one.is_one() && aligned && bytes <= 16 && unit.alignment[s.slot] as i64 % bytes == 0
}
