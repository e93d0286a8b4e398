//! The commands of a compiled program.

mod args;

pub use args::{RESERVED, command_line, command_line_of};

use crate::bench::{Options as BenchOptions, bench};
use crate::commands::{
    align, classify, data, decode, evaluate, features, listen, lm, plan, report, score, serve, shell, transcribe,
};
use crate::error::Error;
use crate::exec::has_bf16;
use crate::info::info;
use crate::log::tell;
use crate::profile::{Flops, Peaks};
use crate::ranks::Ranks;
use crate::session::{Session, Tensor};
use crate::settings::Settings;
use crate::step::{Options as StepOptions, step};
use crate::trainer::{Options, text_task, train};
use args::{Asked, BenchArgs, Fixed, Global, StepArgs, TextArgs, TrainArgs};
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

/// `main` of a compiled program: reads the command line, and tells errors on the standard error stream.
pub fn main_with(runner: &dyn Runner) -> ExitCode {
    crate::interrupt::limits_of_files_are_errors();
    crate::interrupt::shortened_files_are_told();
    crate::threads::prepare_shared();
    let artifact = runner.artifact();
    let matches = command_line(artifact).get_matches();
    let (global, asked) = args::parse(artifact, &matches).unwrap_or_else(|e| e.exit());
    match run(runner, &global, asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

/// Tells what went wrong; the code to end with says which kind it was.
pub fn fail(e: &Error) -> ExitCode {
    crate::log::tell(&format!("error: {e}"));
    ExitCode::from(e.exit_code())
}

fn run(runner: &dyn Runner, global: &Global, asked: Asked) -> Result<(), Error> {
    let threads = crate::threads::wanted(global.threads)?;
    let device = global.device.as_deref();
    let open = || runner.open(threads, device);
    check_settings(runner.artifact(), &asked)?;
    match asked {
        Asked::Train(task, args, texts) => {
            let out = args.out.clone();
            let trained = together(global, |ranks, threads| {
                let session = &mut *open_for(runner, (ranks, threads), device)?;
                train(session, &task, &options(*args, texts, ranks.clone()))
            })?;
            let Some(updates) = trained else { return Ok(()) };
            say(&format!("{updates} updates done; the model is in {}\n", out.display()))
        }
        Asked::Transcribe(task, args) => transcribe::run(&mut *open()?, &task, &args, &say),
        Asked::Classify(task, args) => classify::run(&mut *open()?, &task, &args, &say),
        Asked::Features(task, args) => say(&features::run(&mut *open()?, &task, &args)?),
        Asked::Fixed(fixed) => match *fixed {
            Fixed::Decode(args) => decode::run(runner.artifact(), &args, &say),
            Fixed::Align(args) => {
                args.check()?;
                match args.weights {
                    Some(_) => align::run(&mut *open()?, &args, &say),
                    None => align::run_logits(runner.artifact(), &args, &say),
                }
            }
            Fixed::Lm(args) => say(&lm::run(&args)?),
            Fixed::Listen(args) => listen::run(&mut *open()?, &args, &say),
            Fixed::Serve(args) => serve::run(&mut *open()?, &args),
            Fixed::Evaluate(args) => evaluate::run(&mut *open()?, &args, &say),
            Fixed::Score(args) => say(&score::run(&args)?),
            Fixed::Plan(args) => say(&plan::run(&*open()?, &args)?),
            Fixed::Report(args) => say(&report::run(&args)?),
            Fixed::Data(args) => data::run(runner.artifact(), &args, &say),
            Fixed::Step(args) => step(&mut *open()?, &step_options(args)),
            Fixed::Info => say(&info(runner.artifact())?),
            Fixed::Bench(args) => measure(runner, global, args),
            Fixed::Completions(args) => {
                let line = command_line(runner.artifact());
                say(&shell::completions(line, &program_name(), &args))
            }
            Fixed::Man(args) => say(&shell::man(command_line(runner.artifact()), &program_name(), &args)?),
        },
    }
}

/// Opens what computes: where several ranks are on a machine with GPUs and none is named, each has its own.
pub(crate) fn open_for(
    runner: &dyn Runner,
    (ranks, threads): (&Ranks, usize),
    device: Option<&str>,
) -> Result<Box<dyn Session>, Error> {
    if !ranks.several() || device.is_some() || runner.artifact().gpu.is_none() {
        return runner.open(threads, device);
    }
    let own = format!("cuda:{}", ranks.local().0);
    match runner.open(threads, Some(&own)) {
        // Launchers may show each rank its own GPU alone.
        Err(Error::NoDevice { .. }) => runner.open(threads, None),
        opened => opened,
    }
}

/// Does something with the other processes of this job, where a launcher started several; what comes of it where this is the
/// first. The work is given the ranks and how many threads to compute with.
fn together<T>(global: &Global, work: impl FnOnce(&Ranks, usize) -> Result<T, Error>) -> Result<Option<T>, Error> {
    let ranks = Ranks::start()?;
    let work = || {
        let threads = match (global.threads, ranks.several()) {
            (0, true) => ranks.cores(),
            (asked, _) => crate::threads::wanted(asked)?,
        };
        crate::memory::share_with(ranks.local().1);
        ranks.has_spare_cores(threads < ranks.cores());
        work(&ranks, threads)
    };
    match work().and_then(|done| ranks.finish().map(|()| done)) {
        Ok(done) => Ok(ranks.is_first().then_some(done)),
        Err(e) => {
            ranks.end(&e);
            Err(e)
        }
    }
}

/// What this executable is called.
fn program_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_deref().and_then(|p| p.file_name());
    name.map_or("OUT".into(), |n| n.to_string_lossy().into_owned())
}

fn step_options(args: StepArgs) -> StepOptions {
    let StepArgs {
        weights,
        batch,
        out,
        program,
        no_dropout,
        set,
    } = args;
    StepOptions {
        weights,
        batch,
        out,
        program,
        no_dropout,
        set,
    }
}

fn measure(runner: &dyn Runner, global: &Global, args: BenchArgs) -> Result<(), Error> {
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
    let program = match program {
        Some(program) => program,
        None => text_task(runner.artifact())?
            .programs()
            .next()
            .unwrap_or_default()
            .to_string(),
    };
    let measured = together(global, |ranks, threads| {
        let options = BenchOptions {
            program,
            seconds,
            batch,
            runs,
            update,
            threads,
            device: global.device.clone(),
            profile,
            ranks: ranks.clone(),
        };
        bench(runner, &options)
    })?;
    let Some(found) = measured else { return Ok(()) };
    if json {
        let text = serde_json::to_string(&found).expect("plain data always serialises");
        return say(&format!("{text}\n"));
    }
    say(&found.text(top))?;
    let artifact = runner.artifact();
    if artifact.gpu.is_none() && !artifact.has_bf16() && has_bf16() {
        tell("This processor could compute in bf16: compile with --precision bf16, and compare.");
    }
    Ok(())
}

/// Refuses a wrong --set before anything is read or written.
fn check_settings(artifact: &Artifact, asked: &Asked) -> Result<(), Error> {
    let (name, set, resume) = match asked {
        Asked::Train(task, args, _) => (task.as_str(), &args.set, args.resume),
        Asked::Transcribe(task, args) => (task.as_str(), &args.set, false),
        Asked::Classify(task, args) => (task.as_str(), &args.set, false),
        Asked::Features(task, args) => (task.as_str(), &args.set, false),
        Asked::Fixed(fixed) => match &**fixed {
            Fixed::Evaluate(args) => (text_task(artifact)?.name.as_str(), &args.set, false),
            Fixed::Align(args) => (text_task(artifact)?.name.as_str(), &args.set, false),
            Fixed::Listen(args) => (text_task(artifact)?.name.as_str(), &args.set, false),
            Fixed::Serve(args) => (text_task(artifact)?.name.as_str(), &args.set, false),
            _ => return Ok(()),
        },
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

fn options(args: TrainArgs, texts: TextArgs, ranks: Ranks) -> Options {
    let TrainArgs {
        data,
        valid,
        allow_skips,
        out,
        init,
        resume,
        mut set,
    } = args;
    set.extend(texts.units.map(|u| format!("units={u}")));
    set.extend(texts.keep_punctuation.then(|| "keep_punctuation=true".to_string()));
    Options {
        data,
        valid,
        allow_skips,
        out,
        init,
        vocab: texts.vocab,
        resume,
        set,
        signals: None,
        ranks,
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
        let fake = Fake(crate::fake::artifact());
        let words = std::iter::once("OUT").chain(line.split(' '));
        let matches = command_line(&fake.0)
            .try_get_matches_from(words)
            .map_err(|e| e.to_string())?;
        let (global, asked) = args::parse(&fake.0, &matches).map_err(|e| e.to_string())?;
        run(&fake, &global, asked).map_err(|e| e.to_string())
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
        command_line(&crate::fake::artifact()).debug_assert();
        for name in command_line(&Artifact {
            tasks: vec![],
            ..crate::fake::artifact()
        })
        .get_subcommands()
        {
            assert!(RESERVED.contains(&name.get_name()), "{}", name.get_name());
        }
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
