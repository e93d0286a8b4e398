//! Products for Hopper: every tile of its table, both orders of both operands, and whatever makes boxes go beyond an operand.

use crate::harness::{check_code, check_on, compile};
use crate::tiles::{check_tile, sample};
use ir::kernel_sample::{self, Sample};
use proptest::prelude::*;

/// How one operand of a product lies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// Contiguous along the sum.
    Summed,
    /// Contiguous along rows or columns.
    Free,
}
use Order::{Free, Summed};

/// Extents of a product.
#[derive(Clone, Copy, Debug)]
struct Extents {
    batch: i64,
    m: i64,
    n: i64,
    outer: i64,
    k: i64,
}

/// Elements that lines of an operand are longer than they need be.
const MORE: i64 = 8;

impl Extents {
    /// The text of an operand whose free axis is `free` and has `extent` elements, and its length.
    fn operand(&self, slot: usize, order: Order, (free, extent): (&str, i64)) -> (String, usize) {
        let (line, lines) = match order {
            Summed => (self.k + MORE, extent),
            Free => (extent + MORE, self.k.max(1)),
        };
        // Lines begin at multiples of 16 bytes.
        let line = (line + 7) / 8 * 8;
        let (outer, batch) = (line * lines, line * lines * self.outer);
        let (f, p) = match order {
            Summed => (line, 1),
            Free => (1, line),
        };
        let text = format!("s{slot}[{batch}*b0 + {outer}*o + {f}*{free} + {p}*p]");
        (text, (batch * self.batch) as usize)
    }

    /// The product with its operands in these orders. How many rows it has is known at run time.
    fn sample(&self, orders: (Order, Order)) -> Sample {
        self.sample_with(orders, &self.k.to_string())
    }

    /// The same with `k`, which is K, in words.
    fn sample_with(&self, orders: (Order, Order), summands: &str) -> Sample {
        let (a, la) = self.operand(0, orders.0, ("i", self.m));
        let (b, lb) = self.operand(1, orders.1, ("j", self.n));
        let Extents { batch, m, n, k, .. } = *self;
        let outer = self.outer;
        let text = format!(
            "contract batch [B], m M, n {n}, k_outer {outer}, k {summands}, round bf16\n  s0 read bf16\n  s1 read bf16\n  s2 write f32\n  \
             a = {a}\n  b = {b}\n  v0 = acc\n  store\n    s2[{n}*M*a0 + {n}*a1 + a2] = v0\n"
        );
        let lengths = [la, lb, (batch * m * n) as usize];
        sample(&text, &[("B", batch), ("M", m), ("K", k)], lengths)
    }
}

const ORDERS: [(Order, Order); 4] = [(Summed, Summed), (Summed, Free), (Free, Summed), (Free, Free)];

fn check(sample: &Sample, schedule: &str) {
    check_tile(sample, "sm_90a", schedule);
}

/// One product per order of its operands and tile of the table but the lowest, with the tile: rows, columns and summands end
/// within tiles, and there are several positions along the batch.
pub fn products() -> Vec<(Sample, String)> {
    let tiles = [
        (500, 190, "128x256x64"),
        (250, 49, "128x128x64"),
        (60, 65, "128x64x64"),
        (40, 63, "128x48x64"),
        (24, 130, "128x32x64"),
        (16, 33, "128x16x64"),
    ];
    let mut all = vec![];
    for (number, (n, k, tile)) in tiles.into_iter().enumerate() {
        for (i, orders) in ORDERS.into_iter().enumerate() {
            let m = 128 * ((number + i) as i64 % 2) + [1, 37, 64, 127][i];
            let (batch, outer) = (1 + (i as i64 % 2), [1, 3][(number + i / 2) % 2]);
            let extents = Extents { batch, m, n, outer, k };
            all.push((extents.sample(orders), format!("wgmma bf16, tile {tile}")));
        }
    }
    all
}

#[test]
fn boxes_go_beyond_operands() {
    for (sample, tile) in products() {
        check(&sample, &tile);
    }
}

/// Without any of its waits, for boxes that have come or for stages that are free, the code is at fault and found to be.
#[test]
fn every_wait_is_needed() {
    const WAIT: &str = "mbarrier.try_wait.parity.shared.b64 ";
    let extents = Extents {
        batch: 1,
        m: 130,
        n: 250,
        outer: 3,
        k: 140,
    };
    let sample = extents.sample((Summed, Free));
    let compiled = || compile(&sample, true, "sm_90a").unwrap_or_else(|e| panic!("{e}"));
    let text = compiled().text;
    let waits: Vec<usize> = text.match_indices(WAIT).map(|(at, _)| at).collect();
    assert_eq!(waits.len(), 2, "one of those who multiply, one of who copies");
    for at in waits {
        let (before, wait) = text.split_at(at);
        let (wait, after) = wait.split_once(';').expect("instructions end");
        let (over, _) = wait[WAIT.len()..].split_once(',').expect("it has operands");
        let code = compiled().with_text(format!("{before}mov.pred {over}, -1;{after}"));
        assert!(check_code(&code, &sample).is_err(), "{wait} is not needed");
    }
    // A stage is given back while products read it.
    let early = text.replace("wgmma.wait_group.sync.aligned 1;", "wgmma.wait_group.sync.aligned 7;");
    assert!(check_code(&compiled().with_text(early), &sample).is_err());
    check_code(&compiled(), &sample).unwrap_or_else(|e| panic!("{e}"));
}

