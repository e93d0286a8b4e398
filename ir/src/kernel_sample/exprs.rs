//! Random expressions over values of known range.

use super::{Draw, EPS, Extent};
use crate::dim::Dim;
use crate::kernel::*;
use crate::scalar::{Binary, DType, Unary};

/// What is known of a value.
#[derive(Clone, Copy)]
pub struct Known {
    pub id: ValId,
    pub dtype: DType,
    pub low: f64,
    pub high: f64,
    /// How far apart two backends may be.
    pub error: f64,
    /// Every backend computes the same bits.
    pub exact: bool,
    /// Bit per axis it varies along.
    pub axes: u64,
}

impl Known {
    fn most(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    fn truth(&self) -> bool {
        self.dtype == DType::I32 && self.low >= 0.0 && self.high <= 1.0
    }
}

/// The values of a kernel while it is drawn, and those of them that may be used next.
pub struct Exprs {
    pub values: Vec<Value>,
    pub pool: Vec<Known>,
    pub axes: Vec<Extent>,
}

impl Exprs {
    pub fn new(axes: Vec<Extent>) -> Exprs {
        Exprs {
            values: vec![],
            pool: vec![],
            axes,
        }
    }

    /// Adds a value about which `known` is true, whatever its `id`.
    pub fn push(&mut self, value: Value, known: Known) -> Known {
        let known = Known {
            id: self.values.len(),
            ..known
        };
        self.values.push(value);
        self.pool.push(known);
        known
    }

    fn exact(&mut self, value: Value, dtype: DType, (low, high): (f64, f64), axes: u64) -> Known {
        self.push(
            value,
            Known {
                id: 0,
                dtype,
                low,
                high,
                error: 0.0,
                exact: true,
                axes,
            },
        )
    }

    pub fn constant(&mut self, dtype: DType, v: f64) -> Known {
        self.exact(Value::constant(dtype, v), dtype, (v, v), 0)
    }

    /// A layout over all of `of` (axis numbers) in random order, each element its own, and the number of elements it
    /// reaches over. `natural` keeps the order.
    pub fn layout(&self, d: &mut Draw, of: &[usize], natural: bool) -> (Index, i64) {
        let mut order = of.to_vec();
        if !natural {
            for i in (1..order.len()).rev() {
                order.swap(i, d.rand.int(0, i as i64) as usize);
            }
        }
        let gap = Dim::from(*d.rand.pick(&[1, 1, 1, 2, 3]));
        let base = Dim::from(*d.rand.pick(&[0, 0, 5]));
        let (mut stride, mut terms) = (if natural { Dim::from(1) } else { gap }, vec![]);
        for axis in order.iter().rev() {
            terms.push((stride.clone(), Coord::Axis(*axis)));
            stride = stride * self.axes[*axis].dim.clone();
        }
        terms.reverse();
        let len = d.size(&base) + d.size(&stride);
        (Index { base, terms }, len)
    }

    /// Axis numbers below `axes` that are in `allowed`, some or all.
    fn some_axes(&self, d: &mut Draw, allowed: u64) -> Vec<usize> {
        let all = (0..self.axes.len()).filter(|a| allowed >> a & 1 == 1);
        let keep_all = d.rand.flag();
        all.filter(|_| keep_all || d.rand.flag()).collect()
    }

    fn mask(axes: &[usize]) -> u64 {
        axes.iter().fold(0, |m, a| m | 1 << a)
    }

    /// A load of a new slot, along some of the `allowed` axes.
    pub fn load(&mut self, d: &mut Draw, allowed: u64) -> Known {
        let axes = self.some_axes(d, allowed);
        let natural = d.rand.int(0, 3) > 0;
        let (mut index, len) = self.layout(d, &axes, natural);
        let mask = Self::mask(&axes);
        match d.rand.int(0, 5) {
            0 if !axes.is_empty() => self.shifted(d, &axes),
            1 if !axes.is_empty() => {
                // Backwards along one axis.
                let turned = *d.rand.pick(&axes);
                for (stride, coord) in &mut index.terms {
                    if *coord == Coord::Axis(turned) {
                        let last = self.axes[turned].dim.clone() - Dim::from(1);
                        index.base = index.base + stride.clone() * last;
                        *stride = stride.clone() * Dim::from(-1);
                    }
                }
                self.load_at(d, DType::F32, index, len, mask)
            }
            2 => self.gather(d, &axes),
            3 => self.load_at(d, DType::I32, index, len, mask),
            4 if d.rand.flag() => self.load_at(d, DType::F64, index, len, mask),
            _ => self.load_at(d, DType::F32, index, len, mask),
        }
    }

