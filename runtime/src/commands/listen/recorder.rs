//! Programs that record: there is no sound library in this executable.

use crate::error::Error;
use std::process::{Child, Command, Stdio};

/// Programs and what has them write 16 kHz mono s16le to their standard output, the best first.
const RECORDERS: [(&str, &[&str]); 5] = [
    (
        "pw-record",
        &["--rate", "16000", "--channels", "1", "--format", "s16", "--raw", "-"],
    ),
    (
        "parec",
        &[
            "--rate=16000",
            "--channels=1",
            "--format=s16le",
            "--raw",
            "--latency-msec=50",
        ],
    ),
    (
        "arecord",
        &["-q", "-t", "raw", "-f", "S16_LE", "-r", "16000", "-c", "1"],
    ),
    (
        "ffmpeg",
        &[
            "-v", "error", "-nostdin", "-f", "alsa", "-i", "default", "-f", "s16le", "-ar", "16000", "-ac", "1", "-",
        ],
    ),
    (
        "sox",
        &[
            "-q",
            "-d",
            "-t",
            "raw",
            "-r",
            "16000",
            "-c",
            "1",
            "-b",
            "16",
            "-e",
            "signed-integer",
            "-",
        ],
    ),
];

/// Starts the first that is installed; it is told.
///
/// # Errors
/// Where there is none.
pub(super) fn start() -> Result<(Child, &'static str), Error> {
    for (name, arguments) in RECORDERS {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        match command.spawn() {
            Ok(child) => return Ok((child, name)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("start", name.as_ref())(e)),
        }
    }
    let names = RECORDERS.map(|(name, _)| name).join(", ");
    Err(Error::Usage(format!(
        "no program to record with was found ({names}): install one of them (Debian: apt install alsa-utils), or pipe samples \
         to standard input"
    )))
}
