//! `GET /v1/audio/stream`: a WebSocket that takes samples as they are spoken and gives events as `listen --json` does.
//!
//! Messages in bytes are samples, mono; the text `{"type": "finish"}` says that no more come. After the last event comes
//! `{"type": "done"}`.

use super::Service;
use super::fault::Fault;
use super::metrics::Held;
use crate::audio::{Pushed, RATE};
use crate::error::Error;
use crate::live::{Event, Live};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Bytes of a message.
const MOST_BYTES: usize = 1 << 20;
/// Messages that wait to be heard; a client that sends faster is slowed down.
const WAITING: usize = 64;

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

/// What goes to the thread that listens.
type Bytes = Vec<u8>;

async fn talk(service: Arc<Service>, mut socket: WebSocket, format: Format) {
    let _open = Held::new(&service.metrics.streams);
    let (samples, come) = sync_channel::<Bytes>(WAITING);
    let (tell, mut told) = unbounded_channel();
    let listening = service.clone();
    let work = spawn_blocking(move || listen(&listening, format, &come, &tell));
    let mut samples = Some(samples);
    let outcome = exchange(&service, &mut socket, &mut samples, &mut told).await;
    drop(samples);
    if outcome.is_some() {
        // What is left to say.
        let _ = timeout(service.limits.grace, rest(&mut socket, &mut told)).await;
    }
    drop(told);
    let last = match work.await {
        Ok(Ok(())) => json!({ "type": "done" }),
        Ok(Err(e)) => Fault::of(&e, "", "").body(),
        Err(_) => Fault::internal("the stream was lost to a fault of this program").body(),
    };
    if outcome.is_some() {
        let _ = socket.send(Message::text(last.to_string())).await;
        let end = CloseFrame {
            code: close_code::NORMAL,
            reason: "".into(),
        };
        let _ = socket.send(Message::Close(Some(end))).await;
    }
}

/// Passes samples on and events back until no more samples come; `None` where the client has gone.
async fn exchange(
    service: &Service,
    socket: &mut WebSocket,
    samples: &mut Option<SyncSender<Bytes>>,
    told: &mut UnboundedReceiver<Event>,
) -> Option<()> {
    let stopping = async {
        while !service.stopping.load(Ordering::Relaxed) {
            sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            event = told.recv() => match event {
                Some(event) => say(socket, &event).await?,
                // The listening thread has ended, by an error.
                None => return Some(()),
            },
            message = timeout(service.limits.idle, socket.recv()) => match message {
                // Nothing for so long: as if it had been said that nothing comes.
                Err(_) => return Some(()),
                Ok(Some(Ok(Message::Binary(bytes)))) => pass(samples.as_ref()?, bytes.to_vec()).await?,
                Ok(Some(Ok(Message::Text(text)))) if text.contains("finish") => return Some(()),
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return None,
                Ok(Some(Ok(_))) => {}
            },
            () = &mut stopping => return Some(()),
        }
    }
}

async fn say(socket: &mut WebSocket, event: &Event) -> Option<()> {
    let text = serde_json::to_string(event).expect("plain data always serialises");
    socket.send(Message::text(text)).await.ok()
}

async fn rest(socket: &mut WebSocket, told: &mut UnboundedReceiver<Event>) {
    while let Some(event) = told.recv().await {
        if say(socket, &event).await.is_none() {
            return;
        }
    }
}

/// Hands samples over, waiting where too many wait; `None` where nobody takes them any more.
async fn pass(samples: &SyncSender<Bytes>, bytes: Bytes) -> Option<()> {
    let mut bytes = bytes;
    loop {
        match samples.try_send(bytes) {
            Ok(()) => return Some(()),
            Err(TrySendError::Full(again)) => {
                bytes = again;
                sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(TrySendError::Disconnected(_)) => return Some(()),
        }
    }
}

/// Hears what comes until no more comes, or nobody listens to what is heard.
fn listen(
    service: &Service,
    format: Format,
    come: &Receiver<Bytes>,
    tell: &UnboundedSender<Event>,
) -> Result<(), Error> {
    let mut pushed = Pushed::new(format.rate, format.floats)?;
    let mut live = Live::new(service.hearing.clone(), service.finder.clone(), service.shape);
    let mut going = true;
    while going {
        let mut samples = vec![];
        match come.recv() {
            Ok(bytes) => pushed.push(&bytes, &mut samples)?,
            Err(_) => {
                pushed.finish(&mut samples);
                going = false;
            }
        }
        live.push(&samples);
        if !going {
            live.finish();
        }
        for event in live.events(&mut |wave| service.ear.logits(wave.to_vec()))? {
            if tell.send(event).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
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
    fn formats_are_named_in_the_address() {
        let of = |query: &str| Format::of(query).map(|f| (f.rate, f.floats)).ok();
        assert_eq!(of(""), Some((16_000, false)));
        assert_eq!(of("rate=48000&format=f32le"), Some((48_000, true)));
        assert_eq!((of("rate=7"), of("format=mp3")), (None, None));
    }
}
