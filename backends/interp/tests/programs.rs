//! Programs with loops, and memory plans under poison.

use ir::artifact::{self, BufferKind, Launch, Operand, Program, Step};
use ir::dim::{Dim, Env};
use ir::kernel::*;
use ir::scalar::{Binary, DType};
use w2vc_interp::{Buffer, Error, run_poisoned, run_program};

/// z = x + y over N elements of f32: slots x, y, z.
fn add() -> Kernel {
    let here = || Index {
        base: 0.into(),
        terms: vec![(1.into(), Coord::Axis(0))],
    };
    let load = |slot| Value::Load {
        slot,
        index: here(),
        guard: None,
    };
    let store = Store {
        slot: 2,
        index: here(),
        value: 2,
        accumulate: false,
    };
    let decl = |access| SlotDecl {
        dtype: DType::F32,
        access,
    };
    Kernel {
        slots: vec![decl(Access::Read), decl(Access::Read), decl(Access::Write)],
        body: Body::Row(RowKernel {
            axes: vec![Dim::sym("N")],
            values: vec![load(0), load(1), Value::Binary(Binary::Add, 0, 1)],
            phases: vec![Phase::Columns {
                reduce: vec![],
                store: vec![store],
            }],
        }),
    }
}

fn whole(buffer: usize) -> Operand {
    Operand {
        buffer,
        offset: 0.into(),
        layer_stride: 0.into(),
    }
}

/// Part of a stack of layers of N elements.
fn layer(buffer: usize) -> Operand {
    Operand {
        layer_stride: Dim::sym("N"),
        ..whole(buffer)
    }
}

fn launch(x: Operand, y: Operand, z: Operand) -> Step {
    Step::Launch(Launch {
        kernel: 0,
        operands: vec![x, y, z],
    })
}

const X: usize = 0;
const WEIGHTS: usize = 1;
const KEEP: usize = 2;
const OUT: usize = 3;
const STATE: usize = 4;
const TEMP: usize = 5;
const SAVED: usize = 6;

/// state = x + x; for each kept layer: temp = state + w[layer], saved[layer] = temp + state, state = temp + temp;
/// backwards: state += saved[layer]; out = state + x. Steps are numbered in the comments.
fn program() -> Program {
    let forward = vec![
        launch(whole(STATE), layer(WEIGHTS), whole(TEMP)), // 2
        launch(whole(TEMP), whole(STATE), layer(SAVED)),   // 3
        launch(whole(TEMP), whole(TEMP), whole(STATE)),    // 4
    ];
    let backward = vec![launch(whole(STATE), layer(SAVED), whole(STATE))]; // 6
    let looped = |reverse, body| Step::Loop {
        count: 3,
        reverse,
        keep: Some(Operand {
            layer_stride: 1.into(),
            ..whole(KEEP)
        }),
        body,
    };
    let buffer = |kind, elements: &str, live| artifact::Buffer {
        kind,
        dtype: DType::F32,
        elements: elements.parse().unwrap(),
        live,
    };
    Program {
        name: "test".into(),
        inputs: vec![],
        outputs: vec![],
        buffers: vec![
            buffer(BufferKind::Input, "N", (0, 7)),
            buffer(BufferKind::Params, "3*N", (0, 7)),
            buffer(BufferKind::Input, "3", (0, 7)),
            buffer(BufferKind::Output, "N", (7, 7)),
            buffer(BufferKind::Temp, "N", (0, 7)),
            buffer(BufferKind::Temp, "N", (2, 4)),
            buffer(BufferKind::Temp, "3*N", (3, 6)),
        ],
        requires: vec![],
        prepare: vec![],
        steps: vec![
            launch(whole(X), whole(X), whole(STATE)),   // 0
            looped(false, forward),                     // 1
            looped(true, backward),                     // 5
            launch(whole(STATE), whole(X), whole(OUT)), // 7
        ],
        loss: None,
        reads: vec![],
        trains: vec![],
    }
}

