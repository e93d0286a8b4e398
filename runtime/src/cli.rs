//! The commands of a compiled program.

use crate::bench::{Options as BenchOptions, bench};
use crate::commands::{data, evaluate, features, report, score, shell, transcribe};
use crate::error::Error;
use crate::info::info;
use crate::profile::{Flops, Peaks};
use crate::session::{Session, Tensor};
use crate::settings::Settings;
use crate::step::{Options as StepOptions, step};
use crate::trainer::{Options, finetune, pretrain};
use clap::{Args, CommandFactory, Parser, Subcommand};
use ir::artifact::Artifact;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What executes programs: the one part that a compiled program's `main` supplies.
pub trait Runner {
    fn artifact(&self) -> &Artifact;

    /// Memory for the parameters and threads to compute with.
    /// `device` is the value of `--device`.
    fn open(&self, threads: usize, device: Option<&str>) -> Result<Box<dyn Session>, Error>;

    /// Floating-point operations of a run with these inputs, without those that prepare it.
    fn flops(&self, program: &str, inputs: &[(&str, &Tensor)]) -> Result<Flops, Error>;

    /// Most GFLOP/s that multiply-adds of these kinds reach on this machine, measured; `None` where there is no measurement.
    fn peaks(&self, threads: usize, of: &Flops) -> Option<Peaks>;

    /// Most GB/s between processor and memory, measured; `None` where there is no measurement.
    fn bandwidth_gbs(&self, _threads: usize) -> Option<f64> {
        None
    }
}

/// A compiled speech model: learns from unlabelled speech, then from little labelled speech, and transcribes.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  OUT pretrain --data recordings/ --out run1\n  OUT finetune --data labelled.tsv --init run1 \
                  --out run2\n  OUT transcribe --weights run2 *.wav\n\nExit codes: 0 done, 1 failed, 2 wrong command \
                  line or setting; for the GPU: 3 no driver, 4 driver too old, 5 no suitable device, 6 too little memory, 7 \
                  the device failed; for the CPU: 8 it lacks an instruction set; 9 unusable recordings or labels, 10 too little \
                  memory, 11 unusable or damaged weights, 12 unusable run folder, 13 training failed"
)]
struct Cli {
    /// Threads to compute with; 0: one per core.
    #[arg(long, global = true, default_value_t = 0)]
    threads: usize,
    /// For executables compiled for the GPU: `auto` (the first suitable GPU), `cuda:N`, or `emulator` (no GPU needed,
    /// slow); by default cuda:0. The code is the newest that the GPU runs, on the emulator the oldest; `cuda:N:ARCH` and
    /// `emulator:ARCH`, with ARCH as in sm_80, choose another.
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Learn from recordings without text.
    #[command(
        after_help = "DATA is a folder of recordings, a fairseq manifest (.tsv), a LibriSpeech folder, or a table \
                            `path<TAB>text`.\nExample: OUT pretrain --data recordings/ --out run1 --set updates=20000"
    )]
    Pretrain(TrainArgs),
    /// Learn letters from recordings with text.
    #[command(
        after_help = "DATA as for pretrain, with texts: a table `path<TAB>text`, .ltr beside .tsv, .trans.txt, or \
                            a .txt beside each recording.\nExample: OUT finetune --data labelled.tsv --init run1 --out run2"
    )]
    Finetune(TrainArgs),
    /// Write what is said in recordings, one line each: path, tab, text.
    #[command(
        after_help = "A recording that cannot be read does not stop the others; it is named at the end, and the exit code is 9.\n\
                      Examples:\n  OUT transcribe --weights run2 a.wav b.flac\n  OUT transcribe --weights run2 folder/ \
                      list.txt long.tsv\n  OUT transcribe --weights run2 --set window_seconds=30 lecture.mp3\n  \
                      curl URL | OUT transcribe --weights run2 -"
    )]
    Transcribe(transcribe::TranscribeArgs),
    /// Transcribe recordings whose texts are known, and count the errors.
    #[command(after_help = "Example: OUT evaluate --weights run2 --data test.tsv --hyp heard.tsv")]
    Evaluate(evaluate::EvaluateArgs),
    /// Look at data before training on them.
    Data(data::DataArgs),
    /// Count the errors between two text files.
    #[command(after_help = "Example: OUT score texts.tsv heard.tsv --json")]
    Score(score::ScoreArgs),
    /// Write hidden states of layers, to use the model as a front end.
    #[command(
        after_help = "Examples:\n  OUT features --weights run1 --layer 9 -o features/ recordings/\n  OUT features --weights \
                      run1 --layer 0 --layer 12 -o states.safetensors a.wav b.wav"
    )]
    Features(features::FeaturesArgs),
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
    #[command(after_help = "Examples:\n  OUT man finetune | man -l -\n  OUT man --out ~/.local/share/man/man1")]
    Man(shell::ManArgs),
}

