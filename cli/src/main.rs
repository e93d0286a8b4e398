//! The `w2vc` command.

mod failure;
mod package;
mod stages;

use clap::{CommandFactory, Parser};
use cpu::Target;
use failure::Failure;
use frontend::{Model, nearest};
use indicatif::{ProgressBar, ProgressStyle};
use ir::artifact::Precision;
use ir::dim::Env;
use ir::stack::with_stack;
use ir::types::MAX_AXIS;
use passes::pipeline::Settings;
use runtime::commands::shell;
use runtime::exec::has_bf16;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use w2vc_compiler::args::{Backend, Cli, Command, Emit, Numbers};
use w2vc_compiler::compile::{Arithmetic, Output, compile, compile_cuda, cpu_settings, gpu_settings};
use w2vc_compiler::explain::explain;
use w2vc_compiler::generate::ARCHS;
use w2vc_compiler::like;
use w2vc_compiler::reference::ops;

type Result<T> = std::result::Result<T, Failure>;

/// Bytes of stack that a model is compiled with: passes recurse along its chains of ops, whose length is limited.
const STACK: usize = 256 << 20;

fn main() -> ExitCode {
    runtime::interrupt::limits_of_files_are_errors();
    let command = Cli::parse().command;
    match with_stack(STACK, || failure::guarded(|| run(command))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Nobody is left to tell where the standard error stream is gone.
            let _ = writeln!(std::io::stderr(), "{}", e.text.trim_end());
            ExitCode::from(e.code)
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Opt {
            args,
            target,
            precision,
            cpu,
        } => print(&stages::opt(&args, settings(target, precision, cpu.as_deref())?)?),
        Command::Completions(args) => print(&shell::completions(Cli::command(), "w2vc", &args)),
        Command::Man(args) => print(&shell::man(Cli::command(), "w2vc", &args).map_err(Failure::of_runtime)?),
        Command::Ops { name: None } => print(&ops::list()),
        Command::Ops { name: Some(name) } => print(&ops::one(&name).map_err(Failure::usage)?),
        Command::Check { file, set } => print(&frontend::check_report(&load(&file, &set)?)),
        Command::Explain {
            file,
            target,
            precision,
            set,
            size,
        } => {
            let model = load(&file, &set)?;
            check_options(target, precision, None)?;
            let out = match target {
                Backend::Cpu => for_cpu(&model, precision, &cpu_target(None)?, false)?,
                Backend::Cuda => for_gpu(&model, precision)?,
            };
            print(&explain(&out, &example_sizes(&model, &size)?))
        }
        Command::Compile {
            file,
            like,
            target,
            o,
            set,
            emit,
            dump_after,
            verify,
            precision,
            cpu,
            direct_convolutions,
        } => {
            check_stage(emit, target)?;
            check_options(target, precision, cpu.as_deref())?;
            if direct_convolutions && target == Backend::Cuda {
                return Err(Failure::usage(
                    "--direct-convolutions is for --target cpu; on the GPU all are direct",
                ));
            }
            let file = match (file, &like) {
                (Some(file), _) => file,
                (None, Some(weights)) => model_like(weights, o.as_deref())?,
                (None, None) => return Err(Failure::usage("name a model file, or weights with --like")),
            };
            let model = load(&file, &set)?;
            let settings = || settings(target, precision, cpu.as_deref());
            if let Some(pass) = dump_after {
                let settings = Settings {
                    verify: true,
                    ..settings()?
                };
                return stages::dump_after(&model, &settings, &pass, &print);
            }
            if verify {
                stages::verify(&model, &settings()?)?;
            }
            let o = o.unwrap_or_else(|| default_output(&file, emit));
            if matches!(emit, None | Some(Emit::Library)) {
                check_output(&file, &o)?;
            }
            let out = match target {
                Backend::Cpu => {
                    let target = Target {
                        direct: direct_convolutions,
                        ..cpu_target(cpu.as_deref())?
                    };
                    if precision.is_none() && emit.is_none_or(Emit::is_product) && target.bf16 && has_bf16() {
                        let note = "note: this processor could compute in bf16, nearly twice as fast and with 8 significant \
                                    bits: --precision bf16 (--precision fp32 silences this note)";
                        let _ = writeln!(std::io::stderr(), "{note}");
                    }
                    for_cpu(&model, precision, &target, emit == Some(Emit::Asm))?
                }
                Backend::Cuda => for_gpu(&model, precision)?,
            };
            match emit {
                Some(Emit::Library) => print(&package::write_library(&o, &out)?),
                Some(Emit::Wheel) => print(&package::write_wheel(&o, &out)?),
                Some(Emit::Mlir | Emit::Ptx) => write_files(&o, &out, emit == Some(Emit::Ptx)),
                Some(stage) => print(&emitted(&out, stage)),
                None => write_executable(&o, &out),
            }
        }
    }
}

