//! Kernels written by hand for what samples hardly meet: stores that collide, NaN and infinities among what is reduced,
//! reductions split over blocks, extents of 0.

use crate::harness::{ARCHS, check_code, compile};
use ir::kernel::Body;
use ir::kernel_sample::{Operand, Sample};
use ir::rng::mix;
use ir::scalar::DType;

/// Sizes, and how long operands are with them.
type Shape = (&'static [(&'static str, i64)], &'static [usize]);

/// A kernel, the sizes it names, and how long its operands are.
struct Hand {
    text: &'static str,
    sizes: &'static [(&'static str, i64)],
    lengths: &'static [usize],
}

/// What the operands hold beside small numbers.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    Plain,
    /// Many infinities and some NaN.
    Special,
}

/// Numbers that are drawn one after the other.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, n: u32) -> u32 {
        self.0 += 1;
        mix(self.0) % n
    }
}

impl Hand {
    fn sample(&self, content: Content) -> Sample {
        let kernel = ir::kernel_text::parse(self.text.trim_start()).unwrap_or_else(|e| panic!("{e}\n{}", self.text));
        ir::kernel_verify::verify(&kernel).unwrap_or_else(|e| panic!("{e}\n{}", self.text));
        let sizes = self.sizes.iter().chain(&[("layer", 3)]);
        let mut numbers = Numbers(0);
        let operands = kernel.slots.iter().zip(self.lengths).map(|(slot, len)| {
            let draw = |_| match slot.dtype {
                DType::I32 => numbers.below(5) as f64,
                _ => match numbers.below(37) {
                    0 if content == Content::Special => f64::NAN,
                    n if n < 8 && content == Content::Special => f64::NEG_INFINITY,
                    n => (n % 17) as f64 / 8.0 - 1.0,
                },
            };
            Operand {
                dtype: slot.dtype,
                values: (0..*len).map(draw).collect(),
                tolerance: 1e-5,
                tolerances: vec![],
            }
        });
        Sample {
            operands: operands.collect(),
            sizes: sizes.map(|(n, v)| ((*n).into(), *v)).collect(),
            kernel,
        }
    }
}

