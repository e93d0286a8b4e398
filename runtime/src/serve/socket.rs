//! `GET /v1/audio/stream`: a WebSocket that takes samples as they are spoken and gives events as `listen --json` does.
//!
//! Messages in bytes are samples, mono; the text `{"type": "finish"}` says that no more come. After the last event comes
//! `{"type": "done"}`.

use super::Service;
use super::fault::Fault;
use super::job::Wanted;
use super::metrics::Held;
use crate::audio::{GivenUp, Pushed, RATE};
use crate::error::Error;
use crate::live::{Event, Live};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Bytes of a message.
const MOST_BYTES: usize = 1 << 20;
/// Seconds of samples that wait to be heard, or one message; a client that sends faster is slowed down.
const WAITING: usize = 10;

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    rate: u32,
    floats: bool,
}

impl Format {
    fn of(query: &str) -> Result<Format, Fault> {
        let mut format = Format {
            rate: RATE,
            floats: false,
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            match pair.split_once('=') {
                Some(("rate", rate)) => {
                    let number = rate.parse().ok().filter(|r| (1_000..=768_000).contains(r));
                    format.rate = number.ok_or_else(|| Fault::wrong("rate", "give 1000 to 768000 samples a second"))?;
                }
                Some(("format", "s16le")) => format.floats = false,
                Some(("format", "f32le")) => format.floats = true,
                Some(("format", other)) => {
                    return Err(Fault::wrong("format", format!("`{other}` is neither s16le nor f32le")));
                }
                _ => {}
            }
        }
        Ok(format)
    }

    fn bytes_per_second(self) -> usize {
        self.rate as usize * if self.floats { 4 } else { 2 }
    }
}

/// Pages of other sites may not listen in on this server through a visitor's browser.
fn same_origin(headers: &HeaderMap) -> bool {
    let of = |name| {
        headers
            .get(name)
            .and_then(|v: &axum::http::HeaderValue| v.to_str().ok())
    };
    match (of(header::ORIGIN), of(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, at)| at == host),
        _ => false,
    }
}

pub(super) async fn stream(
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let accepted = || {
        if !same_origin(&headers) {
            return Err(Fault::forbidden("a page of another site asks for this stream"));
        }
        if service.stopping.load(Ordering::Relaxed) {
            return Err(Fault::stopping());
        }
        let format = Format::of(query.as_deref().unwrap_or_default())?;
        let upgrade = upgrade.map_err(|e| Fault::wrong("upgrade", format!("this path is a WebSocket: {e}")))?;
        let place = service.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Fault::busy(service.limits.places))?;
        Ok((upgrade, format, place))
    };
    match accepted() {
        Err(fault) => fault.into_response(),
        Ok((upgrade, format, place)) => {
            let service = service.clone();
            upgrade.max_message_size(MOST_BYTES).on_upgrade(async move |socket| {
                talk(service, socket, format).await;
                drop(place);
            })
        }
    }
}

/// Samples that wait to be heard, and the room that they take.
struct Piece {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// A client as it is spoken with.
struct Talk {
    socket: WebSocket,
    samples: UnboundedSender<Piece>,
    told: UnboundedReceiver<Event>,
    /// Bytes that may wait.
    room: Arc<Semaphore>,
    most: usize,
    idle: Duration,
}

/// Why no more samples come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// There are no more, or there is nobody left to hear them.
    Finished,
    /// The client is no more.
    Gone,
}

async fn talk(service: Arc<Service>, socket: WebSocket, format: Format) {
    let _open = Held::new(&service.metrics.streams);
    let (samples, come) = unbounded_channel();
    let (tell, told) = unbounded_channel();
    let wanted = Wanted::default();
    let (listening, given_up) = (service.clone(), wanted.given_up(&service));
    let work = spawn_blocking(move || listen(&listening, format, come, &tell, &given_up));
    let most = WAITING * format.bytes_per_second();
    let talk = Talk {
        socket,
        samples,
        told,
        room: Arc::new(Semaphore::new(most)),
        most,
        idle: service.limits.idle,
    };
    let left = talk.exchange(&service).await;
    if left.is_none() {
        drop(wanted);
    }
    let outcome = work.await;
    let Some(mut socket) = left else { return };
    let last = match outcome {
        Ok(Ok(())) => json!({ "type": "done" }),
        Ok(Err(_)) if service.stopped.load(Ordering::Relaxed) => Fault::stopping().body(),
        Ok(Err(e)) => Fault::of(&e, "", "").body(),
        Err(_) => Fault::internal("the stream was lost to a fault of this program").body(),
    };
    // The client may have gone meanwhile.
    let _ = socket.send(Message::text(last.to_string())).await;
    let end = CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    };
    let _ = socket.send(Message::Close(Some(end))).await;
}

impl Talk {
    /// Passes samples on and events back until all is told; gives the client back, unless it has gone.
    async fn exchange(mut self, service: &Service) -> Option<WebSocket> {
        if self.take(service).await == Over::Gone {
            return None;
        }
        let Talk {
            mut socket,
            samples,
            mut told,
            ..
        } = self;
        // What listens learns by this that no more comes.
        drop(samples);
        loop {
            tokio::select! {
                event = told.recv() => match event {
                    Some(event) => say(&mut socket, &event).await?,
                    None => return Some(socket),
                },
                // Whatever else it sends comes too late.
                message = socket.recv() => if is_gone(&message) { return None },
            }
        }
    }

