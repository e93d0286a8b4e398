//! A model small enough to be computed in Rust, with the interface of a compiled one, for tests.

use crate::error::Error;
use crate::feeds::{Feeds, Target};
use crate::geometry::Geometry;
use crate::session::{AdamStep, NORM_BLOCK, Session, Tensor};
use crate::settings::{self, Settings};
use ir::artifact::{Artifact, Init, Param, Port, Program, SettingValue};
use ir::dim::Dim;
use ir::scalar::DType;
use ir::task::{
    Amount, Arg, Criterion, DataRules, Declared, Divisor, Does, Feed, Gives, Judge, Longer, Phase, Prediction, Range,
    Report, Schedule, Sign, Task, Training, Warning,
};
use std::collections::BTreeMap;

const CLASSES: usize = 32;

/// 10 samples per frame, 5 negatives, 2 groups of 4 codes, 3 layers, 12 channels.
/// Those of the speech models, as far as tests need them.
fn config_facts() -> ir::artifact::ConfigFacts {
    let defaults = r#"{"model_type": "wav2vec2", "conv_stride": [5, 2, 2, 2, 2, 2, 2], "layer_norm_eps": 1e-5,
        "hidden_size": 768, "num_attention_heads": 12, "add_adapter": false, "adapter_attn_dim": null}"#;
    let settings = [
        ("mask_time_prob", "mask_prob"),
        ("mask_time_length", "mask_length"),
        ("layerdrop", "layerdrop"),
    ];
    ir::artifact::ConfigFacts {
        defaults: defaults.into(),
        settings: settings.map(|(f, s)| (f.to_string(), s.to_string())).into(),
    }
}

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
    let mut valid = wave();
    valid.push(port("labels", i, &["B", "L"]));
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
    let program = |name: &str, inputs, outputs, trains: Vec<usize>| Program {
        name: name.into(),
        inputs,
        outputs,
        buffers: vec![],
        requires: vec![],
        prepare: vec![],
        steps: vec![],
        loss: (!trains.is_empty() || name.starts_with("validate")).then(|| "loss".to_string()),
        reads: match name {
            "pretrain" => vec![0, 1, 2, 3],
            _ => vec![0, 1, 2, 4],
        },
        trains,
    };
    let param = Param::fixed;
    Artifact {
        name: "fake".into(),
        cpu_features: vec![],
        gpu: None,
        int8: None,
        constants: BTreeMap::new(),
        graphs: Default::default(),
        tasks: tasks(),
        export: BTreeMap::new(),
        config: config_facts(),
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
            program("validate_finetune", valid, logits(), vec![]),
        ],
    }
}

