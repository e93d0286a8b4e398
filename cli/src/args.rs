//! The command line of `w2vc`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use passes::pipeline::{PASSES, Pass, Target};
use runtime::commands::shell;
use std::path::PathBuf;

/// Compiles speech models described in RON into executables that train and transcribe.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  w2vc check models/base.ron\n  w2vc explain models/tiny.ron --target cpu\n  \
                  w2vc compile models/base.ron --target cpu -o base\n  w2vc compile models/base.ron --target cuda -o base-gpu\n  \
                  w2vc compile models/base.ron --set layers=6\n  w2vc compile models/tiny.ron --dump-after decompose"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Resolve and type-check a model; print its parameters, constants and settings.
    Check {
        /// The model file.
        file: PathBuf,
        /// Override a constant of the model.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
    /// Show how a model is compiled: rewrites, kernels with their work, and the memory plan.
    Explain {
        /// The model file.
        file: PathBuf,
        /// What to compile for.
        #[arg(long, value_enum, default_value_t = Backend::Cpu)]
        target: Backend,
        /// Arithmetic: fp32, bf16, int8 or int8-bf16 on the CPU, bf16 or fp32 on the GPU; the first of each is the
        /// default.
        #[arg(long, value_enum)]
        precision: Option<Numbers>,
        /// Override a constant of the model.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Sizes for which figures are computed, e.g. --size B=2 --size N=160000.
        #[arg(long, value_name = "NAME=N")]
        size: Vec<String>,
    },
    /// Compile a model into one executable.
    #[command(
        after_help = "Examples:\n  w2vc compile models/tiny.ron --target cpu -o tiny --set layers=2\n  \
                      w2vc compile models/base.ron --target cpu --precision int8 -o base-int8\n  \
                      w2vc compile models/base.ron --target cpu --precision bf16 -o base-bf16\n  \
                      w2vc compile models/base.ron --target cuda --precision bf16 -o base-gpu\n  \
                      w2vc compile models/tiny.ron --target cuda --emit ptx -o ptx\n  \
                      w2vc compile models/base.ron --emit library -o libbase.so\n  \
                      w2vc compile models/base.ron --emit wheel -o dist\n  \
                      w2vc compile models/tiny.ron --dump-after fuse\n  \
                      w2vc compile --like wav2vec2-base/ -o base\n\n\
                      Compiling for cuda needs neither a GPU nor NVIDIA's software; the executable needs only the driver."
    )]
    Compile {
        /// The model file; or use --like.
        #[arg(required_unless_present = "like")]
        file: Option<PathBuf>,
        /// Compile for these weights: a Hugging Face folder, or a fairseq checkpoint (.pt). Their configuration
        /// becomes a model file, OUT.ron, which is written beside the executable and compiled.
        #[arg(long, value_name = "FOLDER", conflicts_with = "file")]
        like: Option<PathBuf>,
        /// What to compile for.
        #[arg(long, value_enum, default_value_t = Backend::Cpu)]
        target: Backend,
        /// The executable; default: the name of the file without `.ron`. With `--emit mlir` or `ptx`: a folder for the files.
        #[arg(short)]
        o: Option<PathBuf>,
        /// Override a constant of the model.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Write a library or a wheel instead of an executable, or print a stage; mlir and ptx are written as files.
        #[arg(long, value_enum)]
        emit: Option<Emit>,
        /// Print the programs after a pass, or `all` for each pass in turn, instead of writing an executable. `w2vc opt --help`
        /// lists the passes; `w2vc opt` continues from the text.
        #[arg(long, value_name = "PASS", conflicts_with = "emit")]
        dump_after: Option<String>,
        /// Check the invariants of every pass.
        #[arg(long)]
        verify: bool,
        /// Arithmetic. On the GPU: bf16 matrix multiplications with sums, losses and master weights in fp32 (the default), or all
        /// fp32. On the CPU: fp32 (the default), bf16 as on the GPU (with AVX512-BF16), int8, which multiplies by 8-bit weights in
        /// tasks that predict and trains in fp32, or int8-bf16, with bf16 in place of fp32.
        #[arg(long, value_enum)]
        precision: Option<Numbers>,
        /// Processor to compile for: native (the default), x86-64-v3 (AVX2), x86-64-v4 (AVX-512), x86-64-v4-vnni or
        /// x86-64-v4-bf16.
        #[arg(long)]
        cpu: Option<String>,
        /// Use direct convolutions. By default, convolutions whose taps overlap from frame to frame take fewer
        /// multiplications in fp32 (Toom-Cook): that is faster, and on average no less exact.
        #[arg(long)]
        direct_convolutions: bool,
    },
    /// Run compiler passes on a text, and print the result.
    #[command(after_help = opt_help())]
    Opt {
        #[command(flatten)]
        args: OptArgs,
        /// What to compile for.
        #[arg(long, value_enum, default_value_t = Backend::Cpu)]
        target: Backend,
        /// Arithmetic, as for `w2vc compile`.
        #[arg(long, value_enum)]
        precision: Option<Numbers>,
        /// Processor to compile for, as for `w2vc compile`.
        #[arg(long)]
        cpu: Option<String>,
    },
    /// List the ops of the model language, or explain one.
    #[command(after_help = "Examples:\n  w2vc ops\n  w2vc ops conv1d")]
    Ops {
        /// An op of the list.
        name: Option<String>,
    },
    /// Print a shell completion script.
    #[command(after_help = "Example: w2vc completions bash > ~/.local/share/bash-completion/completions/w2vc")]
    Completions(shell::CompletionsArgs),
    /// Print the manual page of a command, or write all pages.
    #[command(after_help = "Examples:\n  w2vc man compile | man -l -\n  w2vc man --out ~/.local/share/man/man1")]
    Man(shell::ManArgs),
}

