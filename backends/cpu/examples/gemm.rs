//! Prints the speed of generated matrix products on one thread, next to the fused multiply-add peak of this processor.
//!
//! `cargo run --release -p w2vc-cpu --example gemm [-- --bytes | --bf16 | --bf16-converted] [--asm | SCHEDULE..]`, a schedule being
//! `ROWS,VECTORS,DEPTH,BLOCK_ROWS,BLOCK_COLUMNS` as in `w2vc_cpu::Schedule`: each is measured, by default that of the table.
//! `--bf16` measures products of bf16, with the result in f32, and `--bf16-converted` the same without instructions for them.
//! `--bytes` measures products of 8-bit levels, without the packing of the right operand, which is done once.

use ir::dim::{Dim, Env};
use ir::kernel::{Access, Body, Contract, Coord, Index, Kernel, SlotDecl, Store, Strided, Value};
use ir::rounding::{Levels, Rounding};
use ir::scalar::DType;
use std::arch::x86_64::{
    __m256, __m512, __m512bh, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_ps,
};
use std::hint::black_box;
use std::time::Instant;
use w2vc_cpu::{Schedule, Shape, Target, compile};

type Function = unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64, *mut u8, *mut u8);

/// Measurements of each product.
const ROUNDS: usize = 8;

/// The operands' orders, `true` where the summed axis is contiguous.
const ORDERS: [(&str, bool, bool); 3] = [
    ("a b^T (forward)", true, true),
    ("a b (input gradient)", true, false),
    ("a^T b (weight gradient)", false, false),
];

fn of_bf16() -> bool {
    std::env::args().any(|arg| arg == "--bf16") || converts()
}

fn converts() -> bool {
    std::env::args().any(|arg| arg == "--bf16-converted")
}

fn of_bytes() -> bool {
    std::env::args().any(|arg| arg == "--bytes")
}

fn kernel(a_rows: bool, b_rows: bool) -> Kernel {
    let [m, n, k] = ["m", "n", "k"].map(Dim::sym);
    let one = Dim::from(1);
    let strided = |slot, free: &Dim, contiguous| Strided {
        slot,
        base: Dim::default(),
        batch: vec![],
        k_outer: Dim::default(),
        free: if contiguous { k.clone() } else { one.clone() },
        k: if contiguous { one.clone() } else { free.clone() },
    };
    let index = Index {
        base: Dim::default(),
        terms: vec![(n.clone(), Coord::Axis(0)), (one.clone(), Coord::Axis(1))],
    };
    let slot = |access| SlotDecl {
        dtype: match access {
            Access::Read if of_bf16() => DType::Bf16,
            _ => DType::F32,
        },
        access,
    };
    Kernel {
        slots: vec![slot(Access::Read), slot(Access::Read), slot(Access::Write)],
        body: Body::Contract(Contract {
            batch: vec![],
            k_outer: one.clone(),
            a: strided(0, &m, a_rows),
            b: strided(1, &n, b_rows),
            round: if of_bytes() {
                Rounding::Int8(Levels::PAIRS)
            } else if of_bf16() {
                Rounding::Bf16
            } else {
                Rounding::F32
            },
            m,
            n,
            k,
            values: vec![Value::Acc],
            store: vec![Store {
                slot: 2,
                index,
                value: 0,
                accumulate: false,
            }],
        }),
    }
}

/// Multiply-adds per nanosecond, times 2, of this processor's widest vectors.
fn peak() -> f64 {
    // SAFETY: every target this backend knows has AVX and FMA, which `Target::host` has checked; AVX-512 is asked for here.
    unsafe {
        if of_bf16() && !converts() {
            peak_bf16()
        } else if is_x86_feature_detected!("avx512f") {
            peak_512()
        } else {
            peak_256()
        }
    }
}

const PEAK_ROUNDS: usize = 4_000_000;

/// Of ten independent chains of 8 elements.
#[target_feature(enable = "avx,fma")]
fn peak_256() -> f64 {
    let (x, y) = (black_box(_mm256_set1_ps(0.999)), black_box(_mm256_set1_ps(0.001)));
    let mut chains: [__m256; 10] = [y; 10];
    let start = Instant::now();
    for _ in 0..PEAK_ROUNDS {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, x, y);
        }
    }
    black_box(chains);
    (PEAK_ROUNDS * 10 * 16) as f64 / start.elapsed().as_nanos() as f64
}

/// Of ten independent chains of 16 elements.
#[target_feature(enable = "avx512f")]
fn peak_512() -> f64 {
    let (x, y) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(0.001)));
    let mut chains: [__m512; 10] = [y; 10];
    let start = Instant::now();
    for _ in 0..PEAK_ROUNDS {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, x, y);
        }
    }
    black_box(chains);
    (PEAK_ROUNDS * 10 * 32) as f64 / start.elapsed().as_nanos() as f64
}

