//! `serve`: transcripts over HTTP.

use crate::engine::{Engine, engine};
use crate::error::Error;
use crate::interrupt::Signals;
use crate::live::{Shape, ShapeFlags};
use crate::log::tell;
use crate::serve::{Limits, Metrics, Service, listen, run as answer};
use crate::session::Session;
use crate::texts::{OutputFlags, SearchFlags};
use crate::trainer::Transcriber;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub struct ServeArgs {
    /// A run or a Hugging Face folder.
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// Address to listen on: by default that of this machine alone. Anyone who can reach it may use it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// 0: any that is free; it is printed.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// Bytes of a recording: a number, or one with K, M or G.
    #[arg(long, value_name = "BYTES", default_value = "200M", value_parser = bytes)]
    pub max_upload: u64,
    /// Requests and live streams at a time: those that are sent, wait, or are computed. Further ones are answered with 429.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub queue: u32,
    /// Seconds to wait for the next bytes of a client, in which an upload brings at least 4 kB a second.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Seconds that requests may take to end after the signal to stop (SIGTERM, SIGINT).
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace: u64,
    /// Change a setting of `transcribe`; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub search: SearchFlags,
    #[command(flatten)]
    pub shape: ShapeFlags,
}

/// Serves until a signal ends it.
///
/// # Errors
/// Where the address, the weights or what finds texts cannot be used; where the model's device fails.
pub fn run(session: &mut dyn Session, args: &ServeArgs) -> Result<(), Error> {
    share_memory();
    let listener = listen(&args.host, args.port)?;
    let address = listener
        .local_addr()
        .map_err(Error::io("listen on", args.host.as_ref()))?;
    let signals = Signals::watch()?;
    signals.arm()?;
    let artifact = session.artifact().clone();
    let mut transcriber = Transcriber::new(session, &args.weights, &args.set)?;
    let finder = Arc::new(transcriber.finder(&args.search, &OutputFlags::default())?);
    let hearing = Arc::new(transcriber.hearing().as_ref().clone().holding(HELD));
    // What depends on weights alone is done before somebody waits for it.
    transcriber.logits_of(&[&[0.0; crate::audio::RATE as usize]])?;
    let shape = Shape::new(&args.shape, &artifact, hearing.geometry());
    let limits = Limits {
        upload: args.max_upload,
        places: args.queue as usize,
        idle: Duration::from_secs(args.timeout),
        grace: Duration::from_secs(args.grace),
    };
    let (engine, ear) = engine();
    let metrics = Arc::new(Metrics::default());
    let parts = (hearing, finder, shape);
    let service = Arc::new(Service::new(artifact.name, parts, limits, ear, metrics.clone())?);
    let failed = service.failed();
    let server = crate::threads::start(move || answer(service, listener, &signals));
    let server = server.map_err(|_| Error::Usage("the system gives no thread to serve with (ulimit -u)".into()))?;
    tell(&format!("listening on http://{address}"));
    let computed = compute(engine, &mut transcriber, &metrics);
    if computed.is_err() {
        failed.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    let served = server.join();
    computed?;
    served.unwrap_or_else(|_| Err(Error::Usage("the server ended by a fault of this program".into())))
}

/// Has all threads allocate from few places: each would otherwise keep what its largest recording took.
fn share_memory() {
    // SAFETY: the allocator's own function, called before there are threads; it changes nothing that is allocated.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Places that threads allocate from.
const ARENAS: libc::c_int = 2;

/// Seconds of a recording that are held; longer ones are read again, window by window, so that many at a time take no more
/// memory than there is.
const HELD: usize = 60;

fn compute(engine: Engine, transcriber: &mut Transcriber, metrics: &Metrics) -> Result<(), Error> {
    engine.run(transcriber, &mut |ran| metrics.ran(ran))
}

/// A number of bytes, as 200M.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "give a number of bytes, as 500000, 200M or 1G".to_string();
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << unit).filter(|n| *n > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_numbers_with_or_without_a_unit() {
        assert_eq!(
            (bytes("200M"), bytes("5"), bytes("2k")),
            (Ok(200 << 20), Ok(5), Ok(2048))
        );
        for wrong in ["", "M", "1.5G", "-1", "0", "99999999999G", "5é"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
