//! Many graphs as the programs of one artifact: compiling them together costs one run of the backend.

use crate::interpret::{LOWERING, Lowered, settings, typical};
use crate::native::open;
use cpu::Target;
use ir::artifact::{Artifact, Init, Launch, Param, Precision, RunSize, Step};
use ir::graph::Graph;
use ir::names::{gradient_of, param_of_gradient};
use ir::ops::Op;
use ir::scalar::DType;
use ir::tensor::Tensor;
use passes::lower::Kernels;
use passes::module::{Arena, Module, Place, Unit};
use passes::pipeline::run_named;
use runtime::exec::{Edge, Machine, Native};
use runtime::gpu::GpuSession;
use runtime::session::{Data, Session};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Graphs compiled for this machine. Parameters of program `p` are called `p/NAME`.
pub struct Programs {
    native: Native,
}

/// Every launch of a program once, those of loops included.
pub fn launches(steps: &[Step]) -> Vec<&Launch> {
    fn of(step: &Step) -> Vec<&Launch> {
        match step {
            Step::Launch(launch) => vec![launch],
            Step::Loop { body, .. } => launches(body),
        }
    }
    steps.iter().flat_map(of).collect()
}

/// Layout of the parameters of all graphs, one after the other.
fn params(graphs: &[(String, Graph)]) -> (Vec<Param>, usize) {
    let (mut list, mut offset) = (vec![], 0);
    for (program, g) in graphs {
        for node in &g.nodes {
            let Op::Param(p) = &node.op else { continue };
            let constant = |d: &ir::dim::Dim| d.as_const().expect("parameters have constant shapes");
            let shape: Vec<i64> = p.ty.shape.iter().map(constant).collect();
            let elements = shape.iter().product::<i64>() as usize;
            list.push(Param::fixed(
                &format!("{program}/{}", p.name),
                &shape,
                offset,
                Init::Zeros,
            ));
            offset += elements;
        }
    }
    (list, offset)
}

/// Outputs leave a program as f32 or i32.
fn narrow(g: &Graph) -> Graph {
    let mut g = g.clone();
    for i in 0..g.outputs.len() {
        let v = g.outputs[i].1;
        if g.ty(v).dtype == DType::F64 {
            g.outputs[i].1 = g.cast(v, DType::F32);
        }
    }
    g
}

/// A program whose parameters are its own: their names begin with the program's.
fn unit(name: &str, g: &Graph) -> Unit {
    let mut g = narrow(g);
    for node in &mut g.nodes {
        if let Op::Param(p) = &node.op {
            node.op = ir::ops::Param {
                name: format!("{name}/{}", p.name),
                ..p.clone()
            }
            .into();
        }
    }
    for (output, _) in &mut g.outputs {
        if let Some(param) = param_of_gradient(output) {
            *output = gradient_of(&format!("{name}/{param}"));
        }
    }
    Unit::of_step(name, g)
}

/// Lowers all graphs. `symbols` are the run-time sizes they use. The artifact has no code yet.
fn lower(graphs: &[(String, Graph)], symbols: &[&str]) -> (Artifact, Kernels) {
    let (params, elements) = params(graphs);
    let room = ir::dim::Dim::from(elements as i64);
    let units: Vec<Unit> = graphs.iter().map(|(name, g)| unit(name, g)).collect();
    let place = |(number, p): (usize, &Param)| {
        let (offset, numbers) = (p.place.clone(), number..number + 1);
        (p.name.clone(), Place { offset, numbers })
    };
    let arena = Arena {
        params: params.iter().enumerate().map(place).collect(),
        elements: room.clone(),
    };
    let mut module = Module::new(units, arena, typical());
    run_named(&mut module, &settings(), &LOWERING);
    let (mut programs, kernels) = module.into_programs();
    for program in &mut programs {
        let prefix = format!("{}/", program.name);
        let own = |i: &usize| params[*i].name.starts_with(&prefix);
        program.trains = (0..params.len()).filter(own).collect();
    }
    let artifact = Artifact {
        name: "tests".into(),
        cpu_features: vec![],
        gpu: None,
        int8: None,
        constants: BTreeMap::new(),
        graphs: Default::default(),
        tasks: vec![],
        export: BTreeMap::new(),
        config: Default::default(),
        run_sizes: vec![],
        params,
        param_room: room,
        param_elements: elements,
        symbols: symbols.iter().copied().chain(["layer"]).map(Arc::from).collect(),
        dims: vec![],
        kernels: vec![],
        programs,
    };
    (artifact, kernels)
}

