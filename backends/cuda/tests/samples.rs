//! Sampled kernels as GPU code under the emulator against the interpreter, which defines their meaning. Operands lie exactly
//! as long as they are, so that any access beside them is a fault, and at addresses aligned as the kernel was told.

use cuda::Generator;
use interp::{Buffer, Place};
use ir::artifact::Grid;
use ir::dim::Env;
use ir::kernel::Access;
use ir::kernel_sample::{self, Sample};
use proptest::prelude::*;
use ptx::{Launch, Memory, Module, Region};

/// Bytes of the narrowest and the widest address that operands get, by turns.
const WIDE: u32 = 64;

fn operands(sample: &Sample) -> Vec<Buffer> {
    sample
        .operands
        .iter()
        .map(|o| Buffer::from_f64(o.dtype, o.values.iter().copied()))
        .collect()
}

fn bytes(b: &Buffer) -> Vec<u8> {
    match b {
        Buffer::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Buffer::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Buffer::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Buffer::Bf16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// Bytes as elements of the kind that another buffer holds.
fn elements(like: &Buffer, bytes: &[u8]) -> Buffer {
    match like {
        Buffer::F32(_) => Buffer::F32(bytes.as_chunks().0.iter().map(|c| f32::from_le_bytes(*c)).collect()),
        Buffer::F64(_) => Buffer::F64(bytes.as_chunks().0.iter().map(|c| f64::from_le_bytes(*c)).collect()),
        Buffer::I32(_) => Buffer::I32(bytes.as_chunks().0.iter().map(|c| i32::from_le_bytes(*c)).collect()),
        Buffer::Bf16(_) => Buffer::Bf16(bytes.as_chunks().0.iter().map(|c| half::bf16::from_le_bytes(*c)).collect()),
    }
}

/// A kernel as PTX.
struct Code {
    module: Module,
    text: String,
    grids: Vec<Grid>,
    workspace: usize,
    alignment: Vec<u32>,
}

thread_local! {
    static GENERATOR: Generator = Generator::new();
}

/// `aligned`: whether operands begin at multiples of 64 bytes, or of their elements only.
fn compile(sample: &Sample, aligned: bool, arch: &str) -> Result<Code, TestCaseError> {
    let of = |s: &ir::kernel::SlotDecl| if aligned { WIDE } else { s.dtype.bytes() as u32 };
    let alignment: Vec<u32> = sample.kernel.slots.iter().map(of).collect();
    let compiled = GENERATOR
        .with(|g| g.compile("k", &sample.kernel, &alignment, &[arch]))
        .map_err(|e| TestCaseError::fail(format!("{e}\n{}", sample.kernel)))?;
    let text = compiled.ptx[0].clone();
    let module = Module::parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
    let workspace = compiled.workspace.eval(&sample.sizes).expect("sizes are known") as usize;
    Ok(Code {
        module,
        text,
        grids: compiled.grids,
        workspace,
        alignment,
    })
}

fn run(code: &Code, sample: &Sample, threads: usize) -> Result<Vec<Buffer>, TestCaseError> {
    let inputs = operands(sample);
    let mut memory = Memory::poisoned();
    let mut regions = vec![];
    for ((b, decl), align) in inputs.iter().zip(&sample.kernel.slots).zip(&code.alignment) {
        let data = bytes(b);
        let at = memory.alloc(data.len() as u64 + WIDE as u64) + (*align % WIDE) as u64;
        memory.write(at, &data).expect("allocated");
        regions.push(Region {
            address: at,
            bytes: data.len() as u64,
            write: decl.access != Access::Read,
        });
    }
    let workspace = memory.alloc(code.workspace.max(1) as u64);
    let mut params: Vec<u64> = regions.iter().map(|r| r.address).chain([workspace]).collect();
    let addresses = params.len();
    let mut allowed = regions.clone();
    allowed.push(Region {
        address: workspace,
        bytes: code.workspace as u64,
        write: true,
    });
    for grid in &code.grids {
        params.truncate(addresses);
        let value = |d: &ir::dim::Dim, sizes: &Env| d.eval(sizes).expect("sizes are known");
        params.extend(grid.sizes.iter().map(|d| value(d, &sample.sizes) as u64));
        let blocks: [u32; 3] = std::array::from_fn(|i| value(&grid.blocks[i], &sample.sizes) as u32);
        if blocks.contains(&0) {
            continue;
        }
        let params: Vec<u8> = params.iter().flat_map(|p| p.to_le_bytes()).collect();
        let launch = Launch {
            kernel: &grid.function,
            grid: blocks,
            block: [grid.threads, 1, 1],
            shared: grid.shared,
            params: &params,
            regions: Some(&allowed),
            step_limit: ptx::DEFAULT_STEP_LIMIT,
        };
        code.module.launch(&launch, &memory, threads).map_err(|e| {
            TestCaseError::fail(format!("{e}\nsizes {:?}\n{}\n{}", sample.sizes, sample.kernel, code.text))
        })?;
    }
    let read = |(b, r): (&Buffer, &Region)| {
        let mut data = vec![0; r.bytes as usize];
        memory.read(r.address, &mut data).expect("allocated");
        elements(b, &data)
    };
    Ok(inputs.iter().zip(&regions).map(read).collect())
}

fn check(sample: &Sample, aligned: bool) -> Result<(), TestCaseError> {
    let mut want = operands(sample);
    let places: Vec<Place> = (0..want.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
    interp::run(&sample.kernel, &mut want, &places, &sample.sizes)
        .map_err(|e| TestCaseError::fail(format!("interpreter: {e}\n{}", sample.kernel)))?;
    let code = compile(sample, aligned, "sm_80")?;
    let got = run(&code, sample, 1)?;
    let again = run(&code, sample, 2)?;
    for (slot, (got, want)) in got.iter().zip(&want).enumerate() {
        let about = || format!("slot {slot} with {:?} of\n{}", sample.sizes, sample.kernel);
        prop_assert!(bytes(got) == bytes(&again[slot]), "other bits when run again: {}", about());
        for (i, (g, w)) in got.to_f64().into_iter().zip(want.to_f64()).enumerate() {
            let operand = &sample.operands[slot];
            let off = || format!("element {i} is {g}, not {w} (within {:e})", operand.tolerance);
            prop_assert!(operand.agrees(i, g, w), "{}, in {}", off(), about());
        }
    }
    Ok(())
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn row(seed: u32, aligned: bool) {
        check(&kernel_sample::row(seed), aligned)?;
    }

    #[test]
    fn column(seed: u32, aligned: bool) {
        check(&kernel_sample::column(seed), aligned)?;
    }

    #[test]
    fn scatter(seed: u32, aligned: bool) {
        check(&kernel_sample::scatter(seed), aligned)?;
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn contract(seed: u32, aligned: bool) {
        check(&kernel_sample::contract(seed), aligned)?;
    }

    #[test]
    fn attention(seed: u32, aligned: bool) {
        check(&kernel_sample::attention(seed), aligned)?;
    }

    #[test]
    fn attention_grad(seed: u32, aligned: bool) {
        check(&kernel_sample::attention_grad(seed), aligned)?;
    }

    #[test]
    fn ctc(seed: u32, aligned: bool) {
        check(&kernel_sample::ctc(seed), aligned)?;
    }
}

// Some operands in bf16, products rounded to it.
proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn narrowed_maps(seed: u32, aligned: bool) {
        let sample = if seed % 2 == 0 { kernel_sample::row(seed) } else { kernel_sample::column(seed) };
        check(&kernel_sample::narrowed(sample, seed), aligned)?;
    }

    #[test]
    fn narrowed_contract(seed: u32, aligned: bool) {
        check(&kernel_sample::narrowed(kernel_sample::contract(seed), seed), aligned)?;
    }

    #[test]
    fn narrowed_attention(seed: u32, aligned: bool) {
        let sample = if seed % 2 == 0 { kernel_sample::attention(seed) } else { kernel_sample::attention_grad(seed) };
        check(&kernel_sample::narrowed(sample, seed), aligned)?;
    }
}

// Sizes of several tiles.
proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn large_rows(seed: u32, aligned: bool, narrow: bool) {
        check(&maybe(kernel_sample::row_large(seed), seed, narrow), aligned)?;
    }

    #[test]
    fn large_contract(seed: u32, aligned: bool, narrow: bool) {
        check(&maybe(kernel_sample::contract_large(seed), seed, narrow), aligned)?;
    }

    #[test]
    fn large_attention(seed: u32, aligned: bool, narrow: bool) {
        check(&maybe(kernel_sample::attention_large(seed), seed, narrow), aligned)?;
    }

    #[test]
    fn large_attention_grad(seed: u32, aligned: bool, narrow: bool) {
        check(&maybe(kernel_sample::attention_grad_large(seed), seed, narrow), aligned)?;
    }
}

fn maybe(sample: Sample, seed: u32, narrow: bool) -> Sample {
    if narrow { kernel_sample::narrowed(sample, seed) } else { sample }
}
