//! The compiler as one list: every pass from tensor IR to a backend's door, in the order in which they run.
//!
//! A pass is a function that changes a [`Module`]: one file, and one line of [`PASSES`].

use crate::differentiate::DifferentiateError;
use crate::lower::LowerError;
use crate::module::{Form, Module};
use crate::narrow::Weights;
use crate::{
    decompose, differentiate, fuse, lower, narrow, optimizer, prepare, quantise, rematerialise, rewrite, verify,
};
use Form::{Fused, Graphs, Programs};
use ir::rounding::Levels;

/// What passes are told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is compiled for.
    pub target: Target,
    /// Rewrite rules by name; `None` for all.
    pub rules: Option<Vec<String>>,
    /// The levels of products with fixed weights; `None` for products of floating-point numbers.
    pub int8: Option<Levels>,
    /// Where products in bf16 read parameters; `None` for f32.
    pub bf16: Option<Weights>,
    /// Checks what must hold after each pass.
    pub verify: bool,
}

/// What programs are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Processors.
    Cpu,
    /// NVIDIA's GPUs.
    Gpu,
}

impl Settings {
    /// f32 and every rule; passes are checked where the compiler is built to be tested.
    pub fn new(target: Target) -> Settings {
        Settings {
            target,
            rules: None,
            int8: None,
            bf16: None,
            verify: cfg!(debug_assertions),
        }
    }
}

/// A step of the compiler.
pub struct Pass {
    /// A verb.
    pub name: &'static str,
    /// The targets that it is for.
    pub targets: &'static [Target],
    /// What it takes.
    pub takes: Form,
    /// Does it.
    pub run: fn(&mut Module, &Settings) -> Result<(), CompileError>,
    /// What must hold after it.
    pub verify: fn(&Module) -> Result<(), String>,
    /// What it does, in a line.
    pub about: &'static str,
}

const CPU: &[Target] = &[Target::Cpu];
const ALL: &[Target] = &[Target::Cpu, Target::Gpu];

/// All passes. Columns: name, targets, what it takes, function, verifier, what it does.
#[rustfmt::skip]
pub const PASSES: &[Pass] = &[
    pass("rewrite", ALL, Graphs, rewrite::run, verify::graphs, "rewrites algebra into cheaper algebra"),
    pass("differentiate", ALL, Graphs, differentiate::run, verify::differentiated, "adds gradients where a program trains"),
    pass("decompose", ALL, Graphs, decompose::run, verify::primitive, "replaces composite ops by simpler ones"),
    pass("rematerialise", ALL, Graphs, rematerialise::run, verify::primitive, "computes again what is cheaper than keeping it"),
    pass("fuse", ALL, Graphs, fuse::run, verify::fused, "plans which ops share a kernel"),
    pass("lower", ALL, Fused, lower::run, verify::programs, "makes kernels over buffers of the plan"),
    pass("optimizer", ALL, Programs, optimizer::run, verify::programs, "adds the programs that update parameters"),
    pass("prepare", CPU, Programs, prepare::run, verify::programs, "sets apart what depends on fixed weights alone"),
    pass("quantise", CPU, Programs, quantise::run, verify::programs, "computes products of fixed weights in 8 bits, if asked to"),
    pass("narrow", ALL, Programs, narrow::run, verify::programs, "keeps activations in bf16, if asked to"),
];

const fn pass(
    name: &'static str,
    targets: &'static [Target],
    takes: Form,
    run: fn(&mut Module, &Settings) -> Result<(), CompileError>,
    verify: fn(&Module) -> Result<(), String>,
    about: &'static str,
) -> Pass {
    Pass {
        name,
        targets,
        takes,
        run,
        verify,
        about,
    }
}

/// Why passes stop.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// A program cannot be compiled.
    #[error("program `{program}`: {why}")]
    Program {
        /// Its name.
        program: String,
        /// Why not.
        why: ProgramError,
    },
    /// A pass does not take what there is.
    #[error("the pass `{pass}` takes {takes}, not {is}")]
    Form {
        /// The pass.
        pass: &'static str,
        /// What it takes.
        takes: Form,
        /// What there is.
        is: Form,
    },
    /// A fault of the compiler.
    #[error("what the pass `{pass}` made does not hold: {what}")]
    Broken {
        /// The pass.
        pass: &'static str,
        /// What does not hold.
        what: String,
    },
}

