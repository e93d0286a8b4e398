//! The command line of a compiled program: a command for each of the model's tasks, and those that every program has.

use crate::commands::{
    align, classify, data, decode, evaluate, features, listen, lm, plan, report, score, serve, shell, transcribe,
};
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};
use ir::artifact::Artifact;
use ir::task::{Does, Gives, Judge, Task};
use std::path::PathBuf;

/// A compiled speech model: trains, and predicts from recordings.
#[derive(Parser)]
#[command(
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong command line or setting; for the GPU: 3 no driver, 4 driver too old, 5 no \
                  suitable device, 6 too little memory, 7 the device failed; for the CPU: 8 it lacks an instruction set; 9 \
                  unusable recordings or labels, 10 too little memory, 11 unusable or damaged weights, 12 unusable run folder, \
                  13 training failed, 14 one of several ranks is gone, or they do not go together"
)]
pub struct Global {
    /// Number of threads; 0: one per core.
    #[arg(long, global = true, default_value_t = 0)]
    pub threads: usize,
    /// For executables compiled for the GPU: `auto` (the first suitable GPU), `cuda:N`, or `emulator` (no GPU needed,
    /// slow); by default cuda:0. The code is the newest that the GPU runs, on the emulator the oldest; `cuda:N:ARCH` and
    /// `emulator:ARCH`, with ARCH as in sm_80, choose another.
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<String>,
}

/// Commands that every program has.
#[derive(Subcommand)]
pub enum Fixed {
    /// Decode logits with a language model, a lexicon or hotwords; reads no audio.
    #[command(
        after_help = "Examples:\n  OUT transcribe --weights run2 --logits heard.safetensors *.wav\n  OUT decode heard.safetensors \
                      --vocab run2 --lm lm.arpa\n  OUT decode heard.safetensors --vocab run2 --lm lm.bin --tune texts.tsv\n  OUT \
                      decode heard.safetensors --vocab run2 --lexicon words.txt --timestamps word"
    )]
    Decode(decode::DecodeArgs),
    /// Align a known text with its recording, or score how well the texts of a corpus fit.
    #[command(
        after_help = "TEXT has one segment per line; words keep their spelling. What the vocabulary cannot write, as 2014, is found by \
                      its neighbours.\nExamples:\n  OUT align --weights run2 speech.wav --text speech.txt --format srt > \
                      speech.srt\n  OUT align --weights run2 book.mp3 --text book.txt --timestamps word --format json\n  OUT align \
                      --weights run2 --manifest corpus.tsv --min-score -2 -o clean.tsv"
    )]
    Align(align::AlignArgs),
    /// Estimate a language model from texts, for --lm.
    #[command(
        after_help = "The method is modified Kneser-Ney, as in KenLM's lmplz.\nExamples:\n  OUT lm texts.txt more.txt.gz --vocab \
                      run2 -o lm.arpa\n  OUT lm texts.txt --vocab run2 --order 4 --prune 0 0 1 -o lm.bin\n  OUT lm texts.txt --vocab run2 \
                      --letters --order 6 -o letters.bin"
    )]
    Lm(lm::LmArgs),
    /// Transcribe speech while it is spoken, from standard input or a microphone.
    #[command(
        after_help = "Prints texts as they are found: on a terminal the current line changes until it is final, elsewhere a line for \
                      each utterance, with --json a line for each event.\nExamples:\n  OUT listen --weights run2 --mic\n  arecord -q -f \
                      S16_LE -r 16000 -c 1 -t raw | OUT listen --weights run2 --json\n  ffmpeg -v error -i URL -f s16le -ar 16000 -ac 1 - | OUT \
                      listen --weights run2"
    )]
    Listen(listen::ListenArgs),
    /// Serve transcription over HTTP with OpenAI's interface; with a page at /.
    #[command(
        after_help = "Paths: POST /v1/audio/transcriptions, GET /v1/models, /health, /metrics (Prometheus), / (a page), and the \
                      WebSocket /v1/audio/stream.\nExamples:\n  OUT serve --weights run2\n  OUT serve --weights run2 --port 9000 --queue \
                      64 --lm lm.bin\n  curl -F file=@a.wav -F response_format=srt http://127.0.0.1:8080/v1/audio/transcriptions"
    )]
    Serve(serve::ServeArgs),
    /// Transcribe recordings with known texts, and report error rates.
    #[command(after_help = "Example: OUT evaluate --weights run2 --data test.tsv --hyp heard.tsv")]
    Evaluate(evaluate::EvaluateArgs),
    /// Inspect data before training.
    Data(data::DataArgs),
    /// Report error rates between two text files.
    #[command(after_help = "Example: OUT score texts.tsv heard.tsv --json")]
    Score(score::ScoreArgs),
    /// Write an HTML report of runs: curves, settings and samples.
    #[command(
        after_help = "Examples:\n  OUT report run1\n  OUT report run1 run2 -o compared.html --tensorboard events/"
    )]
    Report(report::ReportArgs),
    /// Compute losses and gradients of one given batch, to compare with other implementations.
    #[command(
        after_help = "The batch holds wave f32 [B,N], lengths i64 [B], mask u8 [B,T], negatives i64 [B,M,K], and \
                            optionally gumbel f32 [B,M,G,V], temperature f32 [1]; for finetune labels i64 [B,L] padded \
                            with -100, and optionally mask and channel_mask.\nThe result holds loss (the undivided \
                            sum), its parts, logits, and grad.NAME for every trained parameter."
    )]
    Step(StepArgs),
    /// Print what this executable is, and every setting with its default.
    Info,
    /// Measure speed on synthetic clips.
    Bench(BenchArgs),
    /// Compute memory and time of a recipe on so many GPUs from the time of one step.
    #[command(
        after_help = "Examples:\n  OUT bench --program pretrain --update --seconds 15.6 --batch 5\n  OUT plan --seconds-per-step 0.127 \
                      --gpus 8 --gpus 64 --bandwidth 46"
    )]
    Plan(plan::PlanArgs),
    /// Print a shell completion script.
    #[command(
        after_help = "Examples:\n  OUT completions bash > ~/.local/share/bash-completion/completions/OUT\n  OUT completions fish > \
                      ~/.config/fish/completions/OUT.fish"
    )]
    Completions(shell::CompletionsArgs),
    /// Print the manual page of a command, or write all pages.
    #[command(after_help = "Examples:\n  OUT man report | man -l -\n  OUT man --out ~/.local/share/man/man1")]
    Man(shell::ManArgs),
}

