//! Random graphs over symbolic sizes: values f32 [B, T, C] that ops chain, branch and join, with parameters on the way.

use ir::dim::{Dim, Env};
use ir::graph::{Graph, ValueId};
use ir::ops::{
    Broadcast, Concat, Conv1d, Dropout, Gelu, GradScale, GroupNorm, Input, LayerNorm, Linear, LogSoftmax, Normalize,
    Op, Param, Repeat, Softmax, Take, Transpose,
};
use ir::sample::Rand;
use ir::scalar::{Binary, DType, Unary};
use ir::tensor::Tensor;
use ir::types::Type;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sizes that generated graphs use.
pub const SYMBOLS: [&str; 2] = ["B", "T"];
const CHANNELS: [i64; 7] = [1, 2, 3, 7, 8, 16, 20];
/// Norms divide by spreads no smaller than the square root of this, which keeps them well conditioned in f32.
const EPS: f64 = 1e-2;

struct Generator {
    g: Graph,
    r: Rand,
    values: Vec<ValueId>,
    params: usize,
    sites: u32,
}

fn time() -> [Dim; 2] {
    SYMBOLS.map(Dim::sym)
}

/// A graph of so many pieces. Outputs: `loss`, a sum of products with the input `weights`, and `y`.
pub fn graph(seed: u32, pieces: usize) -> Graph {
    let mut at = Generator {
        g: Graph::default(),
        r: Rand::new(seed),
        values: vec![],
        params: 0,
        sites: 0,
    };
    let [b, t] = time();
    let channels = *at.r.pick(&CHANNELS);
    let x = at.g.input("x", Type::f32([b.clone(), t.clone(), channels.into()]));
    at.values.push(x);
    for _ in 0..pieces {
        let v = at.piece();
        at.values.push(v);
    }
    // So that no branch is dead: the mean over channels of all values.
    let mut y = at.values[at.values.len() - 1];
    for v in at.values.clone() {
        let mean = at.sum(v, 2);
        y = at.g.add(y, mean);
    }
    let weights = at.g.input("weights", at.g.ty(y).clone());
    let product = at.g.mul(y, weights);
    let sum = at.g.sum(product, &[0, 1, 2]);
    let loss = at.g.reshape(sum, vec![]);
    at.g.outputs = vec![("loss".into(), loss), ("y".into(), y)];
    at.g
}

impl Generator {
    fn param(&mut self, shape: &[i64]) -> ValueId {
        let name = format!("p{}", self.params);
        self.params += 1;
        let shape: Vec<Dim> = shape.iter().map(|d| Dim::from(*d)).collect();
        self.g.add_op(
            Param {
                name,
                ty: Type::f32(shape),
            },
            &[],
        )
    }

    fn channels(&self, v: ValueId) -> i64 {
        self.g.ty(v).last().as_const().expect("channels are constant")
    }

    fn any(&mut self) -> ValueId {
        *self.r.pick(&self.values)
    }

    /// A mean along an axis, by a constant that is about its size.
    fn sum(&mut self, v: ValueId, axis: usize) -> ValueId {
        let size = self.g.shape(v)[axis].as_const().unwrap_or(8);
        let sum = self.g.sum(v, &[axis]);
        self.g.scale(sum, 1.0 / size as f64)
    }

    fn linear(&mut self, x: ValueId, to: i64, bias: bool) -> ValueId {
        let from = self.channels(x);
        let w = self.param(&[to, from]);
        if bias {
            let b = self.param(&[to]);
            return self.g.add_op(Linear {}, &[x, w, b]);
        }
        self.g.add_op(Linear {}, &[x, w])
    }

    /// A value with `channels` channels.
    fn with_channels(&mut self, v: ValueId, channels: i64) -> ValueId {
        if self.channels(v) == channels {
            v
        } else {
            self.linear(v, channels, false)
        }
    }