#[derive(Args)]
struct TrainArgs {
    /// Recordings to learn from; may be given several times.
    #[arg(long, value_name = "D", required = true)]
    data: Vec<PathBuf>,
    /// Recordings to validate on; may be given several times. By default a share of the data.
    #[arg(long, value_name = "D")]
    valid: Vec<PathBuf>,
    /// Go on where clips cannot be used, up to this share of them (all, where no share is given); by default 2 % may be left
    /// out.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "1", value_parser = share)]
    allow_skips: Option<f64>,
    /// Folder for checkpoints, log and model.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Folder with weights to start from: a run or a Hugging Face folder.
    #[arg(long, value_name = "RUN")]
    init: Option<PathBuf>,
    /// finetune: tokens (vocab.json or dict.ltr.txt), or `auto`: made of the texts. By default those of --init, or made of the
    /// texts where it has none.
    #[arg(long, value_name = "auto|FILE")]
    vocab: Option<PathBuf>,
    /// finetune: what a token stands for. `jamo`: the letters of Korean syllables, composed again in output. `tokens`: what
    /// spaces separate, as phonemes.
    #[arg(long, value_name = "letters|jamo|tokens")]
    units: Option<String>,
    /// finetune: learn punctuation instead of dropping it.
    #[arg(long)]
    keep_punctuation: bool,
    /// Go on with the run in --out from its last checkpoint.
    #[arg(long)]
    resume: bool,
    /// Change a setting of the recipe; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct StepArgs {
    /// A run or a Hugging Face folder.
    #[arg(long, value_name = "DIR")]
    weights: PathBuf,
    #[arg(long, value_name = "FILE.safetensors")]
    batch: PathBuf,
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// `pretrain` or `finetune`; by default the latter where the batch has labels.
    #[arg(long)]
    program: Option<String>,
    /// No dropout of any kind, and every layer kept.
    #[arg(long)]
    no_dropout: bool,
    /// Change a setting of the recipe; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct BenchArgs {
    /// `transcribe`, `pretrain` or `finetune`.
    #[arg(long, default_value = "transcribe")]
    program: String,
    /// Length of each clip.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Clips.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Time whole updates: the program, the norm of its gradients, and Adam.
    #[arg(long)]
    update: bool,
    /// Then run as often again with every launch timed, and show where the time of a run goes: per kernel its time and
    /// launches, its GFLOP/s and GB/s, which of two ceilings measured in the same run bounds it, how much of that it reaches, and
    /// how long its threads wait for the busiest one.
    #[arg(long)]
    profile: bool,
    /// Kernels that the profile shows one by one.
    #[arg(long, default_value_t = 25, requires = "profile")]
    top: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// `main` of a compiled program: reads the command line, and tells errors on the standard error stream.
pub fn main_with(runner: &dyn Runner) -> ExitCode {
    crate::threads::prepare_shared();
    match run(runner, Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

/// Tells what went wrong; the code to end with says which kind it was.
pub fn fail(e: &Error) -> ExitCode {
    crate::log::tell(&format!("error: {e}"));
    ExitCode::from(e.exit_code())
}

fn run(runner: &dyn Runner, cli: Cli) -> Result<(), Error> {
    let threads = crate::threads::wanted(cli.threads)?;
    let device = cli.device.as_deref();
    let open = || runner.open(threads, device);
    check_settings(runner.artifact(), &cli.command)?;
    match cli.command {
        Command::Pretrain(args) => trained(&args.out.clone(), pretrain(&mut *open()?, &options(args))?),
        Command::Finetune(args) => trained(&args.out.clone(), finetune(&mut *open()?, &options(args))?),
        Command::Transcribe(args) => transcribe::run(&mut *open()?, &args, &say),
        Command::Evaluate(args) => evaluate::run(&mut *open()?, &args, &say),
        Command::Score(args) => say(&score::run(&args)?),
        Command::Features(args) => say(&features::run(&mut *open()?, &args)?),
        Command::Report(args) => say(&report::run(&args)?),
        Command::Data(args) => data::run(runner.artifact(), &args, &say),
        Command::Step(args) => {
            let StepArgs {
                weights,
                batch,
                out,
                program,
                no_dropout,
                set,
            } = args;
            step(
                &mut *open()?,
                &StepOptions {
                    weights,
                    batch,
                    out,
                    program,
                    no_dropout,
                    set,
                },
            )
        }
        Command::Info => say(&info(runner.artifact())?),
        Command::Completions(args) => say(&shell::completions(Cli::command(), &program_name(), &args)),
        Command::Man(args) => say(&shell::man(Cli::command(), &program_name(), &args)?),
        Command::Bench(args) => {
            let BenchArgs {
                program,
                seconds,
                batch,
                runs,
                update,
                profile,
                top,
                json,
            } = args;
            let found = bench(
                runner,
                &BenchOptions {
                    program,
                    seconds,
                    batch,
                    runs,
                    update,
                    threads,
                    device: cli.device.clone(),
                    profile,
                },
            )?;
            if json {
                return say(&format!(
                    "{}\n",
                    serde_json::to_string(&found).expect("plain data always serialises")
                ));
            }
            say(&found.text(top))
        }
    }
}

/// What this executable is called.
fn program_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_deref().and_then(|p| p.file_name());
    name.map_or("OUT".into(), |n| n.to_string_lossy().into_owned())
}

/// Refuses a wrong --set before anything is read or written.
fn check_settings(artifact: &Artifact, command: &Command) -> Result<(), Error> {
    let (name, set, resume) = match command {
        Command::Pretrain(args) => ("pretrain", &args.set, args.resume),
        Command::Finetune(args) => ("finetune", &args.set, args.resume),
        Command::Transcribe(args) => ("transcribe", &args.set, false),
        Command::Evaluate(args) => ("transcribe", &args.set, false),
        Command::Features(args) => ("transcribe", &args.set, false),
        _ => return Ok(()),
    };
    if resume {
        // What goes together depends on the values that the run was begun with.
        let mut settings = Settings::new(artifact, name)?;
        return set.iter().try_for_each(|s| settings.set(s));
    }
    Settings::checked(artifact, name, set).map(|_| ())
}

/// Writes to the standard output; a reader that has gone (`| head`) is no error.
fn say(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("write", "standard output".as_ref())(e)),
        _ => Ok(()),
    }
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

fn trained(out: &std::path::Path, updates: u64) -> Result<(), Error> {
    say(&format!("{updates} updates done; the model is in {}\n", out.display()))
}

fn options(args: TrainArgs) -> Options {
    let TrainArgs {
        data,
        valid,
        allow_skips,
        out,
        init,
        vocab,
        units,
        keep_punctuation,
        resume,
        mut set,
    } = args;
    set.extend(units.map(|u| format!("units={u}")));
    set.extend(keep_punctuation.then(|| "keep_punctuation=true".to_string()));
    Options {
        data,
        valid,
        allow_skips,
        out,
        init,
        vocab,
        resume,
        set,
        signals: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Piece, Values, write_tensors};
    use crate::fake::FakeSession;
    use crate::weights::{MODEL, TensorFile};
    use std::path::Path;

    struct Fake(Artifact);

    impl Runner for Fake {
        fn artifact(&self) -> &Artifact {
            &self.0
        }
        fn open(&self, _: usize, _: Option<&str>) -> Result<Box<dyn Session>, Error> {
            Ok(Box::new(FakeSession::default()))
        }
        fn flops(&self, _: &str, _: &[(&str, &Tensor)]) -> Result<Flops, Error> {
            Ok(Flops::default())
        }
        fn peaks(&self, _: usize, _: &Flops) -> Option<Peaks> {
            None
        }
    }

    fn call(line: &str) -> Result<(), String> {
        let cli = Cli::try_parse_from(std::iter::once("OUT").chain(line.split(' '))).map_err(|e| e.to_string())?;
        run(&Fake(crate::fake::artifact()), cli).map_err(|e| e.to_string())
    }

    fn batch(path: &Path, mask: &[i32], negatives: &[i32], most: usize) {
        let wave: Vec<f32> = (0..120).map(|i| (i as f32).sin()).collect();
        let f = |shape: &[usize], v| Piece {
            shape: shape.to_vec(),
            values: v,
        };
        let pieces = vec![
            ("wave".to_string(), f(&[2, 60], Values::F32(&wave))),
            ("lengths".to_string(), f(&[2], Values::I32(&[60, 50]))),
            ("mask".to_string(), f(&[2, 5], Values::I32(mask))),
            ("negatives".to_string(), f(&[2, most, 5], Values::I32(negatives))),
        ];
        write_tensors(path, pieces).unwrap();
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        call("info").unwrap();
        call("bench --program pretrain --seconds 0.1 --batch 2 --runs 2 --update --json").unwrap();
        assert!(
            call("bench --program transcribe --update")
                .unwrap_err()
                .contains("does not train")
        );
        assert!(call("bench --program nothing").unwrap_err().contains("pretrain"));
        assert!(
            call("transcribe --weights nowhere a.wav")
                .unwrap_err()
                .contains("nowhere")
        );
    }

    #[test]
    fn a_step_gives_losses_and_gradients_and_checks_what_it_is_given() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, file) = (tmp.path().display(), tmp.path().join("batch.safetensors"));
        let artifact = crate::fake::artifact();
        let zeros = vec![0f32; 64];
        let pieces = artifact.params.iter().filter(|p| !p.name.starts_with("lm_head"));
        let pieces = pieces
            .map(|p| {
                let shape = p.shape.iter().map(|d| *d as usize).collect();
                (
                    p.name.clone(),
                    Piece {
                        shape,
                        values: Values::F32(&zeros[..p.len()]),
                    },
                )
            })
            .collect();
        write_tensors(&tmp.path().join(MODEL), pieces).unwrap();
        let step = || {
            call(&format!(
                "step --weights {dir} --batch {dir}/batch.safetensors --out {dir}/out --no-dropout"
            ))
        };

