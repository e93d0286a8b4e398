//! The programs of [`ir::optimizer`], over a contiguous range of the arenas.

use crate::lower::Kernels;
use crate::module::Module;
use crate::pipeline::{CompileError, Settings};
use ir::artifact::{Buffer, BufferKind, Launch, Operand, Port, Program, Step};
use ir::dim::Dim;
use ir::kernel::{Access, Body, Coord, Index, Kernel, Phase, Reduction, RowKernel, SlotDecl, Store, ValId, Value};
use ir::names::{RANGE_LEN, RANGE_START};
use ir::optimizer::{NORM_BLOCK, SCALARS, SQUARES, Scalar, Update};
use ir::scalar::{Binary, DType, Unary};

pub(crate) fn run(m: &mut Module, _: &Settings) -> Result<(), CompileError> {
    let (programs, kernels) = m.stage.programs();
    programs.push(adam(kernels));
    programs.push(grad_norm(kernels));
    Ok(())
}

struct Range {
    buffers: Vec<Buffer>,
    operands: Vec<Operand>,
    slots: Vec<SlotDecl>,
}

impl Range {
    fn slot(&mut self, kind: BufferKind, access: Access, elements: Dim) -> usize {
        let dtype = match kind {
            BufferKind::NarrowParams => DType::Bf16,
            _ => DType::F32,
        };
        let arena = !matches!(kind, BufferKind::Input | BufferKind::Output | BufferKind::Temp);
        let offset = if arena { Dim::sym(RANGE_START) } else { Dim::from(0) };
        self.buffers.push(Buffer {
            kind,
            dtype,
            elements,
            live: (0, 0),
        });
        self.operands.push(Operand {
            buffer: self.buffers.len() - 1,
            offset,
            layer_stride: Dim::from(0),
        });
        self.slots.push(SlotDecl { dtype, access });
        self.slots.len() - 1
    }
}

fn at(axis: usize) -> Index {
    Index {
        base: Dim::from(0),
        terms: vec![(Dim::from(1), Coord::Axis(axis))],
    }
}

/// A step of Adam ([`Scalar`] has the formula).
pub fn adam(kernels: &mut Kernels) -> Program {
    let len = Dim::sym(RANGE_LEN);
    let mut r = Range {
        buffers: vec![],
        operands: vec![],
        slots: vec![],
    };
    let count = Dim::from(Scalar::ALL.len() as i64);
    let scalars = r.slot(BufferKind::Input, Access::Read, count.clone());
    let p = r.slot(BufferKind::Params, Access::Update, len.clone());
    let g = r.slot(BufferKind::Grads, Access::Read, len.clone());
    let m = r.slot(BufferKind::Moment1, Access::Update, len.clone());
    let v = r.slot(BufferKind::Moment2, Access::Update, len.clone());
    let mut values: Vec<Value> = vec![];
    let mut push = |x: Value| -> ValId {
        values.push(x);
        values.len() - 1
    };
    let fixed = |scalar: Scalar| Value::Load {
        slot: scalars,
        index: Index {
            base: Dim::from(scalar as i64),
            terms: vec![],
        },
        guard: None,
    };
    let [scale, b1, c1, b2, c2, eps, decay, step] = [
        Scalar::Scale,
        Scalar::Beta1,
        Scalar::Rest1,
        Scalar::Beta2,
        Scalar::Rest2,
        Scalar::Eps,
        Scalar::Decay,
        Scalar::Step,
    ]
    .map(|scalar| push(fixed(scalar)));
    let load = |slot: usize| Value::Load {
        slot,
        index: at(0),
        guard: None,
    };
    let [p0, g0, m0, v0] = [p, g, m, v].map(|s| push(load(s)));
    let mut op = |f: Binary, a: ValId, b: ValId| push(Value::Binary(f, a, b));
    let grad = op(Binary::Mul, g0, scale);
    let m_old = op(Binary::Mul, m0, b1);
    let m_add = op(Binary::Mul, grad, c1);
    let m1 = op(Binary::Add, m_old, m_add);
    let v_old = op(Binary::Mul, v0, b2);
    let square = op(Binary::Mul, grad, grad);
    let v_add = op(Binary::Mul, square, c2);
    let v1 = op(Binary::Add, v_old, v_add);
    let shrink = op(Binary::Mul, p0, decay);
    let decayed = op(Binary::Sub, p0, shrink);
    let root = push(Value::Unary(Unary::Sqrt, v1));
    let mut op = |f: Binary, a: ValId, b: ValId| push(Value::Binary(f, a, b));
    let denominator = op(Binary::Add, root, eps);
    let ratio = op(Binary::Div, m1, denominator);
    let change = op(Binary::Mul, ratio, step);
    let p1 = op(Binary::Sub, decayed, change);
    let store = |slot: usize, value: ValId| Store {
        slot,
        index: at(0),
        value,
        accumulate: false,
    };
    let phases = vec![Phase::Columns {
        reduce: vec![],
        store: vec![store(m, m1), store(v, v1), store(p, p1)],
    }];
    let body = Body::Row(RowKernel {
        axes: vec![len],
        values,
        phases,
    });
    let inputs = vec![Port {
        name: SCALARS.into(),
        dtype: DType::F32,
        shape: vec![count],
        buffer: 0,
    }];
    program(Update::Adam, kernels, r, body, inputs, vec![])
}

