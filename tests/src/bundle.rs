//! What the bundle for a real GPU carries: sampled kernels with the interpreter's values, a small model with those of the
//! processor, and the executables that are timed.

use crate::clips::{Sizes, batch, clip_for, complete_for};
use crate::native::{compile, model};
use compiler::compile::{compile_cuda, link_cuda};
use interp::{Buffer, Place};
use ir::artifact::{Artifact, BufferKind, Launch, Operand, Precision, Program, Step};
use ir::kernel::{Access, Kernel};
use ir::kernel_sample::{self, Sample};
use runtime::exec::append;
use runtime::gpu::check::kernels::{KernelCheck, Slot};
use runtime::gpu::check::training::{TrainingCheck, train};
use runtime::gpu::check::write;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

type Error = Box<dyn std::error::Error>;

/// Draws a kernel.
type Family = fn(u32) -> Sample;

/// Bodies with how many of each are taken; half of them with operands in bf16 where that is said.
const FAMILIES: [(&str, Family, u32, bool); 12] = [
    ("row", kernel_sample::row, 48, true),
    ("column", kernel_sample::column, 40, true),
    ("scatter", kernel_sample::scatter, 16, false),
    ("contract", kernel_sample::contract, 64, true),
    ("attention", kernel_sample::attention, 40, true),
    ("attention_grad", kernel_sample::attention_grad, 40, true),
    ("ctc", kernel_sample::ctc, 16, false),
    ("row_large", kernel_sample::row_large, 8, true),
    ("contract_large", kernel_sample::contract_large, 12, true),
    ("contract_boxed", kernel_sample::contract_boxed, 32, false),
    ("attention_large", kernel_sample::attention_large, 8, true),
    ("attention_grad_large", kernel_sample::attention_grad_large, 8, true),
];

/// The sizes of models/tiny.ron that inputs depend on.
const TINY: Sizes = Sizes {
    hidden: 128,
    layers: 4,
    negatives: 50,
    codes: [2, 64],
};

/// Weights of the small model are drawn from it.
const SEED: u64 = 7;

/// Bytes that operands miss a multiple of 256 by where nothing is said about them.
const SHIFT: usize = 1;

struct Drawn {
    name: String,
    sample: Sample,
    /// Whether operands begin at multiples of 64 bytes, or of their elements only.
    aligned: bool,
}

fn drawn() -> Vec<Drawn> {
    let mut all = vec![];
    for (name, family, count, narrows) in FAMILIES {
        for seed in 0..count {
            let (narrowed, aligned) = (narrows && seed % 2 == 1, seed / 2 % 2 == 0);
            let sample = family(seed);
            let sample = if narrowed {
                kernel_sample::narrowed(sample, seed)
            } else {
                sample
            };
            let bf16 = if narrowed { " bf16" } else { "" };
            let place = if aligned { "aligned" } else { "anywhere" };
            let name = format!("{name} {seed}{bf16} {place}");
            all.push(Drawn { name, sample, aligned });
        }
    }
    all
}

/// One program that launches every kernel once, which tells the code generator how operands are aligned.
fn launches(all: &[Drawn]) -> Program {
    let (mut buffers, mut steps) = (vec![], vec![]);
    for (kernel, d) in all.iter().enumerate() {
        let mut operands = vec![];
        for slot in &d.sample.kernel.slots {
            operands.push(Operand {
                buffer: buffers.len(),
                offset: if d.aligned { 0.into() } else { (SHIFT as i64).into() },
                layer_stride: 0.into(),
            });
            buffers.push(ir::artifact::Buffer {
                kind: BufferKind::Temp,
                dtype: slot.dtype,
                elements: 0.into(),
                live: (0, 0),
            });
        }
        steps.push(Step::Launch(Launch { kernel, operands }));
    }
    Program {
        name: "all".into(),
        inputs: vec![],
        outputs: vec![],
        buffers,
        requires: vec![],
        prepare: vec![],
        steps,
        loss: None,
        reads: vec![],
        trains: vec![],
    }
}

