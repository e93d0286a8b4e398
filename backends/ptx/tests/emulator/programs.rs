//! Whole programs, as printed by LLVM 22, against the same computation on the host.

use crate::common::*;
use half::{bf16, f16};
use w2vc_ptx::{Launch, Memory, Module};

const KERNELS: &str = include_str!("fixtures/kernels.ptx");
const CLANG: &str = include_str!("fixtures/clang.ptx");

fn values(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| ((i.wrapping_mul(2654435761).wrapping_add(seed) >> 16) % 2048) as f32 / 512.0 - 2.0)
        .collect()
}

#[test]
fn adds_vectors_of_any_length() {
    let module = Module::parse(KERNELS).unwrap();
    assert_eq!(module.target(), "sm_80");
    for n in [0, 1, 31, 33, 256, 1000] {
        let mut memory = Memory::poisoned();
        let (a, b) = (values(n, 1), values(n, 2));
        let (pa, pb, pc) = (
            upload(&mut memory, &a),
            upload(&mut memory, &b),
            memory.alloc(4 * n as u64),
        );
        let params = Params::default().u64(pa).u64(pb).u64(pc).u32(n as u32);
        launch(&module, "vecadd", 4, 256, &params, &memory);
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert_eq!(download::<f32>(&memory, pc, n), expected, "{n}");
    }
}

#[test]
fn reduces_blocks_by_shuffles_and_shared_memory() {
    let module = Module::parse(KERNELS).unwrap();
    let mut memory = Memory::new();
    let a: Vec<f32> = (0..512).map(|i| (i % 37) as f32).collect();
    let (pa, po) = (upload(&mut memory, &a), upload(&mut memory, &vec![0f32; 512]));
    launch(
        &module,
        "blockreduce",
        2,
        256,
        &Params::default().u64(pa).u64(po),
        &memory,
    );
    let out: Vec<f32> = download(&memory, po, 512);
    // The kernel sums the butterfly's 16, 8 and 4, so lane 0 of each warp holds an eighth.
    let warp_sum = |w: usize, lane: usize| (0..8).map(|i| a[32 * w + (lane ^ (4 * i))]).sum::<f32>();
    for (i, &x) in out.iter().enumerate().skip(2) {
        assert_eq!(x, 2.0 * warp_sum(i / 32, i % 32), "{i}");
    }
}

#[test]
fn multiplies_tiles_on_tensor_cores() {
    let module = Module::parse(KERNELS).unwrap();
    let (a, b) = (values(16 * 16, 3), values(16 * 8, 4));
    for kernel in ["mma_f16", "mma_bf16"] {
        let narrow = |x: f32| {
            if kernel == "mma_f16" {
                f16::from_f32(x).to_bits()
            } else {
                bf16::from_f32(x).to_bits()
            }
        };
        let wide = |x: f32| match kernel {
            "mma_f16" => f16::from_f32(x).to_f32(),
            _ => bf16::from_f32(x).to_f32(),
        };
        let mut memory = Memory::poisoned();
        let pa = upload16(&mut memory, &a.iter().map(|&x| narrow(x)).collect::<Vec<_>>());
        let pb = upload16(&mut memory, &b.iter().map(|&x| narrow(x)).collect::<Vec<_>>());
        let pc = memory.alloc(16 * 8 * 4);
        launch(
            &module,
            kernel,
            1,
            32,
            &Params::default().u64(pa).u64(pb).u64(pc),
            &memory,
        );
        let out: Vec<f32> = download(&memory, pc, 16 * 8);
        for (i, x) in out.iter().enumerate() {
            let terms = (0..16).map(|k| wide(a[i / 8 * 16 + k]) * wide(b[k * 8 + i % 8]));
            assert_eq!(*x, terms.sum::<f32>(), "{kernel} {i}");
        }
    }
}

fn collatz_or_series(a: f32, i: usize, n: i32) -> f32 {
    let series = |x: f32, n: i32| {
        let mut s = 0f32;
        for i in 0..n {
            if i % 3 == 0 {
                s = x.mul_add(i as f32, s);
            } else if i % 5 == 1 {
                s -= x;
            } else {
                s = s.mul_add(0.5, x);
            }
        }
        s
    };
    if a > 0.0 {
        return if i % 2 == 1 { series(a, n) } else { series(-a, n + 2) };
    }
    let (mut k, mut r) = (n, 0.0);
    while k > 1 {
        k = if k % 2 == 1 { 3 * k + 1 } else { k / 2 };
        r += 1.0;
        if r > 50.0 {
            break;
        }
    }
    r
}

#[test]
fn follows_lanes_that_diverge() {
    let module = Module::parse(CLANG).unwrap();
    let len = 300;
    let a = values(len, 5);
    let n: Vec<u32> = (0..len as u32).map(|i| i * 7 % 41).collect();
    let mut memory = Memory::new();
    let (pa, po, pn) = (
        upload(&mut memory, &a),
        upload(&mut memory, &vec![0f32; len]),
        upload(&mut memory, &n),
    );
    launch(
        &module,
        "diverge",
        3,
        128,
        &Params::default().u64(pa).u64(po).u64(pn).u32(len as u32),
        &memory,
    );
    let expected: Vec<f32> = (0..len).map(|i| collatz_or_series(a[i], i, n[i] as i32)).collect();
    assert_eq!(download::<f32>(&memory, po, len), expected);
}