        let negatives = [
            [1, 2, 1, 2, 1],
            [0, 2, 0, 2, 0],
            [0, 1, 0, 1, 0],
            [1; 5],
            [0; 5],
            [-1; 5],
        ]
        .concat();
        batch(&file, &[1, 1, 1, 0, 0, 0, 1, 1, 0, 0], &negatives, 3);
        step().unwrap();
        let out = TensorFile::open(&tmp.path().join("out")).unwrap();
        assert!(out.floats("loss").unwrap().is_some_and(|l| l[0] > 0.0));
        let mut grads: Vec<String> = out.names().into_iter().filter(|n| n.starts_with("grad.")).collect();
        grads.sort();
        let mut want: Vec<String> = artifact.params[..4]
            .iter()
            .map(|p| format!("grad.{}", p.name))
            .collect();
        want.sort();
        assert_eq!(grads, want);

        let fault = |mask: &[i32], negatives: &[i32], most, part: &str| {
            batch(&file, mask, negatives, most);
            let error = step().unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        fault(&[1, 1, 1, 0, 0, 0, 1, 1, 0, 1], &negatives, 3, "beyond its 4 frames");
        fault(
            &[1, 1, 1, 0, 0, 1, 1, 1, 1, 0],
            &[negatives.clone(), vec![0; 10]].concat(),
            4,
            "all 4 frames",
        );
        fault(
            &[1, 1, 1, 0, 0, 0, 1, 1, 0, 0],
            &negatives[..20],
            2,
            "`negatives` has the shape",
        );
        let mut beyond = negatives.clone();
        beyond[17] = 2;
        fault(&[1, 1, 1, 0, 0, 0, 1, 1, 0, 0], &beyond, 3, "2 hidden frames");
    }
}
