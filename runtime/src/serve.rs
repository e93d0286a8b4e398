//! Transcripts over HTTP, as OpenAI's clients ask for them; a page for people; WebSockets for live speech.
//!
//! One thread computes (`engine`), one speaks HTTP, and each request is read and decoded on a thread of its own. A request
//! has one of so many places from its first byte on; when all are taken, the next is told to come later.

mod answer;
mod connections;
mod fault;
mod job;
mod metrics;
mod models;
mod page;
mod room;
mod socket;
mod speech;
mod upload;

use crate::engine::Ear;
use crate::error::Error;
use crate::interrupt::Signals;
use crate::live::Shape;
use crate::texts::Finder;
use crate::trainer::Hearing;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Request;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use fault::Fault;
pub use metrics::Metrics;
use room::Room;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Path of the one request that everybody makes.
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// What a server grants.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a recording.
    pub upload: u64,
    /// Requests at a time.
    pub places: usize,
    /// How long to wait for the next bytes of a client.
    pub idle: Duration,
    /// How long requests may take to end after the signal to stop.
    pub grace: Duration,
}

/// What requests are answered with.
pub struct Service {
    pub model: String,
    pub hearing: Arc<Hearing>,
    pub finder: Arc<Finder>,
    pub shape: Shape,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    ear: Ear,
    places: Arc<Semaphore>,
    room: Arc<Room>,
    /// Recordings that are being heard.
    folder: TempDir,
    /// Stop soon: streams come to their end.
    stopping: AtomicBool,
    /// Stop now: what is not done is given up.
    stopped: AtomicBool,
    /// The model computes no more.
    failed: Arc<AtomicBool>,
    since: SystemTime,
}

impl Service {
    /// Set from outside where the model computes no more: then there is nothing to serve.
    pub fn failed(&self) -> Arc<AtomicBool> {
        self.failed.clone()
    }

    /// # Errors
    /// Where there is no place for temporary files.
    pub fn new(
        model: String,
        (hearing, finder, shape): (Arc<Hearing>, Arc<Finder>, Shape),
        limits: Limits,
        ear: Ear,
        metrics: Arc<Metrics>,
    ) -> Result<Service, Error> {
        let folder = tempfile::Builder::new().prefix("w2vc-serve-").tempdir();
        Ok(Service {
            model,
            hearing,
            finder,
            shape,
            ear,
            places: Arc::new(Semaphore::new(limits.places)),
            // The rest is for what computes, and for others.
            room: Room::new(crate::memory::available().map_or(usize::MAX, |free| free / 2)),
            limits,
            metrics,
            folder: folder.map_err(Error::io("make a folder in", &std::env::temp_dir()))?,
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            failed: Arc::default(),
            since: SystemTime::now(),
        })
    }
}

/// Opens the address before anything else is done, so that one that is taken is told at once.
///
/// # Errors
/// Where it cannot be had.
pub fn listen(host: &str, port: u16) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind((host, port)).map_err(|e| {
        let remedy = match e.kind() {
            std::io::ErrorKind::AddrInUse => "another program has it: choose another --port",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 are root's: choose another --port",
            _ => "check --host and --port",
        };
        Error::Usage(format!("cannot listen on {host}:{port}: {e}; {remedy}"))
    })?;
    let set = listener.set_nonblocking(true);
    set.map_err(Error::io("listen on", host.as_ref()))?;
    Ok(listener)
}

/// Ends what computes, and removes recordings, whoever still holds either: a search through a long recording may, and is not
/// waited for.
struct End(Arc<Service>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
        self.0.ear.end();
        // The system's own cleaning is left where this fails.
        let _ = std::fs::remove_dir_all(self.0.folder.path());
    }
}

/// Answers requests until a signal says to stop, and then those that are there; then it ends the engine.
///
/// # Errors
/// Where the system has no threads or sockets for it.
pub fn run(service: Arc<Service>, listener: TcpListener, signals: &Signals) -> Result<(), Error> {
    let _end = End(service.clone());
    let failed = |e| Error::io("start", "the server".as_ref())(e);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(service.limits.places + 2)
        .build()
        .map_err(failed)?;
    let outcome = runtime.block_on(connections::serve(service.clone(), router(service), listener, signals));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/health", get(models::health))
        .route("/metrics", get(metrics::show))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one))
        .route(TRANSCRIPTIONS, post(speech::transcriptions))
        .route("/v1/audio/stream", get(socket::stream))
        .fallback(async || Fault::not_found("there is nothing here; recordings go to POST /v1/audio/transcriptions"))
        .method_not_allowed_fallback(async || Fault::method())
        // Uploads are counted as they come.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(service.clone(), count))
        .with_state(service)
}

/// Counts answers by their status.
async fn count(State(service): State<Arc<Service>>, request: Request<axum::body::Body>, next: Next) -> Response {
    let answer = next.run(request).await;
    service.metrics.answered(answer.status().as_u16());
    answer
}

#[cfg(test)]
mod tests;
