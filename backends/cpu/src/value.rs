//! Scalar values of kernel IR as vector code: the last axis of every iteration space becomes the lanes of a vector,
//! everything that does not depend on it stays scalar.

use crate::entry::{Entry, V};
use inkwell::IntPredicate;
use inkwell::values::{IntValue, VectorValue};
use ir::dim::Dim;
use ir::emit::Placement;
use ir::kernel::{Coord, Index, Reduction, Store, ValId, Value};
use ir::scalar::DType;

/// Where values are computed. Coordinates are i64; that of the column axis is the first of `lanes` consecutive positions.
pub type Point<'c> = ir::emit::Point<IntValue<'c>, V<'c>, Columns<'c>>;

/// What is known of the columns that lanes are.
#[derive(Clone, Default)]
pub struct Columns<'c> {
    /// The lanes that exist (all where `None`); columns beyond the end are neither read nor written.
    pub mask: Option<VectorValue<'c>>,
    /// How many bytes ahead of loads of consecutive elements more of them are asked for.
    pub ahead: Option<i64>,
}

/// The values of one kernel body in one entry function.
pub struct Values<'e, 'u, 'c> {
    e: &'e Entry<'u, 'c>,
    placement: Placement<'e>,
    column: usize,
    axes: usize,
    reductions: usize,
}

