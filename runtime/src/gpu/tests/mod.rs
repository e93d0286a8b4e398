//! A program of vector kernels on a device in plain memory, and its PTX on the emulator.

mod mirror;
mod model;
mod ram;
mod runner;

use super::{Code, Device, Emulator, GpuSession};
use crate::Error;
use crate::session::{AdamStep, Session, Tensor};
use model::{artifact, image};
use ram::{Log, Ram};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

fn session(device: Box<dyn Device>) -> GpuSession {
    GpuSession::new(Arc::new(artifact()), device)
}

fn in_ram() -> (GpuSession, Rc<RefCell<Log>>) {
    let ram = Ram::new(1 << 20);
    let log = ram.log.clone();
    (session(Box::new(ram)), log)
}

fn emulated() -> GpuSession {
    let code = Code::new(&artifact(), image("sm_80")).unwrap();
    session(Box::new(Emulator::new(code, 2)))
}

/// w[layer, i] = 10^layer + i/8, so that sums show which layers were done.
fn fill(session: &mut GpuSession) {
    let w = session.params().unwrap();
    for (at, w) in w.iter_mut().enumerate() {
        *w = 10f32.powi(at as i32 / 4) + (at % 4) as f32 / 8.0;
    }
}

fn train(session: &mut GpuSession, clips: usize, keep: [f32; 5]) -> Result<Vec<f32>, Error> {
    let wave = Tensor::f32(&[clips, 4], (0..4 * clips).map(|i| i as f32).collect());
    let keep = Tensor::f32(&[5], keep.to_vec());
    let mut out = session.run("train", &[("wave", &wave), ("keep", &keep)])?;
    Ok(out.remove(0).1.as_f32().unwrap().to_vec())
}

fn expected(clips: usize, keep: [f32; 5]) -> Vec<f32> {
    let layers = |i: usize| -> f32 {
        let kept = (0..5).filter(|l| keep[*l] != 0.0);
        kept.map(|l| 10f32.powi(l as i32) + (i % 4) as f32 / 8.0).sum()
    };
    (0..4 * clips).map(|i| i as f32 + layers(i)).collect()
}

const ALL: [f32; 5] = [1.0; 5];
const SOME: [f32; 5] = [1.0, 0.0, 1.0, 1.0, 0.0];

fn step(scale: f32) -> AdamStep {
    AdamStep {
        lr: 0.5,
        beta1: 0.0,
        beta2: 0.0,
        eps: 0.0,
        weight_decay: 0.0,
        step: 1,
        scale,
    }
}

/// Runs, skips layers, trains, and moves values between host and device.
fn trains(s: &mut GpuSession) {
    fill(s);
    for (clips, keep) in [(3, ALL), (3, SOME), (7, ALL), (3, SOME), (3, [0.0; 5])] {
        assert_eq!(
            train(s, clips, keep).unwrap(),
            expected(clips, keep),
            "{clips} clips, {keep:?}"
        );
    }
    // Five runs have added the first clip's 0, 1, 2, 3.
    assert_eq!(s.grads().unwrap()[..6], [0.0, 5.0, 10.0, 15.0, 0.0, 0.0]);
    s.zero_grads().unwrap();
    train(s, 2, ALL).unwrap();
    // `squares` of the test model are the gradients themselves.
    assert_eq!(s.grad_norm("train", 2.0).unwrap(), 4.0 * (1.0 + 2.0 + 3.0));

    let before = s.params().unwrap().to_vec();
    s.adam("train", &step(0.25)).unwrap();
    let after: Vec<f32> = before
        .iter()
        .enumerate()
        .map(|(i, w)| if i < 4 { w + 0.125 * i as f32 } else { *w })
        .collect();
    assert_eq!(s.params().unwrap(), after);
    assert_eq!(s.moments().unwrap().0, [1.0; 20]);
    assert_eq!(s.moments().unwrap().1, [0.0; 20]);
    s.moments().unwrap().0[3] = 7.0;
    s.adam("train", &step(0.0)).unwrap();
    assert_eq!(s.moments().unwrap().0[2..5], [2.0, 8.0, 2.0]);
    assert_eq!(s.params().unwrap(), after);
}

