//! Text files of others: encodings named, byte order marks and carriage returns passed over.

use crate::error::Error;
use std::path::Path;

/// Reads a text file as UTF-8.
///
/// # Errors
/// Where it is no file, or another encoding, which is named.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let found = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if let Some(what) = crate::audio::special(found.file_type()) {
        let what = format!("it is {what}, not a file");
        return Err(Error::data(path.display(), what, "name a file"));
    }
    let bytes = crate::atomic::read(path).map_err(Error::io("read", path))?;
    decode(path, bytes)
}

/// See [`read`].
pub(super) fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, Error> {
    let utf16 = match bytes.get(..2) {
        Some([0xff, 0xfe]) => Some("UTF-16LE"),
        Some([0xfe, 0xff]) => Some("UTF-16BE"),
        // Without a mark: every other byte of plain letters is 0.
        Some([a, 0]) if *a != 0 => Some("UTF-16LE"),
        Some([0, a]) if *a != 0 => Some("UTF-16BE"),
        _ => None,
    };
    if let Some(name) = utf16 {
        return Err(Error::data(
            path.display(),
            format!("it is {name} text"),
            format!("save it as UTF-8, for example by `iconv -f {name} -t UTF-8 FILE > NEW`"),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        Error::data(
            format!("{}:{line}", path.display()),
            "it is not UTF-8 text",
            "save it as UTF-8, for example by `iconv -f LATIN1 -t UTF-8 FILE > NEW`",
        )
    })?;
    // Some editors put a byte order mark first, which would be taken for part of the first path.
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

/// Lines that are not empty, with their numbers.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, l)| (i + 1, l.trim_end_matches('\r')))
        .filter(|(_, l)| !l.trim().is_empty())
}
