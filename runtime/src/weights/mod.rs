//! Parameters in and out of folders of the Hugging Face form, and their first values.

mod config;
mod init;
mod names;
mod read;
mod write;

pub(crate) use config::difference;
pub use init::initialize;
pub use names::{exported, only_for_pretraining};
pub use read::{Folder, Missing, TensorFile};
pub use write::{export_model, export_texts};

/// Names of the files of a folder.
pub const MODEL: &str = "model.safetensors";
pub const CONFIG: &str = "config.json";
pub const VOCAB: &str = "vocab.json";
pub const PREPROCESSOR: &str = "preprocessor_config.json";