/// Of ten independent chains of 16 sums of pairs.
#[target_feature(enable = "avx512f,avx512bf16")]
fn peak_bf16() -> f64 {
    let mut chains: [__m512; 10] = [black_box(_mm512_set1_ps(0.001)); 10];
    let factors = black_box([0x3c00_3c00i32; 16]);
    // SAFETY: both are 64 bytes, and every pattern of bits is 32 bf16.
    let factors: __m512bh = unsafe { std::mem::transmute(factors) };
    let start = Instant::now();
    for _ in 0..PEAK_ROUNDS {
        for chain in &mut chains {
            *chain = _mm512_dpbf16_ps(*chain, factors, factors);
        }
    }
    black_box(chains);
    (PEAK_ROUNDS * 10 * 64) as f64 / start.elapsed().as_nanos() as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut target = Target::host()?.only_for(of_bytes(), of_bf16() && !converts());
    if of_bf16() && !converts() && !target.bf16 {
        return Err("this processor has no instructions for bf16".into());
    }
    let tried: Vec<Schedule> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .map(|arg| arg.parse())
        .collect::<Result<_, String>>()?;
    if tried.is_empty() {
        return measure(&target);
    }
    for schedule in tried {
        target.tried = Some(schedule);
        measure(&target)?;
    }
    Ok(())
}

fn measure(target: &Target) -> Result<(), Box<dyn std::error::Error>> {
    if of_bytes() {
        println!("{}", target.schedule_of_bytes());
    } else {
        println!(
            "{}; transposed: {}",
            target.schedule(Shape::Rows),
            target.schedule(Shape::Columns)
        );
    }
    let kernels: Vec<_> = ORDERS
        .iter()
        .map(|(name, a, b)| (name.to_string(), kernel(*a, *b)))
        .collect();
    let start = Instant::now();
    let symbols = ["m", "n", "k", "layer"].map(std::sync::Arc::from);
    let compiled = compile(&kernels, &symbols, target)?;
    println!(
        "compiled {} bytes in {:?} for {}",
        compiled.code.len(),
        start.elapsed(),
        target.cpu
    );
    if std::env::args().any(|arg| arg == "--asm") {
        let asm = w2vc_cpu::compile_with(&kernels, &symbols, target, true)?.asm;
        println!("{}", asm.unwrap_or_default());
        return Ok(());
    }
    let mut map = memmap2::MmapMut::map_anon(compiled.code.len())?;
    map.copy_from_slice(&compiled.code);
    let map = map.make_exec()?;
    for (m, n, k) in [
        (1000, 3072, 768),
        (1000, 768, 3072),
        (500, 768, 768),
        (12_500, 512, 1536),
        (781, 48, 6144),
        (3072, 768, 1000),
    ] {
        for (info, (name, ..)) in compiled.kernels.iter().zip(ORDERS) {
            let env: Env = symbols.iter().cloned().zip([m, n, k, 0]).collect();
            let mut data = [m * k, k * n, m * n].map(|len| vec![0.5f32; len as usize]);
            let bytes = |d: &Dim| d.eval(&env).map(|bytes| vec![0f64; bytes as usize / 8 + 8]);
            let (mut workspace, mut scratch) = (bytes(&info.workspace)?, bytes(&info.scratch)?);
            let slots: Vec<*mut u8> = data.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
            let aligned = |v: &mut Vec<f64>| {
                let p: *mut u8 = v.as_mut_ptr().cast();
                p.wrapping_add(p.align_offset(64))
            };
            let mut times = [0.0; 2];
            let mut ceiling: f64 = 0.0;
            // The two are measured by turns and averaged, so that a busy machine slows both.
            for _ in 0..ROUNDS {
                ceiling += peak() / ROUNDS as f64;
                for (entry, time) in info.entries.iter().zip(&mut times) {
                    let items = entry.items.eval(&env)?;
                    let start = Instant::now();
                    // SAFETY: the code was made for this processor and memory is as large as the kernel says.
                    unsafe {
                        let f: Function = std::mem::transmute(map.as_ptr().add(entry.code));
                        let (workspace, scratch) = (aligned(&mut workspace), aligned(&mut scratch));
                        f(slots.as_ptr(), [m, n, k, 0].as_ptr(), 0, items, workspace, scratch);
                    }
                    *time += start.elapsed().as_secs_f64() / ROUNDS as f64;
                }
            }
            let counted = if of_bytes() { times[1] } else { times[0] + times[1] };
            let rate = 2e-9 * (m * n * k) as f64 / counted;
            let share = 100.0 * times[0] / (times[0] + times[1]);
            let of_peak = 100.0 * rate / ceiling;
            println!(
                "{m:6} x {n:5} x {k:5}  {name:24} {rate:6.1} GFLOP/s, {of_peak:4.1}% of {ceiling:.1}, packing {share:.1}%"
            );
        }
    }
    Ok(())
}
