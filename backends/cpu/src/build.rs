//! Kernels to one image of machine code.

use crate::entry::{Emitted, Unit};
use crate::{Error, Target, attention, column, contract, ctc, link, row, scatter};
use inkwell::context::Context;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{FileType, TargetMachine};
use ir::artifact::{Entry, KernelInfo};
use ir::dim::Dim;
use ir::kernel::{Body, Kernel};
use ir::kernel_describe::describe;
use std::cell::RefCell;
use std::sync::Arc;

/// Machine code of a list of kernels.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// A flat image, to be mapped readable and executable at a page boundary.
    pub code: Vec<u8>,
    /// One per kernel, in the order given; entries hold offsets into `code`.
    pub kernels: Vec<KernelInfo>,
    /// LLVM IR before optimisation, module after module.
    pub llvm_ir: String,
    /// The assembly text where it was asked for.
    pub asm: Option<String>,
}

/// Modules compiled at the same time, each on its own thread.
const THREADS: usize = 2;

/// Vector code is written out by the emitters: what is left to do is to clean up addresses and hoist invariants.
const PASSES: &str = "function(simplifycfg,early-cse,instcombine<no-verify-fixpoint>,simplifycfg,\
                      loop-mssa(licm),early-cse<memssa>,gvn,instcombine<no-verify-fixpoint>,adce,simplifycfg)";

/// Compiles kernels, each given with a name for messages; `symbols` are the run-time sizes in the order in which entry
/// functions receive their values.
///
/// # Errors
/// What the backend has no code for, sizes that are not among `symbols`, and failures of LLVM.
pub fn compile(kernels: &[(String, Kernel)], symbols: &[Arc<str>], target: &Target) -> Result<Compiled, Error> {
    compile_with(kernels, symbols, target, false)
}

/// Bytes of stack: values of kernels are trees, and LLVM recurses along them too.
const STACK: usize = 256 << 20;

/// Part of the work, on a thread of its own or done already.
enum Job<'s> {
    Started(std::thread::ScopedJoinHandle<'s, Result<Part, Error>>),
    Done(Result<Part, Error>),
}

/// [`compile`], with assembly text if `asm`.
pub fn compile_with(
    kernels: &[(String, Kernel)],
    symbols: &[Arc<str>],
    target: &Target,
    asm: bool,
) -> Result<Compiled, Error> {
    // Kernels are dealt out by turns, which spreads the big ones.
    let parts: Vec<Vec<usize>> = (0..THREADS)
        .map(|t| (t..kernels.len()).step_by(THREADS).collect())
        .collect();
    let objects: Vec<Result<Part, Error>> = std::thread::scope(|s| {
        let jobs: Vec<_> = parts
            .iter()
            .filter(|p| !p.is_empty())
            .map(|p| {
                let work = move || compile_part(kernels, p, symbols, target, asm);
                // Where there is no further thread, on this one.
                match std::thread::Builder::new().stack_size(STACK).spawn_scoped(s, work) {
                    Ok(job) => Job::Started(job),
                    Err(_) => Job::Done(work()),
                }
            })
            .collect();
        jobs.into_iter()
            .map(|j| match j {
                Job::Started(j) => j.join().unwrap_or_else(|e| std::panic::resume_unwind(e)),
                Job::Done(part) => part,
            })
            .collect()
    });
    let objects: Vec<Part> = objects.into_iter().collect::<Result<_, _>>()?;
    let image = link::flatten(objects.iter().map(|p| p.object.as_slice()))?;
    let mut infos: Vec<Option<KernelInfo>> = vec![None; kernels.len()];
    for (index, emitted) in objects.iter().flat_map(|p| &p.emitted) {
        let (name, kernel) = &kernels[*index];
        let entries = emitted.entries.iter().enumerate().map(|(i, (function, items))| {
            let code = image.function(function)?;
            Ok(Entry {
                code,
                items: items.clone(),
                prepares: emitted.prepares.filter(|_| i == 0),
            })
        });
        let cost = kernel.body.cost(&kernel.slots);
        infos[*index] = Some(KernelInfo {
            name: name.clone(),
            what: if emitted.saved == Dim::default() {
                describe(kernel)
            } else {
                format!("{}; Toom-Cook", describe(kernel))
            },
            entries: entries.collect::<Result<_, Error>>()?,
            workspace: emitted.workspace.clone(),
            scratch: emitted.scratch.clone(),
            flops: cost.flops - emitted.saved.clone(),
            factors: kernel.body.factors(&kernel.slots),
            bytes: cost.bytes,
        });
    }
    let join = |f: &dyn Fn(&Part) -> Option<&str>| objects.iter().filter_map(f).collect::<Vec<_>>().join("\n");
    Ok(Compiled {
        kernels: infos
            .into_iter()
            .map(|i| i.expect("every kernel is in one part"))
            .collect(),
        llvm_ir: join(&|p| Some(&p.llvm_ir)),
        asm: asm.then(|| join(&|p| p.asm.as_deref())),
        code: image.bytes,
    })
}

