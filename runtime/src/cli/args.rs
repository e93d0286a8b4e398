//! The command line of a compiled program: a command for each of the model's tasks, and those that every program has.

use crate::commands::{
    align, classify, data, decode, evaluate, features, listen, lm, report, score, serve, shell, transcribe,
};
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};
use ir::artifact::Artifact;
use ir::task::{Does, Gives, Judge, Task};
use std::path::PathBuf;

/// A compiled speech model: trains, and turns recordings into what it has learnt.
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
    /// Threads to compute with; 0: one per core.
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
    /// Find texts in logits again, with a language model, a lexicon, hotwords: no audio is read.
    #[command(
        after_help = "Examples:\n  OUT transcribe --weights run2 --logits heard.safetensors *.wav\n  OUT decode heard.safetensors \
                      --vocab run2 --lm lm.arpa\n  OUT decode heard.safetensors --vocab run2 --lm lm.bin --tune texts.tsv\n  OUT \
                      decode heard.safetensors --vocab run2 --lexicon words.txt --timestamps word"
    )]
    Decode(decode::DecodeArgs),
    /// Find where the words of a known text are said; or how well the texts of a corpus fit its recordings.
    #[command(
        after_help = "TEXT has a segment a line; words keep their spelling. What the vocabulary cannot write, as 2014, is found by \
                      what stands around it.\nExamples:\n  OUT align --weights run2 speech.wav --text speech.txt --format srt > \
                      speech.srt\n  OUT align --weights run2 book.mp3 --text book.txt --timestamps word --format json\n  OUT align \
                      --weights run2 --manifest corpus.tsv --min-score -2 -o clean.tsv"
    )]
    Align(align::AlignArgs),
    /// Make a language model of texts, for --lm.
    #[command(
        after_help = "The method is modified Kneser-Ney, as lmplz of KenLM has it.\nExamples:\n  OUT lm texts.txt more.txt.gz --vocab \
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
    /// Answer requests for transcripts over HTTP, as OpenAI's clients make them; with a page at /.
    #[command(
        after_help = "Paths: POST /v1/audio/transcriptions, GET /v1/models, /health, /metrics (Prometheus), / (a page), and the \
                      WebSocket /v1/audio/stream.\nExamples:\n  OUT serve --weights run2\n  OUT serve --weights run2 --port 9000 --queue \
                      64 --lm lm.bin\n  curl -F file=@a.wav -F response_format=srt http://127.0.0.1:8080/v1/audio/transcriptions"
    )]
    Serve(serve::ServeArgs),
    /// Transcribe recordings whose texts are known, and count the errors.
    #[command(after_help = "Example: OUT evaluate --weights run2 --data test.tsv --hyp heard.tsv")]
    Evaluate(evaluate::EvaluateArgs),
    /// Look at data before training on them.
    Data(data::DataArgs),
    /// Count the errors between two text files.
    #[command(after_help = "Example: OUT score texts.tsv heard.tsv --json")]
    Score(score::ScoreArgs),
    /// Show what runs logged: one HTML file with curves, settings and samples.
    #[command(
        after_help = "Examples:\n  OUT report run1\n  OUT report run1 run2 -o compared.html --tensorboard events/"
    )]
    Report(report::ReportArgs),
    /// Losses and gradients of one given batch, to compare with other implementations.
    #[command(
        after_help = "The batch holds wave f32 [B,N], lengths i64 [B], mask u8 [B,T], negatives i64 [B,M,K], and \
                            optionally gumbel f32 [B,M,G,V], temperature f32 [1]; for finetune labels i64 [B,L] padded \
                            with -100, and optionally mask and channel_mask.\nThe result holds loss (the undivided \
                            sum), its parts, logits, and grad.NAME for every trained parameter."
    )]
    Step(StepArgs),
    /// What this model is, and every setting with its default.
    Info,
    /// Measure speed on made-up clips.
    Bench(BenchArgs),
    /// Print what a shell needs to complete command lines.
    #[command(
        after_help = "Examples:\n  OUT completions bash > ~/.local/share/bash-completion/completions/OUT\n  OUT completions fish > \
                      ~/.config/fish/completions/OUT.fish"
    )]
    Completions(shell::CompletionsArgs),
    /// Print the manual page of a command, or write them all.
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
    /// Recordings to learn from; may be given several times.
    #[arg(long, value_name = "D", required = true)]
    pub data: Vec<PathBuf>,
    /// Recordings to validate on; may be given several times. By default a share of the data.
    #[arg(long, value_name = "D")]
    pub valid: Vec<PathBuf>,
    /// Go on where clips cannot be used, up to this share of them (all, where no share is given); by default 2 % may be left
    /// out.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "1", value_parser = share)]
    pub allow_skips: Option<f64>,
    /// Folder for checkpoints, log and model.
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// Weights to start from: a run, a Hugging Face folder, or a file of weights (.pt, .bin, .safetensors).
    #[arg(long, value_name = "RUN")]
    pub init: Option<PathBuf>,
    /// Go on with the run in --out from its last checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// Change a setting of the task; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// Of trainings that learn texts.
#[derive(Args, Default)]
pub struct TextArgs {
    /// Tokens (vocab.json or dict.ltr.txt), or `auto`: made of the texts. By default those of --init, or made of the texts where
    /// it has none.
    #[arg(long, value_name = "auto|FILE")]
    pub vocab: Option<PathBuf>,
    /// What a token stands for. `jamo`: the letters of Korean syllables, composed again in output. `tokens`: what spaces separate,
    /// as phonemes.
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
    #[arg(long, value_name = "FILE.safetensors")]
    pub batch: PathBuf,
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// A program of a training; by default that of the training whose labels the batch has, or that needs none.
    #[arg(long)]
    pub program: Option<String>,
    /// No dropout of any kind, and every layer kept.
    #[arg(long)]
    pub no_dropout: bool,
    /// Change a setting of the recipe; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

#[derive(Args)]
pub struct BenchArgs {
    /// A program of a task, as `info` lists them; by default that of the first task that turns recordings into text.
    #[arg(long)]
    pub program: Option<String>,
    /// Length of each clip.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Clips.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// Time whole updates: the program, the norm of its gradients, and Adam.
    #[arg(long)]
    pub update: bool,
    /// Then run as often again with every launch timed, and show where the time of a run goes: per kernel its time and
    /// launches, its GFLOP/s and GB/s, which of two ceilings measured in the same run bounds it, how much of that it reaches, and
    /// how long its threads wait for the busiest one.
    #[arg(long)]
    pub profile: bool,
    /// Kernels that the profile shows one by one.
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
    let global = <Global as clap::CommandFactory>::command();
    let about = global.get_about().cloned().unwrap_or_default();
    // A list of commands brings its own description.
    let mut all = Fixed::augment_subcommands(global).about(about);
    for (place, task) in artifact.tasks.iter().enumerate() {
        let own = clap::Command::new(task.name.clone())
            .about(task.about.clone())
            .display_order(place);
        all = all.subcommand(with_args(own, task));
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
