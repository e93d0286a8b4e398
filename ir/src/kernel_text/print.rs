//! Printing kernels.

use super::is_coordinate;
use crate::dim::Dim;
use crate::kernel::*;
use crate::kernel_values::values;
use crate::rounding::Rounding;
use crate::scalar::DType;
use std::collections::BTreeSet;
use std::fmt::Display;

/// The text of a kernel, a line each for its slots, values, reductions and stores.
pub fn print(kernel: &Kernel) -> String {
    let mut lines = vec![head(&kernel.body)];
    for (n, slot) in kernel.slots.iter().enumerate() {
        let access = match slot.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Update => "update",
        };
        lines.push(format!("  s{n} {access} {}", slot.dtype.name()));
    }
    lines.extend(operands(&kernel.body).into_iter().map(|l| format!("  {l}")));
    lines.extend(
        values(&kernel.body)
            .iter()
            .enumerate()
            .map(|(n, v)| format!("  v{n} = {}", value(v))),
    );
    let mut reduced = 0..;
    let mut block = |name: &str, reduce: &[(Reduction, ValId)], store: &[Store]| {
        lines.push(format!("  {name}"));
        for ((how, v), n) in reduce.iter().zip(reduced.by_ref()) {
            lines.push(format!("    r{n} = {} v{v}", reduction(*how)));
        }
        for s in store {
            let to = if s.accumulate { "+=" } else { "=" };
            lines.push(format!("    s{}{} {to} v{}", s.slot, index(&s.index), s.value));
        }
    };
    match &kernel.body {
        Body::Row(k) => {
            for phase in &k.phases {
                match phase {
                    Phase::Columns { reduce, store } => block("columns", reduce, store),
                    Phase::Row { store } => block("row", &[], store),
                }
            }
        }
        Body::Column(k) => {
            block("reduce", &k.reduce, &[]);
            block("store", &[], &k.store);
        }
        Body::Contract(k) => block("store", &[], &k.store),
        _ => {}
    }
    lines.join("\n") + "\n"
}

/// The kind of kernel and its extents.
fn head(body: &Body) -> String {
    match body {
        Body::Row(k) => format!("row {}", dims(&k.axes)),
        Body::Column(k) => format!(
            "column outer {}, reduced {}, columns {}",
            dims(&k.outer),
            dims(&k.reduced),
            k.columns
        ),
        Body::Contract(k) => {
            format!(
                "contract batch {}, m {}, n {}, k_outer {}, k {}{}",
                dims(&k.batch),
                k.m,
                k.n,
                k.k_outer,
                k.k,
                match k.round {
                    Rounding::F32 => String::new(),
                    round => format!(", round {round}"),
                }
            )
        }
        Body::Attention(k) => format!("attention {}", attention_head(k)),
        Body::AttentionGrad(k) => format!("attention_grad {}", attention_head(&k.forward)),
        Body::Scatter(k) => format!(
            "scatter rows {}, count {}, into {}, width {}",
            k.rows, k.count, k.into, k.width
        ),
        Body::Ctc(k) => format!(
            "ctc batch {}, time {}, vocab {}, labels {}",
            k.batch, k.time, k.vocab, k.labels
        ),
    }
}

fn attention_head(k: &Attention) -> String {
    let scale = float(f64::from_bits(k.scale));
    format!(
        "batch {}, time {}, heads {}, head_dim {}, scale {scale}",
        k.batch, k.time, k.heads, k.head_dim
    )
}

/// Lines for the operands that the body names.
fn operands(body: &Body) -> Vec<String> {
    let slots = |list: &[(&str, Slot)]| list.iter().map(|(name, s)| format!("{name} = s{s}")).collect();
    match body {
        Body::Row(_) | Body::Column(_) => vec![],
        Body::Contract(k) => vec![
            format!("a = {}", strided(&k.a, "i")),
            format!("b = {}", strided(&k.b, "j")),
        ],
        Body::Attention(k) => attention(k),
        Body::AttentionGrad(k) => {
            let named = [("d_out", &k.d_out), ("dq", &k.dq), ("dk", &k.dk), ("dv", &k.dv)];
            attention(&k.forward)
                .into_iter()
                .chain(named.map(|(name, v)| format!("{name} = {}", view(v))))
                .collect()
        }
        Body::Scatter(k) => slots(&[("from", k.from), ("index", k.index), ("out", k.out)]),
        Body::Ctc(k) => slots(&[
            ("log_probs", k.log_probs),
            ("lengths", k.lengths),
            ("label_ids", k.label_ids),
            ("loss", k.loss),
            ("grad", k.grad),
        ]),
    }
}

