//! The scalar values of a kernel at one position of its iteration space.

use crate::Error;
use crate::memory::Slots;
use ir::dim::Env;
use ir::kernel::{Coord, Index, Reduction, Store, ValId, Value};
use ir::kernel_verify::{needed, store_roots, value_dtypes};
use ir::rng;
use ir::scalar::{Binary, DType};

/// An index with its strides known.
struct Address {
    base: i64,
    terms: Vec<(i64, Coord)>,
}

impl Address {
    fn new(index: &Index, sizes: &Env) -> Result<Address, Error> {
        let terms = index
            .terms
            .iter()
            .map(|(d, c)| Ok((d.eval(sizes)?, c.clone())))
            .collect::<Result<_, Error>>()?;
        Ok(Address {
            base: index.base.eval(sizes)?,
            terms,
        })
    }

    fn at(&self, axes: &[i64], values: &[f64]) -> i64 {
        self.terms.iter().fold(self.base, |sum, (stride, coord)| {
            sum + stride
                * match coord {
                    Coord::Axis(a) => axes[*a],
                    Coord::Value(v) => values[*v] as i64,
                }
        })
    }
}

/// All scalar values of a kernel, ready to be computed at positions.
pub struct Exprs<'a> {
    values: &'a [Value],
    dtypes: Vec<DType>,
    /// By value, where it has an index.
    addresses: Vec<Option<Address>>,
    /// By value, where it is a size.
    sizes: Vec<f64>,
    /// By value, where it is random: the keys of its stream.
    keys: Vec<[u32; 2]>,
    /// The values at the latest position.
    pub now: Vec<f64>,
    /// Finished reductions.
    pub reduced: Vec<f64>,
    /// The accumulated product of a contraction.
    pub acc: f64,
}

impl<'a> Exprs<'a> {
    pub fn new(
        values: &'a [Value],
        reductions: &[(Reduction, ValId)],
        memory: &Slots,
        env: &Env,
    ) -> Result<Exprs<'a>, Error> {
        let (mut addresses, mut sizes, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for value in values {
            addresses.push(match value {
                Value::Load { index, .. } | Value::Uniform { index, .. } => Some(Address::new(index, env)?),
                _ => None,
            });
            sizes.push(if let Value::Size(d) = value {
                d.eval(env)? as f64
            } else {
                0.0
            });
            keys.push(match value {
                Value::Uniform { seed, site, .. } => rng::keys(memory.seed(*seed)?, *site, crate::layer(env)?),
                _ => [0, 0],
            });
        }
        let dtypes = value_dtypes(values, memory.decls, reductions);
        let now = vec![0.0; values.len()];
        Ok(Exprs {
            values,
            dtypes,
            addresses,
            sizes,
            keys,
            now,
            reduced: vec![],
            acc: 0.0,
        })
    }

    pub fn dtype(&self, v: ValId) -> DType {
        self.dtypes[v]
    }

    /// The values that `roots` need, in an order in which they can be computed.
    pub fn needed(&self, roots: impl IntoIterator<Item = ValId>) -> Vec<ValId> {
        needed(self.values, roots)
    }

    /// Computes the values `order` at the position `axes`. Both sides of a select are computed, so both must be legal.
    pub fn compute(&mut self, order: &[ValId], axes: &[i64], memory: &Slots) -> Result<(), Error> {
        for &v in order {
            self.now[v] = self.compute_one(v, axes, memory)?;
        }
        Ok(())
    }

    fn compute_one(&self, v: ValId, axes: &[i64], memory: &Slots) -> Result<f64, Error> {
        let now = |v: &ValId| self.now[*v];
        let dtype = self.dtypes[v];
        // Loads and random numbers have an address, `new` made it.
        let address = || self.addresses[v].as_ref().map_or(0, |a| a.at(axes, &self.now));
        Ok(match &self.values[v] {
            Value::Const { bits, .. } => round(dtype, f64::from_bits(*bits)),
            Value::Axis(a) => axes[*a] as f64,
            Value::Size(_) => self.sizes[v],
            Value::Load { guard: Some(g), .. } if now(g) == 0.0 => 0.0,
            Value::Load { slot, .. } => memory.load(*slot, address())?,
            Value::Unary(f, a) => round(dtype, f.eval(now(a))),
            Value::Binary(f, a, b) => binary(*f, self.dtypes[*a], now(a), now(b)),
            Value::Select { cond, then, other } => now(if now(cond) != 0.0 { then } else { other }),
            Value::Cast(d, a) => round(*d, now(a)),
            Value::Reduced(n) => self.reduced[*n],
            Value::Acc => self.acc,
            Value::Uniform { .. } => rng::uniform(self.keys[v], address() as u32) as f64,
        })
    }
}

