//! The memory plan under poison: programs give the same bits whether every buffer has memory of its own or all share an
//! arena in which everything outside its life is NaN.

use ir::artifact::{BufferKind, Program};
use ir::dim::Env;
use ir::kernel::Kernel;
use ir::ops::Op;
use ir::sample::Rand;
use passes::differentiate::differentiate;
use runtime::exec::plan::{Request, layout};
use tests::interpret::lower;
use tests::ops::{case, with_loss};

/// Offsets as the runtime plans them.
fn plan(program: &Program, sizes: &Env) -> Vec<usize> {
    let temps = program
        .buffers
        .iter()
        .enumerate()
        .filter(|(_, b)| b.kind == BufferKind::Temp);
    let (owners, requests): (Vec<usize>, Vec<Request>) = temps
        .map(|(i, b)| {
            let bytes = b.elements.eval(sizes).unwrap() as usize * b.dtype.bytes();
            (
                i,
                Request {
                    bytes,
                    first: b.live.0,
                    last: b.live.1,
                },
            )
        })
        .unzip();
    let mut offsets = vec![0; program.buffers.len()];
    owners
        .into_iter()
        .zip(layout(&requests).offsets)
        .for_each(|(i, offset)| offsets[i] = offset);
    offsets
}

#[test]
fn plans_hold_under_poison() {
    let env = Env::from([("layer".into(), 0)]);
    let mut shared = 0;
    for (name, sampler) in Op::SAMPLERS {
        for seed in 0..6 {
            let mut r = Rand::new(seed);
            let Some(mut c) = case(sampler(&mut r), &mut r) else {
                continue;
            };
            if !c.graph.ty(c.graph.outputs[0].1).dtype.is_float() {
                continue;
            }
            let g = with_loss(&c.graph, &mut r, &mut c.bound);
            let lowered = lower(&differentiate(&g, "loss", &|_| true).unwrap());
            let kernels: Vec<Kernel> = lowered.kernels.iter().map(|(_, k)| k.clone()).collect();
            let mut buffers = lowered.buffers(&env, &c.bound);
            let place = interp::run_poisoned(&kernels, &lowered.program, &mut buffers, &env, plan);
            assert_eq!(place, Ok(()), "{name}, seed {seed}");
            let bits = |t: &ir::tensor::Tensor| t.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let (got, want) = (lowered.outputs(&env, &buffers), lowered.interpret(&env, &c.bound));
            for (output, w) in &want {
                assert_eq!(bits(&got[output]), bits(w), "{name}, seed {seed}, {output}");
            }
            let offsets = plan(&lowered.program, &env);
            let temps = |i: &usize| lowered.program.buffers[*i].kind == BufferKind::Temp;
            let mut used: Vec<usize> = (0..offsets.len()).filter(temps).map(|i| offsets[i]).collect();
            let all = used.len();
            used.sort();
            used.dedup();
            shared += all - used.len();
        }
    }
    assert!(shared > 0, "no memory was ever used twice");
}
