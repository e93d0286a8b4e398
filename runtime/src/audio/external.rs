//! Other formats, through the program ffmpeg if it is installed.

use super::decode::{Decoder, Format};
use super::input::Input;
use super::{CONVERT, bad};
use crate::error::Error;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

/// Containers of sound that ffmpeg may take a file for. Playlists and the like, which name other files, are not among them.
const CONTAINERS: &str = "wav,w64,aiff,au,nistsphere,asf,amr,amrnb,amrwb,gsm,ac3,eac3,dts,mov,matroska,ogg,mp3,aac,flac,ape,wv,\
                          tta,tak,shn,voc,caf,mpegts,mpeg,avi,flv,mpc,mpc8,rm,g722,g723_1,g729,smjpeg,sln,dsf,iff,svx,xa,adx";

/// Bytes kept of what ffmpeg says.
const MOST_WORDS: u64 = 1 << 12;

/// Samples of a running ffmpeg.
pub(super) struct External {
    path: PathBuf,
    child: Child,
    sound: ChildStdout,
    words: Option<JoinHandle<Vec<u8>>>,
    format: Format,
    bytes: Vec<u8>,
}

/// Starts ffmpeg on a file; `why` says what keeps it from being read without.
pub(super) fn open(path: &Path, input: Input, why: &str) -> Result<External, Error> {
    // It opens the very file that was checked, under a name that cannot be an option or another protocol.
    let file = input.into_file(path)?;
    let mut source = OsString::from("file:");
    source.push(std::path::absolute(path).map_err(Error::io("find", path))?);
    if super::input::is_stdin(path) {
        source = "file:/dev/stdin".into();
    }
    let mut command = Command::new("ffmpeg");
    command.args([
        "-nostdin",
        "-hide_banner",
        "-v",
        "error",
        "-xerror",
        "-err_detect",
        "explode",
    ]);
    command.args(["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i"]);
    command.arg(source);
    command.args([
        "-map",
        "0:a:0",
        "-vn",
        "-sn",
        "-dn",
        "-c:a",
        "pcm_f32be",
        "-f",
        "au",
        "-",
    ]);
    command
        .stdin(Stdio::from(file))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => missing(path, why),
        _ => Error::io("start ffmpeg for", path)(e),
    })?;
    let (Some(mut sound), Some(mut words)) = (child.stdout.take(), child.stderr.take()) else {
        unreachable!("both streams are piped");
    };
    let listening = crate::threads::start(move || {
        let mut kept = vec![];
        // What cannot be read is not said; the rest is read too, so that ffmpeg never waits.
        let _ = words.by_ref().take(MOST_WORDS).read_to_end(&mut kept);
        let _ = std::io::copy(&mut words, &mut std::io::sink());
        kept
    });
    let Ok(words) = listening else {
        // It may have ended.
        let _ = child.kill();
        let _ = child.wait();
        let none = "the system gives no thread to hear ffmpeg with (ulimit -u, or the container's limit of processes)";
        return Err(Error::io("read", path)(std::io::Error::other(none)));
    };
    let mut head = [0; 24];
    let got = fill(&mut sound, &mut head);
    let mut external = External {
        path: path.into(),
        child,
        sound,
        words: Some(words),
        format: Format {
            rate: 0,
            channels: 0,
            frames: None,
        },
        bytes: vec![],
    };
    let word = |i: usize| u32::from_be_bytes(head[4 * i..4 * i + 4].try_into().expect("four bytes"));
    if got.map_err(Error::io("read ffmpeg's output for", path))? < head.len() || !head.starts_with(b".snd") {
        return Err(external.failure(why));
    }
    (external.format.rate, external.format.channels) = (word(4), word(5) as usize);
    // The rest of the header is text.
    let rest = (word(1) as u64).saturating_sub(24).min(1 << 16);
    let skipped = std::io::copy(&mut external.sound.by_ref().take(rest), &mut std::io::sink());
    skipped.map_err(Error::io("read ffmpeg's output for", path))?;
    Ok(external)
}

pub(super) fn missing(path: &Path, why: &str) -> Error {
    let remedy =
        "install ffmpeg (`apt install ffmpeg`), which reads most other formats, or convert it elsewhere to WAV or FLAC";
    bad(path, why, remedy)
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

impl External {
    /// Ends ffmpeg; what it complained of, and whether it failed.
    fn end(&mut self) -> (String, bool) {
        let failed = !self.child.wait().is_ok_and(|s| s.success());
        let words = self.words.take().and_then(|w| w.join().ok()).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let last = words.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("").trim();
        (last.to_string(), failed)
    }

    fn failure(&mut self, why: &str) -> Error {
        let _ = self.child.kill(); // It may have ended.
        let (said, _) = self.end();
        bad(&self.path, format!("{why}; ffmpeg says: {said}"), CONVERT)
    }
}

impl Decoder for External {
    fn format(&self) -> Format {
        self.format
    }

    fn next(&mut self, block: &mut Vec<f32>) -> Result<bool, Error> {
        let frame = 4 * self.format.channels;
        self.bytes.resize((1 << 14) * frame, 0);
        let got = fill(&mut self.sound, &mut self.bytes).map_err(Error::io("read ffmpeg's output for", &self.path))?;
        let whole = got - got % frame;
        let values = self.bytes[..whole].chunks_exact(4);
        block.extend(values.map(|b| f32::from_be_bytes(b.try_into().expect("four bytes"))));
        if got == self.bytes.len() {
            return Ok(true);
        }
        match self.end() {
            (said, false) if said.is_empty() => Ok(false),
            (said, _) => Err(bad(
                &self.path,
                format!("ffmpeg cannot decode all of it: {said}"),
                "copy or record it again",
            )),
        }
    }
}

impl Drop for External {
    fn drop(&mut self) {
        if self.words.is_some() {
            // Nobody reads on: both calls fail only where it has ended.
            let _ = self.child.kill();
            let _ = self.end();
        }
    }
}
