//! Everything that can go wrong in a compiled program. A message names the file or setting and what to do about it.

use ir::artifact::Artifact;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} `{}`: {source}{}", .path.display(), io_remedy(.source))]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("audio `{}`: {what}; {remedy}", .path.display())]
    Audio {
        path: PathBuf,
        what: String,
        remedy: &'static str,
    },
    #[error("data `{place}`: {what}; {remedy}")]
    Data {
        place: String,
        what: String,
        remedy: String,
    },
    #[error("setting {0}")]
    Setting(String),
    #[error("weights `{}`: {what}; {remedy}", .path.display())]
    Weights {
        path: PathBuf,
        what: String,
        remedy: String,
    },
    #[error("run folder `{}`: {what}; {remedy}", .path.display())]
    Run {
        path: PathBuf,
        what: String,
        remedy: String,
    },
    #[error("masks: {0}")]
    Mask(#[from] crate::masks::MaskError),
    #[error("program `{program}`: {what}")]
    Program { program: String, what: String },
    #[error("{what}: this session is for running `{program}` alone and has let go of parameters; open another")]
    Frozen { program: String, what: &'static str },
    #[error(
        "program `{program}` needs {:.2} GiB for this batch and the machine has {:.2} GiB free; {remedy}",
        gib(*.needed), gib(*.available)
    )]
    Memory {
        program: String,
        needed: usize,
        available: usize,
        remedy: String,
    },
    #[error("{what}: this needs {:.2} GiB of memory and {:.2} GiB can be had; {remedy}", gib(*.needed), gib(*.available))]
    Room {
        what: String,
        needed: usize,
        available: usize,
        remedy: String,
    },
    #[error("executable `{}`: {what}; copy it again, or compile it again with `w2vc compile`", .path.display())]
    Executable { path: PathBuf, what: String },
    #[error(
        "no NVIDIA driver was found (libcuda.so); this executable computes on an NVIDIA GPU: install a driver (for CUDA {need} \
         or later), or run it with --device emulator, slowly, on this processor"
    )]
    NoDriver { need: String },
    #[error("the NVIDIA driver supports CUDA {have} and this executable needs {need}; update the driver")]
    OldDriver { have: String, need: String },
    #[error("no suitable GPU: {what}; {remedy}")]
    NoDevice { what: String, remedy: String },
    #[error("{0}")]
    DeviceMemory(Box<Shortage>),
    #[error("the device failed: {call}: {what}")]
    Device { call: String, what: String },
    #[error("this processor lacks {missing}; the executable was compiled for processors that have it: {remedy}")]
    Processor { missing: String, remedy: &'static str },
    #[error("damaged: `{}`: {what}; {remedy}", .path.display())]
    Damaged {
        path: PathBuf,
        what: String,
        remedy: String,
    },
    #[error("training stopped at update {update}: {what}")]
    Training { update: u64, what: String },
    #[error("{signal}: stopped after update {update}; the checkpoint `{}` was written; continue with:\n  {command}", .checkpoint.display())]
    Interrupted {
        signal: crate::interrupt::Signal,
        update: u64,
        checkpoint: PathBuf,
        command: String,
    },
    #[error("{what}; {remedy}")]
    Ranks { what: String, remedy: String },
    #[error("{0}")]
    Usage(String),
}

/// What a process ends with where the ranks of a training do not go together, or one of them is gone.
pub const RANKS: u8 = 14;

/// What a program needs of a device's memory, and what there is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "program `{program}` needs {:.2} GiB on the GPU for this batch and {:.2} GiB are free; {}; {remedy}",
    gib(*.needed), gib(*.available), fitting(*.batch, *.largest)
)]
pub struct Shortage {
    pub program: String,
    /// Bytes for everything that has to be there during a run, and bytes that can be had for it.
    pub needed: usize,
    pub available: usize,
    /// Clips of this batch, and the most of the same sizes that would fit.
    pub batch: Option<i64>,
    pub largest: Option<i64>,
    pub remedy: String,
}

fn fitting(batch: Option<i64>, largest: Option<i64>) -> String {
    match (batch, largest) {
        (None, _) => "no smaller batch would help".into(),
        (Some(_), None) => "a single clip of this length does not fit".into(),
        (Some(batch), Some(n)) => format!("the largest batch of such clips that would fit has {n} of these {batch}"),
    }
}

fn gib(bytes: usize) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

fn io_remedy(source: &io::Error) -> &'static str {
    if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return "; it is a symbolic link, which is not followed here: remove it";
    }
    match source.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; check the permissions or choose another folder",
        io::ErrorKind::StorageFull => "; free some space on this disk, then continue with --resume",
        io::ErrorKind::QuotaExceeded => "; free some of your quota on this disk, then continue with --resume",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a folder on a disk that can be written",
        io::ErrorKind::IsADirectory => "; name a file, not a folder",
        io::ErrorKind::NotADirectory => "; a part of this path is a file: check the path",
        _ => "",
    }
}

impl Error {
    /// The model has no such task.
    pub fn no_task(artifact: &Artifact, task: &str) -> Error {
        let names = || artifact.tasks.iter().map(|t| t.name.as_str());
        let near = crate::settings::nearest(task, names());
        let hint = near.map_or_else(
            || format!("it has {}", names().collect::<Vec<_>>().join(", ")),
            |n| format!("did you mean `{n}`?"),
        );
        Error::Usage(format!("`{}` has no task `{task}` of this kind; {hint}", artifact.name))
    }

    /// What the process ends with (docs/reference/exit-codes.md); 2 is a slip on the command line (clap's choice).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Setting(_) => 2,
            Error::NoDriver { .. } => 3,
            Error::OldDriver { .. } => 4,
            Error::NoDevice { .. } => 5,
            Error::DeviceMemory(_) => 6,
            Error::Device { .. } => 7,
            Error::Processor { .. } => 8,
            Error::Audio { .. } | Error::Data { .. } | Error::Mask(_) => 9,
            Error::Memory { .. } | Error::Room { .. } => 10,
            Error::Weights { .. } | Error::Executable { .. } | Error::Damaged { .. } => 11,
            Error::Run { .. } => 12,
            Error::Training { .. } => 13,
            Error::Ranks { .. } => RANKS,
            Error::Interrupted { signal, .. } => signal.exit_code(),
            Error::Io { .. } | Error::Program { .. } | Error::Frozen { .. } => 1,
        }
    }

    /// Whether it concerns one recording, so that others may be sound.
    pub fn is_of_one(&self) -> bool {
        matches!(
            self,
            Error::Audio { .. }
                | Error::Data { .. }
                | Error::Io { .. }
                | Error::Memory { .. }
                | Error::DeviceMemory(_)
                | Error::Room { .. }
        )
    }

    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    pub(crate) fn program(program: &str, what: impl Into<String>) -> Error {
        Error::Program {
            program: program.into(),
            what: what.into(),
        }
    }

    pub(crate) fn weights(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Weights {
            path: path.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Damaged {
            path: path.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn run(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Run {
            path: path.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn data(place: impl ToString, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Data {
            place: place.to_string(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
