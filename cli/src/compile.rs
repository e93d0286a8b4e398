//! Compiles every program of a model.

use crate::generate::{self, ARCHS};
use crate::layout::{Layout, layer_name, layout};
use cpu::{Shape, Target};
use frontend::Model;
use ir::artifact::{Artifact, KernelInfo, Precision, Program, PtxImage};
use ir::codegen::Generated;
use ir::dim::Dim;
use ir::graph::Graph;
use ir::kernel::Kernel;
use ir::kernel_describe::describe;
use ir::ops::Op;
use ir::requirements;
use ir::rounding::Levels;
use ir::task::Gives;
use passes::lower::Kernels;
use passes::narrow::{Reason, Weights};
use passes::pipeline::{CompileError, Source, Stages, to_kernels, to_primitive};
use passes::quantise::quantise;
use passes::{narrow, optimizer, prepare};
use runtime::digest::Digest;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("program `{program}`: {source}")]
    Program { program: String, source: CompileError },
    #[error("program `{program}`: a size of it is too large to be counted in 64 bits; make the model smaller")]
    TooLarge { program: String },
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
    pub stages: Vec<(String, Stages)>,
    /// Texts on the way; empty where the target has none such.
    pub llvm_ir: String,
    pub asm: Option<String>,
    /// Per kernel, one for each architecture.
    pub mlir: Vec<Vec<String>>,
    pub ptx: Vec<PtxImage>,
    /// How products are cut, where all are cut the same way.
    pub schedule: Option<String>,
    /// By program and buffer, why it is not kept in bf16; empty where none is.
    pub reasons: Reasons,
}

/// By program and buffer, why it is not kept in bf16; `None` where it is.
pub type Reasons = Vec<Vec<Option<Reason>>>;

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

/// For the CPU, with assembly text if `asm`. A target without instructions for bf16 converts.
///
/// # Errors
/// Where a program cannot be differentiated, lowered or compiled.
pub fn compile(model: &Model, target: &Target, arithmetic: Arithmetic, asm: bool) -> Result<Output, Error> {
    let target = target.only_for(arithmetic.has_int8(), arithmetic.has_bf16());
    let mut lowered = lower(model)?;
    let levels = arithmetic.has_int8().then(|| target.levels());
    for program in lowered
        .programs
        .iter_mut()
        .filter(|p| has_fixed_weights(model, &p.name))
    {
        prepare::prepare(program, &lowered.kernels);
        if let Some(levels) = levels {
            quantise(program, &mut lowered.kernels, levels);
        }
    }
    let reasons = match arithmetic.has_bf16() {
        true => lowered.narrow(Weights::AsTheyAre),
        false => vec![],
    };
    let symbols = symbols(model);
    let compiled = cpu::compile_with(&lowered.kernels.list, &symbols, &target, asm)?;
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
                lowered.layout,
                described(compiled.kernels, model),
                lowered.programs,
            )
        },
        kernels: lowered.kernels,
        stages: lowered.stages,
        reasons,
    })
}