fn bytes(b: &Buffer) -> Vec<u8> {
    match b {
        Buffer::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Buffer::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Buffer::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Buffer::Bf16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// A kernel with its operands before and after, as the interpreter runs it.
fn expected(d: &Drawn) -> Result<KernelCheck, Error> {
    let sample = &d.sample;
    let of = |o: &kernel_sample::Operand| Buffer::from_f64(o.dtype, o.values.iter().copied());
    let before: Vec<Buffer> = sample.operands.iter().map(of).collect();
    let mut after = before.clone();
    let places: Vec<Place> = (0..after.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
    interp::run(&sample.kernel, &mut after, &places, &sample.sizes).map_err(|e| format!("{}: {e}", d.name))?;
    let slot = |i: usize| {
        let (decl, own) = (&sample.kernel.slots[i], &sample.operands[i]);
        Slot {
            dtype: own.dtype,
            shift: if d.aligned { 0 } else { SHIFT * own.dtype.bytes() },
            before: bytes(&before[i]),
            after: (decl.access != Access::Read).then(|| bytes(&after[i])),
            tolerance: own.tolerance,
            // Never less than they were.
            tolerances: own.tolerances.iter().map(|t| (*t as f32).next_up()).collect(),
        }
    };
    Ok(KernelCheck {
        name: d.name.clone(),
        sizes: sample.sizes.clone(),
        operands: (0..before.len()).map(slot).collect(),
    })
}

/// Writes `kernels.w2vc` (code) and `kernels.data` (operands and expected values).
///
/// # Errors
/// Where a kernel has no code, or a file cannot be written.
pub fn kernels(folder: &Path, progress: &dyn Fn(usize, usize)) -> Result<usize, Error> {
    let all = drawn();
    let checks: Vec<KernelCheck> = all.iter().map(expected).collect::<Result<_, _>>()?;
    let kernels: Vec<(String, Kernel)> = all.iter().map(|d| (d.name.clone(), d.sample.kernel.clone())).collect();
    let empty = Artifact {
        name: "kernels".into(),
        cpu_features: vec![],
        gpu: None,
        int8: None,
        constants: BTreeMap::new(),
        graphs: Default::default(),
        tasks: vec![],
        export: BTreeMap::new(),
        config: Default::default(),
        run_sizes: vec![],
        params: vec![],
        param_room: 0.into(),
        param_elements: 0,
        symbols: vec![],
        dims: vec![],
        kernels: vec![],
        programs: vec![launches(&all)],
    };
    let (mut artifact, code, _) = link_cuda(empty, &kernels, Precision::Fp32, progress)?;
    artifact.programs.clear();
    std::fs::write(folder.join("kernels.w2vc"), append(b"", &artifact, &code)?)?;
    write(&folder.join("kernels.data"), &checks)?;
    Ok(checks.len())
}

/// Writes `tiny-fp32.w2vc`, `tiny-bf16.w2vc` and `tiny.data`: inputs, and what training gives on the processor.
///
/// # Errors
/// Where the model has no code, or a file cannot be written.
pub fn tiny(folder: &Path, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
    let tiny = model("models/tiny.ron", &[]);
    for (name, precision) in [("tiny-fp32.w2vc", Precision::Fp32), ("tiny-bf16.w2vc", Precision::Bf16)] {
        let out = compile_cuda(&tiny, precision, progress)?;
        std::fs::write(folder.join(name), append(b"", &out.artifact, &out.code)?)?;
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut machine = compile(&tiny).machine(threads)?;
    let mut checks = vec![];
    for program in ["pretrain", "finetune"] {
        let clips = [clip_for(1, TINY), clip_for(2, TINY)];
        let inputs = complete_for(batch(&clips), TINY, 0.1);
        checks.push(TrainingCheck {
            program: program.into(),
            seed: SEED,
            expected: train(&mut machine, program, SEED, &inputs)?,
            inputs: inputs.iter().map(|(n, t)| (n.clone(), t.into())).collect(),
        });
    }
    Ok(write(&folder.join("tiny.data"), &checks)?)
}

/// Writes `base-fp32` and `base-bf16`, executables of models/base.ron.
///
/// # Errors
/// Where the model has no code, or a file cannot be written.
pub fn base(folder: &Path, runner: &Path, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
    let base = model("models/base.ron", &[]);
    let runner = std::fs::read(runner)?;
    for (name, precision) in [("base-fp32", Precision::Fp32), ("base-bf16", Precision::Bf16)] {
        let out = compile_cuda(&base, precision, progress)?;
        let path = folder.join(name);
        std::fs::write(&path, append(&runner, &out.artifact, &out.code)?)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
