//! Programs of copies, `to = from`, by hand: what moves, what stays, and where results of layers go.

use super::prepare;
use crate::lower::Kernels;
use ir::artifact::{Buffer, BufferKind, Launch, Operand, Program, Step};
use ir::dim::Dim;
use ir::kernel::{Access, Body, Coord, Index, Kernel, Phase, RowKernel, SlotDecl, Store, Value};
use ir::scalar::DType;

/// Elements of a buffer of a fixed size: no whole number of cache lines.
const WIDTH: i64 = 20;
const LAYERS: i64 = 3;

const PARAMS: usize = 0;
const INPUT: usize = 1;
const OUTPUT: usize = 2;
/// The first temporary.
const T: usize = 3;

fn copy(elements: &str) -> Kernel {
    let slot = |access| SlotDecl {
        dtype: DType::F32,
        access,
    };
    let at = Index {
        base: Dim::from(0),
        terms: vec![(Dim::from(1), Coord::Axis(0))],
    };
    let load = Value::Load {
        slot: 0,
        index: at.clone(),
        guard: None,
    };
    let store = Store {
        slot: 1,
        index: at,
        value: 0,
        accumulate: false,
    };
    Kernel {
        slots: vec![slot(Access::Read), slot(Access::Write)],
        body: Body::Row(RowKernel {
            axes: vec![elements.parse().unwrap()],
            values: vec![load],
            phases: vec![Phase::Columns {
                reduce: vec![],
                store: vec![store],
            }],
        }),
    }
}

fn kernels() -> Kernels {
    let mut kernels = Kernels::default();
    kernels.add("copy", copy(&WIDTH.to_string()));
    kernels.add("many", copy("N"));
    kernels
}

fn whole(buffer: usize) -> Operand {
    Operand {
        buffer,
        offset: Dim::from(0),
        layer_stride: Dim::from(0),
    }
}

fn layered(buffer: usize) -> Operand {
    Operand {
        layer_stride: Dim::from(WIDTH),
        ..whole(buffer)
    }
}

fn launch(kernel: usize, from: Operand, to: Operand) -> Step {
    Step::Launch(Launch {
        kernel,
        operands: vec![from, to],
    })
}

fn fixed(from: Operand, to: Operand) -> Step {
    launch(0, from, to)
}

fn looped(body: Vec<Step>) -> Step {
    Step::Loop {
        count: LAYERS,
        reverse: false,
        keep: Some(whole(INPUT)),
        body,
    }
}

/// What is left and what is prepared, with temporaries of these many elements.
fn prepared(temps: &[i64], steps: Vec<Step>) -> Program {
    let buffer = |kind, elements: i64| Buffer {
        kind,
        dtype: DType::F32,
        elements: Dim::from(elements),
        live: (0, 0),
    };
    let arenas = [
        (BufferKind::Params, 100),
        (BufferKind::Input, WIDTH),
        (BufferKind::Output, WIDTH),
    ];
    let temps = temps.iter().map(|n| (BufferKind::Temp, *n));
    let mut program = Program {
        name: "test".into(),
        inputs: vec![],
        outputs: vec![],
        buffers: arenas
            .into_iter()
            .chain(temps)
            .map(|(kind, n)| buffer(kind, n))
            .collect(),
        requires: vec![],
        prepare: vec![],
        steps,
        loss: None,
        reads: vec![],
        trains: vec![],
    };
    prepare(&mut program, &kernels());
    program
}