#[test]
fn indexes_local_memory() {
    let module = Module::parse(CLANG).unwrap();
    let a: Vec<f32> = (0..64 * 16).map(|i| (i * 5 % 17) as f32).collect();
    let mut memory = Memory::new();
    let (pa, po) = (upload(&mut memory, &a), upload(&mut memory, &vec![0f32; 64 * 4]));
    launch(
        &module,
        "vec4",
        2,
        32,
        &Params::default().u64(pa).u64(po).u64(64),
        &memory,
    );
    let out: Vec<f32> = download(&memory, po, 64 * 4);
    for (i, x) in out.iter().enumerate() {
        let (thread, e) = (i / 4, i % 4);
        let at = |row: usize| a[thread * 16 + 4 * (row % 4) + e];
        let j = a[thread * 16] as usize;
        assert_eq!(*x, at(j).mul_add(2.0, at(j + 1)), "{i}");
    }
}

#[test]
fn takes_the_same_steps_on_any_number_of_threads() {
    let module = Module::parse(CLANG).unwrap();
    let a = values(4096, 6);
    let n: Vec<u32> = (0..4096).map(|i| i % 29).collect();
    let run = |threads| {
        let mut memory = Memory::new();
        let (pa, po, pn) = (
            upload(&mut memory, &a),
            upload(&mut memory, &vec![0f32; 4096]),
            upload(&mut memory, &n),
        );
        let params = Params::default().u64(pa).u64(po).u64(pn).u32(4096);
        let stats = module
            .launch(&Launch::new("diverge", 64, 64, &params.0), &memory, threads)
            .unwrap();
        (stats, download::<u32>(&memory, po, 4096))
    };
    assert_eq!(run(1), run(4));
}

/// A kernel that has a bit of everything; `fixtures/clang.cu` is its source.
#[test]
fn mixes_types_and_widths() {
    let module = Module::parse(CLANG).unwrap();
    let n: i64 = -123_456_789_012;
    let h: Vec<i16> = (0..64).map(|i| (i * 977 % 2001 - 1000) as i16).collect();
    let b: Vec<f32> = values(64, 7).into_iter().map(|x| bf16::from_f32(x).to_f32()).collect();
    let mut memory = Memory::new();
    let ph = upload16(&mut memory, &h.iter().map(|&x| x as u16).collect::<Vec<_>>());
    let pb = upload16(
        &mut memory,
        &b.iter().map(|&x| bf16::from_f32(x).to_bits()).collect::<Vec<_>>(),
    );
    let (pd, po, pc, pcnt) = (
        memory.alloc(8 * 564),
        memory.alloc(4 * 564),
        memory.alloc(64),
        memory.alloc(4 * 2064),
    );
    let params = Params::default()
        .u64(ph)
        .u64(pb)
        .u64(pd)
        .u64(po)
        .u64(pc)
        .u64(n as u64)
        .u64(pcnt);
    let run = Launch {
        shared: 256,
        ..Launch::new("misc", 1, 64, &params.0)
    };
    module.launch(&run, &memory, 1).unwrap_or_else(|e| panic!("{e}"));
    let o: Vec<f32> = download(&memory, po, 564);
    let cnt: Vec<u32> = download(&memory, pcnt, 2064);
    let d: Vec<u64> = download::<u32>(&memory, pd, 2 * 564)
        .chunks_exact(2)
        .map(|w| u64::from(w[0]) | u64::from(w[1]) << 32)
        .collect();
    let mut c = vec![0; 64];
    memory.read(pc, &mut c).unwrap();
    assert_eq!(cnt[1000], 64);
    for t in 0..64usize {
        let x = b[(t + 1) % 64] + i32::from(h[t ^ 1]) as u32 as f32;
        assert_eq!(o[t], x, "{t}");
        let quotient = f64::from(x) / (f64::from(h[t]) + 1.0);
        assert_eq!(f64::from_bits(d[t]).to_bits(), quotient.to_bits(), "{t}");
        assert_eq!(c[t], x as u16 as u8, "{t}");
        let half = o[500 + t / 2].to_bits() >> (16 * (t % 2)) & 0xffff;
        assert_eq!(half, u32::from(bf16::from_f32(2.0 * x).to_bits()), "{t}");
        assert_eq!(o[t + 100].to_bits(), (x.mul_add(x, 1.0) / (x + 1.0)).to_bits(), "{t}");
        assert!(o[t + 200] == x.sqrt() || x < 0.0 && o[t + 200].is_nan(), "{t}");
        let sums = x.max(0.0) + b[t].abs() + x.copysign(f32::from(h[t])) + x.floor() + x.round_ties_even();
        assert_eq!(o[t + 300], sums, "{t}");
        let (i, word) = (t as i64, t as u32);
        let integers = (n.wrapping_mul(i) % 77) as f64 + (n as u64 / (t as u64 + 1)) as f64;
        assert_eq!(f64::from_bits(d[t + 100]), integers, "{t}");
        let count = (word.count_ones() + (word + 1).leading_zeros())
            .wrapping_add(word.reverse_bits())
            .wrapping_add(word.wrapping_shl(n as u32 & 31))
            .wrapping_add(x as i32 as u32)
            .wrapping_add(quotient as i64 as u32);
        assert_eq!(cnt[t], count, "{t}");
        let mut z = (t as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n as u64);
        z = (z ^ z >> 31).rotate_left(13);
        let mixed = z
            .wrapping_mul((z >> 33) + 1)
            .wrapping_add(u64::from((z | 1).leading_zeros()));
        assert_eq!(d[t + 500], mixed, "{t}");
        assert_eq!(cnt[t + 2000], ((t as u64 * 0xD251_1F53) >> 32) as u32, "{t}");
    }
}
