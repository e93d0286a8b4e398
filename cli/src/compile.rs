//! A model through the passes and a backend to an artifact with its code.

use crate::generate::{self, ARCHS};
use crate::layout::{Layout, layout};
use cpu::{Shape, Target};
use frontend::Model;
use ir::artifact::{Artifact, KernelInfo, Precision, Program, PtxImage};
use ir::codegen::Generated;
use ir::dim::Dim;
use ir::graph::Graph;
use ir::kernel::Kernel;
use ir::kernel_describe::describe;
use ir::rounding::Levels;
use ir::task::Gives;
use passes::lower::Kernels;
use passes::module::{Form, Module, Notes, Unit};
use passes::narrow::Weights;
use passes::pipeline::{self, CompileError, Pass, Settings};
use runtime::digest::Digest;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Passes(#[from] CompileError),
    #[error(transparent)]
    Backend(#[from] cpu::Error),
    #[error(transparent)]
    Generate(#[from] generate::Error),
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
}

/// What a program for the CPU computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Fp32,
    /// Activations and factors of products in bf16.
    Bf16,
    /// `transcribe` with products of weights in 8 bits, all else in f32.
    Int8,
    /// The same, all else in bf16.
    Int8Bf16,
}

impl Arithmetic {
    pub fn has_bf16(self) -> bool {
        matches!(self, Arithmetic::Bf16 | Arithmetic::Int8Bf16)
    }

    pub fn has_int8(self) -> bool {
        matches!(self, Arithmetic::Int8 | Arithmetic::Int8Bf16)
    }
}

/// Whether a program runs again and again with the same parameters, in 8 bits if asked for: it gives a task's texts or labels.
fn has_fixed_weights(model: &Model, program: &str) -> bool {
    let mut predictions = model.tasks.iter().filter_map(|t| t.prediction());
    predictions.any(|p| p.program == program && !matches!(p.gives, Gives::States { .. }))
}

/// A compiled model with what `--emit` and `explain` show of it.
pub struct Output {
    pub artifact: Artifact,
    pub code: Vec<u8>,
    pub kernels: Kernels,
    /// What passes tell people.
    pub notes: Notes,
    /// Texts on the way; empty where the target has none such. Tensor IR is that of which kernels are made.
    pub tensor_ir: String,
    pub llvm_ir: String,
    pub asm: Option<String>,
    /// Per kernel, one for each architecture.
    pub mlir: Vec<Vec<String>>,
    pub ptx: Vec<PtxImage>,
    /// How products are cut, where all are cut the same way.
    pub schedule: Option<String>,
}

/// How products are cut on the CPU, a line for each of their shapes.
fn schedules(target: &Target, levels: Option<Levels>) -> String {
    let shapes = [
        ("rows", Shape::Rows),
        ("transposed rows", Shape::Columns),
        ("outputs of convolutions, rows of each part", Shape::Outputs),
        ("taps of convolutions, rows of each part", Shape::Taps),
    ];
    let line = |(name, shape)| format!("\n  {name}: {}", target.schedule(shape));
    let of_levels = levels.map(|levels| format!("\n  {levels}: {}", target.schedule_of_bytes()));
    shapes.into_iter().map(line).chain(of_levels).collect()
}

/// What the passes are told for the CPU, which has these instructions.
pub fn cpu_settings(target: &Target, arithmetic: Arithmetic) -> Settings {
    Settings {
        int8: arithmetic.has_int8().then(|| target.levels()),
        bf16: arithmetic.has_bf16().then_some(Weights::AsTheyAre),
        ..Settings::new(pipeline::Target::Cpu)
    }
}

/// The same for GPUs.
pub fn gpu_settings(precision: Precision) -> Settings {
    Settings {
        bf16: (precision == Precision::Bf16).then_some(Weights::Rounded),
        ..Settings::new(pipeline::Target::Gpu)
    }
}

/// For the CPU, with assembly text if `asm`. A target without instructions for bf16 converts.
///
/// # Errors
/// Where a program cannot be differentiated, lowered or compiled.
pub fn compile(model: &Model, target: &Target, arithmetic: Arithmetic, asm: bool) -> Result<Output, Error> {
    let target = target.only_for(arithmetic.has_int8(), arithmetic.has_bf16());
    let settings = cpu_settings(&target, arithmetic);
    let levels = settings.int8;
    let passed = passed(model, &settings)?;
    let symbols = symbols(model);
    let compiled = cpu::compile_with(&passed.kernels.list, &symbols, &target, asm)?;
    Ok(Output {
        schedule: Some(schedules(&target, levels)),
        code: compiled.code,
        llvm_ir: compiled.llvm_ir,
        asm: compiled.asm,
        mlir: vec![],
        ptx: vec![],
        artifact: Artifact {
            cpu_features: target.required,
            int8: levels,
            ..artifact(
                model,
                passed.layout,
                described(compiled.kernels, model),
                passed.programs,
            )
        },
        kernels: passed.kernels,
        notes: passed.notes,
        tensor_ir: passed.tensor_ir,
    })
}

/// For NVIDIA GPUs.
///
/// # Errors
/// As [`compile`], and where the code generator is missing or fails.
pub fn compile_cuda(model: &Model, precision: Precision, progress: &dyn Fn(usize, usize)) -> Result<Output, Error> {
    let passed = passed(model, &gpu_settings(precision))?;
    let artifact = artifact(model, passed.layout, vec![], passed.programs);
    let (mut artifact, code, generated) = link_cuda(artifact, &passed.kernels.list, precision, progress)?;
    artifact.kernels = described(artifact.kernels, model);
    Ok(Output {
        schedule: None,
        ptx: images(&generated),
        artifact,
        code,
        llvm_ir: String::new(),
        asm: None,
        mlir: generated
            .into_iter()
            .map(|archs| archs.into_iter().map(|g| g.mlir).collect())
            .collect(),
        kernels: passed.kernels,
        notes: passed.notes,
        tensor_ir: passed.tensor_ir,
    })
}

/// An artifact with its code as it is appended, and per kernel what was made for each architecture.
pub type Linked = (Artifact, Vec<u8>, Vec<Vec<Generated>>);

/// Gives an artifact for the GPU its kernels; also what it is loaded with, and what the code generator made.
///
/// # Errors
/// Where the code generator is missing or fails.
pub fn link_cuda(
    artifact: Artifact,
    kernels: &[(String, Kernel)],
    precision: Precision,
    progress: &dyn Fn(usize, usize),
) -> Result<Linked, Error> {
    let generated = generate::generate(kernels, &artifact.programs, progress)?;
    let info = |((name, kernel), archs): (&(String, Kernel), &Vec<Generated>)| {
        let cost = kernel.body.cost(&kernel.slots);
        KernelInfo {
            name: name.clone(),
            what: describe(kernel),
            entries: vec![],
            workspace: archs[0].ptx.workspace.clone(),
            scratch: 0.into(),
            flops: cost.flops,
            factors: kernel.body.factors(&kernel.slots),
            bytes: cost.bytes,
        }
    };
    let artifact = Artifact {
        gpu: Some(precision),
        kernels: kernels.iter().zip(&generated).map(info).collect(),
        ..artifact
    };
    Ok((artifact, runtime::exec::pack_ptx(&images(&generated))?, generated))
}

fn images(generated: &[Vec<Generated>]) -> Vec<PtxImage> {
    let image = |(i, arch): (usize, &&str)| PtxImage {
        arch: arch.to_string(),
        kernels: generated.iter().map(|archs| archs[i].ptx.clone()).collect(),
    };
    ARCHS.iter().enumerate().map(image).collect()
}

/// Kernels with what they do told in the sizes that the model names.
fn described(mut kernels: Vec<KernelInfo>, model: &Model) -> Vec<KernelInfo> {
    for kernel in &mut kernels {
        kernel.what = named_sizes(&model.sizes, &kernel.what);
    }
    kernels
}

/// Sizes by the names that the model gives them.
pub(crate) fn named_sizes(dims: &[(String, Dim)], text: &str) -> String {
    let known = dims.iter();
    known.fold(text.to_string(), |text, (name, d)| text.replace(&d.to_string(), name))
}

/// The programs of a model, before any pass, and where its parameters lie.
pub fn module(model: &Model) -> (Module, Layout) {
    let layout = layout(model);
    let unit = |p: &frontend::Program| Unit::new(&p.name, p.graph.clone(), p.loss.as_deref(), p.trains.clone());
    let units = model.programs.iter().map(unit).collect();
    let fixed = model.programs.iter().map(|p| &p.name);
    let module = Module {
        fixed: fixed.filter(|p| has_fixed_weights(model, p)).cloned().collect(),
        ..Module::new(units, layout.arena.clone(), model.examples())
    };
    (module, layout)
}

/// What the passes make of a model.
struct Passed {
    layout: Layout,
    kernels: Kernels,
    programs: Vec<Program>,
    notes: Notes,
    tensor_ir: String,
}

fn passed(model: &Model, settings: &Settings) -> Result<Passed, Error> {
    let (mut module, layout) = module(model);
    let mut tensor_ir = String::new();
    let mut see = |_: &Pass, m: &Module| {
        if m.form() == Form::Graphs {
            let one = |u: &Unit| format!("program {}\n{}\n", u.name, u.graph);
            tensor_ir = m.units().into_iter().map(one).collect();
        }
    };
    pipeline::run(&mut module, settings, &pipeline::passes(settings.target), &mut see)?;
    let notes = std::mem::take(&mut module.notes);
    let (programs, kernels) = module.into_programs();
    Ok(Passed {
        layout,
        kernels,
        programs,
        notes,
        tensor_ir,
    })
}

fn artifact(model: &Model, layout: Layout, kernels: Vec<KernelInfo>, programs: Vec<Program>) -> Artifact {
    let constants = model
        .constants
        .iter()
        .filter_map(|c| Some((c.name.clone(), c.value.number()?)));
    let sizes = model.run_sizes.iter().map(|s| (s.name.to_string(), s.value as f64));
    let elements = layout.arena.elements.eval(&model.run_env());
    Artifact {
        name: model.name.clone(),
        cpu_features: vec![],
        gpu: None,
        int8: None,
        constants: constants.chain(sizes).collect(),
        graphs: model
            .programs
            .iter()
            .map(|p| (p.name.clone(), digest(&p.graph)))
            .collect(),
        run_sizes: model.run_sizes.clone(),
        tasks: model.tasks.clone(),
        export: model.export.clone(),
        config: model.config.clone(),
        params: layout.params,
        param_elements: elements.expect("parameters depend on run sizes alone") as usize,
        param_room: layout.arena.elements,
        symbols: symbols(model),
        dims: model.sizes.clone(),
        kernels,
        programs,
    }
}

/// Two programs of the same digest compute the same: names of values are numbers in its text.
fn digest(graph: &Graph) -> String {
    Digest::of(graph.to_string().as_bytes()).to_string()
}

/// Run-time sizes in the order in which kernels receive them.
fn symbols(model: &Model) -> Vec<Arc<str>> {
    let own = model.symbols.iter().map(|s| s.name.as_str());
    let chosen = model.run_sizes.iter().map(|s| &*s.name);
    own.chain(chosen).chain(ir::names::OWN_SIZES).map(Arc::from).collect()
}
