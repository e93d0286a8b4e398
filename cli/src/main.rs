//! The `w2vc` command.

use clap::{Parser, Subcommand, ValueEnum};
use compiler::compile::{Output, compile};
use compiler::explain::explain;
use cpu::Target;
use frontend::Model;
use ir::dim::Env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Compiles wav2vec 2.0 models described in RON into executables that pretrain, fine-tune and transcribe.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  w2vc check models/base.ron\n  w2vc explain models/tiny.ron --target cpu\n  \
                  w2vc compile models/base.ron --target cpu -o base\n  w2vc compile models/base.ron --set layers=6"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Resolve and type-check a model; print its parameters, constants and settings.
    Check {
        file: PathBuf,
        /// Override a constant of the model.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
    /// Show what the compiler makes of a model: kernels with their work, and the memory plan.
    Explain {
        file: PathBuf,
        #[arg(long, value_enum, default_value_t = Backend::Cpu)]
        target: Backend,
        /// Override a constant of the model.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Sizes that figures are given for, e.g. --size B=2 --size N=160000.
        #[arg(long, value_name = "NAME=N")]
        size: Vec<String>,
    },
    /// Compile a model into one executable.
    #[command(after_help = "Example: w2vc compile models/tiny.ron --target cpu -o tiny --set layers=2")]
    Compile {
        file: PathBuf,
        #[arg(long, value_enum, default_value_t = Backend::Cpu)]
        target: Backend,
        /// The executable; default: the name of the file without `.ron`.
        #[arg(short)]
        o: Option<PathBuf>,
        /// Override a constant of the model.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Print a stage instead of writing an executable.
        #[arg(long, value_enum)]
        emit: Option<Emit>,
        /// Processor to compile for: native, x86-64-v3 (AVX2) or x86-64-v4 (AVX-512).
        #[arg(long, default_value = "native")]
        cpu: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Backend {
    Cpu,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Emit {
    TensorIr,
    KernelIr,
    Llvm,
    Asm,
}

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{}", e.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Check { file, set } => print(&frontend::check_report(&with_all_settings(load(&file, &set)?)?)),
        Command::Explain {
            file,
            target: Backend::Cpu,
            set,
            size,
        } => {
            let model = load(&file, &set)?;
            let out = compile(&model, &target("native")?, false).map_err(error)?;
            print(&explain(&out, &example_sizes(&model, &size)?))
        }
        Command::Compile {
            file,
            target: Backend::Cpu,
            o,
            set,
            emit,
            cpu,
        } => {
            let model = load(&file, &set)?;
            let out = compile(&model, &target(&cpu)?, emit == Some(Emit::Asm)).map_err(error)?;
            match emit {
                Some(stage) => print(&emitted(&out, stage)),
                None => {
                    let stem = PathBuf::from(file.file_stem().unwrap_or(file.as_os_str()));
                    write_executable(&o.unwrap_or(stem), &out)
                }
            }
        }
    }
}

fn error(e: impl std::fmt::Display) -> String {
    format!("error: {e}")
}

fn target(cpu: &str) -> Result<Target> {
    Target::parse(cpu).map_err(error)
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| {
        if text.ends_with('\n') {
            Ok(())
        } else {
            out.write_all(b"\n")
        }
    }) {
        // Whoever reads may stop early, as `head` does.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(error(e)),
        _ => Ok(()),
    }
}

fn pairs(set: &[String]) -> Result<Vec<(String, String)>> {
    let split = |s: &String| {
        let pair = s
            .split_once('=')
            .map(|(n, v)| (n.trim().to_string(), v.trim().to_string()));
        pair.ok_or_else(|| format!("error: `{s}` is not of the form NAME=VALUE"))
    };
    set.iter().map(split).collect()
}

fn load(file: &Path, set: &[String]) -> Result<Model> {
    frontend::load(file, &pairs(set)?).map_err(|d| d.to_string())
}

/// The model with every setting of its commands, those that its recipes leave at the runtime's default included.
fn with_all_settings(mut model: Model) -> Result<Model> {
    for (command, recipe) in &mut model.recipes {
        *recipe = runtime::settings::complete(command, recipe).map_err(error)?;
    }
    Ok(model)
}

/// Two clips of 10 s with a third of the frames masked, unless told otherwise.
fn example_sizes(model: &Model, size: &[String]) -> Result<Env> {
    let mut env = Env::from([("layer".into(), 0)]);
    for s in &model.symbols {
        let n = match s.as_str() {
            "B" => 2,
            "N" => 160_000,
            "M" => 240,
            _ => 40,
        };
        env.insert(s.as_str().into(), n);
    }
    for (name, value) in pairs(size)? {
        let n: i64 = value
            .parse()
            .map_err(|_| format!("error: `{value}` is no whole number for size {name}"))?;
        match env.get_mut(name.as_str()) {
            Some(slot) => *slot = n,
            None => {
                return Err(format!(
                    "error: the model has no size `{name}`; its sizes are {}",
                    model.symbols.join(", ")
                ));
            }
        }
    }
    Ok(env)
}

fn emitted(out: &Output, stage: Emit) -> String {
    match stage {
        Emit::TensorIr => {
            let one = |(name, s): &(String, passes::pipeline::Stages)| format!("program {name}\n{}\n", s.decomposed);
            out.stages.iter().map(one).collect()
        }
        Emit::KernelIr => {
            let one = |(name, k): &(String, ir::kernel::Kernel)| format!("// {name}\n{}\n", ir::kernel_text::print(k));
            out.kernels.list.iter().map(one).collect()
        }
        Emit::Llvm => out.llvm_ir.clone(),
        Emit::Asm => out.asm.clone().unwrap_or_default(),
    }
}

/// The runner that this command was installed with, followed by the artifact and its code.
fn write_executable(path: &Path, out: &Output) -> Result<()> {
    let beside = std::env::current_exe().map_err(error)?.with_file_name("w2vc-runner");
    let missing = |e| {
        format!(
            "error: cannot read `{}`: {e}; it is installed beside w2vc: build both with `make build`",
            beside.display()
        )
    };
    let runner = fs::read(&beside).map_err(missing)?;
    let bytes = runtime::exec::append(&runner, &out.artifact, &out.code).map_err(error)?;
    // Renamed into place, so that a running program of the same name is not cut off.
    let temporary = path.with_extension("w2vc-tmp");
    let write = || {
        fs::write(&temporary, bytes)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755))?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| format!("error: cannot write `{}`: {e}", path.display()))
}