/// Why a program cannot be compiled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be differentiated.
    #[error(transparent)]
    Differentiate(#[from] DifferentiateError),
    /// It cannot be lowered.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A size goes beyond 64 bits.
    #[error("a size of it is too large to be counted in 64 bits; make the model smaller")]
    TooLarge,
}

impl ProgramError {
    /// The error of a program by this name.
    pub fn of(self, program: &str) -> CompileError {
        CompileError::Program {
            program: program.into(),
            why: self,
        }
    }
}

/// A name that is no pass's.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("there is no pass `{name}`; passes are {}", names().join(", "))]
pub struct UnknownPass {
    /// The name.
    pub name: String,
}

/// Names of all passes, in order.
pub fn names() -> Vec<&'static str> {
    PASSES.iter().map(|p| p.name).collect()
}

/// The pass of a name.
pub fn find(name: &str) -> Result<&'static Pass, UnknownPass> {
    let found = PASSES.iter().find(|p| p.name == name);
    found.ok_or_else(|| UnknownPass { name: name.into() })
}

/// The passes for a target, in order.
pub fn passes(target: Target) -> Vec<&'static Pass> {
    PASSES.iter().filter(|p| p.targets.contains(&target)).collect()
}

/// The passes for a target that follow `after`, up to and with `last`.
pub fn between(target: Target, after: Option<&str>, last: &Pass) -> Vec<&'static Pass> {
    let at = |name: &str| PASSES.iter().position(|p| p.name == name);
    let start = after.and_then(at).map_or(0, |i| i + 1);
    let end = at(last.name).map_or(0, |i| i + 1);
    let range = PASSES.iter().take(end).skip(start);
    range.filter(|p| p.targets.contains(&target)).collect()
}

/// The last pass that a text in this form has behind it, where it says that it is `after` one: a plan is not read back, but
/// made again, and what is over kernels was lowered.
pub(crate) fn reached(after: Option<&'static str>, form: Form) -> Option<&'static str> {
    let gives = |i: usize| PASSES.get(i + 1).map_or(Programs, |next| next.takes);
    let end = match after {
        Some(name) => PASSES.iter().position(|p| p.name == name).map_or(0, |i| i + 1),
        None if form == Programs => PASSES.iter().position(|p| p.takes == Programs).unwrap_or(0),
        None => 0,
    };
    let fits = |i: &usize| gives(*i) == form;
    (0..end).rev().find(fits).map(|i| PASSES[i].name)
}

/// Runs passes on a module, and shows it after each, before it is checked.
///
/// # Errors
/// Where a program cannot be compiled, where a pass does not take what there is, and where what it made does not hold.
pub fn run(
    m: &mut Module,
    settings: &Settings,
    passes: &[&'static Pass],
    see: &mut dyn FnMut(&Pass, &Module),
) -> Result<(), CompileError> {
    for pass in passes {
        let (pass, takes, is) = (*pass, pass.takes, m.form());
        if takes != is {
            return Err(CompileError::Form {
                pass: pass.name,
                takes,
                is,
            });
        }
        (pass.run)(m, settings)?;
        m.after = Some(pass.name);
        see(pass, m);
        if settings.verify {
            (pass.verify)(m).map_err(|what| CompileError::Broken { pass: pass.name, what })?;
        }
    }
    Ok(())
}

/// Runs passes by name, in the order of the list: for tests.
///
/// # Panics
/// Where there is none of a name, and where one fails.
pub fn run_named(m: &mut Module, settings: &Settings, names: &[&str]) {
    let chosen: Vec<&Pass> = PASSES.iter().filter(|p| names.contains(&p.name)).collect();
    assert_eq!(chosen.len(), names.len(), "there is no such pass among {names:?}");
    run(m, settings, &chosen, &mut |_, _| ()).unwrap_or_else(|e| panic!("{e}"));
}
