//! Scalar values of kernel IR as code of one thread, which computes `lanes` consecutive columns at a time.

use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Function, divisible};
use ir::dim::Dim;
use ir::emit::Placement;
use ir::kernel::{Coord, Index, Reduction, Slot, Store, ValId, Value};
use ir::scalar::DType;

mod branch;

/// What a thread knows of a value: the same for all its columns, or one each.
#[derive(Clone, Debug)]
pub enum Lanes<'c> {
    One(V<'c>),
    Each(Vec<V<'c>>),
}

impl<'c> Lanes<'c> {
    /// That of the `i`-th column.
    pub fn get(&self, i: usize) -> V<'c> {
        match self {
            Lanes::One(v) => *v,
            Lanes::Each(v) => v[i],
        }
    }
    fn map(&self, f: impl Fn(V<'c>) -> V<'c>) -> Lanes<'c> {
        match self {
            Lanes::One(v) => Lanes::One(f(*v)),
            Lanes::Each(v) => Lanes::Each(v.iter().map(|v| f(*v)).collect()),
        }
    }
}

/// Where values are computed. Coordinates are i64; that of the column axis is the first of `lanes` consecutive positions.
pub type Point<'c> = ir::emit::Point<V<'c>, Lanes<'c>>;

/// The values of one kernel body in one function.
pub struct Values<'f, 'k, 'c> {
    f: &'f Function<'k, 'c>,
    placement: Placement<'f>,
    reductions: &'f [(Reduction, ValId)],
    column: usize,
    axes: usize,
    /// Consecutive columns of one thread: 1, 2 or 4. The first column is a multiple of it, and all of them exist.
    lanes: usize,
}

/// Elements of one access.
struct Span<'c> {
    /// Of the first column.
    first: V<'c>,
    /// One per column where they are neither all the same nor consecutive.
    each: Option<Vec<V<'c>>>,
    consecutive: bool,
    /// Whether the first element is a multiple of `lanes`.
    aligned: bool,
}

impl<'f, 'k, 'c> Values<'f, 'k, 'c> {
    /// `values` over `axes` axes, of which the last is that of the columns. Call it where nothing is nested yet: keys of
    /// random numbers are computed here.
    pub fn new(
        f: &'f Function<'k, 'c>,
        values: &'f [Value],
        axes: usize,
        reductions: &'f [(Reduction, ValId)],
        lanes: usize,
    ) -> Self {
        for v in values {
            if let Value::Uniform { seed, site, .. } = v {
                f.random_keys(*seed, *site);
            }
        }
        Values {
            f,
            placement: Placement::new(values),
            reductions,
            column: axes - 1,
            axes,
            lanes,
        }
    }

