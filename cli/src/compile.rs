//! Compiles every program of a model for the CPU.

use crate::layout::{Layout, layer_name, layout};
use cpu::Target;
use frontend::Model;
use ir::artifact::Artifact;
use ir::graph::Graph;
use passes::lower::Kernels;
use passes::optimizer;
use passes::pipeline::{CompileError, Source, Stages, to_kernels, to_primitive};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("program `{program}`: {source}")]
    Program { program: String, source: CompileError },
    #[error(transparent)]
    Backend(#[from] cpu::Error),
}

/// A compiled model with what `--emit` and `explain` show of it.
pub struct Output {
    pub artifact: Artifact,
    pub code: Vec<u8>,
    pub kernels: Kernels,
    pub stages: Vec<(String, Stages)>,
    pub llvm_ir: String,
    pub asm: Option<String>,
}

/// # Errors
/// Where a program cannot be differentiated, lowered or compiled.
pub fn compile(model: &Model, target: &Target, asm: bool) -> Result<Output, Error> {
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
            layout.elements,
            &mut kernels,
        )
        .map_err(fail)?;
        if p.loss.is_some() {
            program.trains = trained(model, &layout, &stage.decomposed);
        }
        programs.push(program);
        stages.push((p.name.clone(), stage));
    }
    programs.push(optimizer::adam(&mut kernels));
    programs.push(optimizer::grad_norm(&mut kernels));
    let symbols = symbols(model);
    let compiled = cpu::compile_with(&kernels.list, &symbols, target, asm)?;
    let artifact = Artifact {
        name: model.name.clone(),
        cpu_features: target.required.clone(),
        gpu: None,
        constants: model.constants.iter().map(|c| (c.name.clone(), c.value)).collect(),
        recipes: model.recipes.clone(),
        export: model.export.clone(),
        params: layout.params,
        param_elements: layout.elements,
        symbols,
        dims: model.sizes.clone(),
        kernels: compiled.kernels,
        programs,
    };
    Ok(Output {
        artifact,
        code: compiled.code,
        kernels,
        stages,
        llvm_ir: compiled.llvm_ir,
        asm: compiled.asm,
    })
}

/// Indices of the parameters that have a gradient.
fn trained(model: &Model, layout: &Layout, g: &Graph) -> Vec<usize> {
    let at: BTreeMap<&str, usize> = layout
        .params
        .iter()
        .enumerate()
        .map(|(i, p)| (p.name.as_str(), i))
        .collect();
    let mut out = vec![];
    for (name, _) in &g.outputs {
        let Some(name) = name.strip_prefix(passes::differentiate::GRAD) else {
            continue;
        };
        let Some(p) = model.param(name) else { continue };
        out.extend((0..p.count.unwrap_or(1)).filter_map(|l| at.get(layer_name(p, l).as_str())));
    }
    out.sort();
    out
}

/// Run-time sizes in the order in which kernels receive them.
fn symbols(model: &Model) -> Vec<Arc<str>> {
    let own = model.symbols.iter().map(|s| s.as_str());
    own.chain(["layer", "range_start", "range_len"])
        .map(Arc::from)
        .collect()
}