/// Buffers from and to of all launches, those of a loop in parentheses.
fn text(steps: &[Step]) -> String {
    let one = |s: &Step| match s {
        Step::Launch(l) => format!("{}>{}", l.operands[0].buffer, l.operands[1].buffer),
        Step::Loop { body, .. } => format!("({})", text(body)),
    };
    steps.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn moved(temps: usize, steps: Vec<Step>) -> (String, String) {
    let p = prepared(&vec![WIDTH; temps], steps);
    (text(&p.prepare), text(&p.steps))
}

#[test]
fn what_reads_parameters_alone_moves_and_what_reads_that() {
    let steps = vec![
        fixed(whole(PARAMS), whole(T)),
        fixed(whole(INPUT), whole(T + 1)),
        fixed(whole(T), whole(T + 2)),
        fixed(whole(T + 1), whole(T + 3)),
        fixed(whole(T + 2), whole(OUTPUT)),
        // Parameters, but as many as the run says.
        launch(1, whole(PARAMS), whole(T + 4)),
    ];
    let p = prepared(&[WIDTH; 5], steps);
    assert_eq!(text(&p.prepare), "0>3 3>5");
    assert_eq!(text(&p.steps), "1>4 4>6 5>2 0>7");
    let kinds: Vec<BufferKind> = p.buffers[T..].iter().map(|b| b.kind).collect();
    use BufferKind::{Prepared, Temp};
    assert_eq!(kinds, [Prepared, Temp, Prepared, Temp, Temp]);
    // Numbered anew: 0 and 1 prepare.
    assert_eq!((p.buffers[T].live, p.buffers[T + 2].live), ((0, 1), (1, 4)));
}

#[test]
fn what_more_than_one_launch_writes_stays_with_all_that_reads_it() {
    let steps = vec![
        fixed(whole(PARAMS), whole(T)),
        fixed(whole(T), whole(T + 1)),
        fixed(whole(INPUT), whole(T)),
        fixed(whole(T), whole(OUTPUT)),
    ];
    assert_eq!(moved(2, steps), (String::new(), "0>3 3>4 1>3 3>2".into()));
}

#[test]
fn a_layers_work_becomes_a_loop_that_keeps_every_layer() {
    let body = vec![
        fixed(layered(PARAMS), whole(T)),
        fixed(whole(T), whole(T + 1)),
        fixed(whole(INPUT), whole(T + 2)),
        fixed(whole(T + 1), whole(OUTPUT)),
    ];
    let p = prepared(&[WIDTH; 3], vec![looped(body)]);
    assert_eq!(
        (text(&p.prepare), text(&p.steps)),
        ("(0>3 3>4)".into(), "(1>5 4>2)".into())
    );
    // Layers that are skipped in a run may be wanted in the next.
    assert!(matches!(
        &p.prepare[0],
        Step::Loop {
            keep: None,
            count: LAYERS,
            ..
        }
    ));
    let Step::Loop {
        body, keep: Some(_), ..
    } = &p.steps[0]
    else {
        panic!("{:?}", p.steps)
    };
    // 20 elements are 80 bytes: the next layer begins two cache lines on.
    let Step::Launch(reader) = &body[1] else {
        panic!("{body:?}")
    };
    assert_eq!(reader.operands[0].layer_stride, Dim::from(32));
    assert_eq!(p.buffers[T + 1].elements, Dim::from(32 * LAYERS));
    assert_eq!((p.buffers[T + 1].live, p.buffers[T + 2].live), ((0, 5), (4, 4)));
}

#[test]
fn what_one_layer_hands_to_the_next_stays() {
    // Read before it is written in the same turn.
    let body = vec![fixed(whole(T), whole(T + 1)), fixed(layered(PARAMS), whole(T))];
    assert_eq!(moved(2, vec![looped(body)]), (String::new(), "(3>4 0>3)".into()));
    // The last layer's is read after the loop.
    let steps = vec![
        looped(vec![fixed(layered(PARAMS), whole(T))]),
        fixed(whole(T), whole(OUTPUT)),
    ];
    assert_eq!(moved(1, steps), (String::new(), "(0>3) 3>2".into()));
}

#[test]
fn stacked_results_keep_their_layers() {
    let steps = vec![
        looped(vec![fixed(layered(PARAMS), layered(T))]),
        looped(vec![fixed(layered(T), whole(OUTPUT))]),
    ];
    let p = prepared(&[WIDTH * LAYERS], steps);
    assert_eq!((text(&p.prepare), text(&p.steps)), ("(0>3)".into(), "(3>2)".into()));
    assert_eq!(p.buffers[T].elements, Dim::from(WIDTH * LAYERS));
}

#[test]
fn loops_within_loops_stay() {
    let inner = looped(vec![fixed(layered(PARAMS), whole(T)), fixed(whole(T), whole(OUTPUT))]);
    assert_eq!(
        moved(1, vec![looped(vec![inner])]),
        (String::new(), "((0>3 3>2))".into())
    );
}