/// The parameters in bf16 follow every change of the parameters.
fn narrows(s: &mut GpuSession) {
    let look = |s: &mut GpuSession| s.run("look", &[]).unwrap().remove(0).1.as_f32().unwrap().to_vec();
    let cut = |w: &[f32]| -> Vec<f32> { w.iter().map(|w| f32::from_bits(w.to_bits() & 0xffff_0000)).collect() };
    assert_eq!(look(s), [0.0; 20]);
    fill(s);
    let w = s.params().unwrap().to_vec();
    assert_eq!(look(s), cut(&w));
    assert_eq!(look(s), cut(&w));
    train(s, 1, ALL).unwrap();
    s.adam("train", &step(0.25)).unwrap();
    let changed = look(s);
    assert_ne!(changed, cut(&w));
    assert_eq!(changed, cut(s.params().unwrap()));
}

#[test]
fn programs_train_on_a_device() {
    trains(&mut in_ram().0);
    narrows(&mut in_ram().0);
}

#[test]
fn the_emulator_runs_the_ptx() {
    trains(&mut emulated());
    narrows(&mut emulated());
}

#[test]
fn steps_of_a_training_move_no_parameters() {
    let (mut s, log) = in_ram();
    fill(&mut s);
    let cycle = |s: &mut GpuSession| {
        s.zero_grads().unwrap();
        train(s, 2, SOME).unwrap();
        s.grad_norm("train", 1.0).unwrap();
        s.adam("train", &step(0.5)).unwrap();
    };
    cycle(&mut s);
    assert_eq!(
        (log.borrow().uploads, log.borrow().downloads),
        (1, 2),
        "the parameters, and an output of each run"
    );
    (0..3).for_each(|_| cycle(&mut s));
    assert_eq!((log.borrow().uploads, log.borrow().downloads), (1, 8));
}

#[test]
fn repeated_launches_are_recorded_by_what_they_depend_on() {
    let (mut s, log) = in_ram();
    fill(&mut s);
    train(&mut s, 3, ALL).unwrap();
    assert!(log.borrow().recorded.is_empty(), "the first run loads code");
    for keep in [SOME, ALL, [0.0; 5]] {
        assert_eq!(train(&mut s, 3, keep).unwrap(), expected(3, keep));
    }
    // One launch before the loop and one per layer are too few to record; the four after it are not.
    let sizes: Vec<usize> = log.borrow().recorded.iter().map(Vec::len).collect();
    assert_eq!((sizes, log.borrow().replays), (vec![4], 3));
    // A larger batch moves everything; the recording is of no use any more.
    assert_eq!(train(&mut s, 9, ALL).unwrap(), expected(9, ALL));
    assert_eq!(train(&mut s, 3, SOME).unwrap(), expected(3, SOME));
    assert_eq!((log.borrow().forgotten, log.borrow().replays), (1, 3));
    train(&mut s, 3, SOME).unwrap();
    assert_eq!((log.borrow().recorded.len(), log.borrow().replays), (2, 4));
}

#[test]
fn too_little_memory_is_told_before_anything_is_allocated() {
    let ram = Ram::new(2200);
    let log = ram.log.clone();
    let mut s = session(Box::new(ram));
    fill(&mut s);
    // Arenas of 20 elements: 16 bytes each. A clip takes 16 bytes of input, output and temporaries.
    let Err(e) = train(&mut s, 200, ALL) else {
        panic!("that fits?")
    };
    assert_eq!((e.exit_code(), log.borrow().allocated), (6, 0));
    let Error::DeviceMemory(shortage) = &e else {
        panic!("{e}")
    };
    let largest = shortage.largest.unwrap() as usize;
    assert!(e.to_string().contains(&format!("has {largest} of these 200")), "{e}");
    assert_eq!(shortage.available, 2200);
    assert!(train(&mut s, largest + 1, ALL).is_err());
    assert_eq!(train(&mut s, largest, ALL).unwrap(), expected(largest, ALL));

    let mut s = session(Box::new(Ram::new(500)));
    let e = train(&mut s, 2, ALL).unwrap_err().to_string();
    assert!(e.contains("a single clip of this length does not fit"), "{e}");
}