/// Names of the commands that every program has: no task can be called so.
pub const RESERVED: &[&str] = &[
    "evaluate",
    "data",
    "score",
    "report",
    "step",
    "info",
    "bench",
    "plan",
    "help",
    "completions",
    "man",
    "decode",
    "align",
    "lm",
    "listen",
    "serve",
];

#[derive(Args)]
pub struct TrainArgs {
    /// Training recordings; may be repeated.
    #[arg(long, value_name = "D", required = true)]
    pub data: Vec<PathBuf>,
    /// Validation recordings; may be repeated. Default: a share of the training data.
    #[arg(long, value_name = "D")]
    pub valid: Vec<PathBuf>,
    /// Continue if clips cannot be used, up to this share of them (without a value: any number); by default 2 % may be left
    /// out.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "1", value_parser = share)]
    pub allow_skips: Option<f64>,
    /// Folder for checkpoints, log and model.
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// Initial weights: a run, a Hugging Face folder, or a file of weights (.pt, .bin, .safetensors).
    #[arg(long, value_name = "RUN")]
    pub init: Option<PathBuf>,
    /// Continue the run in --out from its last checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// Change a setting of the task; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// Of trainings that learn texts.
#[derive(Args, Default)]
pub struct TextArgs {
    /// Vocabulary (vocab.json or dict.ltr.txt), or `auto`: made of the texts. Default: that of --init, or made of the texts if
    /// it has none.
    #[arg(long, value_name = "auto|FILE")]
    pub vocab: Option<PathBuf>,
    /// Unit of the vocabulary. `jamo`: the letters of Korean syllables, composed in output. `tokens`: whatever spaces separate,
    /// such as phonemes.
    #[arg(long, value_name = "letters|jamo|tokens")]
    pub units: Option<String>,
    /// Learn punctuation instead of dropping it.
    #[arg(long)]
    pub keep_punctuation: bool,
}

#[derive(Args)]
pub struct StepArgs {
    /// A run, a Hugging Face folder, or a file of weights (.pt, .bin, .safetensors).
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// The batch; see below.
    #[arg(long, value_name = "FILE.safetensors")]
    pub batch: PathBuf,
    /// Where the result goes; see below.
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// A training program. Default: that of the task whose labels the batch has, or that needs none.
    #[arg(long)]
    pub program: Option<String>,
    /// Turn off dropout and layerdrop.
    #[arg(long)]
    pub no_dropout: bool,
    /// Change a setting of the task; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

#[derive(Args)]
pub struct BenchArgs {
    /// A program of a task, as `info` lists them. Default: that of the first task that transcribes.
    #[arg(long)]
    pub program: Option<String>,
    /// Seconds of each clip.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Number of clips.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Timed runs; the fastest and the median are printed.
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// Time whole updates: the program, the gradient norm, and Adam.
    #[arg(long)]
    pub update: bool,
    /// Also run with every launch timed, and show where the time goes: per kernel its time and
    /// launches, its GFLOP/s and GB/s, which of two ceilings measured in the same run bounds it, how much of that it reaches, and
    /// how long threads wait for the slowest.
    #[arg(long)]
    pub profile: bool,
    /// Kernels that the profile lists.
    #[arg(long, default_value_t = 25, requires = "profile")]
    pub top: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What a command line asks for.
pub enum Asked {
    Fixed(Box<Fixed>),
    Train(String, Box<TrainArgs>, TextArgs),
    Transcribe(String, Box<transcribe::TranscribeArgs>),
    Classify(String, Box<classify::ClassifyArgs>),
    Features(String, Box<features::FeaturesArgs>),
}

/// The whole command line of a program.
pub fn command_line(artifact: &Artifact) -> clap::Command {
    command_line_of(&artifact.tasks)
}

/// The command line of a program that these tasks are compiled into.
pub fn command_line_of(tasks: &[Task]) -> clap::Command {
    let global = <Global as clap::CommandFactory>::command();
    let about = global.get_about().cloned().unwrap_or_default();
    // A list of commands brings its own description.
    let mut all = Fixed::augment_subcommands(global).about(about);
    for (place, task) in tasks.iter().enumerate() {
        let own = clap::Command::new(task.name.clone())
            .about(task.about.clone())
            .display_order(place);
        // Groups of arguments bring descriptions of their own.
        all = all.subcommand(with_args(own, task).about(task.about.clone()).long_about(None));
    }
    all
}

fn with_args(own: clap::Command, task: &Task) -> clap::Command {
    let name = &task.name;
    match &task.does {
        Does::Train(training) => {
            let own = TrainArgs::augment_args(own).after_help(format!(
                "DATA is a folder of recordings, a fairseq manifest (.tsv), a LibriSpeech folder, or a table with a header or \
                 `path<TAB>text`; texts may also lie beside the recordings (.ltr, .trans.txt, .txt).\nExamples:\n  OUT {name} \
                 --data recordings/ --out run1\n  OUT {name} --data recordings/ --out run1 --resume"
            ));
            match training.judge {
                Some(Judge::Text { .. }) => TextArgs::augment_args(own),
                _ => own,
            }
        }
        Does::Predict(p) => match p.gives {
            Gives::Text { .. } => transcribe::TranscribeArgs::augment_args(own).after_help(format!(
                "A recording that cannot be read does not stop the others; it is named at the end, and the exit code is 9.\n\
                 Examples:\n  OUT {name} --weights run2 a.wav b.flac\n  OUT {name} --weights run2 folder/ list.txt long.tsv\n  \
                 OUT {name} --weights run2 --format srt --output-dir subtitles/ lecture.mp3\n  OUT {name} --weights run2 --lm \
                 lm.arpa --timestamps word --format json a.wav\n  curl URL | OUT {name} --weights run2 -"
            )),
            Gives::Label { .. } => classify::ClassifyArgs::augment_args(own).after_help(format!(
                "Prints path, label and its probability, with tabs between.\nExample:\n  OUT {name} --weights run1 a.wav folder/"
            )),
            Gives::States { .. } => features::FeaturesArgs::augment_args(own).after_help(format!(
                "Examples:\n  OUT {name} --weights run1 --layer 9 -o features/ recordings/\n  OUT {name} --weights run1 --layer 0 \
                 --layer 12 -o states.safetensors a.wav b.wav"
            )),
        },
    }
}

/// What the words of a command line ask for.
pub fn parse(artifact: &Artifact, matches: &ArgMatches) -> Result<(Global, Asked), clap::Error> {
    let global = Global::from_arg_matches(matches)?;
    let own = matches
        .subcommand()
        .and_then(|(name, own)| Some((artifact.task(name)?, own)));
    let Some((task, own)) = own else {
        return Ok((global, Asked::Fixed(Box::new(Fixed::from_arg_matches(matches)?))));
    };
    let name = task.name.clone();
    let asked = match &task.does {
        Does::Train(training) => {
            let texts = match training.judge {
                Some(Judge::Text { .. }) => TextArgs::from_arg_matches(own)?,
                _ => TextArgs::default(),
            };
            Asked::Train(name, Box::new(TrainArgs::from_arg_matches(own)?), texts)
        }
        Does::Predict(p) => match p.gives {
            Gives::Text { .. } => Asked::Transcribe(name, Box::new(FromArgMatches::from_arg_matches(own)?)),
            Gives::Label { .. } => Asked::Classify(name, Box::new(FromArgMatches::from_arg_matches(own)?)),
            Gives::States { .. } => Asked::Features(name, Box::new(FromArgMatches::from_arg_matches(own)?)),
        },
    };
    Ok((global, asked))
}

/// A share, as 0.1 or 10%.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim(), 0.01),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map(|n| n * unit);
    share
        .ok()
        .filter(|s| (0.0..=1.0).contains(s))
        .ok_or_else(|| "a share is a number from 0 to 1, or a percentage".into())
}
