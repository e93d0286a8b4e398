//! From logits to texts with times: what `w2vc-decode` does, in the letters of a vocabulary and the frames of a model.
//!
//! `flags` are the command lines, `finder` finds texts, `aligner` finds where given texts are, `writer` writes them in a format, `tune` finds weights of a language model.

mod aligner;
mod finder;
mod flags;
mod tune;
mod writer;

pub use aligner::{Aligned, Aligner, Star};
pub use finder::{Finder, Frames};
pub use flags::{Of, OutputFlags, SearchFlags};
pub use tune::{Case, tune};
pub use writer::Writer;

use crate::error::Error;

impl From<decode::Error> for Error {
    fn from(e: decode::Error) -> Error {
        match e {
            decode::Error::Read { path, source } => Error::Io {
                action: "read",
                path,
                source,
            },
            decode::Error::File { place, what, remedy } => Error::Data { place, what, remedy },
        }
    }
}
