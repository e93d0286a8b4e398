//! One kernel as a `gpu.module`, and that as PTX.

use crate::function::{Finished, SHARED, Unit};
use crate::{Error, attention, column, contract, ctc, row, scatter};
use inkwell::OptimizationLevel;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use ir::artifact::PtxKernel;
use ir::codegen::Generated;
use ir::dim::Dim;
use ir::kernel::{Body, Kernel};
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::attribute::StringAttribute;
use melior::ir::operation::{OperationBuilder, OperationLike};
use melior::ir::{Attribute, Block, BlockLike, Identifier, Location, Module, Region, RegionLike};
use melior::pass::PassManager;
use melior::utility::{
    parse_pass_pipeline, register_all_dialects, register_all_llvm_translations, register_all_passes,
};
use std::cell::RefCell;
use std::rc::Rc;

/// From the dialects that kernels are written in to LLVM's.
const LOWER: &str = "builtin.module(gpu.module(convert-scf-to-cf,convert-vector-to-llvm,\
                     convert-gpu-to-nvvm{use-bare-ptr-memref-call-conv=1},convert-nvvm-to-llvm,canonicalize,cse,\
                     reconcile-unrealized-casts))";

/// On LLVM IR. Kernels are unrolled where they were written, so the list is short.
const PASSES: &str = "default<O2>";

/// Instructions that kernels are written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Those of compute capability 8.0, which later ones have too.
    Ampere,
    /// Also those that 9.0 alone has.
    Hopper,
}

impl Family {
    fn of(arch: &str) -> Family {
        if arch == "sm_90a" {
            Family::Hopper
        } else {
            Family::Ampere
        }
    }
}

/// The functions of one kernel.
pub struct Emitted<'c> {
    pub functions: Vec<Finished<'c>>,
    pub workspace: Dim,
}