    fn load_at(&mut self, d: &mut Draw, dtype: DType, index: Index, len: i64, axes: u64) -> Known {
        let (low, high) = if dtype == DType::I32 { (-3.0, 4.0) } else { (-1.0, 1.0) };
        let slot = match dtype {
            DType::I32 => d.slot(dtype, Access::Read, len, |r| r.int(-3, 4) as f64),
            _ => d.slot(dtype, Access::Read, len, |r| r.int(-8, 8) as f64 / 8.0),
        };
        self.exact(
            Value::Load {
                slot,
                index,
                guard: None,
            },
            dtype,
            (low, high),
            axes,
        )
    }

    /// The neighbour along an axis, 0 where there is none.
    fn shifted(&mut self, d: &mut Draw, axes: &[usize]) -> Known {
        let (index, len) = self.layout(d, axes, true);
        let axis = *d.rand.pick(axes);
        let back = d.rand.int(1, 2);
        let position = self.exact(
            Value::Axis(axis),
            DType::I32,
            (0.0, self.axes[axis].size as f64),
            1 << axis,
        );
        let from = self.constant(DType::I32, back as f64);
        let guard = self.exact(
            Value::Binary(Binary::LessEq, from.id, position.id),
            DType::I32,
            (0.0, 1.0),
            1 << axis,
        );
        let stride = index
            .terms
            .iter()
            .find(|(_, c)| *c == Coord::Axis(axis))
            .map_or(Dim::from(0), |(s, _)| s.clone());
        let index = Index {
            base: index.base - stride * Dim::from(back),
            ..index
        };
        let slot = d.floats(Access::Read, len);
        let load = Value::Load {
            slot,
            index,
            guard: Some(guard.id),
        };
        self.exact(load, DType::F32, (-1.0, 1.0), Self::mask(axes))
    }

    /// A row of a table at a place read from a slot, and there the column if `axes` has one.
    fn gather(&mut self, d: &mut Draw, axes: &[usize]) -> Known {
        let (rows, width) = (d.rand.int(1, 9), d.rand.int(1, 3));
        let (index, len) = self.layout(d, axes, true);
        let ids = d.slot(DType::I32, Access::Read, len, |r| r.int(0, rows - 1) as f64);
        let bounds = (0.0, rows as f64 - 1.0);
        let id = self.exact(
            Value::Load {
                slot: ids,
                index,
                guard: None,
            },
            DType::I32,
            bounds,
            Self::mask(axes),
        );
        let mut terms = vec![];
        let mut stride = Dim::from(width);
        if let (Some(last), true) = (axes.last(), d.rand.flag()) {
            terms.push((Dim::from(1), Coord::Axis(*last)));
            stride = stride + self.axes[*last].dim.clone();
        }
        terms.push((stride.clone(), Coord::Value(id.id)));
        let table = d.floats(Access::Read, rows * d.size(&stride));
        let load = Value::Load {
            slot: table,
            index: Index {
                base: Dim::from(0),
                terms,
            },
            guard: None,
        };
        self.exact(load, DType::F32, (-1.0, 1.0), Self::mask(axes))
    }

    /// A random number for every position along `allowed` axes.
    fn uniform(&mut self, d: &mut Draw, allowed: u64) -> Known {
        let axes = self.some_axes(d, allowed);
        let (index, _) = self.layout(d, &axes, true);
        let seed = d.slot(DType::I32, Access::Read, 2, |r| r.bits() as i32 as f64);
        let site = d.rand.bits() % 100;
        self.exact(
            Value::Uniform { seed, site, index },
            DType::F32,
            (0.0, 1.0),
            Self::mask(&axes),
        )
    }