/// For NVIDIA GPUs.
///
/// # Errors
/// As [`compile`], and where the code generator is missing or fails.
pub fn compile_cuda(model: &Model, precision: Precision, progress: &dyn Fn(usize, usize)) -> Result<Output, Error> {
    let mut lowered = lower(model)?;
    let mut reasons = vec![];
    if precision == Precision::Bf16 {
        reasons = lowered.narrow(Weights::Rounded);
        lowered.programs.push(optimizer::narrow(&mut lowered.kernels));
    }
    let artifact = artifact(model, lowered.layout, vec![], lowered.programs);
    let (mut artifact, code, generated) = link_cuda(artifact, &lowered.kernels.list, precision, progress)?;
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
        kernels: lowered.kernels,
        stages: lowered.stages,
        reasons,
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

/// What all targets share: programs over kernels.
struct Lowered {
    layout: Layout,
    kernels: Kernels,
    programs: Vec<Program>,
    stages: Vec<(String, Stages)>,
}

impl Lowered {
    /// Brings all programs into bf16; by program and buffer, why one is not kept in it.
    fn narrow(&mut self, weights: Weights) -> Reasons {
        let of = |p: &Program| narrow::reasons(p, &self.kernels);
        let reasons = self.programs.iter().map(of).collect();
        self.kernels = narrow::narrow(&mut self.programs, &self.kernels, weights);
        reasons
    }
}

fn lower(model: &Model) -> Result<Lowered, Error> {
    let layout = layout(model);
    let mut kernels = Kernels::default();
    let mut programs = vec![];
    let mut stages = vec![];
    for p in &model.programs {
        let fail = |source| Error::Program {
            program: p.name.clone(),
            source,
        };
        let trains = |name: &str| p.trains.iter().any(|t| t == name);
        let source = Source {
            name: &p.name,
            graph: &p.graph,
            loss: p.loss.as_deref(),
            trains: &trains,
        };
        let stage = to_primitive(&source).map_err(fail)?;
        let mut program = to_kernels(
            &p.name,
            &stage.decomposed,
            &layout.offsets,
            &layout.elements,
            &mut kernels,
        )
        .map_err(fail)?;
        requirements::of_axes(&p.graph)
            .into_iter()
            .for_each(|r| requirements::add(&mut program.requires, r));
        if program.has_too_large_sizes() {
            return Err(Error::TooLarge {
                program: p.name.clone(),
            });
        }
        program.reads = read(model, &layout, &p.graph);
        program.loss = p.loss.clone();
        if p.loss.is_some() {
            program.trains = trained(model, &layout, &stage.decomposed);
        }
        programs.push(program);
        stages.push((p.name.clone(), stage));
    }
    programs.push(optimizer::adam(&mut kernels));
    programs.push(optimizer::grad_norm(&mut kernels));
    Ok(Lowered {
        layout,
        kernels,
        programs,
        stages,
    })
}

fn artifact(model: &Model, layout: Layout, kernels: Vec<KernelInfo>, programs: Vec<Program>) -> Artifact {
    let constants = model.constants.iter().map(|c| (c.name.clone(), c.value));
    let sizes = model.run_sizes.iter().map(|s| (s.name.to_string(), s.value as f64));
    let elements = layout.elements.eval(&model.run_env());
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
        params: layout.params,
        param_elements: elements.expect("parameters depend on run sizes alone") as usize,
        param_room: layout.elements,
        symbols: symbols(model),
        dims: model.sizes.clone(),
        kernels,
        programs,
    }
}

/// Indices of the parameters that a program reads.
fn read(model: &Model, layout: &Layout, g: &Graph) -> Vec<usize> {
    let names = g.nodes.iter().filter_map(|n| match &n.op {
        Op::Param(p) => Some(p.name.as_str()),
        _ => None,
    });
    indices(model, layout, names)
}

/// Two programs of the same digest compute the same: names of values are numbers in its text.
fn digest(graph: &Graph) -> String {
    Digest::of(graph.to_string().as_bytes()).to_string()
}

/// Indices of the parameters that have a gradient.
fn trained(model: &Model, layout: &Layout, g: &Graph) -> Vec<usize> {
    let names = g
        .outputs
        .iter()
        .filter_map(|(name, _)| ir::names::param_of_gradient(name));
    indices(model, layout, names)
}

/// Indices of parameters by their names in the model, those of all layers.
fn indices<'a>(model: &Model, layout: &Layout, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let at: BTreeMap<&str, usize> = layout
        .params
        .iter()
        .enumerate()
        .map(|(i, p)| (p.name.as_str(), i))
        .collect();
    let mut out = vec![];
    for name in names {
        let Some(p) = model.param(name) else { continue };
        out.extend((0..p.count.unwrap_or(1)).filter_map(|l| at.get(layer_name(p, l).as_str())));
    }
    out.sort();
    out
}

/// Run-time sizes in the order in which kernels receive them.
fn symbols(model: &Model) -> Vec<Arc<str>> {
    let own = model.symbols.iter().map(|s| s.as_str());
    let chosen = model.run_sizes.iter().map(|s| &*s.name);
    own.chain(chosen).chain(ir::names::OWN_SIZES).map(Arc::from).collect()
}