/// Lowers and compiles all graphs for the CPU.
pub fn compile(graphs: &[(String, Graph)], symbols: &[&str]) -> Programs {
    let (artifact, kernels) = lower(graphs, symbols);
    let target = Target::host().unwrap_or_else(|e| panic!("{e}"));
    let compiled = cpu::compile(&kernels.list, &artifact.symbols, &target).unwrap_or_else(|e| panic!("{e}"));
    let artifact = Artifact {
        cpu_features: target.required.clone(),
        kernels: compiled.kernels,
        ..artifact
    };
    Programs {
        native: open(&artifact, &compiled.code),
    }
}

/// Compiles a program for the CPU that is lowered already; it is called as it was, and has these run sizes.
pub fn compile_lowered(lowered: &Lowered, symbols: &[&str], run_sizes: &[(&str, i64)]) -> Programs {
    let (target, name) = (Target::host().unwrap_or_else(|e| panic!("{e}")), &lowered.program.name);
    let (mut artifact, _) = lower(&[], symbols);
    let compiled = cpu::compile(&lowered.kernels, &artifact.symbols, &target).unwrap_or_else(|e| panic!("{e}"));
    let param = |(short, (offset, shape)): (&String, &(usize, Vec<i64>))| {
        Param::fixed(&format!("{name}/{short}"), shape, *offset, Init::Zeros)
    };
    artifact.params = lowered.params.iter().map(param).collect();
    artifact.param_room = (lowered.arena as i64).into();
    artifact.param_elements = lowered.arena;
    artifact.run_sizes = run_sizes
        .iter()
        .map(|(name, value)| RunSize {
            name: Arc::from(*name),
            value: *value,
            doc: String::new(),
        })
        .collect();
    artifact.cpu_features = target.required.clone();
    artifact.kernels = compiled.kernels;
    let mut program = lowered.program.clone();
    program.trains = (0..artifact.params.len()).collect();
    artifact.programs = vec![program];
    Programs {
        native: open(&artifact, &compiled.code),
    }
}

/// Lowers and compiles all graphs for the GPU, in f32, and opens them on the emulator.
pub fn emulate(graphs: &[(String, Graph)], symbols: &[&str]) -> GpuSession {
    let (artifact, kernels) = lower(graphs, symbols);
    let out = compiler::compile::link_cuda(artifact, &kernels.list, Precision::Fp32, &|_, _| ());
    let (artifact, code, _) = out.unwrap_or_else(|e| panic!("{e}"));
    crate::native::emulate(&artifact, &code)
}

impl Programs {
    /// Between guards: an access outside its memory ends the test.
    pub fn machine(&self, threads: usize) -> Machine {
        self.native.fenced(threads, Edge::End).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// Outputs of a program by name, and the gradients of its parameters.
pub fn run(machine: &mut dyn Session, name: &str, bound: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let artifact = machine.artifact().clone();
    let program = artifact
        .programs
        .iter()
        .find(|p| p.name == name)
        .expect("the program was compiled");
    let prefix = format!("{name}/");
    let own: Vec<(&str, &Param)> = program
        .trains
        .iter()
        .map(|i| &artifact.params[*i])
        .filter_map(|p| Some((p.name.strip_prefix(&prefix)?, p)))
        .collect();
    for (short, p) in &own {
        let params = machine.params().unwrap_or_else(|e| panic!("{name}: {e}"));
        for (to, from) in params[p.offset..p.offset + p.len()].iter_mut().zip(&bound[*short].data) {
            *to = *from as f32;
        }
    }
    machine.zero_grads().unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs: Vec<(String, runtime::session::Tensor)> = program
        .inputs
        .iter()
        .map(|port| (port.name.clone(), given(port.dtype, &bound[&port.name])))
        .collect();
    let refs: Vec<(&str, &runtime::session::Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let outputs = machine.run(name, &refs).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut out: BTreeMap<String, Tensor> = outputs.into_iter().map(|(n, t)| (n, taken(t))).collect();
    for (short, p) in own {
        let shape = p.shape.iter().map(|d| *d as usize).collect();
        let grads = machine.grads().unwrap_or_else(|e| panic!("{name}: {e}"));
        let data = grads[p.offset..p.offset + p.len()].iter().map(|v| *v as f64).collect();
        out.insert(ir::names::gradient_of(&short), Tensor::new(DType::F32, shape, data));
    }
    out
}

fn given(dtype: DType, t: &Tensor) -> runtime::session::Tensor {
    let data = match dtype {
        DType::I32 => Data::I32(t.data.iter().map(|v| *v as i32).collect()),
        _ => Data::F32(t.data.iter().map(|v| *v as f32).collect()),
    };
    runtime::session::Tensor {
        shape: t.shape.clone(),
        data,
    }
}

fn taken(t: runtime::session::Tensor) -> Tensor {
    match t.data {
        Data::F32(v) => Tensor::new(DType::F32, t.shape, v.into_iter().map(f64::from).collect()),
        Data::I32(v) => Tensor::new(DType::I32, t.shape, v.into_iter().map(f64::from).collect()),
    }
}