/// A function of two values of `dtype`, rounded to it.
pub fn binary(f: Binary, dtype: DType, a: f64, b: f64) -> f64 {
    match (dtype, f) {
        (DType::I32, Binary::Add) => (a as i32).wrapping_add(b as i32) as f64,
        (DType::I32, Binary::Sub) => (a as i32).wrapping_sub(b as i32) as f64,
        (DType::I32, Binary::Mul) => (a as i32).wrapping_mul(b as i32) as f64,
        _ => round(dtype, f.eval(a, b)),
    }
}

/// `v` rounded to `dtype`.
pub fn round(dtype: DType, v: f64) -> f64 {
    match dtype {
        DType::F32 => v as f32 as f64,
        DType::F64 => v,
        DType::I32 => v as i32 as f64,
        DType::Bf16 => half::bf16::from_f32(v as f32).to_f64(),
    }
}

/// A reduction under way; f64 whatever its dtype.
pub struct Running {
    how: Reduction,
    pub value: ValId,
    best: f64,
    at: i64,
}

impl Running {
    /// Of nothing at all, a sum is 0, a maximum the least value of the dtype, a position 0.
    pub fn new((how, value): (Reduction, ValId), dtype: DType) -> Running {
        let best = match (how, dtype) {
            (Reduction::Sum, _) => 0.0,
            (_, DType::I32) => i32::MIN as f64,
            _ => f64::NEG_INFINITY,
        };
        Running {
            how,
            value,
            best,
            at: 0,
        }
    }

    /// Takes in the value at a column; a NaN makes sums and maxima NaN and is never the position of a maximum.
    pub fn add(&mut self, v: f64, column: i64) {
        match self.how {
            Reduction::Sum => self.best += v,
            Reduction::Max => self.best = Binary::Max.eval(v, self.best),
            Reduction::ArgMax => {
                if v > self.best {
                    (self.best, self.at) = (v, column);
                }
            }
        }
    }

    /// The result, rounded to the dtype of what was reduced.
    pub fn finish(&self, dtype: DType) -> f64 {
        match (self.how, dtype) {
            (Reduction::ArgMax, _) => self.at as f64,
            // Sums of i32 wrap like its additions.
            (Reduction::Sum, DType::I32) => self.best as i64 as i32 as f64,
            _ => round(dtype, self.best),
        }
    }
}

/// The stores of one phase, ready to be written at positions.
pub struct Stores<'a> {
    stores: Vec<(&'a Store, Address)>,
}

impl<'a> Stores<'a> {
    pub fn new(stores: &'a [Store], sizes: &Env) -> Result<Stores<'a>, Error> {
        let one = |s: &'a Store| Ok((s, Address::new(&s.index, sizes)?));
        Ok(Stores {
            stores: stores.iter().map(one).collect::<Result<_, Error>>()?,
        })
    }

    /// Values the stores take.
    pub fn roots(&self) -> impl Iterator<Item = ValId> + '_ {
        self.stores
            .iter()
            .flat_map(|(s, _)| store_roots(std::slice::from_ref(s)))
    }

    /// Writes the values computed for this position.
    pub fn write(&self, exprs: &Exprs, axes: &[i64], memory: &mut Slots) -> Result<(), Error> {
        for (store, address) in &self.stores {
            let (index, value) = (address.at(axes, &exprs.now), exprs.now[store.value]);
            if store.accumulate {
                memory.add(store.slot, index, value)?;
            } else {
                memory.store(store.slot, index, value)?;
            }
        }
        Ok(())
    }
}
