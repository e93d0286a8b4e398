//! Tasks: what users ask of a compiled model. A model file declares tasks; the runtime's engine runs them, and knows no
//! program, input or parameter by name except through them.

mod pattern;
pub mod range;

pub use pattern::matches;
pub use range::Range;

use crate::artifact::SettingValue;
use crate::dim::Dim;
use serde::{Deserialize, Serialize};

/// Something that a user asks of a compiled model. Its name is the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    /// One line for `--help`.
    pub about: String,
    /// Every setting that the task understands: its own, and the engine's for its kind.
    pub settings: Vec<Declared>,
    /// Values for other amounts of data than the defaults are for, the least amount first; of a training the nearest is taken.
    pub by_hours: Vec<AtHours>,
    /// What fills the inputs of its programs, by the input's name. An input f32 [1] that is missing here takes the value of
    /// the setting of its name.
    pub feeds: Vec<(String, Feed)>,
    pub does: Does,
}

impl Task {
    pub fn training(&self) -> Option<&Training> {
        match &self.does {
            Does::Train(t) => Some(t),
            Does::Predict(_) => None,
        }
    }

    pub fn prediction(&self) -> Option<&Prediction> {
        match &self.does {
            Does::Train(_) => None,
            Does::Predict(p) => Some(p),
        }
    }

    /// Patterns of the parameters that have a row per class of what it predicts.
    pub fn heads(&self) -> &[String] {
        self.training().map_or(&[], |t| &t.heads)
    }

    /// Whether it turns recordings into text, with weights that do not change.
    pub fn gives_text(&self) -> bool {
        self.prediction().is_some_and(|p| matches!(p.gives, Gives::Text { .. }))
    }

    /// Names of its programs; one may come twice.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        let training = self.training().into_iter();
        let of_training = training.flat_map(|t| t.phases.iter().map(|p| &p.program).chain([&t.validates]));
        let of_prediction = self.prediction().into_iter().map(|p| &p.program);
        of_training.chain(of_prediction).map(String::as_str)
    }

    /// The output of its programs that says which class is how likely, where there is one.
    pub fn logits(&self) -> Option<&str> {
        match &self.does {
            Does::Train(t) => t.judge.as_ref().map(|j| match j {
                Judge::Text { logits } | Judge::Label { logits } => logits.as_str(),
            }),
            Does::Predict(p) => match &p.gives {
                Gives::Text { logits } | Gives::Label { logits } => Some(logits),
                Gives::States { .. } => None,
            },
        }
    }
}

/// The kinds of task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Does {
    Train(Box<Training>),
    /// Recordings to texts, labels or states, with weights that do not change.
    Predict(Prediction),
}

/// A program over recordings, and what becomes of its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub program: String,
    pub gives: Gives,
}

/// What a prediction writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Gives {
    /// The text of logits [B, T, classes] by connectionist temporal classification.
    Text { logits: String },
    /// The likeliest label of a clip, of logits [B, classes].
    Label { logits: String },
    /// An output [B, T, width] after the first n layers, which the input `keep` chooses.
    States { states: String, keep: String },
}

/// How a task learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Programs in turn, each until the update that it names; the last has no end.
    pub phases: Vec<Phase>,
    /// The program that validates.
    pub validates: String,
    pub data: DataRules,
    pub schedule: Schedule,
    /// What losses and gradients are divided by.
    pub divide_by: Divisor,
    /// Numbers of the log, by name.
    pub report: Vec<(String, Report)>,
    /// How predictions of validation clips are compared with what they should be.
    pub judge: Option<Judge>,
    /// What makes one checkpoint better than another: the first difference decides.
    pub best: Vec<Criterion>,
    pub warn: Vec<Warning>,
    /// Patterns of parameters that weights to start from may lack; these start at random.
    pub may_lack: Vec<String>,
    /// Patterns of parameters that the task's folder holds; `!` in front takes out.
    pub exports: Vec<String>,
    /// Patterns of the parameters that have a row per class of what is predicted.
    pub heads: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    pub program: String,
    /// Number of updates after which the next phase begins; `None` for the last.
    pub until: Option<Amount>,
}

/// Which clips are taken, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRules {
    /// Samples that a clip has at least.
    pub min: Amount,
    /// Samples that it has at most; 0 for no limit.
    pub max: Amount,
    /// What becomes of longer ones.
    pub longer: Longer,
    /// Whether silent clips are left out.
    pub drop_silent: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Longer {
    /// They are left out.
    Dropped,
    /// They are cropped at random; and so are all of a batch to the shortest, unless the amount is 1.
    Cropped { pad: Amount },
}