/// One LLVM module.
struct Part {
    object: Vec<u8>,
    emitted: Vec<(usize, Emitted)>,
    llvm_ir: String,
    asm: Option<String>,
}

fn compile_part(
    kernels: &[(String, Kernel)],
    part: &[usize],
    symbols: &[Arc<str>],
    target: &Target,
    asm: bool,
) -> Result<Part, Error> {
    let machine = target.machine()?;
    let ctx = Context::create();
    let module = ctx.create_module("kernels");
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    let unit = Unit {
        ctx: &ctx,
        module,
        target,
        symbols,
        unknown_size: RefCell::default(),
    };
    let mut emitted = vec![];
    for index in part {
        let (name, kernel) = &kernels[*index];
        let functions = emit(&unit, &format!("k{index}"), kernel).map_err(|e| match e {
            Error::Unsupported { what, .. } => Error::Unsupported {
                kernel: name.clone(),
                what,
            },
            Error::Invalid { message, .. } => Error::Invalid {
                kernel: name.clone(),
                message,
            },
            e => e,
        })?;
        emitted.push((*index, functions));
        if let Some(size) = unit.unknown_size.borrow_mut().take() {
            return Err(Error::UnknownSize {
                kernel: name.clone(),
                size,
            });
        }
    }
    let llvm_ir = unit.module.print_to_string().to_string();
    let llvm = |e: inkwell::support::LLVMString| Error::Llvm(e.to_string());
    unit.module.verify().map_err(llvm)?;
    optimise(&unit, &machine)?;
    let text = |kind| machine.write_to_memory_buffer(&unit.module, kind).map_err(llvm);
    let asm = if asm {
        Some(String::from_utf8_lossy(text(FileType::Assembly)?.as_slice()).into_owned())
    } else {
        None
    };
    let object = text(FileType::Object)?.as_slice().to_vec();
    Ok(Part {
        object,
        emitted,
        llvm_ir,
        asm,
    })
}

fn optimise(unit: &Unit, machine: &TargetMachine) -> Result<(), Error> {
    let options = PassBuilderOptions::create();
    unit.module
        .run_passes(PASSES, machine, options)
        .map_err(|e| Error::Llvm(e.to_string()))
}

/// Writes the functions of one kernel; their names begin with `symbol`.
fn emit(unit: &Unit, symbol: &str, kernel: &Kernel) -> Result<Emitted, Error> {
    match &kernel.body {
        Body::Row(body) => row::emit(unit, symbol, kernel, body),
        Body::Column(body) => column::emit(unit, symbol, kernel, body),
        Body::Contract(body) => contract::emit(unit, symbol, kernel, body),
        Body::Attention(body) => attention::emit(unit, symbol, kernel, body),
        Body::AttentionGrad(body) => attention::emit_grad(unit, symbol, kernel, body),
        Body::Scatter(body) => scatter::emit(unit, symbol, kernel, body),
        Body::Ctc(body) => ctc::emit(unit, symbol, kernel, body),
    }
}
