//! Runs a graph the long way: decomposed, lowered to kernels, and interpreted.

use interp::Buffer;
use ir::artifact::{BufferKind, Program};
use ir::dim::{Dim, Env};
use ir::graph::Graph;
use ir::kernel::Kernel;
use ir::ops::Op;
use ir::scalar::DType;
use ir::tensor::Tensor;
use passes::lower::{Kernels, ParamOffsets};
use passes::narrow::Weights;
use std::collections::BTreeMap;

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

/// The same for a graph whose parameters depend on run sizes.
pub fn lower_at(g: &Graph, run_sizes: &Env) -> Lowered {
    let mut params = BTreeMap::new();
    let mut arena = 0;
    for node in &g.nodes {
        if let Op::Param(p) = &node.op {
            let shape: Vec<i64> =
                p.ty.shape
                    .iter()
                    .map(|d| d.eval(run_sizes).expect("parameters depend on run sizes alone"))
                    .collect();
            let n = shape.iter().product::<i64>() as usize;
            params.insert(p.name.clone(), (arena, shape));
            arena += n;
        }
    }
    let offsets: ParamOffsets = params
        .iter()
        .map(|(n, (o, _))| (n.clone(), Dim::from(*o as i64)))
        .collect();
    let mut kernels = Kernels::default();
    let primitive = passes::decompose::decompose(g);
    let program = passes::lower::lower("test", &primitive, &offsets, &Dim::from(arena as i64), &mut kernels)
        .unwrap_or_else(|e| panic!("{e}"));
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
        let mut programs = [self.program.clone()];
        let kernels = passes::narrow::narrow(&mut programs, &self.all_kernels(), weights).list;
        let [program] = programs;
        Lowered {
            kernels,
            program,
            params: self.params.clone(),
            arena: self.arena,
        }
    }

    /// The same with the work on parameters alone apart.
    pub fn prepared(&self) -> Lowered {
        let mut program = self.program.clone();
        passes::prepare::prepare(&mut program, &self.all_kernels());
        Lowered {
            kernels: self.kernels.clone(),
            program,
            params: self.params.clone(),
            arena: self.arena,
        }
    }

    /// The kernels as the compiler collects them.
    fn all_kernels(&self) -> Kernels {
        let mut kernels = Kernels::default();
        for (name, kernel) in &self.kernels {
            kernels.add(
                name.trim_end_matches(|c: char| c == '_' || c.is_ascii_digit()),
                kernel.clone(),
            );
        }
        kernels
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