    /// A value that is not computed from others, varying along `allowed` axes at most.
    pub fn leaf(&mut self, d: &mut Draw, allowed: u64) -> Known {
        let axis = (0..self.axes.len()).find(|a| allowed >> a & 1 == 1);
        match (d.rand.int(0, 9), axis) {
            (0, _) => {
                let v = d.rand.int(-12, 12) as f64 / 8.0;
                self.constant(DType::F32, v)
            }
            (1, Some(a)) => self.exact(Value::Axis(a), DType::I32, (0.0, self.axes[a].size as f64), 1 << a),
            (2, _) => {
                let e = d.extent(&[3, 64]);
                self.exact(Value::Size(e.dim), DType::I32, (e.size as f64, e.size as f64), 0)
            }
            (3, _) => self.uniform(d, allowed),
            _ => self.load(d, allowed),
        }
    }

    /// A value from the pool of a dtype, along `allowed` axes at most.
    pub fn pick(&self, d: &mut Draw, allowed: u64, wanted: impl Fn(&Known) -> bool) -> Option<Known> {
        let fit: Vec<Known> = self
            .pool
            .iter()
            .filter(|k| k.axes & !allowed == 0 && wanted(k))
            .copied()
            .collect();
        // Later ones are made of more.
        let late = fit.len().saturating_sub(6);
        let among = if d.rand.flag() { &fit[late..] } else { &fit[..] };
        if among.is_empty() {
            None
        } else {
            Some(*d.rand.pick(among))
        }
    }

    /// Adds `count` values computed from others, as far as what is drawn is legal.
    pub fn grow(&mut self, d: &mut Draw, allowed: u64, count: i64) {
        for _ in 0..count {
            let made = match d.rand.int(0, 5) {
                0 => self.unary(d, allowed),
                1 | 2 => self.binary(d, allowed),
                3 => self.select(d, allowed),
                4 => self.cast(d, allowed),
                _ => Some(self.leaf(d, allowed)),
            };
            if made.is_none() {
                self.leaf(d, allowed);
            }
        }
    }

    fn unary(&mut self, d: &mut Draw, allowed: u64) -> Option<Known> {
        let f = *d.rand.pick(Unary::ALL);
        let a = self.pick(d, allowed, |a| match f {
            Unary::Neg | Unary::Abs => true,
            Unary::Not => a.truth(),
            Unary::Sqrt => a.dtype.is_float() && a.low >= 0.05,
            // What is transcendental is f32's alone.
            Unary::Exp => a.dtype == DType::F32 && a.high <= 3.0 && a.low >= -50.0,
            Unary::Log | Unary::Rsqrt => a.dtype == DType::F32 && a.low >= 0.05,
            Unary::Erf | Unary::Tanh => a.dtype == DType::F32,
        })?;
        let ends = (f.eval(a.low), f.eval(a.high));
        let (low, high) = match f {
            Unary::Abs if a.low < 0.0 && a.high > 0.0 => (0.0, a.most()),
            Unary::Neg | Unary::Abs | Unary::Not => (ends.0.min(ends.1), ends.0.max(ends.1)),
            _ => (ends.0.min(ends.1) - 1e-3, ends.0.max(ends.1) + 1e-3),
        };
        // Largest slope over the range, a little beyond its ends.
        let slope = match f {
            Unary::Neg | Unary::Abs | Unary::Tanh => 1.0,
            Unary::Not => 0.0,
            Unary::Exp => high,
            Unary::Log => 1.1 / a.low,
            Unary::Sqrt => 0.55 / a.low.sqrt(),
            Unary::Rsqrt => 0.55 * a.low.powf(-1.5),
            Unary::Erf => 1.13,
        };
        let exact = a.exact && matches!(f, Unary::Neg | Unary::Abs | Unary::Not);
        // The expansions are good to a few units in the last place.
        let rounding = if exact {
            0.0
        } else {
            8.0 * EPS * low.abs().max(high.abs()).max(1.0)
        };
        let known = Known {
            low,
            high,
            error: slope * a.error + rounding,
            exact,
            ..a
        };
        self.keep(Value::Unary(f, a.id), known)
    }

