//! A model small enough to be computed here, with the interface of a compiled one: for tests of all that surrounds it.

use crate::error::Error;
use crate::session::{AdamStep, Session, Tensor};
use ir::artifact::{Artifact, Init, Param, Port, Program, Setting, SettingValue};
use ir::dim::Dim;
use ir::scalar::DType;
use std::collections::BTreeMap;

const CLASSES: usize = 32;

/// 10 samples per frame, 5 negatives, 2 groups of 4 codes, 3 layers, 12 channels.
pub fn artifact() -> Artifact {
    let port = |name: &str, dtype, shape: &[&str]| Port {
        name: name.into(),
        dtype,
        shape: shape.iter().map(|d| d.parse().expect("a size")).collect(),
        buffer: 0,
    };
    let (f, i) = (DType::F32, DType::I32);
    let wave = || vec![port("wave", f, &["B", "N"]), port("lengths", i, &["B"])];
    let mut masked = wave();
    masked.extend([
        port("mask", i, &["B", "T"]),
        port("keep", f, &["3"]),
        port("seed", i, &["2"]),
    ]);
    let mut pretrain = masked.clone();
    pretrain.extend([
        port("masked_index", i, &["B", "M"]),
        port("negatives", i, &["B", "M", "5"]),
        port("gumbel", f, &["B", "M", "2", "4"]),
        port("temperature", f, &["1"]),
    ]);
    let mut finetune = masked;
    finetune.extend([port("channel_mask", i, &["B", "12"]), port("labels", i, &["B", "L"])]);
    let logits = || vec![port("logits", f, &["B", "T", "32"])];
    let program = |name: &str, inputs, outputs, trains| Program {
        name: name.into(),
        inputs,
        outputs,
        buffers: vec![],
        requires: vec![],
        prepare: vec![],
        steps: vec![],
        trains,
    };
    let param = Param::fixed;
    let negatives = Setting {
        name: "negatives".into(),
        value: SettingValue::Number(5.0),
        doc: String::new(),
    };
    Artifact {
        name: "fake".into(),
        cpu_features: vec![],
        gpu: None,
        int8: None,
        constants: BTreeMap::new(),
        recipes: [("pretrain".to_string(), vec![negatives])].into(),
        by_hours: BTreeMap::new(),
        export: BTreeMap::new(),
        params: vec![
            param("wav2vec2.encoder.w", &[3], 0, Init::Normal { std: 1.0 }),
            param(
                "wav2vec2.conv.parametrizations.weight.original0",
                &[1, 2],
                3,
                Init::Ones,
            ),
            param(
                "wav2vec2.conv.parametrizations.weight.original1",
                &[2, 2],
                5,
                Init::Uniform { low: -1.0, high: 1.0 },
            ),
            param("quantizer.codevectors", &[2], 9, Init::Uniform { low: 0.0, high: 1.0 }),
            param("lm_head.weight", &[CLASSES as i64], 11, Init::Normal { std: 0.1 }),
        ],
        run_sizes: vec![],
        param_room: Dim::from(11 + CLASSES as i64),
        param_elements: 11 + CLASSES,
        symbols: vec![],
        dims: vec![("T".into(), "(N - 20)/10 + 1".parse::<Dim>().expect("a size"))],
        kernels: vec![],
        programs: vec![
            program("transcribe", wave(), logits(), vec![]),
            program("pretrain", pretrain, vec![], vec![0, 1, 2, 3]),
            program("finetune", finetune.clone(), logits(), vec![0, 4]),
            program("finetune_head", finetune, logits(), vec![4]),
        ],
    }
}

pub struct FakeSession {
    pub artifact: Artifact,
    params: Vec<f32>,
    grads: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    /// The loss is not a number in this run, counted from 0.
    pub nan_at: Option<usize>,
    /// Logits are not numbers.
    pub nan_logits: bool,
    pub runs: usize,
}

impl Default for FakeSession {
    fn default() -> Self {
        let artifact = artifact();
        let n = artifact.param_elements;
        let zeros = || vec![0.0; n];
        FakeSession {
            artifact,
            params: zeros(),
            grads: zeros(),
            first: zeros(),
            second: zeros(),
            nan_at: None,
            nan_logits: false,
            runs: 0,
        }
    }
}

impl FakeSession {
    pub fn params(&mut self) -> &mut [f32] {
        &mut self.params
    }
    pub fn grads(&mut self) -> &mut [f32] {
        &mut self.grads
    }
    pub fn moments(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.first, &mut self.second)
    }

    fn trained(&self, program: &str) -> Vec<std::ops::Range<usize>> {
        let program = self
            .artifact
            .programs
            .iter()
            .find(|p| p.name == program)
            .expect("a program");
        let range = |i: &usize| {
            let p = &self.artifact.params[*i];
            p.offset..p.offset + p.len()
        };
        program.trains.iter().map(range).collect()
    }
}