/// Where what is made goes if nothing is said: into this folder, named after the model's file.
fn default_output(file: &Path, emit: Option<Emit>) -> PathBuf {
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    match emit {
        Some(Emit::Library) => PathBuf::from(format!("lib{}.so", stem.to_string_lossy())),
        Some(Emit::Wheel) => PathBuf::from("."),
        _ => PathBuf::from(stem),
    }
}

/// Writes a model file that weights fit, and those that it extends where they are not there yet.
fn model_like(weights: &Path, o: Option<&Path>) -> Result<PathBuf> {
    let (config, normalize) = runtime::weights::described(weights).map_err(Failure::of_runtime)?;
    let whole = weights.canonicalize().unwrap_or_else(|_| weights.into());
    let last = if whole.is_dir() {
        whole.file_name()
    } else {
        whole.file_stem()
    };
    let own = last.map_or("model".into(), |n| n.to_string_lossy().into_owned());
    let out = o.map_or_else(|| PathBuf::from(format!("{own}-w2vc")), PathBuf::from);
    let name = out.file_name().map_or(own, |n| n.to_string_lossy().into_owned());
    let made = like::describe(&config, normalize, &name, &weights.display().to_string())
        .map_err(|e| Failure::model(format!("{}: {e}", weights.display())))?;
    let file = out.with_file_name(format!("{name}.ron"));
    match fs::read_to_string(&file) {
        Ok(there) if !there.starts_with(like::MADE) => {
            return Err(Failure::usage(format!(
                "`{}` exists and was not made from weights: name another output with -o",
                file.display()
            )));
        }
        _ => {}
    }
    for (name, text) in like::BUILT_IN.iter().filter(|(name, _)| made.needs.contains(name)) {
        let beside = out.with_file_name(name);
        if !beside.exists() {
            beside
                .parent()
                .map_or(Ok(()), runtime::atomic::create_dir)
                .map_err(Failure::of_runtime)?;
            runtime::atomic::write_text(&beside, text).map_err(Failure::of_runtime)?;
        }
    }
    runtime::atomic::write_text(&file, &made.text).map_err(Failure::of_runtime)?;
    // On the standard error stream: stages go to the other.
    let _ = writeln!(
        std::io::stderr(),
        "wrote {}, the model of {}: {}",
        file.display(),
        weights.display(),
        match made.changed.as_slice() {
            [] => format!("{} as published", made.nearest),
            changed => format!("nearest to {}, with {}", made.nearest, changed.join(", ")),
        }
    );
    Ok(file)
}

/// Stages belong to targets.
fn check_stage(emit: Option<Emit>, target: Backend) -> Result<()> {
    match (emit, target) {
        (Some(Emit::Llvm | Emit::Asm), Backend::Cuda) => Err(Failure::usage(
            "--emit llvm and asm are for --target cpu; for the GPU there are mlir and ptx",
        )),
        (Some(Emit::Mlir | Emit::Ptx), Backend::Cpu) => Err(Failure::usage("--emit mlir and ptx need --target cuda")),
        _ => Ok(()),
    }
}