    fn binary(&mut self, d: &mut Draw, allowed: u64) -> Option<Known> {
        let f = *d.rand.pick(Binary::ALL);
        let fits = |k: &Known| match f {
            Binary::And | Binary::Or => k.truth(),
            Binary::FloorDiv => k.dtype == DType::I32,
            Binary::Div => k.dtype.is_float(),
            Binary::Less | Binary::LessEq | Binary::Equal => k.exact,
            _ => true,
        };
        let a = self.pick(d, allowed, fits)?;
        let b = self.pick(d, allowed, |b| {
            let divisor = match f {
                Binary::Div => b.low >= 0.1 || b.high <= -0.1,
                Binary::FloorDiv => b.low >= 1.0,
                _ => true,
            };
            fits(b) && b.dtype == a.dtype && divisor
        })?;
        let corners = [(a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high)].map(|(x, y)| f.eval(x, y));
        let (mut low, mut high) = corners
            .into_iter()
            .fold((f64::MAX, f64::MIN), |(l, h), c| (l.min(c), h.max(c)));
        let mut dtype = a.dtype;
        if f.is_comparison() || matches!(f, Binary::And | Binary::Or) {
            (dtype, low, high) = (DType::I32, 0.0, 1.0);
        }
        let exact = a.exact && b.exact && (dtype == DType::I32 || matches!(f, Binary::Max | Binary::Min));
        let least = b.low.abs().min(b.high.abs());
        let carried = match f {
            Binary::Mul => a.most() * b.error + b.most() * a.error,
            Binary::Div => 1.1 * (a.error / least + a.most() * b.error / (least * least)),
            Binary::Max | Binary::Min => a.error.max(b.error),
            _ => a.error + b.error,
        };
        // Contracting a product into this sum changes it by the rounding of the product.
        let rounding = if exact {
            0.0
        } else {
            2.0 * EPS * low.abs().max(high.abs()).max(a.most() + b.most())
        };
        let known = Known {
            dtype,
            low,
            high,
            error: carried + rounding,
            exact,
            axes: a.axes | b.axes,
            ..a
        };
        self.keep(Value::Binary(f, a.id, b.id), known)
    }

    fn select(&mut self, d: &mut Draw, allowed: u64) -> Option<Known> {
        let cond = self.pick(d, allowed, |k| k.dtype == DType::I32 && k.exact)?;
        let then = self.pick(d, allowed, |_| true)?;
        let other = self.pick(d, allowed, |k| k.dtype == then.dtype)?;
        let known = Known {
            low: then.low.min(other.low),
            high: then.high.max(other.high),
            error: then.error.max(other.error),
            exact: then.exact && other.exact,
            axes: cond.axes | then.axes | other.axes,
            ..then
        };
        self.keep(
            Value::Select {
                cond: cond.id,
                then: then.id,
                other: other.id,
            },
            known,
        )
    }

    fn cast(&mut self, d: &mut Draw, allowed: u64) -> Option<Known> {
        let to = *d.rand.pick(&[DType::F32, DType::F32, DType::F64, DType::I32]);
        let a = self.pick(d, allowed, |a| a.dtype != to && (to != DType::I32 || a.exact))?;
        let (low, high) = if to == DType::I32 {
            (a.low.trunc(), a.high.trunc())
        } else {
            (a.low, a.high)
        };
        // Integers are kept small enough for f32.
        let rounding = if a.exact { 0.0 } else { EPS * a.most() };
        let known = Known {
            dtype: to,
            low,
            high,
            error: a.error + rounding,
            ..a
        };
        self.keep(Value::Cast(to, a.id), known)
    }

    /// Adds a value unless it is too big or too uncertain to compare.
    pub fn keep(&mut self, value: Value, known: Known) -> Option<Known> {
        let most = if known.dtype == DType::I32 { 1e4 } else { 200.0 };
        (known.most() <= most && known.error <= 1e-3).then(|| self.push(value, known))
    }
}