/// The second time that memory is too small there will be some left over, so that batches a little larger move nothing.
#[test]
fn memory_grows_with_some_room() {
    let ram = Ram::new(1 << 20);
    let log = ram.log.clone();
    let mut s = session(Box::new(ram));
    fill(&mut s);
    let mut allocated = |clips: usize| {
        assert_eq!(train(&mut s, clips, ALL).unwrap(), expected(clips, ALL));
        log.borrow().allocated
    };
    let first = allocated(800);
    let grown = allocated(832);
    assert!(grown > first);
    assert_eq!([allocated(864), allocated(800)], [grown; 2]);
    assert!(allocated(1600) > grown);

    // Room that is not there is not taken.
    let needed = {
        let mut s = session(Box::new(Ram::new(1 << 20)));
        fill(&mut s);
        train(&mut s, 832, ALL).unwrap();
        s.device_bytes().unwrap()
    };
    let mut s = session(Box::new(Ram::new(needed)));
    fill(&mut s);
    for clips in [800, 832] {
        assert_eq!(train(&mut s, clips, ALL).unwrap(), expected(clips, ALL));
    }
}

/// Devices keep nothing: they run `prepare` each time, and what it writes is planned like a temporary.
#[test]
fn what_prepares_runs_first() {
    let mut artifact = artifact();
    let program = &mut artifact.programs[0];
    program.prepare.push(program.steps.remove(0));
    program.buffers[2].kind = ir::artifact::BufferKind::Prepared;
    let mut s = GpuSession::new(Arc::new(artifact), Box::new(Ram::new(1 << 20)));
    fill(&mut s);
    for _ in 0..3 {
        assert_eq!(train(&mut s, 3, SOME).unwrap(), expected(3, SOME));
    }
}

#[test]
fn flags_of_layers_must_be_an_input() {
    let mut artifact = artifact();
    artifact.programs[0].buffers[1].kind = ir::artifact::BufferKind::Temp;
    artifact.programs[0].inputs.truncate(1);
    let mut s = GpuSession::new(Arc::new(artifact), Box::new(Ram::new(1 << 20)));
    let wave = Tensor::f32(&[1, 4], vec![0.0; 4]);
    let e = s.run("train", &[("wave", &wave)]).unwrap_err().to_string();
    assert!(e.contains("must be an input"), "{e}");
}

#[test]
fn the_emulator_stops_a_kernel_that_leaves_its_buffer() {
    let fault = |change: &dyn Fn(&mut ir::artifact::Artifact, &mut ir::artifact::PtxImage), part: &str| {
        let (mut artifact, mut image) = (artifact(), image("sm_80"));
        change(&mut artifact, &mut image);
        let code = Code::new(&artifact, image).unwrap();
        let mut s = GpuSession::new(Arc::new(artifact), Box::new(Emulator::new(code, 1)));
        let e = train(&mut s, 5, ALL).unwrap_err();
        let text = e.to_string();
        assert!(
            e.exit_code() == 7 && text.contains("copy_kernel") && text.contains(part),
            "{text}"
        );
    };
    // One element more than the input has; what follows in memory is the other input.
    fault(
        &|_, i| i.kernels[0].grids[0].sizes[0] = "B*4 + 1".parse().unwrap(),
        "out of bounds",
    );
    fault(
        &|a, _| {
            if let ir::artifact::Step::Launch(l) = &mut a.programs[0].steps[0] {
                l.operands.swap(0, 1);
            }
        },
        "only read",
    );
}