fn check(sample: &Sample) {
    for (aligned, arch) in [true, false].into_iter().zip(ARCHS) {
        let code = compile(sample, aligned, arch).unwrap_or_else(|e| panic!("{e}"));
        check_code(&code, sample).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn check_all(kernels: &[Hand]) {
    for hand in kernels {
        check(&hand.sample(Content::Plain));
        check(&hand.sample(Content::Special));
    }
}

/// The last column's store counts, and every addition does.
#[test]
fn columns_that_store_to_one_element() {
    check_all(&[
        Hand {
            text: "
row [3, 70]
  s0 read f32
  s1 write f32
  s2 update f32
  s3 read i32
  s4 update f32
  v0 = load s0[70*a0 + a1]
  v1 = load s3[70*a0 + a1]
  columns
    s1[a0] = v0
    s2[a0] += v0
    s4[5*a0 + v1] += v0
",
            sizes: &[],
            lengths: &[210, 3, 3, 210, 15],
        },
        Hand {
            text: "
row [T, N]
  s0 read f32
  s1 write f32
  s2 update f32
  v0 = load s0[N*a0 + a1]
  v1 = r0
  columns
    r0 = sum v0
    s2[a0] += v0
  row
    s1[a0] = v1
",
            sizes: &[("T", 5), ("N", 300)],
            lengths: &[1500, 5, 5],
        },
        Hand {
            text: "
column outer [B], reduced [T], columns 12
  s0 read f32
  s1 update f32
  s2 write f32
  v0 = load s0[12*T*a0 + 12*a1 + a2]
  v1 = r0
  reduce
    r0 = max v0
  store
    s1[a0] += v1
    s2[a0] = v1
",
            sizes: &[("B", 3), ("T", 20)],
            lengths: &[720, 3, 3],
        },
        Hand {
            text: "
column outer [B], reduced [9], columns 12
  s0 read f32
  s1 update f32
  s2 write f32
  v0 = load s0[108*a0 + 12*a1 + a2]
  v1 = r0
  reduce
    r0 = sum v0
  store
    s1[a0] += v1
    s2[a0] = v1
",
            sizes: &[("B", 300)],
            lengths: &[32_400, 300, 300],
        },
    ]);
}

/// The first maximum, which a NaN is, of rows shorter and longer than a warp and than a block.
#[test]
fn positions_of_maxima() {
    check_all(&[
        Hand {
            text: "
row [T, N]
  s0 read f32
  s1 write i32
  s2 write f32
  s3 read i32
  s4 write i32
  v0 = load s0[N*a0 + a1]
  v1 = r0
  v2 = r1
  v3 = load s3[a0 + a1]
  v4 = r2
  v5 = r3
  columns
    r0 = argmax v0
    r1 = max v0
    r2 = argmax v3
    r3 = sum v3
  row
    s1[a0] = v1
    s2[a0] = v2
    s4[a0] = v4
    s4[T + a0] = v5
",
            sizes: &[("T", 5), ("N", 777)],
            lengths: &[3885, 5, 5, 781, 10],
        },
        Hand {
            text: "
row [T, 24]
  s0 read f32
  s1 write i32
  s2 write f32
  v0 = load s0[24*a0 + a1]
  v1 = r0
  v2 = r1
  columns
    r0 = argmax v0
    r1 = max v0
  row
    s1[a0] = v1
    s2[a0] = v2
",
            sizes: &[("T", 77)],
            lengths: &[1848, 77, 77],
        },
        Hand {
            text: "
row [T, 1001]
  s0 read f32
  s1 write i32
  s2 write f32
  v0 = load s0[24*a0 + a1]
  v1 = r0
  v2 = r1
  v3 = neg v0
  columns
    r0 = argmax v0
    r1 = max v0
  columns
    s2[1001*a0 + a1] = v3
  row
    s1[a0] = v1
",
            sizes: &[("T", 7)],
            lengths: &[1145, 7, 7007],
        },
    ]);
}

/// What one thread stored, another loads in the next phase.
#[test]
fn phases_that_read_what_other_threads_stored() {
    check_all(&[
        Hand {
            text: "
row [T, 300]
  s0 read f32
  s1 write f32
  s2 write f32
  v0 = load s0[300*a0 + a1]
  v1 = load s1[299 + 300*a0 + -1*a1]
  v2 = add v0, v1
  columns
    s1[300*a0 + a1] = v0
  columns
    s2[300*a0 + a1] = v2
",
            sizes: &[("T", 7)],
            lengths: &[2100, 2100, 2100],
        },
        Hand {
            text: "
row [T, N]
  s0 read f32
  s1 write f32
  s2 write f32
  v0 = load s0[N*a0 + a1]
  v1 = load s1[(N - 1) + N*a0 + -1*a1]
  v2 = add v0, v1
  columns
    s1[N*a0 + a1] = v0
  columns
    s2[N*a0 + a1] = v2
",
            sizes: &[("T", 7), ("N", 400)],
            lengths: &[2800, 2800, 2800],
        },
        Hand {
            text: "
row [T, 12]
  s0 read f32
  s1 write f32
  s2 update f32
  v0 = load s0[12*a0 + a1]
  v1 = load s1[11 + 12*a0 + -1*a1]
  v2 = add v0, v1
  v3 = load s2[12*a0 + a1]
  v4 = mul v3, v2
  v5 = r0
  v6 = mul v4, v5
  columns
    r0 = sum v0
    s1[12*a0 + a1] = v0
  columns
    s2[12*a0 + a1] = v4
  columns
    s2[12*a0 + a1] = v6
",
            sizes: &[("T", 45)],
            lengths: &[540, 540, 540],
        },
    ]);
}

/// So many rows that several blocks share the columns.
#[test]
fn reductions_split_over_blocks() {
    check_all(&[
        Hand {
            text: "
column outer [2], reduced [700, 3], columns 5
  s0 read f32
  s1 write f32
  s2 write f32
  s3 read i32
  s4 write i32
  v0 = load s0[10500*a0 + 15*a1 + 5*a2 + a3]
  v1 = r0
  v2 = r1
  v3 = load s3[15*a1 + 5*a2 + a3]
  v4 = r2
  reduce
    r0 = sum v0
    r1 = max v0
    r2 = sum v3
  store
    s1[5*a0 + a3] = v1
    s2[5*a0 + a3] = v2
    s4[5*a0 + a3] = v4
",
            sizes: &[],
            lengths: &[21_000, 10, 10, 10_500, 10],
        },
        Hand {
            text: "
column outer [], reduced [B, T], columns 48
  s0 read f32
  s1 update f32
  v0 = load s0[48*T*a0 + 48*a1 + a2]
  v1 = r0
  reduce
    r0 = sum v0
  store
    s1[a2] += v1
",
            sizes: &[("B", 3), ("T", 200)],
            lengths: &[28_800, 48],
        },
    ]);
}

/// Nothing is stored where there are no rows; where there is nothing to reduce, what a reduction begins with.
#[test]
fn maps_of_nothing() {
    let sums = "
row [T - 1, N]
  s0 read f32
  s1 write f32
  s2 write f32
  v0 = load s0[N*a0 + a1]
  v1 = r0
  v2 = r1
  columns
    r0 = sum v0
    r1 = max v0
  row
    s1[a0] = v1
    s2[a0] = v2
";
    let columns = "
column outer [B], reduced [T], columns N
  s0 read f32
  s1 update f32
  v0 = load s0[N*T*a0 + N*a1 + a2]
  v1 = r0
  reduce
    r0 = sum v0
  store
    s1[N*a0 + a2] += v1
";
    check_all(&[
        Hand {
            text: sums,
            sizes: &[("T", 1), ("N", 5)],
            lengths: &[5, 1, 1],
        },
        Hand {
            text: sums,
            sizes: &[("T", 5), ("N", 0)],
            lengths: &[1, 4, 4],
        },
        Hand {
            text: columns,
            sizes: &[("B", 0), ("T", 3), ("N", 5)],
            lengths: &[1, 1],
        },
        Hand {
            text: columns,
            sizes: &[("B", 2), ("T", 0), ("N", 5)],
            lengths: &[1, 10],
        },
        Hand {
            text: columns,
            sizes: &[("B", 2), ("T", 3), ("N", 0)],
            lengths: &[1, 1],
        },
    ]);
}

const PRODUCT: &str = "
contract batch [B], m M, n N, k_outer 1, k K
  s0 read f32
  s1 read f32
  s2 write f32
  s3 update f32
  a = s0[K*M*b0 + K*i + p]
  b = s1[K*N*b0 + N*p + j]
  v0 = acc
  v1 = f32 0.5
  v2 = add v0, v1
  store
    s2[M*N*a0 + N*a1 + a2] = v2
    s3[M*N*a0 + N*a1 + a2] += v2
";

/// A product of nothing is 0 and goes through the epilogue; one with no rows or columns stores nothing; one with more to sum
/// than rows and columns is split over blocks.
#[test]
fn products_of_nothing_and_of_long_sums() {
    let shapes: [Shape; 6] = [
        (&[("B", 1), ("M", 5), ("N", 7), ("K", 0)], &[1, 1, 35, 35]),
        (&[("B", 2), ("M", 131), ("N", 70), ("K", 0)], &[1, 1, 18_340, 18_340]),
        (&[("B", 1), ("M", 0), ("N", 7), ("K", 3)], &[1, 21, 1, 1]),
        (&[("B", 1), ("M", 5), ("N", 0), ("K", 3)], &[15, 1, 1, 1]),
        (&[("B", 0), ("M", 5), ("N", 7), ("K", 3)], &[1, 1, 1, 1]),
        (&[("B", 1), ("M", 7), ("N", 5), ("K", 3000)], &[21_000, 15_000, 35, 35]),
    ];
    for (sizes, lengths) in shapes {
        let text = PRODUCT;
        let mut sample = Hand { text, sizes, lengths }.sample(Content::Plain);
        check(&sample);
        if let Body::Contract(k) = &mut sample.kernel.body {
            k.round = ir::rounding::Rounding::Bf16;
        }
        check(&sample);
    }
}

/// More states than a block has threads, labels that repeat and end, and a NaN.
#[test]
fn ctc_of_long_clips() {
    let (batch, time, vocab, labels) = (3, 300, 33, 140);
    let hand = Hand {
        text: "
ctc batch B, time T, vocab 33, labels L
  s0 read f32
  s1 read i32
  s2 read i32
  s3 write f32
  s4 write f32
  log_probs = s0
  lengths = s1
  label_ids = s2
  loss = s3
  grad = s4
",
        sizes: &[("B", 3), ("T", 300), ("L", 140)],
        lengths: &[3 * 300 * 33, 3, 3 * 140, 3, 3 * 300 * 33],
    };
    let mut sample = hand.sample(Content::Plain);
    let mut numbers = Numbers(1);
    for p in &mut sample.operands[0].values {
        *p = -(numbers.below(64) as f64) / 8.0 - 0.125;
    }
    sample.operands[1].values = vec![300.0, 290.0, 100.0];
    // The second clip has 101 labels.
    let label = |i| match i {
        i if (labels + 101..2 * labels).contains(&i) => -1.0,
        _ => 1.0 + numbers.below(vocab as u32 - 1) as f64,
    };
    sample.operands[2].values = (0..batch * labels).map(label).collect();
    sample.operands[3].tolerance = 1e-4;
    sample.operands[4].tolerance = 2e-5;
    check(&sample);
    sample.operands[0].values[time / 2 * vocab] = f64::NAN;
    check(&sample);
}

/// Rows of one element, of some, and of more than a block has threads; negative places are left out.
#[test]
fn scatter_of_several_widths() {
    let text = "
scatter rows B, count T, into 7, width N
  s0 read f32
  s1 read i32
  s2 write f32
  from = s0
  index = s1
  out = s2
";
    let widths: [Shape; 4] = [
        (&[("B", 2), ("T", 300), ("N", 1)], &[600, 600, 14]),
        (&[("B", 2), ("T", 300), ("N", 20)], &[12_000, 600, 280]),
        (&[("B", 2), ("T", 30), ("N", 600)], &[36_000, 60, 8400]),
        (&[("B", 2), ("T", 0), ("N", 20)], &[1, 1, 280]),
    ];
    for (sizes, lengths) in widths {
        let mut sample = Hand { text, sizes, lengths }.sample(Content::Plain);
        sample.operands[1].values.iter_mut().for_each(|i| *i -= 1.0);
        check(&sample);
    }
}