    fn piece(&mut self) -> ValueId {
        let x = self.any();
        let c = self.channels(x);
        let [b, t] = time();
        match self.r.int(0, 21) {
            0 | 1 => {
                let (to, bias) = (*self.r.pick(&CHANNELS), self.r.flag());
                self.linear(x, to, bias)
            }
            2 => {
                let (gamma, beta) = (self.param(&[c]), self.param(&[c]));
                self.g.add_op(LayerNorm { eps: EPS.into() }, &[x, gamma, beta])
            }
            3 => self.g.add_op(Gelu {}, &[x]),
            4 => {
                let f = *self.r.pick(&[Unary::Tanh, Unary::Erf, Unary::Neg, Unary::Abs]);
                self.g.unary(f, x)
            }
            5 => {
                let small = self.g.unary(Unary::Tanh, x);
                self.g.unary(Unary::Exp, small)
            }
            6 => {
                let square = self.g.mul(x, x);
                let half = self.g.constant(0.5);
                let sum = self.g.add(square, half);
                let f = *self.r.pick(&[Unary::Sqrt, Unary::Rsqrt, Unary::Log]);
                self.g.unary(f, sum)
            }
            7 => {
                let other = self.any();
                let other = self.with_channels(other, c);
                self.g.add(x, other)
            }
            8 => {
                let other = self.any();
                let other = self.with_channels(other, c);
                let gate = self.g.unary(Unary::Tanh, other);
                self.g.mul(x, gate)
            }
            9 => {
                let p = self.param(&[c]);
                let f = *self.r.pick(&[Binary::Add, Binary::Mul, Binary::Sub]);
                self.g.binary(f, x, p)
            }
            10 => self.g.add_op(Softmax {}, &[x]),
            11 => self.g.add_op(LogSoftmax {}, &[x]),
            12 => {
                let other = self.any();
                let joined = self.g.add_op(Concat { axis: 2 }, &[x, other]);
                let all = self.channels(joined);
                let start = self.r.int(0, all - 1);
                let len = self.r.int(1, all - start).min(20);
                self.g.slice(joined, 2, start.into(), len.into())
            }
            13 => {
                let by = self.r.int(0, 2);
                let padded = self.g.pad(x, 1, by.into(), 2.into());
                let start = self.r.int(0, by + 2);
                self.g.slice(padded, 1, start.into(), t)
            }
            14 => {
                let groups = if c % 2 == 0 && self.r.flag() { 2 } else { 1 };
                let to = groups * self.r.int(1, 5);
                let w = self.param(&[to, c / groups, 3]);
                self.g.add_op(
                    Conv1d {
                        stride: 1,
                        padding: 1,
                        groups,
                    },
                    &[x, w],
                )
            }
            15 => {
                let turned = self.g.add_op(Transpose { perm: vec![0, 2, 1] }, &[x]);
                let small = self.g.unary(Unary::Tanh, turned);
                self.g.add_op(Transpose { perm: vec![0, 2, 1] }, &[small])
            }
            16 => {
                let axis = *self.r.pick(&[0, 1, 2]);
                let mean = self.sum(x, axis);
                let back = self.g.add_op(
                    Broadcast {
                        shape: vec![b, t, c.into()],
                    },
                    &[mean],
                );
                let small = self.g.unary(Unary::Tanh, back);
                self.g.sub(x, small)
            }
            17 => {
                let (k, v) = (self.any(), self.any());
                let k = self.with_channels(k, c);
                let k = self.g.add_op(Normalize { eps: EPS.into() }, &[k]);
                let scores = self.g.einsum("btc,bsc->bts", x, k);
                let weights = self.g.add_op(Softmax {}, &[scores]);
                self.g.einsum("bts,bsd->btd", weights, v)
            }
            18 => {
                let lengths = self.g.input("lengths", Type::i32([b]));
                let (gamma, beta) = (self.param(&[c]), self.param(&[c]));
                self.g.add_op(GroupNorm { eps: EPS.into() }, &[x, gamma, beta, lengths])
            }
            19 => {
                let other = self.any();
                let other = self.with_channels(other, c);
                let less = self.g.binary(Binary::Less, x, other);
                let scaled = self.g.add_op(GradScale { factor: 0.5.into() }, &[other]);
                self.g.select(less, x, scaled)
            }
            20 => {
                let index = self.g.input("index", Type::i32([b, t]));
                self.g.add_op(Take { batch: 1 }, &[x, index])
            }
            _ if self.r.flag() => self.repeat(x),
            _ => {
                let rate = self.g.input("rate", Type::f32([1.into()]));
                let seed = self.g.input("seed", Type::i32([2.into()]));
                self.sites += 1;
                self.g.add_op(Dropout { site: self.sites }, &[x, rate, seed])
            }
        }
    }