/// The tasks of the models, small.
fn tasks() -> Vec<Task> {
    let feed = |input: &str, kind: &str, args: Vec<Arg>| {
        let kind = kind.to_string();
        (input.to_string(), Feed { kind, args })
    };
    let of = |setting: &str| Arg::Amount(Amount::Setting(setting.into()));
    let named = |setting: &str| Amount::Setting(setting.into());
    let recordings = || {
        let frames = Arg::Size("T".parse().expect("a size"));
        vec![feed("wave", "Wave", vec![frames]), feed("lengths", "Lengths", vec![])]
    };
    let mut masked = recordings();
    masked.extend([
        feed(
            "mask",
            "Spans",
            vec![of("mask_prob"), of("mask_length"), of("mask_min")],
        ),
        feed("keep", "LayerDrop", vec![of("layerdrop")]),
        feed("seed", "DropoutKey", vec![]),
    ]);
    let mask = || Arg::Input("mask".into());
    let mut pretraining = masked.clone();
    pretraining.extend([
        feed("masked_index", "SpanIndex", vec![mask()]),
        feed("negatives", "Others", vec![mask(), of("negatives")]),
        feed("gumbel", "Gumbel", vec![mask()]),
        feed(
            "temperature",
            "Decay",
            vec![
                of("temperature_start"),
                of("temperature_decay"),
                of("temperature_floor"),
            ],
        ),
    ]);
    masked.extend([
        feed(
            "channel_mask",
            "ChannelSpans",
            vec![of("channel_mask_prob"), of("channel_mask_length")],
        ),
        feed("labels", "Letters", vec![]),
    ]);
    let rules = |longer, drop_silent| DataRules {
        min: named("min_samples"),
        max: named("max_samples"),
        longer,
        drop_silent,
    };
    let report = |list: Vec<(&str, Report)>| list.into_iter().map(|(n, r)| (n.to_string(), r)).collect();
    let bits = |output: &str| Report::Bits(output.into());
    let pretrain = Training {
        phases: vec![Phase {
            program: "pretrain".into(),
            until: None,
        }],
        validates: "pretrain".into(),
        data: rules(Longer::Cropped { pad: named("pad") }, true),
        schedule: Schedule::WarmupLinear {
            peak: named("lr"),
            warmup: named("warmup"),
        },
        divide_by: Divisor::Output("count".into()),
        report: report(vec![
            ("loss_bits", bits("loss")),
            ("contrastive_bits", bits("contrastive")),
            ("diversity_bits", bits("diversity")),
            ("feature_l2_bits", bits("feature_l2")),
            ("accuracy", Report::Share("correct".into())),
            ("perplexity", Report::Each("perplexity".into())),
            ("masked_frames", Report::Weight),
        ]),
        judge: None,
        best: vec![Criterion::Least("contrastive".into())],
        warn: vec![
            Warning {
                name: "codebook collapse".into(),
                when: Sign::Below {
                    output: "perplexity".into(),
                    least: named("collapse_perplexity"),
                },
                remedy: "lower lr".into(),
            },
            Warning {
                name: "stuck at chance".into(),
                when: Sign::Guess {
                    output: "contrastive".into(),
                    others: named("negatives"),
                    after: named("warmup"),
                },
                remedy: "raise lr".into(),
            },
        ],
        may_lack: vec![],
        exports: vec!["*".into(), "!lm_head.*".into()],
        heads: vec![],
    };
    let finetune = Training {
        phases: vec![
            Phase {
                program: "finetune_head".into(),
                until: Some(named("freeze_updates")),
            },
            Phase {
                program: "finetune".into(),
                until: None,
            },
        ],
        validates: "validate_finetune".into(),
        data: rules(Longer::Dropped, false),
        schedule: Schedule::TriStage {
            peak: named("lr"),
            rise: named("warmup_share"),
            hold: named("hold_share"),
            fall: named("decay_share"),
            start: named("lr_start"),
            end: named("lr_end"),
        },
        divide_by: Divisor::Clips,
        report: report(vec![
            ("loss_bits", bits("loss")),
            ("frame_bits", Report::BitsPerFrame("ctc".into())),
            ("sentences", Report::Weight),
        ]),
        judge: Some(Judge::Text {
            logits: "logits".into(),
        }),
        best: ["wer", "cer", "loss"].map(|n| Criterion::Least(n.into())).into(),
        warn: vec![],
        may_lack: vec!["lm_head.*".into()],
        exports: vec!["*".into(), "!quantizer.*".into()],
        heads: vec!["lm_head.*".into()],
    };
    let predict = |program: &str, gives| {
        let program = program.to_string();
        Does::Predict(Prediction { program, gives })
    };
    let task = |name: &str, settings: Vec<Declared>, feeds, does| Task {
        name: name.into(),
        about: String::new(),
        settings,
        by_hours: vec![],
        feeds,
        does,
    };
    let mut of_finetune = settings::of_training();
    of_finetune.extend(settings::of_texts());
    of_finetune.extend(own(FINETUNE));
    let mut of_pretrain = settings::of_training();
    for setting in &mut of_pretrain {
        match setting.name.as_str() {
            "eps" => setting.value = SettingValue::Number(1e-6),
            "weight_decay" => setting.value = SettingValue::Number(0.01),
            _ => {}
        }
    }
    of_pretrain.extend(own(PRETRAIN));
    let logits = "logits".to_string();
    vec![
        task("pretrain", of_pretrain, pretraining, Does::Train(Box::new(pretrain))),
        task("finetune", of_finetune, masked, Does::Train(Box::new(finetune))),
        task(
            "transcribe",
            settings::of_prediction(),
            recordings(),
            predict("transcribe", Gives::Text { logits }),
        ),
    ]
}