/// So do options.
fn check_options(target: Backend, precision: Option<Numbers>, cpu: Option<&str>) -> Result<()> {
    match target {
        Backend::Cuda if matches!(precision, Some(Numbers::Int8 | Numbers::Int8Bf16)) => Err(Failure::usage(
            "--precision int8 and int8-bf16 are for --target cpu; on the GPU there are bf16 and fp32",
        )),
        Backend::Cuda if cpu.is_some() => Err(Failure::usage("--cpu is for --target cpu")),
        _ => Ok(()),
    }
}

fn cpu_target(cpu: Option<&str>) -> Result<Target> {
    Target::parse(cpu.unwrap_or("native")).map_err(Failure::usage)
}

/// What the passes are told.
fn settings(target: Backend, precision: Option<Numbers>, cpu: Option<&str>) -> Result<Settings> {
    check_options(target, precision, cpu)?;
    Ok(match target {
        Backend::Cpu => {
            let (arithmetic, target) = (arithmetic(precision), cpu_target(cpu)?);
            let target = target.only_for(arithmetic.has_int8(), arithmetic.has_bf16());
            cpu_settings(&target, arithmetic)
        }
        Backend::Cuda => gpu_settings(gpu_precision(precision)),
    })
}

fn arithmetic(precision: Option<Numbers>) -> Arithmetic {
    match precision {
        None | Some(Numbers::Fp32) => Arithmetic::Fp32,
        Some(Numbers::Bf16) => Arithmetic::Bf16,
        Some(Numbers::Int8) => Arithmetic::Int8,
        Some(Numbers::Int8Bf16) => Arithmetic::Int8Bf16,
    }
}

fn gpu_precision(precision: Option<Numbers>) -> Precision {
    match precision {
        Some(Numbers::Fp32) => Precision::Fp32,
        _ => Precision::Bf16,
    }
}

fn for_cpu(model: &Model, precision: Option<Numbers>, target: &Target, asm: bool) -> Result<Output> {
    let arithmetic = arithmetic(precision);
    if arithmetic.has_bf16() && !target.bf16 {
        return Err(Failure::usage(format!(
            "{} has no instructions for bf16 (AVX512-BF16), and converting would take longer than computing in fp32: leave \
             --precision out, or compile for another processor with --cpu x86-64-v4-bf16",
            target.level()
        )));
    }
    compile(model, target, arithmetic, asm).map_err(Failure::of_compiler)
}

fn for_gpu(model: &Model, precision: Option<Numbers>) -> Result<Output> {
    // Nothing is drawn where nobody watches.
    let style = ProgressStyle::with_template("kernels {pos}/{len} [{bar:20}] eta {eta}");
    let bar = ProgressBar::no_length().with_style(style.expect("the template is fixed"));
    let progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let out = compile_cuda(model, gpu_precision(precision), &progress).map_err(Failure::of_compiler);
    bar.finish_and_clear();
    out
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
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("cannot write the standard output: {e}")))
        }
        _ => Ok(()),
    }
}

fn pairs(set: &[String]) -> Result<Vec<(String, String)>> {
    let split = |s: &String| {
        let pair = s
            .split_once('=')
            .map(|(n, v)| (n.trim().to_string(), v.trim().to_string()));
        pair.ok_or_else(|| Failure::usage(format!("`{s}` is not of the form NAME=VALUE")))
    };
    set.iter().map(split).collect()
}

fn load(file: &Path, set: &[String]) -> Result<Model> {
    frontend::load(file, &pairs(set)?, &runtime::HOST).map_err(|d| Failure::diagnostics(d.to_string()))
}