/// Rounds parameters to bf16, for programs that read them so ([`narrow`](crate::narrow)). To be run once after each change
/// of the parameters.
pub fn narrow(kernels: &mut Kernels) -> Program {
    let len = Dim::sym(RANGE_LEN);
    let mut r = Range {
        buffers: vec![],
        operands: vec![],
        slots: vec![],
    };
    let from = r.slot(BufferKind::Params, Access::Read, len.clone());
    let to = r.slot(BufferKind::NarrowParams, Access::Write, len.clone());
    let load = Value::Load {
        slot: from,
        index: at(0),
        guard: None,
    };
    let phases = vec![Phase::Columns {
        reduce: vec![],
        store: vec![Store {
            slot: to,
            index: at(0),
            value: 0,
            accumulate: false,
        }],
    }];
    let body = Body::Row(RowKernel {
        axes: vec![len],
        values: vec![load],
        phases,
    });
    program(Update::Narrow, kernels, r, body, vec![], vec![])
}

/// Sums of squares of the gradient per block of `NORM_BLOCK` elements: [`SQUARES`].
pub fn grad_norm(kernels: &mut Kernels) -> Program {
    let len = Dim::sym(RANGE_LEN);
    let blocks = (len.clone() + Dim::from(NORM_BLOCK - 1)).floor_div(NORM_BLOCK);
    let mut r = Range {
        buffers: vec![],
        operands: vec![],
        slots: vec![],
    };
    let g = r.slot(BufferKind::Grads, Access::Read, len.clone());
    let out = r.slot(BufferKind::Output, Access::Write, blocks.clone());
    let position = Index {
        base: Dim::from(0),
        terms: vec![(Dim::from(NORM_BLOCK), Coord::Axis(0)), (Dim::from(1), Coord::Axis(1))],
    };
    let values = vec![
        Value::Axis(0),
        Value::constant(DType::I32, NORM_BLOCK as f64),
        Value::Binary(Binary::Mul, 0, 1),
        Value::Axis(1),
        Value::Binary(Binary::Add, 2, 3),
        Value::Size(len),
        Value::Binary(Binary::Less, 4, 5),
        Value::Load {
            slot: g,
            index: position,
            guard: Some(6),
        },
        Value::Binary(Binary::Mul, 7, 7),
        Value::Reduced(0),
    ];
    let phases = vec![
        Phase::Columns {
            reduce: vec![(Reduction::Sum, 8)],
            store: vec![],
        },
        Phase::Row {
            store: vec![Store {
                slot: out,
                index: at(0),
                value: 9,
                accumulate: false,
            }],
        },
    ];
    let body = Body::Row(RowKernel {
        axes: vec![blocks.clone(), Dim::from(NORM_BLOCK)],
        values,
        phases,
    });
    let outputs = vec![Port {
        name: SQUARES.into(),
        dtype: DType::F32,
        shape: vec![blocks],
        buffer: 1,
    }];
    program(Update::GradNorm, kernels, r, body, vec![], outputs)
}

fn program(
    update: Update,
    kernels: &mut Kernels,
    r: Range,
    body: Body,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
) -> Program {
    let kernel = kernels.add(update.name(), Kernel { slots: r.slots, body });
    let steps = vec![Step::Launch(Launch {
        kernel,
        operands: r.operands,
    })];
    Program {
        name: update.name().into(),
        inputs,
        outputs,
        buffers: r.buffers,
        requires: vec![],
        prepare: vec![],
        steps,
        loss: None,
        reads: vec![],
        trains: vec![],
    }
}
