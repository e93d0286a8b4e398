//! Paths as bytes: on Linux a path need not be text.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    path.as_os_str().as_bytes().serialize(to)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    Ok(OsString::from_vec(Vec::deserialize(from)?).into())
}

#[cfg(test)]
mod tests {
    use crate::data::Utterance;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_path_that_is_no_text_comes_back() {
        let utterance = Utterance {
            path: OsStr::from_bytes(b"a\xff.wav").into(),
            ..Utterance::default()
        };
        let bytes = postcard::to_stdvec(&utterance).unwrap();
        assert_eq!(postcard::from_bytes::<Utterance>(&bytes).unwrap(), utterance);
    }
}
