//! Fragment layouts against the formulas of the PTX ISA ("Matrix Fragments for mma.m16n8k16", "ldmatrix", ...), written
//! here element by element as the ISA does. Not confirmed on a GPU: see `tests/recorded`.

use crate::common::*;
use half::{bf16, f16};
use proptest::prelude::*;
use w2vc_ptx::{Launch, Memory, Module};

/// A shape of `mma` with the ISA's formulas: row and column of element `i` of a lane, group id `g`, thread in group `t`.
struct Layout {
    instruction: &'static str,
    k: usize,
    a_registers: usize,
    b_registers: usize,
    /// Elements per register.
    per: usize,
    a: fn(usize, usize, usize) -> (usize, usize),
    b: fn(usize, usize, usize) -> (usize, usize),
}

const LAYOUTS: [Layout; 6] = [
    Layout {
        instruction: "m16n8k16.row.col.f32.bf16.bf16.f32",
        k: 16,
        a_registers: 4,
        b_registers: 2,
        per: 2,
        a: |i, g, t| {
            let row = if i < 2 || (4..6).contains(&i) { g } else { g + 8 };
            (row, if i < 4 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 })
        },
        b: |i, g, t| (if i < 2 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 }, g),
    },
    Layout {
        instruction: "m16n8k16.row.col.f32.f16.f16.f32",
        ..K16
    },
    Layout {
        instruction: "m16n8k8.row.col.f32.bf16.bf16.f32",
        ..K8
    },
    Layout {
        instruction: "m16n8k8.row.col.f32.f16.f16.f32",
        ..K8
    },
    Layout {
        instruction: "m16n8k8.row.col.f32.tf32.tf32.f32",
        k: 8,
        a_registers: 4,
        b_registers: 2,
        per: 1,
        a: |i, g, t| (if i == 0 || i == 2 { g } else { g + 8 }, if i < 2 { t } else { t + 4 }),
        b: |i, g, t| (if i == 0 { t } else { t + 4 }, g),
    },
    Layout {
        instruction: "m16n8k4.row.col.f32.tf32.tf32.f32",
        k: 4,
        a_registers: 2,
        b_registers: 1,
        per: 1,
        a: |i, g, t| (if i == 0 { g } else { g + 8 }, t),
        b: |_, g, t| (t, g),
    },
];

const K16: Layout = Layout {
    instruction: "",
    k: 16,
    a_registers: 4,
    b_registers: 2,
    per: 2,
    a: |i, g, t| {
        let row = if i < 2 || (4..6).contains(&i) { g } else { g + 8 };
        (row, if i < 4 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 })
    },
    b: |i, g, t| (if i < 2 { t * 2 + (i & 1) } else { t * 2 + (i & 1) + 8 }, g),
};

const K8: Layout = Layout {
    instruction: "",
    k: 8,
    a_registers: 2,
    b_registers: 1,
    per: 2,
    a: |i, g, t| (if i < 2 { g } else { g + 8 }, t * 2 + (i & 1)),
    b: |i, g, t| (t * 2 + i, g),
};

impl Layout {
    fn bits(&self, x: f32) -> u32 {
        match self.instruction {
            i if i.contains("bf16") => bf16::from_f32(x).to_bits().into(),
            i if i.contains("tf32") => x.to_bits(),
            _ => f16::from_f32(x).to_bits().into(),
        }
    }

    /// The registers of all lanes, a lane's one after another.
    fn fragment(&self, registers: usize, at: impl Fn(usize, usize, usize) -> f32) -> Vec<u32> {
        let mut out = Vec::new();
        for lane in 0..32 {
            for r in 0..registers {
                let element = |e| self.bits(at(r * self.per + e, lane / 4, lane % 4));
                out.push(if self.per == 2 {
                    element(0) | element(1) << 16
                } else {
                    element(0)
                });
            }
        }
        out
    }