    /// A point where no axis is open.
    pub fn point(&self) -> Point<'c> {
        self.placement.point(self.axes, self.reductions.len())
    }

    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The type of a value once loaded.
    pub fn dtype(&self, id: ValId) -> DType {
        self.placement.dtype(id, self.f.slots, self.reductions)
    }

    /// Computes everything that `roots` need and `p` has the coordinates for: call before opening an inner loop.
    pub fn hoist(&self, p: &mut Point<'c>, roots: impl IntoIterator<Item = ValId>) {
        self.placement.hoist(p, roots, |v, p| {
            self.eval(v, p);
        });
    }

    /// Forgets what was computed from memory of these slots: call after stores that later values may read.
    pub fn forget_slots(&self, p: &mut Point<'c>, stored: &[Slot]) {
        self.placement.forget(p, |slot| stored.contains(&slot));
    }

    /// The value at a point.
    pub fn eval(&self, id: ValId, p: &mut Point<'c>) -> Lanes<'c> {
        if let Some(v) = p.known(id) {
            return v.clone();
        }
        let f = self.f;
        let v = match &self.placement.values[id] {
            Value::Const { dtype, bits } => Lanes::One(f.of(*dtype, f64::from_bits(*bits))),
            Value::Axis(a) => {
                let first = f.resize(self.axis(*a, p), Ty::I32);
                if *a == self.column && self.lanes > 1 {
                    Lanes::Each((0..self.lanes).map(|i| f.add(first, f.i32(i as i32))).collect())
                } else {
                    Lanes::One(first)
                }
            }
            Value::Size(d) => Lanes::One(f.dim32(d)),
            Value::Load { slot, index, guard } => self.load(*slot, index, *guard, p),
            Value::Unary(op, x) => self.eval(*x, p).map(|x| f.unary(*op, x)),
            Value::Binary(op, x, y) => {
                let (x, y) = (self.eval(*x, p), self.eval(*y, p));
                self.zip(&[&x, &y], |v| f.binary(*op, v[0], v[1]))
            }
            Value::Select { cond, then, other } => {
                let cond = self.condition(*cond, p);
                if let (Lanes::One(c), true) = (&cond, self.worth_a_branch(id, p)) {
                    let v = self.branch(id, *c, [*then, *other], p);
                    p.learn(id, v.clone());
                    return v;
                }
                let (x, y) = (self.eval(*then, p), self.eval(*other, p));
                self.zip(&[&cond, &x, &y], |v| f.select(v[0], v[1], v[2]))
            }
            Value::Cast(to, x) => self.eval(*x, p).map(|x| f.cast(x, *to)),
            Value::Reduced(r) => p.reduced[*r].clone().expect("a reduction is used after its phase"),
            Value::Acc => p.acc.clone().expect("the accumulated product is used in an epilogue"),
            Value::Uniform { seed, site, index } => {
                let keys = f.random_keys(*seed, *site);
                self.counter(index, p).map(|i| f.uniform(keys, i))
            }
        };
        p.learn(id, v.clone());
        v
    }

    /// Something of several values: one where all are, else one per column.
    fn zip(&self, values: &[&Lanes<'c>], f: impl Fn(&[V<'c>]) -> V<'c>) -> Lanes<'c> {
        let at = |i| f(&values.iter().map(|v| v.get(i)).collect::<Vec<_>>());
        if values.iter().all(|v| matches!(v, Lanes::One(_))) {
            Lanes::One(at(0))
        } else {
            Lanes::Each((0..self.lanes).map(at).collect())
        }
    }

    /// An i32 truth value as i1.
    pub fn condition(&self, id: ValId, p: &mut Point<'c>) -> Lanes<'c> {
        self.eval(id, p).map(|v| self.f.cmp(Cmp::Ne, v, self.f.i32(0)))
    }

    fn axis(&self, a: usize, p: &Point<'c>) -> V<'c> {
        p.axes[a].expect("an axis is open where its position is used")
    }

    /// The index truncated to 32 bits, as a counter of random numbers.
    fn counter(&self, index: &Index, p: &mut Point<'c>) -> Lanes<'c> {
        let f = self.f;
        let mut total = Lanes::One(f.dim32(&index.base));
        for (stride, coord) in &index.terms {
            let stride = f.dim32(stride);
            let at = match coord {
                Coord::Axis(a) => {
                    let first = f.resize(self.axis(*a, p), Ty::I32);
                    if *a == self.column && self.lanes > 1 {
                        Lanes::Each((0..self.lanes).map(|i| f.add(first, f.i32(i as i32))).collect())
                    } else {
                        Lanes::One(first)
                    }
                }
                Coord::Value(v) => self.eval(*v, p),
            };
            total = self.zip(&[&total, &at], |v| f.add(v[0], f.mul(v[1], stride)));
        }
        total
    }

    fn span(&self, index: &Index, p: &mut Point<'c>) -> Span<'c> {
        let f = self.f;
        let mut first = f.dim(&index.base);
        let mut column_stride = Dim::default();
        let mut each: Option<Vec<V>> = None;
        let n = self.lanes as i64;
        let mut aligned = divisible(&index.base, n);
        for (stride, coord) in &index.terms {
            match coord {
                Coord::Axis(a) => {
                    if *a == self.column {
                        column_stride = column_stride + stride.clone();
                    } else {
                        aligned &= divisible(stride, n);
                    }
                    if !stride.is_zero() {
                        first = f.add(first, f.mul(self.axis(*a, p), f.dim(stride)));
                    }
                }
                Coord::Value(v) => {
                    aligned &= divisible(stride, n);
                    let stride = f.dim(stride);
                    let at = self.eval(*v, p).map(|at| f.mul(f.resize(at, Ty::I64), stride));
                    match at {
                        Lanes::One(at) => first = f.add(first, at),
                        Lanes::Each(at) => {
                            each = Some(match each {
                                None => at,
                                Some(e) => e.iter().zip(&at).map(|(e, a)| f.add(*e, *a)).collect(),
                            });
                        }
                    }
                }
            }
        }
        let steps = |i: usize| f.mul(f.dim(&column_stride), f.i64(i as i64));
        let (one, run) = (column_stride.is_zero(), column_stride.is_one());
        let each = match each {
            Some(each) => Some(
                (0..self.lanes)
                    .map(|i| f.add(f.add(first, each[i]), steps(i)))
                    .collect(),
            ),
            None if one => None,
            None => Some((0..self.lanes).map(|i| f.add(first, steps(i))).collect::<Vec<_>>()),
        };
        let consecutive = run
            && index.terms.iter().all(|(_, c)| match c {
                Coord::Axis(_) => true,
                Coord::Value(v) => self.placement.needs(*v).axes >> self.column & 1 == 0,
            });
        Span {
            first,
            each,
            consecutive,
            aligned,
        }
    }

    /// Whether the columns of a thread are one access of memory.
    fn vector(&self, slot: Slot, span: &Span) -> bool {
        let bytes = self.f.slots[slot].dtype.bytes() as u32 * self.lanes as u32;
        self.lanes > 1 && span.consecutive && span.aligned && self.f.alignment(slot).is_multiple_of(bytes.min(16))
    }

    fn load(&self, slot: usize, index: &Index, guard: Option<ValId>, p: &mut Point<'c>) -> Lanes<'c> {
        let f = self.f;
        let guard = guard.map(|g| self.condition(g, p));
        let span = self.span(index, p);
        let zero = || f.of(f.slots[slot].dtype, 0.0);
        let element = |at: V<'c>, guard: Option<V<'c>>| match guard {
            None => f.load_element(slot, at),
            Some(g) => f.if_else(g, || vec![f.load_element(slot, at)], || vec![zero()])[0],
        };
        let Some(each) = &span.each else {
            return match &guard {
                Some(Lanes::Each(_)) => {
                    let guard = guard.expect("matched above");
                    Lanes::Each(
                        (0..self.lanes)
                            .map(|i| element(span.first, Some(guard.get(i))))
                            .collect(),
                    )
                }
                guard => Lanes::One(element(span.first, guard.as_ref().map(|g| g.get(0)))),
            };
        };
        let count = self.lanes as u32;
        match &guard {
            None if self.vector(slot, &span) => Lanes::Each(f.load_elements(slot, span.first, count)),
            Some(Lanes::One(g)) if self.vector(slot, &span) => Lanes::Each(f.if_else(
                *g,
                || f.load_elements(slot, span.first, count),
                || vec![zero(); self.lanes],
            )),
            guard => Lanes::Each(
                (0..self.lanes)
                    .map(|i| element(each[i], guard.as_ref().map(|g| g.get(i))))
                    .collect(),
            ),
        }
    }

    /// Performs stores in order. All their values are computed before the first of them. Where several columns store to one
    /// element the caller sees to it that one thread at a time does, and the last one wins or all are added in order.
    pub fn store_all(&self, stores: &[Store], p: &mut Point<'c>) {
        for s in stores {
            self.eval(s.value, p);
        }
        for s in stores {
            self.store(s, p);
        }
    }

    fn store(&self, s: &Store, p: &mut Point<'c>) {
        let f = self.f;
        let v = self.eval(s.value, p);
        let in_columns = p.axes[self.column].is_some();
        let lanes = if in_columns { self.lanes } else { 1 };
        let span = self.span(&s.index, p);
        if lanes > 1 && self.vector(s.slot, &span) {
            let values: Vec<V> = (0..lanes).map(|i| v.get(i)).collect();
            let values = if s.accumulate {
                let old = f.load_elements(s.slot, span.first, lanes as u32);
                old.iter().zip(&values).map(|(a, b)| f.add(*a, *b)).collect()
            } else {
                values
            };
            return f.store_elements(s.slot, span.first, &values);
        }
        for i in 0..lanes {
            let at = span.each.as_ref().map_or(span.first, |e| e[i]);
            let v = v.get(i);
            let v = if s.accumulate {
                f.add(f.load_element(s.slot, at), v)
            } else {
                v
            };
            f.store_element(s.slot, at, v);
        }
    }
}

/// Consecutive columns that one thread may take of rows of this length.
pub fn lanes_of(columns: &Dim) -> i64 {
    [4, 2].into_iter().find(|n| divisible(columns, *n)).unwrap_or(1)
}
