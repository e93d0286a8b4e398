//! Random models as text in the model language: blocks with parameters, repeats, sizes and statements.

use ir::sample::Rand;
use std::fmt::Write;

/// Sizes known when a program runs.
pub const SYMBOLS: [&str; 2] = ["B", "T"];

const BLOCKS: &str = r#"
    "dense": (
        args: ["x"], dims: ["I", "O"],
        params: { "weight": (shape: ["O", "I"], init: XavierUniform), "bias": (shape: ["O"], init: Uniform(-0.1, 0.1)) },
        body: "y = linear(x, weight, bias)", returns: ["y"],
    ),
    "norm": (
        args: ["x"], dims: ["C"],
        params: { "gamma": (shape: ["C"], init: Ones), "beta": (shape: ["C"], init: Zeros) },
        body: "y = layer_norm(x, gamma, beta, eps: 1e-2)", returns: ["y"],
    ),
    "conv": (
        args: ["x"], dims: ["I", "O"],
        params: { "weight": (shape: ["O", "I", 3], init: KaimingNormal) },
        body: "y = conv1d(x, weight, stride: 1, padding: 1, groups: 1)", returns: ["y"],
    ),
    "layer": (
        args: ["x", "all"], dims: ["C"],
        body: "
            h = dense(norm(x, C: C) as norm, I: C, O: C) as dense
            y = x + tanh(h + all)
        ",
        returns: ["y"],
    ),
"#;

/// A file with so many programs `p0`, `p1`, ... that train. Inputs: `x`, indices some of which lie outside, and `weights` of
/// the sum that is the loss.
pub fn model(seed: u32, programs: usize) -> String {
    let mut text = format!("(\n  name: \"written\",\n  constants: {{ \"count\": 2 }},\n  symbols: {SYMBOLS:?},\n");
    let _ = writeln!(
        text,
        "  sizes: {{ \"S\": \"(T + 1) / 2\" }},\n  blocks: {{{BLOCKS}  }},\n  programs: {{"
    );
    for n in 0..programs {
        let mut w = Writer {
            r: Rand::new(seed.wrapping_add(n as u32)),
            body: String::new(),
            values: vec![("x".into(), 4)],
            calls: 0,
            prefix: format!("m{n}"),
        };
        w.body();
        let _ = writeln!(
            text,
            "    \"p{n}\": (\n      inputs: {{ \"x\": \"f32[B, T, 4]\", \"index\": \"i32[B, T]\", \"weights\": \"f32[B, T, 1]\" }},\n      \
             body: \"\n{}      \",\n      outputs: [\"loss\", \"y\"], loss: \"loss\", trains: [\"*\"],\n    ),",
            w.body
        );
    }
    text + "  },\n)\n"
}

struct Writer {
    r: Rand,
    body: String,
    /// Names of values f32 [B, T, C] and their channels.
    values: Vec<(String, i64)>,
    /// Calls of blocks so far: each has parameters of its own.
    calls: usize,
    prefix: String,
}

impl Writer {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.body, "        {text}");
    }

    fn fresh(&mut self, channels: i64) -> String {
        let name = format!("v{}", self.values.len());
        self.values.push((name.clone(), channels));
        name
    }

    fn call(&mut self) -> String {
        self.calls += 1;
        format!("{}.b{}", self.prefix, self.calls)
    }

    /// A value brought to so many channels.
    fn with_channels(&mut self, channels: i64) -> String {
        let (v, c) = self.r.pick(&self.values).clone();
        if c == channels {
            return v;
        }
        let call = self.call();
        format!("(dense({v}, I: {c}, O: {channels}) as {call})")
    }

    fn body(&mut self) {
        // So that there is always something to train.
        let (first, call) = (self.fresh(6), self.call());
        self.line(&format!("{first} = dense(x, I: 4, O: 6) as {call}"));
        for _ in 0..self.r.int(2, 7) {
            self.statement();
        }
        let means: Vec<String> = self
            .values
            .clone()
            .iter()
            .map(|(v, c)| format!("sum({v}, axes: [2], keep: true) / {c}.0"))
            .collect();
        self.line(&format!("y = {}", means.join(" + ")));
        self.line("loss = sum(y * weights, axes: [0, 1, 2], keep: false)");
    }

    fn statement(&mut self) {
        let (x, c) = self.r.pick(&self.values).clone();
        let to = *self.r.pick(&[1, 3, 4, 8, 16]);
        let (text, channels) = match self.r.int(0, 13) {
            0 => (format!("dense({x}, I: {c}, O: {to}) as {}", self.call()), to),
            1 => (format!("norm({x}, C: {c}) as {}", self.call()), c),
            2 => (format!("conv({x}, I: {c}, O: {to}) as {}", self.call()), to),
            3 => {
                let all = self.with_channels(c);
                let call = self.call();
                (format!("repeat(count) layer({x}, {all}, C: {c}) as {call}.{{i}}"), c)
            }
            4 => (format!("gelu({x})"), c),
            5 => (format!("softmax({x})"), c),
            6 => {
                let other = self.with_channels(c);
                (format!("{x} * tanh({other}) - 0.5 * {other}"), c)
            }
            7 => (format!("take({x}, index, batch: 1)"), c),
            8 => {
                let by = self.r.int(0, 2);
                let start = self.r.int(0, by + 1);
                (
                    format!("slice(pad({x}, axis: 1, before: {by}, after: 1), axis: 1, start: {start}, len: T)"),
                    c,
                )
            }
            9 => {
                let other = self.with_channels(to);
                let len = self.r.int(1, c + to);
                let start = self.r.int(0, c + to - len);
                (
                    format!("slice(concat({x}, {other}, axis: 2), axis: 2, start: {start}, len: {len})"),
                    len,
                )
            }
            10 => {
                let (k, v) = (self.with_channels(c), self.with_channels(c));
                (
                    format!(
                        "einsum(softmax(einsum({x}, {k}, spec: 'btc,bsc->bts') / {c}.0), {v}, spec: 'bts,bsd->btd')"
                    ),
                    c,
                )
            }
            11 => (format!("log_softmax({x} * 0.5) + 1.0"), c),
            12 => {
                // Every second row, and back to all of them.
                let padded = format!("pad({x}, axis: 1, before: 0, after: 2 * S - T)");
                let halves = format!("reshape({padded}, shape: [B, S, {}])", 2 * c);
                (
                    format!("slice(reshape(tanh({halves}), shape: [B, 2 * S, {c}]), axis: 1, start: 0, len: T)"),
                    c,
                )
            }
            _ => (format!("select(less({x}, 0.25), {x}, exp(tanh({x})))"), c),
        };
        let name = self.fresh(channels);
        self.line(&format!("{name} = {text}"));
    }
}
