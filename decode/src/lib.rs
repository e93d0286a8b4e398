//! From the classes of a speech model to text: language models, search, alignment.
//!
//! Nothing here knows wav2vec 2.0, audio or files of recordings: input are matrices of log-probabilities.

#![warn(missing_docs)]

pub mod align;
pub mod alphabet;
pub mod error;
pub mod exact;
pub mod hotwords;
pub mod lexicon;
pub mod lm;
pub mod output;
pub mod search;

pub use error::Error;