/// Learning rate after so many updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    Constant {
        peak: Amount,
    },
    /// Linear from 0 to `peak`, then linear to 0.
    WarmupLinear {
        peak: Amount,
        warmup: Amount,
    },
    /// Linear from `start` x `peak`, constant, exponential to `end` x `peak`; `rise`, `hold` and `fall` are shares of all
    /// updates.
    TriStage {
        peak: Amount,
        rise: Amount,
        hold: Amount,
        fall: Amount,
        start: Amount,
        end: Amount,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Divisor {
    /// The sum of an output of the program.
    Output(String),
    Clips,
}

/// How a number of the log comes from sums over micro-batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// An output over the divisor, from nats to bits.
    Bits(String),
    /// An output over the frames of all clips, from nats to bits.
    BitsPerFrame(String),
    /// An output over the divisor.
    Share(String),
    /// Every element of an output, averaged over micro-batches: `NAME_0`, `NAME_1`, ...
    Each(String),
    /// The divisor of a micro-batch.
    Weight,
}

/// How predictions are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Judge {
    /// Texts: gives `wer` and `cer`, in percent.
    Text { logits: String },
    /// One label per clip: gives `accuracy`, in percent.
    Label { logits: String },
}

/// What is small in a good model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Criterion {
    /// An output over the divisor, or a number that the judge gives.
    Least(String),
    Greatest(String),
}

/// A sign that training goes wrong, reported once until it has gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// In a word or two, for the log.
    pub name: String,
    pub when: Sign,
    /// What to do.
    pub remedy: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sign {
    /// The least element of an output, averaged over micro-batches, is below this.
    Below { output: String, least: Amount },
    /// After so many updates an output over the divisor is that of a guess among `others` + 1.
    Guess {
        output: String,
        others: Amount,
        after: Amount,
    },
}

/// A number: fixed, or the value of a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Amount {
    Fixed(f64),
    Setting(String),
}

/// What fills an input: one of the runtime's feeds, with its arguments in the order of its [`Signature`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub kind: String,
    pub args: Vec<Arg>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Arg {
    Amount(Amount),
    /// Another input, by its name.
    Input(String),
    Size(Dim),
}

/// What the language knows of a feed.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// As a model file writes it: `Spans`.
    pub name: &'static str,
    pub about: &'static str,
    pub dtype: crate::scalar::DType,
    /// The axes of what it fills: each a name, or a number for a fixed size.
    pub axes: &'static [&'static str],
    pub params: &'static [FeedParam],
}

impl Signature {
    /// The number of axes.
    pub const fn rank(&self) -> usize {
        self.axes.len()
    }
}

/// A named argument of a feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedParam {
    pub name: &'static str,
    pub kind: ParamKind,
}

impl FeedParam {
    pub const fn amount(name: &'static str) -> FeedParam {
        FeedParam {
            name,
            kind: ParamKind::Amount,
        }
    }

    pub const fn size(name: &'static str) -> FeedParam {
        FeedParam {
            name,
            kind: ParamKind::Size,
        }
    }

    /// An input that a feed of this kind fills.
    pub const fn input(name: &'static str, feed: &'static str) -> FeedParam {
        FeedParam {
            name,
            kind: ParamKind::Input(feed),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamKind {
    Amount,
    /// An input that the named feed fills.
    Input(&'static str),
    Size,
}

/// What the frontend has to know of the runtime: feeds, and the settings that the engine brings for each kind of task.
#[derive(Clone, Copy)]
pub struct Host {
    pub feeds: &'static [Signature],
    pub training: fn() -> Vec<Declared>,
    /// Further settings of a training that is judged by texts.
    pub texts: fn() -> Vec<Declared>,
    pub prediction: fn() -> Vec<Declared>,
    /// Settings of the engine that decide which clips there are to train on.
    pub of_the_data: &'static [&'static str],
    /// Commands that every compiled model has; no task takes such a name.
    pub reserved: &'static [&'static str],
}

/// Values of settings for an amount of data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtHours {
    pub hours: f64,
    pub values: Vec<(String, SettingValue)>,
}

/// A setting as it is declared: once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    pub name: String,
    pub value: SettingValue,
    pub range: Range,
    pub doc: String,
}
