//! Runs a graph the long way: decomposed, lowered to kernels, and interpreted.

use crate::programs::launches;
use interp::Buffer;
use ir::artifact::{BufferKind, Program};
use ir::dim::{Dim, Env};
use ir::examples::Examples;
use ir::graph::Graph;
use ir::kernel::Kernel;
use ir::ops::Op;
use ir::scalar::DType;
use ir::tensor::Tensor;
use passes::lower::Kernels;
use passes::module::{Arena, Module, Place, Stage};
use passes::narrow::Weights;
use passes::pipeline::{Settings, Target, run_named};
use std::collections::{BTreeMap, BTreeSet};

/// A lowered graph with its parameter layout.
pub struct Lowered {
    pub kernels: Vec<(String, Kernel)>,
    pub program: Program,
    pub params: BTreeMap<String, (usize, Vec<i64>)>,
    pub arena: usize,
}

pub fn lower(g: &Graph) -> Lowered {
    lower_at(g, &Env::new())
}

/// The passes that every graph takes to become a program.
pub const LOWERING: [&str; 3] = ["decompose", "fuse", "lower"];

/// Settings of passes in tests.
pub fn settings() -> Settings {
    Settings::new(Target::Cpu)
}

/// A few clips of ten seconds.
pub fn typical() -> Examples {
    [("B", 4), ("N", 160_000), ("M", 240)].into_iter().collect()
}

/// The same for a graph whose parameters depend on run sizes.
pub fn lower_at(g: &Graph, run_sizes: &Env) -> Lowered {
    let mut params = BTreeMap::new();
    let mut arena = 0;
    for node in &g.nodes {
        if let Op::Param(p) = &node.op {
            let size = |d: &Dim| d.eval(run_sizes).expect("parameters depend on run sizes alone");
            let shape: Vec<i64> = p.ty.shape.iter().map(size).collect();
            let n = shape.iter().product::<i64>() as usize;
            params.insert(p.name.clone(), (arena, shape));
            arena += n;
        }
    }
    let place = |(number, (name, (offset, _))): (usize, (&String, &(usize, _)))| {
        let offset = Dim::from(*offset as i64);
        let numbers = number..number + 1;
        (name.clone(), Place { offset, numbers })
    };
    let places = Arena {
        params: params.iter().enumerate().map(place).collect(),
        elements: Dim::from(arena as i64),
    };
    let mut module = Module {
        arena: places,
        examples: typical(),
        ..Module::of_graph("test", g.clone())
    };
    run_named(&mut module, &settings(), &LOWERING);
    let (programs, kernels) = module.into_programs();
    let [program] = <[Program; 1]>::try_from(programs).expect("one graph is one program");
    Lowered {
        kernels: kernels.list,
        program,
        params,
        arena,
    }
}

impl Lowered {
    /// The same with activations in bf16, as on the GPU.
    pub fn narrowed(&self) -> Lowered {
        self.narrowed_with(Weights::Rounded)
    }

    /// The same with activations in bf16.
    pub fn narrowed_with(&self, weights: Weights) -> Lowered {
        self.after("narrow", Some(weights))
    }

    /// The same with the work on parameters alone apart.
    pub fn prepared(&self) -> Lowered {
        self.after("prepare", None)
    }

    /// The same after a pass.
    fn after(&self, pass: &str, bf16: Option<Weights>) -> Lowered {
        let settings = Settings { bf16, ..settings() };
        let mut module = Module {
            fixed: BTreeSet::from([self.program.name.clone()]),
            stage: Stage::Programs {
                programs: vec![self.program.clone()],
                kernels: Kernels::of(self.kernels.clone()),
            },
            examples: typical(),
            ..Module::of_graph("test", Graph::default())
        };
        run_named(&mut module, &settings, &[pass]);
        let (programs, kernels) = module.into_programs();
        let program = programs.into_iter().next().expect("passes keep programs");
        // Passes may add programs, the kernels of which come last.
        let steps = program.all_steps().cloned().collect::<Vec<_>>();
        let used = launches(&steps).iter().map(|l| l.kernel + 1).max().unwrap_or(0);
        Lowered {
            kernels: kernels.list.into_iter().take(used).collect(),
            program,
            params: self.params.clone(),
            arena: self.arena,
        }
    }

    /// Buffers with inputs and parameters filled in and everything else poisoned.
    pub fn buffers(&self, env: &Env, bound: &BTreeMap<String, Tensor>) -> Vec<Buffer> {
        let size = |d: &ir::dim::Dim| d.eval(env).unwrap_or_else(|e| panic!("{e}")) as usize;
        let one = |(i, b): (usize, &ir::artifact::Buffer)| match b.kind {
            BufferKind::Input => {
                let port = self
                    .program
                    .inputs
                    .iter()
                    .find(|p| p.buffer == i)
                    .expect("inputs have ports");
                Buffer::from_f64(b.dtype, bound[&port.name].data.iter().copied())
            }
            BufferKind::Params | BufferKind::NarrowParams => {
                let mut all = vec![f64::NAN; self.arena];
                for (name, (offset, _)) in &self.params {
                    let data = &bound[name].data;
                    all[*offset..offset + data.len()].copy_from_slice(data);
                }
                Buffer::from_f64(b.dtype, all.into_iter())
            }
            BufferKind::Grads => Buffer::zeros(DType::F32, self.arena),
            _ => Buffer::poison(b.dtype, size(&b.elements)),
        };
        self.program.buffers.iter().enumerate().map(one).collect()
    }

    /// Outputs by name, gradients too.
    pub fn outputs(&self, env: &Env, buffers: &[Buffer]) -> BTreeMap<String, Tensor> {
        let mut out = BTreeMap::new();
        for port in &self.program.outputs {
            let shape = port
                .shape
                .iter()
                .map(|d| d.eval(env).unwrap_or_else(|e| panic!("{e}")) as usize)
                .collect();
            out.insert(
                port.name.clone(),
                Tensor::new(port.dtype, shape, buffers[port.buffer].to_f64()),
            );
        }
        let grads = self
            .program
            .buffers
            .iter()
            .position(|b| b.kind == BufferKind::Grads)
            .expect("every program has grads");
        let all = buffers[grads].to_f64();
        for (name, (offset, shape)) in &self.params {
            let shape: Vec<usize> = shape.iter().map(|d| *d as usize).collect();
            let n: usize = shape.iter().product();
            out.insert(
                ir::names::gradient_of(&name),
                Tensor::new(DType::F32, shape, all[*offset..offset + n].to_vec()),
            );
        }
        out
    }

    pub fn interpret(&self, env: &Env, bound: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        let kernels: Vec<Kernel> = self.kernels.iter().map(|(_, k)| k.clone()).collect();
        let mut buffers = self.buffers(env, bound);
        interp::run_program(&kernels, &self.program, &mut buffers, env).unwrap_or_else(|e| panic!("{e}"));
        self.outputs(env, &buffers)
    }
}
