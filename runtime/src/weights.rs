//! Parameters in and out of folders of the Hugging Face form, out of checkpoints of fairseq, and their first values.

mod config;
mod fairseq;
mod head;
mod init;
mod language;
mod names;
mod needs;
mod read;
mod source;
mod tensor_file;
mod torch;
mod values;
mod write;

use crate::error::Error;
use crate::session::Session;
use ir::artifact::Artifact;
use std::path::Path;

pub(crate) use config::difference;
pub use config::same;
pub use head::HeadRows;
pub use init::initialize;
pub use language::for_language;
pub use read::Folder;
pub use tensor_file::TensorFile;
pub use torch::TorchFile;
pub use write::{Texts, export_model, export_texts};

/// Gives a session the run sizes that a folder's tensors have; its artifact is returned.
///
/// # Errors
/// Where such a size is out of range.
pub fn adopt_sizes(session: &mut dyn Session, folder: &Folder) -> Result<Artifact, Error> {
    let artifact = session.artifact().clone();
    let sizes = folder.run_sizes(&artifact);
    if sizes
        .iter()
        .any(|(name, value)| artifact.run_size(name) != Some(*value))
    {
        session.choose(&sizes)?;
        return Ok(session.artifact().clone());
    }
    Ok(artifact)
}

/// What a folder's config.json says of its network, or a checkpoint of fairseq in its place; and whether its model takes
/// normalised input, where the folder says so.
///
/// # Errors
/// Where nothing says what the network is.
pub fn described(path: &Path) -> Result<(serde_json::Value, Option<bool>), Error> {
    let config = path.join(CONFIG);
    if config.is_file() {
        return Ok((json(&config)?, read::normalize(path)?));
    }
    let folder = Folder::open(path)?;
    let none = || {
        Error::weights(
            path,
            "nothing in it says what its network is",
            "put the model's config.json in the same folder",
        )
    };
    Ok((folder.config()?.ok_or_else(none)?, folder.normalize()?))
}

/// Names of the files of a folder.
pub const MODEL: &str = "model.safetensors";
pub const CONFIG: &str = "config.json";
pub const VOCAB: &str = "vocab.json";
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// Where transformers 5 has what was in `preprocessor_config.json`, as `feature_extractor`.
pub const PROCESSOR: &str = "processor_config.json";

fn json(path: &Path) -> Result<serde_json::Value, Error> {
    let text = crate::atomic::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| Error::weights(path, format!("it is no JSON: {e}"), "restore the file"))
}