/// MLIR and LLVM, ready to compile kernels.
pub struct Generator {
    context: Context,
    /// Errors that MLIR reported since the last look.
    errors: Rc<RefCell<Vec<String>>>,
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl Generator {
    pub fn new() -> Generator {
        let registry = DialectRegistry::new();
        register_all_dialects(&registry);
        register_all_passes();
        let context = Context::new_with_threading(false);
        context.append_dialect_registry(&registry);
        for dialect in ["gpu", "scf", "arith", "vector", "memref", "nvvm", "llvm", "cf"] {
            context.get_or_load_dialect(dialect);
        }
        register_all_llvm_translations(&context);
        Target::initialize_nvptx(&InitializationConfig::default());
        let errors = Rc::<RefCell<Vec<String>>>::default();
        let seen = errors.clone();
        context.attach_diagnostic_handler(move |d| {
            if matches!(d.severity(), melior::diagnostic::DiagnosticSeverity::Error) {
                seen.borrow_mut().push(d.to_string());
            }
            true
        });
        Generator { context, errors }
    }

    /// Compiles one kernel for every architecture of `archs`. `alignment` gives per slot the bytes that every address it is
    /// bound to is a multiple of; function names begin with `symbol`.
    ///
    /// # Errors
    /// What the backend has no code for, and failures of MLIR and LLVM.
    pub fn compile(
        &self,
        symbol: &str,
        kernel: &Kernel,
        alignment: &[u32],
        archs: &[&str],
    ) -> Result<Vec<Generated>, Error> {
        self.errors.borrow_mut().clear();
        // Most kernels are the same for all families; those are lowered once.
        let mut lowered: Vec<(String, Module)> = vec![];
        let compile = |arch: &&str| {
            let unit = Unit {
                symbol,
                slots: &kernel.slots,
                alignment,
                family: Family::of(arch),
            };
            let emitted = emit(&self.context, &unit, kernel)?;
            let grids = emitted.functions.iter().map(|f| f.grid.clone()).collect();
            let mut module = self.module(emitted.functions)?;
            let mlir = module.as_operation().to_string();
            let at = match lowered.iter().position(|(text, _)| *text == mlir) {
                Some(at) => at,
                None => {
                    self.lower(&mut module)?;
                    lowered.push((mlir.clone(), module));
                    lowered.len() - 1
                }
            };
            let ptx = PtxKernel {
                text: self.ptx(&lowered[at].1, arch)?,
                grids,
                workspace: emitted.workspace,
            };
            Ok(Generated { mlir, ptx })
        };
        archs.iter().map(compile).collect()
    }

    /// The functions in a `gpu.module` with the shared memory they name.
    fn module<'c>(&'c self, functions: Vec<Finished<'c>>) -> Result<Module<'c>, Error> {
        let context = &self.context;
        let location = Location::unknown(context);
        let id = |s: &str| Identifier::new(context, s);
        let attribute = |s: &str| Attribute::parse(context, s).expect("written here");
        let block = Block::new(&[]);
        // What TMA copies to begins at multiples of the larger one.
        let maps = functions.iter().any(|f| !f.grid.maps.is_empty());
        let alignment = if maps { "1024 : i64" } else { "128 : i64" };
        let shared = OperationBuilder::new("llvm.mlir.global", location)
            .add_attributes(&[
                (id("global_type"), attribute("!llvm.array<0 x i8>")),
                (id("sym_name"), StringAttribute::new(context, SHARED).into()),
                (id("linkage"), attribute("#llvm.linkage<external>")),
                (id("addr_space"), attribute("3 : i32")),
                (id("alignment"), attribute(alignment)),
            ])
            .add_regions([Region::new()])
            .build()
            .map_err(|e| Error::Mlir(e.to_string()))?;
        block.append_operation(shared);
        for f in functions {
            block.append_operation(f.operation);
        }
        let region = Region::new();
        region.append_block(block);
        let gpu = OperationBuilder::new("gpu.module", location)
            .add_attributes(&[(id("sym_name"), StringAttribute::new(context, "kernels").into())])
            .add_regions([region])
            .build()
            .map_err(|e| Error::Mlir(e.to_string()))?;
        let module = Module::new(location);
        module.body().append_operation(gpu);
        if module.as_operation().verify() {
            return Ok(module);
        }
        Err(self.reported("MLIR refuses the kernel"))
    }

    /// What MLIR said; the passes may fail without it, and report errors without failing.
    fn reported(&self, what: &str) -> Error {
        let said = self.errors.borrow_mut().drain(..).collect::<Vec<_>>().join("; ");
        Error::Mlir(format!("{what}: {said}"))
    }

    fn lower(&self, module: &mut Module) -> Result<(), Error> {
        let passes = PassManager::new(&self.context);
        parse_pass_pipeline(passes.as_operation_pass_manager(), LOWER).map_err(|e| Error::Mlir(e.to_string()))?;
        let ran = passes.run(module);
        if ran.is_err() || !self.errors.borrow().is_empty() {
            return Err(self.reported("lowering to LLVM failed"));
        }
        Ok(())
    }

    /// PTX of a lowered module.
    fn ptx(&self, module: &Module, arch: &str) -> Result<String, Error> {
        let llvm = |e: inkwell::support::LLVMString| Error::Llvm(e.to_string());
        let gpu = module
            .body()
            .first_operation()
            .expect("the module holds the gpu.module");
        let context = inkwell::context::Context::create();
        // SAFETY: the operation is a lowered gpu.module, the context outlives the LLVM module made here.
        let raw = unsafe { mlir_sys::mlirTranslateModuleToLLVMIR(gpu.to_raw(), context.raw().cast()) };
        if raw.is_null() {
            return Err(self.reported("no LLVM IR came of the kernel"));
        }
        // SAFETY: the pointer is a module of `context` that nobody else owns.
        let module = unsafe { inkwell::module::Module::new(raw.cast()) };
        let machine = machine(arch)?;
        module.set_triple(&machine.get_triple());
        module.set_data_layout(&machine.get_target_data().get_data_layout());
        module.verify().map_err(llvm)?;
        module
            .run_passes(PASSES, &machine, PassBuilderOptions::create())
            .map_err(llvm)?;
        let text = machine
            .write_to_memory_buffer(&module, FileType::Assembly)
            .map_err(llvm)?;
        let text = String::from_utf8_lossy(text.as_slice())
            .trim_end_matches('\0')
            .to_string();
        if let Some(line) = text.lines().find(|l| l.contains(".extern .func")) {
            return Err(Error::Llvm(format!(
                "the code calls a function there is none of: {line}"
            )));
        }
        Ok(text)
    }
}

fn machine(arch: &str) -> Result<TargetMachine, Error> {
    let triple = TargetTriple::create("nvptx64-nvidia-cuda");
    let target = Target::from_triple(&triple).map_err(|e| Error::Llvm(e.to_string()))?;
    target
        .create_target_machine(
            &triple,
            arch,
            "+ptx80",
            OptimizationLevel::Aggressive,
            RelocMode::Default,
            CodeModel::Default,
        )
        .ok_or_else(|| Error::Llvm(format!("LLVM knows no GPU `{arch}`")))
}

fn emit<'c>(context: &'c Context, unit: &Unit, kernel: &Kernel) -> Result<Emitted<'c>, Error> {
    match &kernel.body {
        Body::Row(body) => row::emit(context, unit, body),
        Body::Column(body) => column::emit(context, unit, body),
        Body::Contract(body) => contract::emit(context, unit, body),
        Body::Attention(body) => attention::emit(context, unit, body),
        Body::AttentionGrad(body) => attention::emit_grad(context, unit, body),
        Body::Scatter(body) => scatter::emit(context, unit, body),
        Body::Ctc(body) => ctc::emit(context, unit, body),
    }
}
