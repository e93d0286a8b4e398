//! Where samples come from: a thread reads, so that nothing is lost while the model computes.

use super::recorder;
use super::{ListenArgs, Numbers};
use crate::audio::{Header, Pushed, RATE, wav_header};
use crate::error::Error;
use crate::log::tell;
use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Bytes of a read, and reads that wait: a pipe that is faster than the model is not read beyond that.
const PIECE: usize = 1 << 14;
const WAITING: usize = 256;
/// Bytes in which a WAV header ends.
const MOST_HEADER: usize = 1 << 12;

pub(super) enum Coming {
    More,
    Over,
}

pub(super) struct Source {
    bytes: Receiver<std::io::Result<Vec<u8>>>,
    /// Bytes that were read and not taken.
    waiting: Arc<AtomicUsize>,
    pushed: Option<Pushed>,
    /// What the command line says of the samples.
    format: (u32, bool, usize),
    /// The beginning, until it is known whether it is a header.
    head: Vec<u8>,
    /// Bytes of samples that are still to come, where a header says how many there are.
    left: Option<u64>,
    recorder: Option<(Child, &'static str)>,
    took: bool,
}

impl Source {
    pub fn microphone() -> Result<Source, Error> {
        let (mut child, name) = recorder::start()?;
        tell(&format!("recording by {name}"));
        let out = child.stdout.take().expect("its output is a pipe");
        let mut source = Source::of(out, (RATE, false, 1))?;
        source.pushed = Some(Pushed::new(RATE, false)?);
        source.recorder = Some((child, name));
        Ok(source)
    }

    pub fn stdin(args: &ListenArgs) -> Result<Source, Error> {
        use std::io::IsTerminal;
        if std::io::stdin().is_terminal() {
            return Err(Error::Usage(
                "samples are read from standard input: pipe them in, or give --mic for the microphone".into(),
            ));
        }
        let format = (args.rate, args.input == Numbers::F32le, args.channels as usize);
        Source::of(std::io::stdin(), format)
    }

    fn of(from: impl Read + Send + 'static, format: (u32, bool, usize)) -> Result<Source, Error> {
        let (give, bytes) = sync_channel(WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = waiting.clone();
        let started = crate::threads::start(move || read(from, &give, &counted));
        started.map_err(|_| Error::Usage("the system gives no thread to read with (ulimit -u)".into()))?;
        Ok(Source {
            bytes,
            waiting,
            pushed: None,
            format,
            head: vec![],
            left: None,
            recorder: None,
            took: false,
        })
    }

    /// Seconds of samples that were read and not taken.
    pub fn waiting(&self) -> f64 {
        let (rate, floats, channels) = self.format;
        let frame = channels * if floats { 4 } else { 2 };
        self.waiting.load(Ordering::Relaxed) as f64 / (frame * rate as usize) as f64
    }

    /// Appends samples that have come, after waiting for them so long.
    pub fn take(&mut self, samples: &mut Vec<f32>, patience: Duration) -> Result<Coming, Error> {
        let mut next = self.bytes.recv_timeout(patience);
        loop {
            match next {
                Ok(read) => {
                    let bytes = read.map_err(Error::io("read", Path::new("standard input")))?;
                    self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    self.push(&bytes, samples)?;
                }
                Err(RecvTimeoutError::Timeout) => return Ok(Coming::More),
                Err(RecvTimeoutError::Disconnected) => {
                    self.begin(true)?;
                    let head = std::mem::take(&mut self.head);
                    self.hear(&head, samples)?;
                    return self.over(samples);
                }
            }
            // What lies behind the samples is not sound.
            if self.left == Some(0) {
                return self.over(samples);
            }
            // A second's worth at a time, so that texts come while a file is piped in.
            if samples.len() >= RATE as usize {
                return Ok(Coming::More);
            }
            next = self.bytes.recv_timeout(Duration::ZERO);
        }
    }

    fn push(&mut self, bytes: &[u8], samples: &mut Vec<f32>) -> Result<(), Error> {
        self.took |= !bytes.is_empty();
        if self.pushed.is_some() {
            return self.hear(bytes, samples);
        }
        self.head.extend_from_slice(bytes);
        self.begin(false)?;
        match self.pushed.is_some() {
            true => {
                let head = std::mem::take(&mut self.head);
                self.hear(&head, samples)
            }
            false => Ok(()),
        }
    }

    /// Takes bytes of samples, as many as there are of these.
    fn hear(&mut self, bytes: &[u8], samples: &mut Vec<f32>) -> Result<(), Error> {
        let Some(pushed) = &mut self.pushed else { return Ok(()) };
        let count = self
            .left
            .map_or(bytes.len(), |left| left.min(bytes.len() as u64) as usize);
        if let Some(left) = &mut self.left {
            *left -= count as u64;
        }
        pushed.push(&bytes[..count], samples)
    }

    fn over(&mut self, samples: &mut Vec<f32>) -> Result<Coming, Error> {
        if let Some(pushed) = &mut self.pushed {
            pushed.finish(samples);
        }
        Ok(Coming::Over)
    }

    /// Learns from the beginning what samples are, once enough of it has come.
    fn begin(&mut self, over: bool) -> Result<(), Error> {
        if self.pushed.is_some() {
            return Ok(());
        }
        match wav_header(Path::new("standard input"), &self.head)? {
            Header::Unfinished if !over && self.head.len() < MOST_HEADER => return Ok(()),
            Header::Unfinished | Header::None => {}
            Header::Wav {
                rate,
                channels,
                floats,
                samples_at,
                bytes,
            } => {
                self.left = bytes;
                self.format = (rate, floats, channels);
                self.head.drain(..samples_at);
            }
        }
        let (rate, floats, channels) = self.format;
        self.pushed = Some(Pushed::of(rate, floats, channels)?);
        Ok(())
    }

    /// Ends the recorder.
    ///
    /// # Errors
    /// Where it has given nothing: its own message says why.
    pub fn end(mut self) -> Result<(), Error> {
        let Some((mut child, name)) = self.recorder.take() else {
            return Ok(());
        };
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        match self.took {
            true => Ok(()),
            false => Err(Error::Usage(format!(
                "`{name}` recorded nothing; what it said is above. Check that there is a microphone, or pipe samples to standard input"
            ))),
        }
    }
}

fn read(mut from: impl Read, give: &SyncSender<std::io::Result<Vec<u8>>>, waiting: &AtomicUsize) {
    let mut piece = vec![0; PIECE];
    loop {
        let outcome = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(n) => Ok(piece[..n].to_vec()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        if let Ok(bytes) = &outcome {
            waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        let failed = outcome.is_err();
        if give.send(outcome).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_samples_of_a_wav_file_is_not_heard() {
        let mut wav =
            b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x03\0\x01\0\x80\x3e\0\0\0\xfa\0\0\x04\0\x20\0data".to_vec();
        wav.extend(20_000u32.to_le_bytes());
        wav.extend((0..5000).flat_map(|i| (i as f32 / 10_000.0).to_le_bytes()));
        // As floats these would be far beyond full scale.
        wav.extend(b"LIST\xff\xff\x7f\x7f".repeat(100));
        let mut source = Source::of(std::io::Cursor::new(wav), (RATE, false, 1)).unwrap();
        let mut samples = vec![];
        while !matches!(
            source.take(&mut samples, Duration::from_secs(60)).unwrap(),
            Coming::Over
        ) {}
        assert_eq!((samples.len(), samples[4999]), (5000, 0.4999));
    }
}