/// Settings of the tasks: name, default, range.
type Own = (&'static str, f64, Range);

const COUNT: Range = Range::Whole(0.0, 1e9);
const SIZE: Range = Range::Whole(1.0, 1e9);
const SHARE: Range = Range::Real(0.0, 1.0);
const RATE: Range = Range::Below(0.0, 1.0);
const POSITIVE: Range = Range::Above(0.0, 1e6);

const PRETRAIN: &[Own] = &[
    ("lr", 5e-4, Range::Real(0.0, 1e3)),
    ("warmup", 32_000.0, COUNT),
    ("max_samples", 250_000.0, SIZE),
    ("min_samples", 32_000.0, COUNT),
    ("pad", 0.0, COUNT),
    ("mask_prob", 0.65, SHARE),
    ("mask_length", 10.0, SIZE),
    ("mask_min", 2.0, COUNT),
    ("negatives", 5.0, SIZE),
    ("temperature_start", 2.0, POSITIVE),
    ("temperature_decay", 0.999995, POSITIVE),
    ("temperature_floor", 0.5, POSITIVE),
    ("collapse_perplexity", 1.5, Range::Real(0.0, 1e9)),
    ("layerdrop", 0.0, RATE),
];

const FINETUNE: &[Own] = &[
    ("lr", 5e-4, Range::Real(0.0, 1e3)),
    ("warmup_share", 0.1, SHARE),
    ("hold_share", 0.4, SHARE),
    ("decay_share", 0.5, SHARE),
    ("lr_start", 0.01, POSITIVE),
    ("lr_end", 0.05, POSITIVE),
    ("freeze_updates", 10_000.0, COUNT),
    ("max_samples", 0.0, COUNT),
    ("min_samples", 400.0, COUNT),
    ("mask_prob", 0.65, SHARE),
    ("mask_length", 10.0, SIZE),
    ("mask_min", 2.0, COUNT),
    ("channel_mask_prob", 0.25, SHARE),
    ("channel_mask_length", 64.0, SIZE),
    ("layerdrop", 0.0, RATE),
];

fn own(list: &[Own]) -> Vec<Declared> {
    let one = |(name, value, range): &Own| Declared {
        name: name.to_string(),
        value: SettingValue::Number(*value),
        range: range.clone(),
        doc: String::new(),
    };
    list.iter().map(one).collect()
}

/// A task of the model, with its settings at their defaults.
pub fn task(name: &str) -> Task {
    artifact().task(name).expect("the model has it").clone()
}

/// What fills the inputs of a task.
pub fn feeds(name: &str) -> Feeds {
    let artifact = artifact();
    let settings = Settings::new(&artifact, name).expect("the model has it");
    Feeds::bind(&artifact, &task(name), &settings, Target::default()).expect("defaults are sound")
}

pub fn geometry() -> Geometry {
    Geometry::new(&artifact(), &task("transcribe")).expect("the task takes recordings")
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
    /// Samples of a batch that fit into memory.
    pub room: Option<usize>,
    /// Samples of a batch for which memory is had while it runs.
    pub grows: Option<usize>,
    /// The device fails from this run on, counted from 0.
    pub dies_at: Option<usize>,
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
            room: None,
            grows: None,
            dies_at: None,
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
    fn admit(&self, program: &str, inputs: &[(&str, &Tensor)], remedy: &str) -> Option<Result<(), Error>> {
        let available = self.room?;
        let wave = inputs.iter().find(|(name, _)| *name == "wave")?.1;
        let needed = wave.shape.iter().product();
        let refusal = Error::Memory {
            program: program.into(),
            needed,
            available,
            remedy: remedy.into(),
        };
        Some(if needed > available { Err(refusal) } else { Ok(()) })
    }
    fn peak_bytes(&self, _: &str, inputs: &[(&str, &Tensor)]) -> Result<usize, Error> {
        Ok(inputs.iter().map(|(_, t)| 4 * t.shape.iter().product::<usize>()).sum())
    }

    fn run(&mut self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let get = |name: &str| inputs.iter().find(|(n, _)| *n == name).map(|(_, t)| *t);
        let wave = get("wave").expect("every program takes it");
        let (rows, samples) = (wave.shape[0], wave.shape[1]);
        if let Some(available) = self.grows.filter(|most| rows * samples > *most) {
            return Err(Error::Room {
                what: "the batch".into(),
                needed: rows * samples,
                available,
                remedy: "free some".into(),
            });
        }
        if self.dies_at.is_some_and(|at| self.runs >= at) {
            return Err(Error::program(program, "the device was unplugged"));
        }
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
                one("count", weight),
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

    fn squares(&mut self, (start, length): (usize, usize)) -> Result<Vec<f32>, Error> {
        let own = &self.grads[start..start + length];
        let block = |values: &[f32]| values.iter().map(|g| g * g).sum();
        Ok(own.chunks(NORM_BLOCK).map(block).collect())
    }

    fn forget_moments(&mut self, (start, length): (usize, usize)) {
        self.first[start..start + length].fill(f32::NAN);
        self.second[start..start + length].fill(f32::NAN);
    }

    fn adam_over(&mut self, (start, length): (usize, usize), a: &AdamStep) -> Result<(), Error> {
        let rate = a.lr * (1.0 - a.beta2.powi(a.step as i32)).sqrt() / (1.0 - a.beta1.powi(a.step as i32));
        for i in start..start + length {
            let g = self.grads[i] * a.scale;
            self.first[i] = a.beta1 * self.first[i] + (1.0 - a.beta1) * g;
            self.second[i] = a.beta2 * self.second[i] + (1.0 - a.beta2) * g * g;
            self.params[i] -= a.lr * a.weight_decay * self.params[i];
            self.params[i] -= rate * self.first[i] / (self.second[i].sqrt() + a.eps);
        }
        Ok(())
    }
}