/// Few rows: both groups of warps share them.
#[test]
fn columns_divided_among_groups() {
    for (i, orders) in ORDERS.into_iter().enumerate() {
        let (m, n) = (40 + 8 * i as i64, 1000 + 8 * i as i64);
        let extents = Extents {
            batch: 2,
            m,
            n,
            outer: 1,
            k: 100,
        };
        let mut sample = extents.sample(orders);
        fix(&mut sample, "M", m);
        check(&sample, "wgmma bf16, tile 64x128x64");
    }
}

/// Makes a size of run time one that the compiler knows.
fn fix(sample: &mut Sample, name: &str, value: i64) {
    let text = sample.kernel.to_string().replace(name, &value.to_string());
    sample.kernel = ir::kernel_text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
}

/// The gradient of a weight: few results, a long sum in pieces, the last of which are short or empty.
#[test]
fn sums_in_pieces() {
    for (i, orders) in ORDERS.into_iter().enumerate() {
        for (outer, k) in [(1, 700), (3, 100), (1, 64), (1, 0)] {
            let (m, n) = ([128, 200, 256, 144][i], [256, 256, 200, 48][i]);
            let extents = Extents {
                batch: 1,
                m,
                n,
                outer,
                k,
            };
            let mut sample = extents.sample_with(orders, "K");
            fix(&mut sample, "M", m);
            check(&sample, "sum in");
        }
    }
}

/// Windows of a convolution, which overlap; those of one clip do not continue those of the one before.
#[test]
fn rows_that_overlap() {
    let text = "
contract batch [B, 2], m T - 2, n 96, k_outer 1, k 192, round bf16
  s0 read bf16
  s1 read bf16
  s2 write f32
  a = s0[128*T*b0 + 64*b1 + 128*i + p]
  b = s1[18432*b1 + j + 96*p]
  v0 = acc
  store
    s2[(192*T - 384)*a0 + (96*T - 192)*a1 + 96*a2 + a3] = v0
";
    for (batch, time) in [(3, 38), (2, 301), (4, 3), (2, 2)] {
        let rows = time - 2;
        let lengths = [128 * batch * time, 2 * 18_432, 192 * batch * rows];
        let sizes = [("B", batch as i64), ("T", time as i64)];
        check(
            &sample(text.trim_start(), &sizes, lengths),
            "wgmma bf16, tile 128x128x64",
        );
    }
}

/// A batch whose rows follow each other, so that tiles run over its positions; in the epilogue they have their own coordinates.
#[test]
fn rows_of_several_positions() {
    let text = "
contract batch [B], m T, n 64, k_outer 1, k 72, round bf16
  s0 read bf16
  s1 read bf16
  s2 write f32
  s3 read f32
  a = s0[72*T*b0 + 72*i + p]
  b = s1[72*j + p]
  v0 = acc
  v1 = load s3[a0]
  v2 = mul v0, v1
  store
    s2[64*a0 + 64*B*a1 + a2] = v2
";
    for (batch, time) in [(5, 37), (3, 128), (2, 1)] {
        let lengths = [72 * batch * time, 72 * 64, 64 * batch * time, batch];
        let sizes = [("B", batch as i64), ("T", time as i64)];
        check(
            &sample(text.trim_start(), &sizes, lengths),
            "wgmma bf16, tile 128x32x64",
        );
    }
}

/// A weight in f32 meets many rows: it is packed, and its boxes are those of the workspace.
#[test]
fn packed_weights() {
    let text = "
contract batch [B, 2], m T, n 48, k_outer 3, k 40, round bf16
  s0 read bf16
  s1 read f32
  s2 write bf16
  a = s0[80*T*b0 + 40*b1 + (80*B*T)*o + 80*i + p]
  b = s1[5760*b1 + 40*o + 120*j + p]
  v0 = acc
  store
    s2[96*T*a0 + 48*a1 + 96*a2 + a3] = v0
";
    let (batch, time) = (2, 150);
    let lengths = [240 * batch * time, 11_520, 96 * batch * time];
    let sizes = [("B", batch as i64), ("T", time as i64)];
    check(
        &sample(text.trim_start(), &sizes, lengths),
        "wgmma bf16, tile 128x48x64",
    );
}

/// Where lines do not begin at multiples of 16 bytes, operands are copied by threads.
#[test]
fn operands_that_lie_otherwise() {
    for (lines, address) in [(100, true), (104, false)] {
        let text = format!(
            "contract batch [], m T, n 64, k_outer 1, k 100, round bf16\n  s0 read bf16\n  s1 read bf16\n  s2 write f32\n  \
             a = s0[{lines}*i + p]\n  b = s1[{lines}*j + p]\n  v0 = acc\n  store\n    s2[64*a0 + a1] = v0\n"
        );
        let sample = sample(&text, &[("T", 70)], [lines * 70, lines * 64, 64 * 70]);
        let code = compile(&sample, address, "sm_90a").unwrap_or_else(|e| panic!("{e}"));
        let got: Vec<&str> = code.grids.iter().map(|g| g.schedule.as_str()).collect();
        assert!(got.iter().any(|s| s.starts_with("mma bf16")), "{got:?}");
        check_code(&code, &sample).unwrap_or_else(|e| panic!("{e}"));
    }
}
proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn sampled_boxes(seed: u32) {
        check_on(&kernel_sample::contract_boxed(seed), seed, true, "sm_90a")?;
    }
}