fn attention(k: &Attention) -> Vec<String> {
    let mut lines = vec![
        format!("q = {}", view(&k.q)),
        format!("k = {}", view(&k.k)),
        format!("v = {}", view(&k.v)),
        format!("lengths = s{}", k.lengths),
    ];
    if let Some(d) = &k.dropout {
        lines.push(format!("dropout = rate s{}, seed s{}, site {}", d.rate, d.seed, d.site));
    }
    lines.extend([format!("out = {}", view(&k.out)), format!("lse = s{}", k.lse)]);
    lines
}

fn strided(s: &Strided, free: &str) -> String {
    let batch = s.batch.iter().enumerate().map(|(n, d)| (d, format!("b{n}")));
    let inner = [(&s.k_outer, "o".into()), (&s.free, free.into()), (&s.k, "p".into())];
    format!("s{}{}", s.slot, nonzero(&s.base, batch.chain(inner)))
}

fn view(v: &HeadView) -> String {
    let strides = [(&v.batch, "b".into()), (&v.time, "t".into()), (&v.head, "h".into())];
    format!("s{}{}", v.slot, nonzero(&v.base, strides.into_iter()))
}

fn value(v: &Value) -> String {
    match v {
        Value::Const { dtype, bits } => format!("{} {}", dtype.name(), constant(*dtype, f64::from_bits(*bits))),
        Value::Axis(a) => format!("axis a{a}"),
        Value::Size(d) => format!("size {d}"),
        Value::Load {
            slot,
            index: i,
            guard: None,
        } => format!("load s{slot}{}", index(i)),
        Value::Load {
            slot,
            index: i,
            guard: Some(g),
        } => format!("load s{slot}{} if v{g}", index(i)),
        Value::Unary(f, a) => format!("{} v{a}", f.name()),
        Value::Binary(f, a, b) => format!("{} v{a}, v{b}", f.name()),
        Value::Select { cond, then, other } => format!("select v{cond}, v{then}, v{other}"),
        Value::Cast(d, a) => format!("cast {} v{a}", d.name()),
        Value::Reduced(n) => format!("r{n}"),
        Value::Acc => "acc".into(),
        Value::Uniform { seed, site, index: i } => format!("uniform s{seed}, site {site}, at {}", index(i)),
    }
}

fn constant(dtype: DType, v: f64) -> String {
    let whole = v as i64;
    if dtype == DType::I32 && (whole as f64).to_bits() == v.to_bits() {
        whole.to_string()
    } else {
        float(v)
    }
}

/// The shortest text that reads back to the same bits.
fn float(v: f64) -> String {
    if v.is_nan() {
        format!("bits {:#x}", v.to_bits())
    } else {
        format!("{v:?}")
    }
}

fn reduction(how: Reduction) -> &'static str {
    match how {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::ArgMax => "argmax",
    }
}

fn dims(list: &[Dim]) -> String {
    format!("[{}]", list.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

fn index(index: &Index) -> String {
    let coordinate = |c: &Coord| match c {
        Coord::Axis(a) => format!("a{a}"),
        Coord::Value(v) => format!("v{v}"),
    };
    address(&index.base, index.terms.iter().map(|(d, c)| (d, coordinate(c))))
}

/// An address without its zero strides.
fn nonzero<'a>(base: &'a Dim, strides: impl Iterator<Item = (&'a Dim, String)>) -> String {
    address(base, strides.filter(|(d, _)| !d.is_zero()))
}

fn address<'a>(base: &'a Dim, terms: impl Iterator<Item = (&'a Dim, impl Display)>) -> String {
    let mut parts: Vec<String> = vec![];
    if !base.is_zero() {
        parts.push(part(base));
    }
    parts.extend(terms.map(|(d, c)| {
        if d.is_one() {
            c.to_string()
        } else {
            format!("{}*{c}", part(d))
        }
    }));
    if parts.is_empty() {
        parts.push("0".into());
    }
    format!("[{}]", parts.join(" + "))
}

/// A size inside an address, in parentheses where it is a sum or could be taken for a coordinate.
fn part(d: &Dim) -> String {
    let mut symbols = BTreeSet::new();
    d.symbols(&mut symbols);
    let plain = d.terms().count() <= 1 && !symbols.iter().any(|s| is_coordinate(s));
    if plain { d.to_string() } else { format!("({d})") }
}