    async fn take(&mut self, service: &Service) -> Over {
        let stopping = async {
            while !service.stopping.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::pin!(stopping);
        let mut waits: Option<Vec<u8>> = None;
        loop {
            let size = waits.as_ref().map_or(0, |bytes| bytes.len().min(self.most)) as u32;
            tokio::select! {
                event = self.told.recv() => match event {
                    Some(event) => if say(&mut self.socket, &event).await.is_none() { return Over::Gone },
                    // The listening thread has ended, by an error.
                    None => return Over::Finished,
                },
                room = self.room.clone().acquire_many_owned(size), if waits.is_some() => {
                    let room = room.expect("it is never closed");
                    let bytes = waits.take().unwrap_or_default();
                    if self.samples.send(Piece { bytes, _room: room }).is_err() {
                        return Over::Finished;
                    }
                }
                message = timeout(self.idle, self.socket.recv()), if waits.is_none() => match message {
                    // Nothing for so long: as if it had been said that nothing comes.
                    Err(_) => return Over::Finished,
                    Ok(message) if is_gone(&message) => return Over::Gone,
                    Ok(Some(Ok(Message::Binary(bytes)))) => waits = Some(bytes.to_vec()),
                    Ok(Some(Ok(Message::Text(text)))) if says_finish(&text) => return Over::Finished,
                    Ok(_) => {}
                },
                () = &mut stopping => return Over::Finished,
            }
        }
    }
}

fn is_gone(message: &Option<Result<Message, axum::Error>>) -> bool {
    matches!(message, None | Some(Err(_) | Ok(Message::Close(_))))
}

/// Whether a text is `{"type": "finish"}`.
fn says_finish(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|v| v["type"] == "finish")
}

async fn say(socket: &mut WebSocket, event: &Event) -> Option<()> {
    let text = serde_json::to_string(event).expect("plain data always serialises");
    socket.send(Message::text(text)).await.ok()
}

/// Hears what comes until no more comes, or nobody listens to what is heard.
fn listen(
    service: &Service,
    format: Format,
    mut come: UnboundedReceiver<Piece>,
    tell: &UnboundedSender<Event>,
    given_up: &GivenUp,
) -> Result<(), Error> {
    let nobody = || Error::Usage("nobody listens to it any more".into());
    let mut pushed = Pushed::new(format.rate, format.floats)?;
    let mut live = Live::new(service.hearing.clone(), service.finder.clone(), service.shape);
    let mut logits = |wave: &[f32]| match given_up() {
        true => Err(nobody()),
        false => service.ear.logits(wave.to_vec()),
    };
    let mut told = |event| tell.send(event).map_err(|_| nobody());
    let mut going = true;
    while going {
        let mut samples = vec![];
        match come.blocking_recv() {
            Some(piece) => pushed.push(&piece.bytes, &mut samples)?,
            None => {
                pushed.finish(&mut samples);
                live.finish();
                going = false;
            }
        }
        live.push(&samples);
        live.events(&mut logits, &mut told)?;
    }
    Ok(())
}

/// Listens to samples that have all come.
#[cfg(test)]
pub(super) fn heard(service: &Service, bytes: Vec<u8>, given_up: &GivenUp) -> Result<(), Error> {
    let (samples, come) = unbounded_channel();
    let (tell, _told) = unbounded_channel();
    let room = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
    let piece = Piece { bytes, _room: room };
    samples.send(piece).unwrap_or_else(|_| unreachable!("it is received"));
    drop(samples);
    let format = Format {
        rate: RATE,
        floats: false,
    };
    listen(service, format, come, &tell, given_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server_may_stream() {
        let of = |pairs: &[(header::HeaderName, &str)]| {
            let pairs = pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap()));
            same_origin(&pairs.collect::<HeaderMap>())
        };
        assert!(of(&[(header::HOST, "a:8080")]));
        assert!(of(&[(header::HOST, "a:8080"), (header::ORIGIN, "http://a:8080")]));
        assert!(!of(&[(header::HOST, "a:8080"), (header::ORIGIN, "http://b:8080")]));
        assert!(!of(&[(header::HOST, "a:8080"), (header::ORIGIN, "null")]));
    }

    #[test]
    fn the_end_is_said_in_json() {
        assert!(says_finish(r#"{"type": "finish"}"#) && says_finish(r#"{ "type":"finish", "more": 1 }"#));
        for other in ["finish", r#"{"type": "unfinished"}"#, r#"["finish"]"#, ""] {
            assert!(!says_finish(other), "{other}");
        }
    }

    #[test]
    fn formats_are_named_in_the_address() {
        let of = |query: &str| Format::of(query).map(|f| (f.rate, f.floats)).ok();
        assert_eq!(of(""), Some((16_000, false)));
        assert_eq!(of("rate=48000&format=f32le"), Some((48_000, true)));
        assert_eq!((of("rate=7"), of("format=mp3")), (None, None));
    }
}
