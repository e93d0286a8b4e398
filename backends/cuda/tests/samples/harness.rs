//! One kernel under the emulator against the interpreter. Operands lie exactly as long as they are, so that any access beside
//! them is a fault, and at addresses aligned as the kernel was told.

use interp::{Buffer, Place};
use ir::artifact::{Grid, PtxKernel};
use ir::dim::{Dim, Env};
use ir::kernel::Access;
use ir::kernel_sample::{self, Sample};
use ir::tensor_map::{MapSource, TensorMap};
use proptest::prelude::*;
use ptx::{Launch, Memory, Module, Region};
use w2vc_cuda::Generator;

/// What PTX is made for.
pub const ARCHS: [&str; 2] = ["sm_80", "sm_90a"];

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
        Buffer::Bf16(_) => Buffer::Bf16(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|c| half::bf16::from_le_bytes(*c))
                .collect(),
        ),
    }
}

/// A kernel as PTX.
pub struct Code {
    module: Module,
    pub text: String,
    pub grids: Vec<Grid>,
    workspace: Dim,
    alignment: Vec<u32>,
}

thread_local! {
    static GENERATOR: Generator = Generator::new();
}

/// `aligned`: whether operands begin at multiples of 64 bytes, or of their elements only.
pub fn compile(sample: &Sample, aligned: bool, arch: &str) -> Result<Code, TestCaseError> {
    let of = |s: &ir::kernel::SlotDecl| if aligned { WIDE } else { s.dtype.bytes() as u32 };
    let alignment: Vec<u32> = sample.kernel.slots.iter().map(of).collect();
    let mut compiled = GENERATOR
        .with(|g| g.compile("k", &sample.kernel, &alignment, &[arch]))
        .map_err(|e| TestCaseError::fail(format!("{e}\n{}", sample.kernel)))?;
    let PtxKernel { text, grids, workspace } = compiled.remove(0).ptx;
    let module = Module::parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
    Ok(Code {
        module,
        text,
        grids,
        workspace,
        alignment,
    })
}

impl Code {
    /// The same kernel with another text.
    pub fn with_text(self, text: String) -> Code {
        let module = Module::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Code { module, text, ..self }
    }
}

/// A tensor map as a launch takes it; `addresses` are those of the slots and, last, of the workspace.
fn encoded(map: &TensorMap, addresses: &[u64], sizes: &Env) -> [u8; 128] {
    let value = |d: &Dim| d.eval(sizes).expect("sizes are known") * map.dtype.bytes() as i64;
    let base = match map.source {
        MapSource::Slot(slot) => addresses[slot],
        MapSource::Workspace => addresses[addresses.len() - 1],
    };
    let extent = |d: &Dim| d.eval(sizes).expect("sizes are known").max(1) as u64;
    let map = ptx::TensorMap {
        address: base.wrapping_add_signed(value(&map.offset)),
        bytes_per_element: map.dtype.bytes() as u32,
        extents: map.extents.iter().map(extent).collect(),
        strides: map.strides.iter().map(|d| value(d) as u64).collect(),
        tile: map.tile.clone(),
    };
    map.encode().unwrap_or_else(|e| panic!("{map:?}: {e}"))
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
    let room = code.workspace.eval(&sample.sizes).expect("sizes are known") as u64;
    let workspace = memory.alloc(room.max(1));
    let mut params: Vec<u64> = regions.iter().map(|r| r.address).chain([workspace]).collect();
    let addresses = params.len();
    let mut allowed = regions.clone();
    allowed.push(Region {
        address: workspace,
        bytes: room,
        write: true,
    });
    for grid in &code.grids {
        params.truncate(addresses);
        let value = |d: &Dim, sizes: &Env| d.eval(sizes).expect("sizes are known");
        params.extend(grid.sizes.iter().map(|d| value(d, &sample.sizes) as u64));
        let blocks: [u32; 3] = std::array::from_fn(|i| value(&grid.blocks[i], &sample.sizes) as u32);
        if blocks.contains(&0) {
            continue;
        }
        let mut bytes: Vec<u8> = params.iter().flat_map(|p| p.to_le_bytes()).collect();
        for map in &grid.maps {
            bytes.resize(bytes.len().next_multiple_of(64), 0);
            bytes.extend(encoded(map, &params[..addresses], &sample.sizes));
        }
        let launch = Launch {
            kernel: &grid.function,
            grid: blocks,
            block: [grid.threads, 1, 1],
            shared: grid.shared,
            params: &bytes,
            regions: Some(&allowed),
            step_limit: ptx::DEFAULT_STEP_LIMIT,
        };
        code.module.launch(&launch, &memory, threads).map_err(|e| {
            TestCaseError::fail(format!(
                "{e}\nsizes {:?}\n{}\n{}",
                sample.sizes, sample.kernel, code.text
            ))
        })?;
    }
    let read = |(b, r): (&Buffer, &Region)| {
        let mut data = vec![0; r.bytes as usize];
        memory.read(r.address, &mut data).expect("allocated");
        elements(b, &data)
    };
    Ok(inputs.iter().zip(&regions).map(read).collect())
}

/// What becomes of the operands by the interpreter, if the kernel may run with them.
pub fn wanted(sample: &Sample) -> Result<Vec<Buffer>, interp::Error> {
    let mut want = operands(sample);
    let places: Vec<Place> = (0..want.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
    interp::run(&sample.kernel, &mut want, &places, &sample.sizes)?;
    Ok(want)
}

/// Runs a kernel twice, on one thread and on two.
pub fn check_code(code: &Code, sample: &Sample) -> Result<(), TestCaseError> {
    let want = wanted(sample).map_err(|e| TestCaseError::fail(format!("interpreter: {e}\n{}", sample.kernel)))?;
    let got = run(code, sample, 1)?;
    let again = run(code, sample, 2)?;
    for (slot, (got, want)) in got.iter().zip(&want).enumerate() {
        let about = || format!("slot {slot} with {:?} of\n{}", sample.sizes, sample.kernel);
        prop_assert!(
            bytes(got) == bytes(&again[slot]),
            "other bits when run again: {}",
            about()
        );
        for (i, (g, w)) in got.to_f64().into_iter().zip(want.to_f64()).enumerate() {
            let operand = &sample.operands[slot];
            let off = || format!("element {i} is {g}, not {w} (within {:e})", operand.tolerance);
            prop_assert!(operand.agrees(i, g, w), "{}, in {}", off(), about());
        }
    }
    Ok(())
}

/// Compiles a kernel for the architecture that its number says, and runs it: as it is, with a NaN, and with as little to do
/// as there can be.
pub fn check(sample: &Sample, seed: u32, aligned: bool) -> Result<(), TestCaseError> {
    check_on(sample, seed, aligned, ARCHS[usize::from(seed.is_multiple_of(4))])
}

/// The same for an architecture.
pub fn check_on(sample: &Sample, seed: u32, aligned: bool, arch: &str) -> Result<(), TestCaseError> {
    let code = compile(sample, aligned, arch)?;
    check_code(&code, sample)?;
    if let Some(sample) = kernel_sample::with_nan(sample, seed) {
        check_code(&code, &sample)?;
    }
    if let Some(least) = kernel_sample::least(sample, seed).filter(|s| wanted(s).is_ok()) {
        check_code(&code, &least)?;
    }
    Ok(())
}
