//! Gradients are final where a program's points say so: sums over ranks begin there.

use crate::small::{FOLDERS, fixtures, native};
use runtime::Error;
use runtime::exec::Machine;
use runtime::session::{AdamStep, Session, Tensor};
use runtime::step::{Options, step};

/// Runs programs as a rank does, and copies what it is given.
struct Watched<'a> {
    inner: &'a mut Machine,
    given: Vec<(usize, Vec<f32>)>,
}

impl Session for Watched<'_> {
    fn artifact(&self) -> &ir::artifact::Artifact {
        self.inner.artifact()
    }
    fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), Error> {
        self.inner.choose(sizes)
    }
    fn params(&mut self) -> Result<&mut [f32], Error> {
        self.inner.params()
    }
    fn grads(&mut self) -> Result<&mut [f32], Error> {
        Session::grads(self.inner)
    }
    fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error> {
        Session::moments(self.inner)
    }
    fn zero_grads(&mut self) -> Result<(), Error> {
        self.inner.zero_grads()
    }
    fn peak_bytes(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<usize, Error> {
        self.inner.peak_bytes(program, inputs)
    }
    fn run(&mut self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let given = &mut self.given;
        self.inner.run_giving(program, inputs, &mut |grads| {
            // SAFETY: they lie in the machine's arena, and nothing writes them any more: this test holds that against the end.
            let values = unsafe { std::slice::from_raw_parts(grads.values, grads.length) };
            given.push((grads.start, values.to_vec()));
        })
    }
    fn squares(&mut self, range: (usize, usize)) -> Result<Vec<f32>, Error> {
        self.inner.squares(range)
    }
    fn adam_over(&mut self, range: (usize, usize), adam: &AdamStep) -> Result<(), Error> {
        self.inner.adam_over(range, adam)
    }
}

#[test]
fn what_is_given_on_the_way_is_what_is_there_at_the_end() {
    for folder in FOLDERS {
        for (program, weights) in [("pretrain", "pretrain"), ("finetune", "ctc"), ("finetune_head", "ctc")] {
            let mut machine = native(folder).machine(2).unwrap();
            let Some(own) = machine.artifact().program(program).cloned() else {
                continue;
            };
            let trained: usize = own.trains.iter().map(|i| machine.artifact().params[*i].len()).sum();
            let out = tempfile::tempdir().unwrap();
            let batch = program.trim_end_matches("_head");
            let options = Options {
                weights: fixtures(folder).join(weights),
                batch: fixtures(folder).join(format!("{batch}_batch.safetensors")),
                out: out.path().join("got.safetensors"),
                program: Some(program.into()),
                ..Options::default()
            };
            let mut watched = Watched {
                inner: &mut machine,
                given: vec![],
            };
            step(&mut watched, &options).unwrap();
            let given = std::mem::take(&mut watched.given);
            let points = machine.points(program).unwrap();
            let places: Vec<(usize, usize)> = given.iter().map(|(start, v)| (*start, v.len())).collect();
            assert_eq!(places, points, "{folder} {program}");
            assert_eq!(
                given.iter().map(|(_, v)| v.len()).sum::<usize>(),
                trained,
                "{folder} {program}"
            );
            assert!(
                program == "finetune_head" || points.len() > 4,
                "{folder} {program}: {points:?}"
            );
            let grads = Session::grads(&mut machine).unwrap();
            for (start, values) in given {
                let end = &grads[start..start + values.len()];
                let same = end.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(
                    same,
                    "{folder} {program}: gradients from {start} on changed after they were given"
                );
            }
        }
    }
}
