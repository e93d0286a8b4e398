//! Compiled code, loaded into this process as an executable loads its own.

use compiler::compile::Arithmetic;
use cpu::Target;
use frontend::Model;
use ir::artifact::{Artifact, Precision};
use ir::graph::Graph;
use passes::module::Stage;
use passes::pipeline::{self, Settings};
use runtime::exec::{Native, append};
use runtime::gpu::{Choice, Gpu, GpuSession};
use std::path::Path;

/// Resolves a model file, seen from the repository's root.
pub fn model(file: &str, sets: &[(&str, &str)]) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    frontend::load(&path, &sets, &runtime::HOST).unwrap_or_else(|e| panic!("{e}"))
}

/// The graph of a program after a pass.
pub fn graph_after(pass: &str, model: &Model, program: &str) -> Graph {
    let (mut module, _) = compiler::compile::module(model);
    if let Stage::Graphs(units) = &mut module.stage {
        units.retain(|u| u.name == program);
    }
    let settings = Settings::new(pipeline::Target::Cpu);
    let last = pipeline::find(pass).unwrap_or_else(|e| panic!("{e}"));
    let passes = pipeline::between(settings.target, None, last);
    pipeline::run(&mut module, &settings, &passes, &mut |_, _| ()).unwrap_or_else(|e| panic!("{e}"));
    let [unit] = module.units()[..] else {
        panic!("no program `{program}`")
    };
    unit.graph.clone()
}

/// Compiles every program of a model for this machine.
pub fn compile(model: &Model) -> Native {
    compile_in(model, Arithmetic::Fp32)
}

/// The same, with products of weights in 8 bits where it transcribes.
pub fn compile_int8(model: &Model) -> Native {
    compile_in(model, Arithmetic::Int8)
}

/// The same in other arithmetic; a processor without instructions for bf16 converts.
pub fn compile_in(model: &Model, arithmetic: Arithmetic) -> Native {
    let target = Target::host().unwrap_or_else(|e| panic!("{e}"));
    let out = compiler::compile::compile(model, &target, arithmetic, false).unwrap_or_else(|e| panic!("{e}"));
    open(&out.artifact, &out.code)
}

/// Compiles every program of a model for the GPU and opens it on the emulator.
pub fn compile_cuda(model: &Model, precision: Precision) -> GpuSession {
    let out = compiler::compile::compile_cuda(model, precision, &|_, _| ()).unwrap_or_else(|e| panic!("{e}"));
    emulate(&out.artifact, &out.code)
}

/// Loads GPU code through a file and opens that for all GPUs on the emulator.
pub fn emulate(artifact: &Artifact, code: &[u8]) -> GpuSession {
    emulate_on(artifact, code, "sm_80")
}

/// The same with the code for an architecture.
pub fn emulate_on(artifact: &Artifact, code: &[u8], arch: &str) -> GpuSession {
    let bytes = append(b"", artifact, code).unwrap_or_else(|e| panic!("{e}"));
    let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    std::fs::write(file.path(), bytes).expect("the temporary folder is writable");
    let gpu = Gpu::open(file.path()).unwrap_or_else(|e| panic!("{e}"));
    gpu.session(&Choice::Emulator(Some(arch.into())), 2)
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Loads an artifact with its code through a file, as it is when appended to a runner.
pub fn open(artifact: &Artifact, code: &[u8]) -> Native {
    let bytes = append(b"", artifact, code).unwrap_or_else(|e| panic!("{e}"));
    let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    std::fs::write(file.path(), bytes).expect("the temporary folder is writable");
    // The file is mapped, so it may lose its name afterwards.
    Native::open(file.path()).unwrap_or_else(|e| panic!("{e}"))
}