fn buffers(n: usize) -> Vec<Buffer> {
    let f32s = |values: Vec<f32>| Buffer::F32(values);
    vec![
        f32s((0..n).map(|i| i as f32).collect()),
        f32s((0..3 * n).map(|i| 0.5 * i as f32).collect()),
        f32s(vec![1.0, 0.0, 1.0]),
        Buffer::poison(DType::F32, n),
        Buffer::poison(DType::F32, n),
        Buffer::poison(DType::F32, n),
        Buffer::poison(DType::F32, 3 * n),
    ]
}

fn sizes(n: i64) -> Env {
    Env::from([("N".into(), n)])
}

/// STATE, TEMP and SAVED one after the other, in bytes.
fn one_after_the_other(_: &Program, sizes: &Env) -> Vec<usize> {
    let n = 4 * sizes["N"] as usize;
    vec![0, 0, 0, 0, 0, n, 2 * n]
}

fn poisoned(program: &Program, plan: impl Fn(&Program, &Env) -> Vec<usize>) -> Result<Buffer, Error> {
    let mut all = buffers(4);
    run_poisoned(&[add()], program, &mut all, &sizes(4), plan)?;
    Ok(all.remove(OUT))
}

#[test]
fn loops_run_kept_layers_in_order() {
    let mut all = buffers(4);
    run_program(&[add()], &program(), &mut all, &sizes(4)).unwrap();
    let want: Vec<f32> = (0..4)
        .map(|i| {
            let (x, w) = (i as f32, |l: usize| 0.5 * (l * 4 + i) as f32);
            let mut state = x + x;
            let mut saved = 0.0;
            for l in [0, 2] {
                let temp = state + w(l);
                saved += temp + state;
                state = temp + temp;
            }
            state + saved + x
        })
        .collect();
    assert_eq!(all[OUT], Buffer::F32(want.clone()));
    assert_eq!(poisoned(&program(), one_after_the_other), Ok(Buffer::F32(want)));
}

#[test]
fn lives_that_are_too_short_are_found() {
    let right = poisoned(&program(), one_after_the_other).unwrap();
    for (buffer, live, step) in [(SAVED, (1, 5), 6), (TEMP, (3, 4), 2), (STATE, (1, 7), 0)] {
        let mut p = program();
        p.buffers[buffer].live = live;
        assert_eq!(
            poisoned(&p, one_after_the_other),
            Err(Error::NotLive { buffer, step, live })
        );
    }
    // An end inside a loop that does not hold the whole life is that of the loop: lives to its last step.
    let mut p = program();
    p.buffers[STATE].live = (0, 3);
    let live = (0, 4);
    assert_eq!(
        poisoned(&p, one_after_the_other),
        Err(Error::NotLive {
            buffer: STATE,
            step: 6,
            live
        })
    );
    // A step that reads what it never wrote sees NaN.
    let mut p = program();
    p.steps.remove(0);
    for b in &mut p.buffers {
        b.live = (b.live.0.saturating_sub(1), b.live.1 - 1);
    }
    let unwritten = poisoned(&p, one_after_the_other).unwrap();
    assert!(unwritten.to_f64().iter().all(|v| v.is_nan()), "{unwritten:?}");
    assert_ne!(unwritten, right);
}

#[test]
fn overlapping_plans_are_found() {
    let overlap = poisoned(&program(), |_, _| vec![0, 0, 0, 0, 0, 12, 32]);
    assert_eq!(
        overlap,
        Err(Error::Overlap {
            a: STATE,
            b: TEMP,
            step: 2
        })
    );
    // SAVED is first written at step 3, but its first layer must outlive TEMP of the second turn.
    let overlap = poisoned(&program(), |_, _| vec![0, 0, 0, 0, 0, 16, 16]);
    assert_eq!(
        overlap,
        Err(Error::Overlap {
            a: TEMP,
            b: SAVED,
            step: 2
        })
    );
    let wrong = poisoned(&program(), |_, _| vec![]);
    assert_eq!(wrong, Err(Error::PlanLength { expected: 7, found: 0 }));
}

#[test]
fn what_does_not_fit_is_told() {
    let mut all = buffers(4);
    all[STATE] = Buffer::zeros(DType::I32, 4);
    let err = run_program(&[add()], &program(), &mut all, &sizes(4)).unwrap_err();
    assert_eq!(
        err.to_string(),
        "buffer 4 holds 4 elements of i32, the program wants 4 of f32"
    );
}
