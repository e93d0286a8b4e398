//! A program of vector kernels, small enough to be computed by hand.
//!
//! `train`: y[b, :] = x[b, :] + the sum of w[layer, :] over the kept layers; every element of x is added to the gradient
//! of w[0, :] for the first clip. `look`: y = w in bf16.

use ir::artifact::*;
use ir::dim::Dim;
use ir::scalar::DType;

pub const LAYERS: i64 = 5;
pub const WIDTH: i64 = 4;
pub const PTX: &str = include_str!("vectors.ptx");

fn dim(text: &str) -> Dim {
    text.parse().expect("a size")
}

/// A function and the size that it works on.
const KERNELS: [(&str, &str); 7] = [
    ("copy", "B*4"),
    ("add_row", "B*4"),
    ("adam", "range_len"),
    ("narrow", "range_len"),
    ("widen", "20"),
    ("add_row", "4"),
    ("copy", "range_len"),
];

fn kernel((name, size): (&str, &str)) -> KernelInfo {
    KernelInfo {
        name: format!("{name}_kernel"),
        what: String::new(),
        entries: vec![],
        workspace: Dim::from(0),
        scratch: Dim::from(0),
        flops: dim(size),
        factors: ir::artifact::Factors::F32,
        bytes: dim(size),
    }
}

fn buffer(kind: BufferKind, elements: &str) -> Buffer {
    let dtype = if kind == BufferKind::NarrowParams {
        DType::Bf16
    } else {
        DType::F32
    };
    Buffer {
        kind,
        dtype,
        elements: dim(elements),
        live: (0, 99),
    }
}

fn at(buffer: usize) -> Operand {
    Operand {
        buffer,
        offset: Dim::from(0),
        layer_stride: Dim::from(0),
    }
}

fn layered(buffer: usize) -> Operand {
    Operand {
        layer_stride: Dim::from(WIDTH),
        ..at(buffer)
    }
}

fn ranged(buffer: usize) -> Operand {
    Operand {
        offset: dim("range_start"),
        ..at(buffer)
    }
}

fn launch(kernel: usize, operands: Vec<Operand>) -> Step {
    Step::Launch(Launch { kernel, operands })
}

fn port(name: &str, shape: &[&str], buffer: usize) -> Port {
    Port {
        name: name.into(),
        dtype: DType::F32,
        shape: shape.iter().map(|d| dim(d)).collect(),
        buffer,
    }
}

fn program(name: &str, inputs: Vec<Port>, outputs: Vec<Port>, buffers: Vec<Buffer>, steps: Vec<Step>) -> Program {
    Program {
        name: name.into(),
        inputs,
        outputs,
        buffers,
        requires: vec![],
        prepare: vec![],
        steps,
        loss: None,
        reads: vec![],
        trains: vec![],
    }
}

fn train() -> Program {
    use BufferKind::*;
    let body = vec![launch(1, vec![layered(3), at(2)])];
    let steps = vec![
        launch(0, vec![at(0), at(2)]),
        Step::Loop {
            count: LAYERS,
            reverse: false,
            keep: Some(at(1)),
            body,
        },
        launch(1, vec![at(0), at(4)]),
        launch(0, vec![at(2), at(5)]),
        launch(0, vec![at(2), at(5)]),
        launch(0, vec![at(2), at(5)]),
    ];
    let buffers = vec![
        buffer(Input, "B*4"),
        buffer(Input, "5"),
        buffer(Temp, "B*4"),
        buffer(Params, "20"),
        buffer(Grads, "4"),
        buffer(Output, "B*4"),
    ];
    Program {
        loss: None,
        reads: vec![0],
        trains: vec![0],
        ..program(
            "train",
            vec![port("wave", &["B", "4"], 0), port("keep", &["5"], 1)],
            vec![port("y", &["B", "4"], 5)],
            buffers,
            steps,
        )
    }
}

/// The gradient kernel of `train` does the first clip alone: 4 elements.
const FIRST_CLIP: usize = 5;

pub fn artifact() -> Artifact {
    use BufferKind::*;
    let range = "range_len";
    let mut train = train();
    if let Step::Launch(l) = &mut train.steps[2] {
        l.kernel = FIRST_CLIP;
    }
    let adam = program(
        "adam",
        vec![port("adam", &["8"], 0)],
        vec![],
        vec![
            buffer(Input, "8"),
            buffer(Params, range),
            buffer(Grads, range),
            buffer(Moment1, range),
        ],
        vec![launch(2, vec![at(0), ranged(1), ranged(2), ranged(3)])],
    );
    let narrow = program(
        "narrow",
        vec![],
        vec![],
        vec![buffer(Params, range), buffer(NarrowParams, range)],
        vec![launch(3, vec![ranged(0), ranged(1)])],
    );
    let grad_norm = program(
        "grad_norm",
        vec![],
        vec![port("squares", &[range], 1)],
        vec![buffer(Grads, range), buffer(Output, range)],
        vec![launch(6, vec![ranged(0), at(1)])],
    );
    let look = program(
        "look",
        vec![],
        vec![port("y", &["20"], 1)],
        vec![buffer(NarrowParams, "20"), buffer(Output, "20")],
        vec![launch(4, vec![at(0), at(1)])],
    );
    Artifact {
        name: "vectors".into(),
        cpu_features: vec![],
        gpu: Some(Precision::Bf16),
        int8: None,
        constants: Default::default(),
        graphs: Default::default(),
        tasks: vec![],
        export: Default::default(),
        config: Default::default(),
        run_sizes: vec![],
        params: vec![Param::fixed("w", &[LAYERS, WIDTH], 0, Init::Zeros)],
        param_room: Dim::from(LAYERS * WIDTH),
        param_elements: (LAYERS * WIDTH) as usize,
        symbols: vec![],
        dims: vec![],
        kernels: KERNELS.into_iter().map(kernel).collect(),
        programs: vec![train, adam, narrow, grad_norm, look],
    }
}

pub fn image(arch: &str) -> PtxImage {
    PtxImage {
        arch: arch.into(),
        kernels: KERNELS.into_iter().map(code).collect(),
    }
}

fn code((name, size): (&str, &str)) -> PtxKernel {
    let n = dim(size);
    PtxKernel {
        text: PTX.into(),
        grids: vec![Grid {
            function: name.into(),
            blocks: [(n.clone() + Dim::from(31)).floor_div(32), Dim::from(1), Dim::from(1)],
            threads: 32,
            shared: 0,
            sizes: vec![n],
            maps: vec![],
            schedule: String::new(),
        }],
        workspace: Dim::from(0),
    }
}