/// The model's own examples, unless told otherwise.
fn example_sizes(model: &Model, size: &[String]) -> Result<Env> {
    let mut env = Env::from([(ir::names::LAYER.into(), 0)]);
    env.extend(model.examples().iter().map(|(name, size)| (name.into(), size)));
    for (name, value) in pairs(size)? {
        let n: i64 = value
            .parse()
            .ok()
            .filter(|n| (0..=MAX_AXIS).contains(n))
            .ok_or_else(|| {
                Failure::usage(format!(
                    "size {name} is a whole number from 0 to {MAX_AXIS}, not `{value}`"
                ))
            })?;
        match env.get_mut(name.as_str()) {
            Some(slot) => *slot = n,
            None => {
                let own: Vec<&str> = env.keys().map(|k| &**k).filter(|k| *k != ir::names::LAYER).collect();
                let meant = nearest(&name, &own).map_or(String::new(), |n| format!(": did you mean `{n}`?"));
                return Err(Failure::usage(format!(
                    "the model has no size `{name}`{meant}; its sizes are {}",
                    own.join(", ")
                )));
            }
        }
    }
    Ok(env)
}

fn emitted(out: &Output, stage: Emit) -> String {
    match stage {
        Emit::TensorIr => out.tensor_ir.clone(),
        Emit::KernelIr => {
            let one = |(name, k): &(String, ir::kernel::Kernel)| format!("// {name}\n{}\n", ir::kernel_text::print(k));
            out.kernels.list.iter().map(one).collect()
        }
        Emit::Llvm => out.llvm_ir.clone(),
        Emit::Asm => out.asm.clone().unwrap_or_default(),
        Emit::Mlir | Emit::Ptx | Emit::Library | Emit::Wheel => String::new(),
    }
}

/// PTX of every kernel for each architecture, or MLIR: one file where it is the same for all.
fn write_files(folder: &Path, out: &Output, ptx: bool) -> Result<()> {
    let write = |name: String, text: &str| {
        let path = folder.join(name);
        runtime::atomic::write_text(&path, text).map_err(Failure::of_runtime)
    };
    fs::create_dir_all(folder)
        .map_err(|e| Failure::other(format!("cannot make the folder `{}`: {e}", folder.display())))?;
    for (i, (name, _)) in out.kernels.list.iter().enumerate() {
        if ptx {
            for image in &out.ptx {
                write(format!("{name}.{}.ptx", image.arch), &image.kernels[i].text)?;
            }
        } else {
            let texts = &out.mlir[i];
            for (arch, text) in ARCHS.iter().zip(texts) {
                if texts.iter().all(|t| t == text) {
                    write(format!("{name}.mlir"), text)?;
                    break;
                }
                write(format!("{name}.{arch}.mlir"), text)?;
            }
        }
    }
    print(&format!(
        "wrote {} kernels to {}",
        out.kernels.list.len(),
        folder.display()
    ))
}

/// The runner that this command was installed with, followed by the artifact and its code.
fn write_executable(path: &Path, out: &Output) -> Result<()> {
    let (_, runner) = package::beside("w2vc-runner")?;
    let bytes = runtime::exec::append(&runner, &out.artifact, &out.code).map_err(Failure::of_runtime)?;
    // Renamed into place, so that a running program of the same name is not cut off.
    runtime::atomic::replace_with_mode(path, 0o777, |file| {
        file.write_all(&bytes).map_err(runtime::Error::io("write", path))
    })
    .map_err(Failure::of_runtime)
}

/// Fails where the output cannot be written or is a model description: before the work, not after it.
fn check_output(model: &Path, output: &Path) -> Result<()> {
    runtime::atomic::check_output(output, &[model.into()]).map_err(Failure::of_runtime)?;
    // A file may be another's base, and none is an executable.
    if output.is_file() && output.extension().is_some_and(|e| e == "ron") {
        return Err(Failure::usage(format!(
            "`{}` is a model description, which the executable would replace: name another file with -o",
            output.display()
        )));
    }
    Ok(())
}
