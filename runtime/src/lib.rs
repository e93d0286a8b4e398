//! What a compiled program is made of besides its code: audio, data, masks, training, checkpoints, decoding, and the
//! command line. It knows wav2vec 2.0 and no compiler.

pub mod atomic;
pub mod audio;
pub mod bench;
mod bytes;
pub mod cli;
pub mod commands;
pub mod data;
pub mod digest;
pub mod engine;
pub mod error;
pub mod exec;
pub mod features;
pub mod feeds;
pub mod geometry;
pub mod gpu;
pub mod identity;
pub mod info;
pub mod interrupt;
pub mod live;
pub mod log;
pub mod masks;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod profile;
pub mod random;
pub mod ranks;
pub mod report;
pub mod run;
pub mod schedule;
pub mod score;
pub mod serve;
pub mod session;
pub mod settings;
pub mod step;
pub mod tensors;
pub mod texts;
pub mod threads;
pub mod trainer;
pub mod vocab;
pub mod weights;

#[cfg(test)]
mod fake;

pub use error::Error;

/// What the model language has to know of this runtime.
pub const HOST: ir::task::Host = ir::task::Host {
    feeds: feeds::SIGNATURES,
    training: settings::of_training,
    texts: settings::of_texts,
    prediction: settings::of_prediction,
    of_the_data: &settings::OF_THE_DATA,
    reserved: cli::RESERVED,
};