/// Element offsets of one access.
enum Span<'c> {
    /// One element, whatever the column.
    One(IntValue<'c>),
    /// Consecutive elements from here on.
    Run(IntValue<'c>),
    /// Elements a stride apart, from the first on.
    Steps { first: IntValue<'c>, stride: IntValue<'c> },
    /// i64 lanes.
    Lanes(V<'c>),
}

impl<'e, 'u, 'c> Values<'e, 'u, 'c> {
    /// `values` over `axes` axes, of which the last becomes lanes, and `reductions` reductions.
    pub fn new(e: &'e Entry<'u, 'c>, values: &'e [Value], axes: usize, reductions: usize) -> Self {
        Values {
            e,
            placement: Placement::new(values),
            column: axes - 1,
            axes,
            reductions,
        }
    }

    /// A point where no axis is open.
    pub fn point(&self) -> Point<'c> {
        self.placement.point(self.axes, self.reductions)
    }

    /// The axis whose positions are lanes.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The type of a value; `reductions` are those that `Reduced` refers to.
    pub fn dtype(&self, id: ValId, reductions: &[(Reduction, ValId)]) -> DType {
        self.placement.dtype(id, &self.e.slots, reductions)
    }

    /// Computes everything that `roots` need and `p` has the coordinates for: call before opening an inner loop.
    pub fn hoist(&self, p: &mut Point<'c>, roots: impl IntoIterator<Item = ValId>) {
        self.placement.hoist(p, roots, |v, p| {
            self.eval(v, p);
        });
    }

    /// Forgets what was computed from memory: call after stores that later values may read.
    pub fn forget_loads(&self, p: &mut Point<'c>) {
        self.placement.forget(p, |_| true);
    }

    /// The value at a point: a vector where it varies with the column, else usually a scalar.
    pub fn eval(&self, id: ValId, p: &mut Point<'c>) -> V<'c> {
        if let Some(v) = p.known(id) {
            return *v;
        }
        let e = self.e;
        let v = match &self.placement.values[id] {
            Value::Const { dtype, bits } => e.constant(*dtype, f64::from_bits(*bits)),
            Value::Axis(a) => {
                let first = e.resize(self.axis(*a, p).into(), 32);
                if *a == self.column {
                    e.add(first, e.iota(false))
                } else {
                    first
                }
            }
            Value::Size(d) => e.resize(e.dim(d).into(), 32),
            Value::Load { slot, index, guard } => self.load(*slot, index, *guard, p),
            Value::Unary(f, x) => {
                let x = self.eval(*x, p);
                e.unary(*f, x)
            }
            Value::Binary(f, x, y) => {
                let (x, y) = (self.eval(*x, p), self.eval(*y, p));
                e.binary(*f, x, y)
            }
            Value::Select { cond, then, other } => {
                let cond = self.condition(*cond, p);
                let (x, y) = (self.eval(*then, p), self.eval(*other, p));
                e.select(cond, x, y)
            }
            Value::Cast(to, x) => {
                let x = self.eval(*x, p);
                e.cast(x, *to)
            }
            Value::Reduced(r) => p.reduced[*r].expect("a reduction is used after its phase"),
            Value::Acc => p.acc.expect("the accumulated product is used in an epilogue"),
            Value::Uniform { seed, site, index } => {
                let index = self.counter(index, p);
                let keys = e.random_keys(*seed, *site);
                e.uniform(keys, index)
            }
        };
        p.learn(id, v);
        v
    }

    /// An i32 truth value as i1 (lanes).
    pub fn condition(&self, id: ValId, p: &mut Point<'c>) -> V<'c> {
        let v = self.eval(id, p);
        self.e.icmp(IntPredicate::NE, v, self.e.i32(0))
    }

    fn axis(&self, a: usize, p: &Point<'c>) -> IntValue<'c> {
        p.axes[a].expect("an axis is open where its position is used")
    }

    /// The index truncated to 32 bits, as a counter of random numbers.
    fn counter(&self, index: &Index, p: &mut Point<'c>) -> V<'c> {
        let e = self.e;
        let narrow = |d: &Dim| e.resize(e.dim(d).into(), 32);
        let mut total = narrow(&index.base);
        let mut lanes = None;
        for (stride, coord) in &index.terms {
            let at = match coord {
                Coord::Axis(a) => e.resize(self.axis(*a, p).into(), 32),
                Coord::Value(v) => self.eval(*v, p),
            };
            if *coord == Coord::Axis(self.column) {
                lanes = Some(e.mul(e.iota(false), narrow(stride)));
            }
            total = e.add(total, e.mul(at, narrow(stride)));
        }
        lanes.map_or(total, |l| e.add(total, l))
    }

    fn span(&self, index: &Index, p: &mut Point<'c>) -> Span<'c> {
        let e = self.e;
        let mut base = e.dim(&index.base);
        let mut lanes: Option<V<'c>> = None;
        let mut column_stride = Dim::default();
        for (stride, coord) in &index.terms {
            match coord {
                Coord::Axis(a) => {
                    if *a == self.column {
                        column_stride = column_stride + stride.clone();
                    }
                    if !stride.is_zero() {
                        base = e.iadd(base, e.imul(self.axis(*a, p), e.dim(stride)));
                    }
                }
                Coord::Value(v) => {
                    let at = self.eval(*v, p);
                    let at = e.mul(e.resize(at, 64), e.dim(stride).into());
                    match at {
                        V::IntValue(at) => base = e.iadd(base, at),
                        at => lanes = Some(lanes.map_or(at, |l| e.add(l, at))),
                    }
                }
            }
        }
        match lanes {
            None if column_stride.is_zero() => Span::One(base),
            None if column_stride.is_one() => Span::Run(base),
            None => Span::Steps {
                first: base,
                stride: e.dim(&column_stride),
            },
            Some(l) if column_stride.is_zero() => Span::Lanes(e.add(e.splat(base.into(), e.lanes), l)),
            Some(l) => Span::Lanes(e.add(self.offsets(base, e.dim(&column_stride)), l)),
        }
    }

    /// Offsets of elements a stride apart, i64 lanes.
    fn offsets(&self, first: IntValue<'c>, stride: IntValue<'c>) -> V<'c> {
        let e = self.e;
        e.add(
            e.splat(first.into(), e.lanes),
            e.mul(e.iota(true), e.splat(stride.into(), e.lanes)),
        )
    }

    /// Lanes that exist and whose guard holds.
    fn active(&self, guard: Option<V<'c>>, p: &Point<'c>) -> Option<VectorValue<'c>> {
        let e = self.e;
        match (guard, p.lanes.mask) {
            (None, mask) => mask,
            (Some(g), None) => Some(e.splat(g, e.lanes).into_vector_value()),
            (Some(g), Some(m)) => Some(e.and(m.into(), g).into_vector_value()),
        }
    }

    fn load(&self, slot: usize, index: &Index, guard: Option<ValId>, p: &mut Point<'c>) -> V<'c> {
        let e = self.e;
        let guard = guard.map(|g| self.condition(g, p));
        let (dtype, base) = (e.slots[slot].dtype, e.slot(slot));
        match self.span(index, p) {
            Span::One(at) => {
                let at = e.at(dtype, base, at);
                match guard {
                    None => e.load(dtype, at),
                    Some(V::IntValue(g)) => e.load_guarded(dtype, at, g),
                    Some(g) => {
                        let active = self.active(Some(g), p).expect("there is a guard");
                        let v = e.load_guarded(dtype, at, e.any(active.into()));
                        e.select(g, v, e.constant(dtype, 0.0))
                    }
                }
            }
            Span::Run(at) => {
                let at = e.at(dtype, base, at);
                if let Some(bytes) = p.lanes.ahead {
                    e.prefetch(e.byte_at(at, e.i64(bytes)));
                }
                e.load_vector(dtype, at, self.active(guard, p))
            }
            Span::Steps { first, stride } => match (guard, p.lanes.mask) {
                (None, None) => e.load_steps(dtype, e.at(dtype, base, first), stride),
                (Some(V::IntValue(g)), None) => {
                    // All lanes or none: then every one of them reads the same zero.
                    let (at, none) = (e.at(dtype, base, first), e.zero_cell());
                    let at = e.select(g.into(), at.into(), none.into()).into_pointer_value();
                    let stride = e.select(g.into(), stride.into(), e.i64(0).into()).into_int_value();
                    e.load_steps(dtype, at, stride)
                }
                (guard, _) => e.gather(dtype, base, self.offsets(first, stride), self.active(guard, p)),
            },
            Span::Lanes(offsets) => e.gather(dtype, base, offsets, self.active(guard, p)),
        }
    }

    /// Performs stores in order. All their values are computed before the first of them.
    pub fn store_all(&self, stores: &[Store], p: &mut Point<'c>) {
        for s in stores {
            self.eval(s.value, p);
        }
        for s in stores {
            self.store(s, p);
        }
    }

    fn store(&self, s: &Store, p: &mut Point<'c>) {
        let e = self.e;
        let v = self.eval(s.value, p);
        let (dtype, base) = (e.slots[s.slot].dtype, e.slot(s.slot));
        let sum = |old, v| {
            if dtype.is_float() {
                e.fadd(old, v)
            } else {
                e.add(old, v)
            }
        };
        let in_columns = p.axes[self.column].is_some();
        match self.span(&s.index, p) {
            Span::One(at) => {
                let at = e.at(dtype, base, at);
                let v = match (s.accumulate, in_columns) {
                    (false, true) => self.last_lane(v, p.lanes.mask),
                    (true, true) => {
                        let zero = e.constant(dtype, 0.0);
                        let v = e.splat(v, e.lanes);
                        let v = p.lanes.mask.map_or(v, |m| e.select(m.into(), v, zero));
                        e.fold_lanes(v, &sum)
                    }
                    (_, false) => v,
                };
                e.store_as(dtype, at, if s.accumulate { sum(e.load(dtype, at), v) } else { v });
            }
            Span::Run(at) => {
                let at = e.at(dtype, base, at);
                let v = if s.accumulate {
                    sum(e.load_vector(dtype, at, p.lanes.mask), v)
                } else {
                    v
                };
                e.store_vector(dtype, at, v, p.lanes.mask);
            }
            Span::Steps { first, stride } => {
                let (at, offsets) = (e.at(dtype, base, first), || self.offsets(first, stride));
                let before = || match p.lanes.mask {
                    None => e.load_steps(dtype, at, stride),
                    mask => e.gather(dtype, base, offsets(), mask),
                };
                let v = if s.accumulate { sum(before(), v) } else { v };
                match p.lanes.mask {
                    None => e.store_steps(dtype, at, stride, v),
                    mask => e.scatter(dtype, base, offsets(), v, mask),
                }
            }
            Span::Lanes(offsets) if s.accumulate => {
                // Lanes may name the same element: one after the other.
                let v = e.splat(v, e.lanes);
                for lane in 0..e.lanes {
                    let add = || {
                        let at = e.at(dtype, base, e.extract(offsets, lane).into_int_value());
                        e.store(at, sum(e.load(dtype, at), e.extract(v, lane)));
                    };
                    match p.lanes.mask {
                        None => add(),
                        Some(m) => e.when(e.extract(m.into(), lane).into_int_value(), add),
                    }
                }
            }
            Span::Lanes(offsets) => e.scatter(dtype, base, offsets, v, p.lanes.mask),
        }
    }

    /// What the last column of the vector holds.
    fn last_lane(&self, v: V<'c>, mask: Option<VectorValue<'c>>) -> V<'c> {
        let e = self.e;
        match (v, mask) {
            (V::VectorValue(_), None) => e.extract(v, e.lanes - 1),
            (V::VectorValue(_), Some(m)) => {
                let mut last = e.extract(v, 0);
                for lane in 1..e.lanes {
                    last = e.select(e.extract(m.into(), lane), e.extract(v, lane), last);
                }
                last
            }
            (v, _) => v,
        }
    }
}

/// What stores are computed from: their values and the values in their addresses.
pub fn roots(stores: &[Store]) -> Vec<ValId> {
    let indices = stores.iter().flat_map(|s| &s.index.terms).filter_map(|(_, c)| match c {
        Coord::Value(v) => Some(*v),
        Coord::Axis(_) => None,
    });
    stores.iter().map(|s| s.value).chain(indices).collect()
}