/// Adds gradients of sum over hidden frames (or labels) of (p - x)^2 / 2, where x comes from every input.
impl Session for FakeSession {
    fn artifact(&self) -> &Artifact {
        &self.artifact
    }
    fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), Error> {
        self.artifact.choose(sizes).map_err(|e| Error::Usage(e.to_string()))?;
        let n = self.artifact.param_elements;
        for arena in [&mut self.params, &mut self.grads, &mut self.first, &mut self.second] {
            *arena = vec![0.0; n];
        }
        Ok(())
    }
    fn params(&mut self) -> Result<&mut [f32], Error> {
        Ok(FakeSession::params(self))
    }
    fn grads(&mut self) -> Result<&mut [f32], Error> {
        Ok(FakeSession::grads(self))
    }
    fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error> {
        Ok(FakeSession::moments(self))
    }
    fn zero_grads(&mut self) -> Result<(), Error> {
        self.grads.fill(0.0);
        Ok(())
    }
    fn peak_bytes(&self, _: &str, inputs: &[(&str, &Tensor)]) -> Result<usize, Error> {
        Ok(inputs.iter().map(|(_, t)| 4 * t.shape.iter().product::<usize>()).sum())
    }

    fn run(&mut self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let get = |name: &str| inputs.iter().find(|(n, _)| *n == name).map(|(_, t)| *t);
        let wave = get("wave").expect("every program takes it");
        let (rows, samples) = (wave.shape[0], wave.shape[1]);
        let frames = (samples.max(10) - 20) / 10 + 1;
        let ints = |name: &str| get(name).map_or(0, |t| t.as_i32().unwrap().iter().map(|v| (*v).max(0) as i64).sum());
        let floats = |name: &str| get(name).map_or(0.0, |t| t.as_f32().unwrap().iter().map(|v| *v as f64).sum::<f64>());
        let drawn = (ints("mask") + ints("negatives") + ints("seed") % 97 + ints("channel_mask")) as f64;
        let x = ((floats("wave") + floats("gumbel") + floats("keep")).sin() + (drawn * 0.37).sin()) as f32;
        let weight = match program {
            "pretrain" => ints("mask") as f32,
            _ => rows as f32,
        };
        let mut loss = 0.0;
        for range in self.trained(program) {
            for i in range {
                loss += weight * (self.params[i] - x).powi(2) / 2.0;
                self.grads[i] += weight * (self.params[i] - x);
            }
        }
        if self.nan_at == Some(self.runs) {
            loss = f32::NAN;
        }
        self.runs += 1;
        let one = |name: &str, v: f32| (name.to_string(), Tensor::f32(&[1], vec![v]));
        Ok(match program {
            "pretrain" => vec![
                one("loss", loss),
                one("contrastive", loss),
                one("diversity", 0.0),
                one("feature_l2", 0.0),
                one("correct", weight / 4.0),
                ("perplexity".into(), Tensor::f32(&[2], vec![3.0, 2.5])),
            ],
            _ => {
                // Every frame says the class that the head likes best.
                let mut row: Vec<f32> = self.params[11..11 + CLASSES].to_vec();
                if self.nan_logits {
                    row.fill(f32::NAN);
                }
                let logits = Tensor::f32(&[rows, frames, CLASSES], row.repeat(rows * frames));
                vec![one("loss", loss), one("ctc", loss), ("logits".into(), logits)]
            }
        })
    }

    fn grad_norm(&mut self, program: &str, scale: f32) -> Result<f64, Error> {
        let sum: f64 = self
            .trained(program)
            .into_iter()
            .flatten()
            .map(|i| (self.grads[i] as f64).powi(2))
            .sum();
        Ok(sum * (scale as f64).powi(2))
    }

    fn adam(&mut self, program: &str, a: &AdamStep) -> Result<(), Error> {
        let rate = a.lr * (1.0 - a.beta2.powi(a.step as i32)).sqrt() / (1.0 - a.beta1.powi(a.step as i32));
        for i in self.trained(program).into_iter().flatten() {
            let g = self.grads[i] * a.scale;
            self.first[i] = a.beta1 * self.first[i] + (1.0 - a.beta1) * g;
            self.second[i] = a.beta2 * self.second[i] + (1.0 - a.beta2) * g * g;
            self.params[i] -= a.lr * a.weight_decay * self.params[i];
            self.params[i] -= rate * self.first[i] / (self.second[i].sqrt() + a.eps);
        }
        Ok(())
    }
}