    fn module(&self) -> Module {
        let names = |from: usize, n: usize| (from..from + n).map(|i| format!("%r{i}")).collect::<Vec<_>>();
        let (a, b, c) = (names(1, self.a_registers), names(11, self.b_registers), names(21, 4));
        let count = self.a_registers + self.b_registers + 4;
        let mut body = format!("mul.wide.u32 %rd1, %tid, {}; add.s64 %rd1, %out, %rd1;\n", 4 * count);
        for (i, name) in a.iter().chain(&b).chain(&c).enumerate() {
            body += &format!("ld.global.b32 {name}, [%rd1+{}];\n", 4 * i);
        }
        body += &format!(
            "mma.sync.aligned.{}\n\t\t{{%r31, %r32, %r33, %r34}},\n{{{}}}, {{{}}}, {{{}}};\n",
            self.instruction,
            a.join(", "),
            b.join(", "),
            c.join(", ")
        );
        body += "mul.wide.u32 %rd2, %tid, 16; add.s64 %rd2, %out, %rd2;\n";
        body += &format!("st.global.v4.b32 [%rd2+{}], {{%r31, %r32, %r33, %r34}};", 128 * count);
        Module::parse(&kernel("", &body)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// D of a lane's four registers, laid out as a matrix of 16 by 8.
    fn run(&self, a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
        let a = self.fragment(self.a_registers, |i, g, t| {
            let (row, col) = (self.a)(i, g, t);
            a[row * self.k + col]
        });
        let b = self.fragment(self.b_registers, |i, g, t| {
            let (row, col) = (self.b)(i, g, t);
            b[row * 8 + col]
        });
        // ci: row g for i < 2, else g + 8; column 2t + (i & 1).
        let place = |lane: usize, i: usize| (lane / 4 + if i < 2 { 0 } else { 8 }) * 8 + lane % 4 * 2 + (i & 1);
        let mut input = Vec::new();
        for lane in 0..32 {
            input.extend(&a[lane * self.a_registers..][..self.a_registers]);
            input.extend(&b[lane * self.b_registers..][..self.b_registers]);
            input.extend((0..4).map(|i| c[place(lane, i)].to_bits()));
        }
        let mut memory = Memory::new();
        let results = input.len();
        input.resize(results + 128, 0);
        let out = upload(&mut memory, &input);
        let params = Params::default().u64(out);
        self.module()
            .launch(&Launch::new("k", 1, 32, &params.0), &memory, 1)
            .unwrap();
        let found: Vec<f32> = download(&memory, out + 4 * results as u64, 128);
        let mut d = vec![0.0; 128];
        found.iter().enumerate().for_each(|(i, &x)| d[place(i / 4, i % 4)] = x);
        d
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_of_tiles(
        which in 0..LAYOUTS.len(),
        a in proptest::collection::vec(-60i8..60, 256),
        b in proptest::collection::vec(-60i8..60, 128),
        c in proptest::collection::vec(-100i8..100, 128),
    ) {
        // Small integers: every type holds them and every order of summation gives the same.
        let layout = &LAYOUTS[which];
        let [a, b, c] = [a, b, c].map(|v| v.into_iter().map(f32::from).collect::<Vec<_>>());
        let d = layout.run(&a, &b, &c);
        for (i, &x) in d.iter().enumerate() {
            let terms = (0..layout.k).map(|k| a[i / 8 * layout.k + k] * b[k * 8 + i % 8]);
            prop_assert_eq!(x, c[i] + terms.sum::<f32>(), "{} at {}", layout.instruction, i);
        }
    }
}

/// Rows of 8 halves in shared memory, 64 of them, row `r`, column `c` holding `16 r + c`; lane `l` gives the address of
/// row `2 l`.
const FILL: &str = "shl.b32 %r20, %tid, 5; mul.lo.u32 %r21, %tid, 32;\n\
    add.u32 %r22, %r21, 0x00010000; add.u32 %r23, %r22, 0x00020002; add.u32 %r24, %r23, 0x00020002; \n\
    add.u32 %r25, %r24, 0x00020002; shl.b32 %r26, %r21, 16; add.u32 %r22, %r22, %r26; add.u32 %r23, %r23, %r26; \n\
    add.u32 %r24, %r24, %r26; add.u32 %r25, %r25, %r26; \n\
    st.shared.v4.b32 [%r20], {%r22, %r23, %r24, %r25}; bar.sync 0;\n";

fn halves(word: u32) -> [u32; 2] {
    [word & 0xffff, word >> 16]
}

#[test]
fn matrices_are_loaded_by_row_and_transposed() {
    for count in [1usize, 2, 4] {
        for trans in [false, true] {
            let names: Vec<String> = (1..=count).map(|i| format!("%r{i}")).collect();
            let qualifier = if trans { ".trans" } else { "" };
            let mut body = format!(
                "{FILL} ldmatrix.sync.aligned.m8n8.x{count}{qualifier}.shared.b16 {{{}}}, [%r20];\n",
                names.join(", ")
            );
            for (m, name) in names.iter().enumerate() {
                body += &format!("st.global.b32 [%dst+{}], {name};\n", 128 * m);
            }
            let out = run_block(&kernel("", &body), 32, 1024, 128).unwrap_or_else(|e| panic!("{e}"));
            for m in 0..count {
                for lane in 0..32 {
                    // Matrix m has the rows that lanes 8m to 8m + 7 point at.
                    let element = |row: usize, col: usize| (16 * 2 * (8 * m + row) + col) as u32;
                    let (i, j) = (lane / 4, 2 * (lane % 4));
                    let expected = if trans {
                        [element(j, i), element(j + 1, i)]
                    } else {
                        [element(i, j), element(i, j + 1)]
                    };
                    assert_eq!(
                        halves(out[32 * m + lane]),
                        expected,
                        "x{count} {trans} matrix {m} lane {lane}"
                    );
                }
            }
        }
    }
}

#[test]
fn matrices_are_stored_and_moved() {
    let load = "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r1, %r2}, [%r20]; bar.sync 0;\n";
    let store = "add.u32 %r20, %r20, 16; stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r20], {%r1, %r2}; bar.sync 0;\n\
        shl.b32 %r3, %tid, 4; and.b32 %r4, %r3, 0xff; shl.b32 %r4, %r4, 1; shr.u32 %r5, %tid, 4; shl.b32 %r5, %r5, 2; \n\
        add.u32 %r4, %r4, %r5; ld.shared.b32 %r6, [%r4+16]; st.global.b32 [%dst], %r6;";
    let out = run_block(&kernel("", &format!("{FILL}{load}{store}")), 32, 1040, 128).unwrap_or_else(|e| panic!("{e}"));
    for (lane, &word) in out[..32].iter().enumerate() {
        let (row, col) = (lane % 16, 2 * (lane / 16));
        let first = (32 * row + col) as u32;
        assert_eq!(halves(word), [first, first + 1], "{lane}");
    }
    let moved = format!("{FILL}{load} movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r1; st.global.b32 [%dst], %r3;");
    let out = run_block(&kernel("", &moved), 32, 1024, 128).unwrap();
    for (lane, &word) in out[..32].iter().enumerate() {
        let (i, j) = (lane / 4, 2 * (lane % 4));
        assert_eq!(halves(word), [(32 * j + i) as u32, (32 * (j + 1) + i) as u32], "{lane}");
    }
}