// Its doc comment becomes that of the command.
/// Run compiler passes on a text, and print the result.
#[derive(Args)]
pub struct OptArgs {
    /// A text as `--dump-after` writes it, or one written by hand; `-` reads the standard input.
    pub file: PathBuf,
    /// Run the passes from where the text stands up to and including this one.
    #[arg(long, value_name = "PASS", required_unless_present = "pass", conflicts_with = "pass")]
    pub after: Option<String>,
    /// Run only this pass; several run in the order of the list.
    #[arg(long, value_name = "PASS")]
    pub pass: Vec<String>,
    /// Rewrite only with this rule; may be given several times.
    #[arg(long, value_name = "RULE")]
    pub rule: Vec<String>,
}

/// Examples, and the passes in order.
fn opt_help() -> String {
    let examples = "Examples:\n  w2vc compile models/tiny.ron --dump-after decompose > tiny.ir\n  \
                    w2vc opt tiny.ir --after lower\n  \
                    w2vc opt tests/cases/rewrite/mul-by-one-1.ir --pass rewrite --rule mul-by-one\n  \
                    w2vc opt tests/cases/fuse/epilogue.ir --pass fuse --pass lower\n\n";
    format!("{examples}{}", pass_list())
}

/// The passes in order, with what each does.
pub fn pass_list() -> String {
    let only = |p: &Pass| match p.targets {
        [Target::Cpu] => " (CPU)",
        [Target::Gpu] => " (GPU)",
        _ => "",
    };
    let line = |p: &Pass| format!("  {:<14} {}{}\n", p.name, p.about, only(p));
    let lines: String = PASSES.iter().map(line).collect();
    format!("Passes, in order:\n{lines}")
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Backend {
    Cpu,
    Cuda,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Numbers {
    Bf16,
    Fp32,
    Int8,
    /// 8-bit weights in tasks that predict, everything else in bf16.
    Int8Bf16,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Emit {
    TensorIr,
    KernelIr,
    Llvm,
    Asm,
    Mlir,
    Ptx,
    /// A shared library for C with its header, w2vc.h; -o names it (default libNAME.so).
    Library,
    /// A Python package with the same library; -o names the folder that it is written to.
    Wheel,
}

impl Emit {
    /// What is made whole, in place of an executable.
    pub fn is_product(self) -> bool {
        matches!(self, Emit::Library | Emit::Wheel)
    }
}