    /// Layers of a matrix product, of two at once or not, a norm or not, and a residual, with a value that all see.
    fn repeat(&mut self, x: ValueId) -> ValueId {
        let (c, count) = (self.channels(x), self.r.int(1, 3));
        let all = self.any();
        let all = self.with_channels(all, c);
        let w = self.param(&[count, c, c]);
        let scale = self.param(&[count, c]);
        let mut body = Graph::default();
        let ty = self.g.ty(x).clone();
        let h = body.input("h", ty.clone());
        let own_w = body.input("w", Type::f32([c.into(), c.into()]));
        let own_scale = body.input("scale", Type::f32([c.into()]));
        let shared = body.input("all", ty);
        let mut y = body.add_op(Linear {}, &[h, own_w]);
        if self.r.flag() {
            // Their matrices lie in one only once they were copied there.
            let both = body.add_op(Concat { axis: 0 }, &[own_w, own_w]);
            let products = body.add_op(Linear {}, &[shared, both]);
            let second = body.slice(products, 2, c.into(), c.into());
            y = body.add(y, second);
        }
        if self.r.flag() {
            y = body.add_op(LayerNorm { eps: EPS.into() }, &[y, own_scale, own_scale]);
        } else {
            y = body.mul(y, own_scale);
        }
        y = body.add(y, shared);
        y = body.unary(Unary::Tanh, y);
        y = body.add(h, y);
        body.outputs = vec![("h".into(), y)];
        let keep = self.r.flag();
        let mut args = vec![x, w, scale, all];
        if keep {
            args.push(self.g.input(&format!("keep{count}"), Type::f32([count.into()])));
        }
        self.g.add_op(
            Repeat {
                count,
                carries: 1,
                stacked: 2,
                keep,
                reverse: false,
                body: Arc::new(body),
            },
            &args,
        )
    }
}

/// Random sizes, 1 and primes among them.
pub fn sizes(r: &mut Rand) -> Env {
    let b = *r.pick(&[1, 2, 3, 5]);
    let t = *r.pick(&[1, 2, 3, 7, 8, 13, 16, 31, 37]);
    Env::from([("B".into(), b), ("T".into(), t)])
}

/// Values of inputs and parameters.
pub fn bind(g: &Graph, sizes: &Env, r: &mut Rand) -> BTreeMap<String, Tensor> {
    let mut out = BTreeMap::new();
    for node in &g.nodes {
        let (Op::Input(Input { name, ty }) | Op::Param(Param { name, ty })) = &node.op else {
            continue;
        };
        let size = |d: &Dim| d.eval(sizes).expect("graphs use the given sizes") as usize;
        let shape: Vec<usize> = ty.shape.iter().map(size).collect();
        let time = sizes["T"];
        // Products with a matrix keep the size of what they multiply.
        let spread = if shape.len() > 1 {
            (3.0 / *shape.last().unwrap_or(&1) as f64).sqrt().max(0.3)
        } else {
            1.0
        };
        let spread = if name.starts_with('p') { spread } else { 1.0 };
        let draw = |r: &mut Rand| match name.as_str() {
            "lengths" => r.int(time.min(1), time) as f64,
            // Some outside the rows, which read as zeros.
            "index" if r.int(0, 9) == 0 => *r.pick(&[time, i32::MAX as i64, i32::MIN as i64]) as f64,
            "index" => r.int(-1, time - 1) as f64,
            "seed" => r.int(0, 1 << 20) as f64,
            "rate" => 0.25,
            n if n.starts_with("keep") => r.int(0, 3).min(1) as f64,
            _ => r.float(-spread, spread) as f32 as f64,
        };
        let dtype = if ty.dtype == DType::I32 { DType::I32 } else { DType::F32 };
        out.insert(name.clone(), Tensor::build(dtype, shape, |_| draw(r)));
    }
    out
}
