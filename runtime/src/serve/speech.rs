//! `POST /v1/audio/transcriptions`.

use super::answer::{Asked, Form, usage, write};
use super::fault::Fault;
use super::job::{Wanted, transcribe};
use super::{Service, upload};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use decode::output::Transcript;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::spawn_blocking;

/// What a form asks for.
#[derive(Debug)]
struct Wish {
    form: Form,
    asked: Asked,
    stream: bool,
}

pub(super) async fn transcriptions(State(service): State<Arc<Service>>, request: Request) -> Response {
    answer(service, request).await.unwrap_or_else(Fault::into_response)
}

async fn answer(service: Arc<Service>, request: Request) -> Result<Response, Fault> {
    if service.stopping.load(Ordering::Relaxed) {
        return Err(Fault::stopping());
    }
    let Ok(place) = service.places.clone().try_acquire_owned() else {
        upload::drain(request.into_body()).await;
        return Err(Fault::busy(service.limits.places));
    };
    let form = upload::receive(&service, request).await?;
    let wish = wish(&form.fields)?;
    match wish.stream {
        true => Ok(streamed(service, form, &wish, place)),
        false => whole(service, form, wish, place).await,
    }
}

/// The fields of a form; those that this model has no use for are taken and left.
fn wish(fields: &[(String, String)]) -> Result<Wish, Fault> {
    let mut wish = Wish {
        form: Form::Json,
        asked: Asked::default(),
        stream: false,
    };
    for (name, value) in fields {
        match name.as_str() {
            "response_format" => {
                let names = Form::NAMES.map(|(name, _)| name).join(", ");
                let found = Form::NAMES.iter().find(|(name, _)| name == value);
                let unknown = || Fault::wrong(name, format!("`{value}` is none of {names}"));
                wish.form = found.ok_or_else(unknown)?.1;
            }
            "timestamp_granularities[]" | "timestamp_granularities" => match value.as_str() {
                "word" => wish.asked.words = true,
                "segment" => wish.asked.segments = true,
                _ => return Err(Fault::wrong(name, format!("`{value}` is neither word nor segment"))),
            },
            "stream" => {
                wish.stream = match value.as_str() {
                    "true" | "True" | "1" => true,
                    "false" | "False" | "0" | "" => false,
                    _ => return Err(Fault::wrong(name, format!("`{value}` is neither true nor false"))),
                }
            }
            "temperature" => {
                let number = value.parse::<f64>().ok().filter(|t| (0.0..=1.0).contains(t));
                let unfit = || Fault::wrong(name, format!("`{value}` is no number from 0 to 1"));
                wish.asked.temperature = number.ok_or_else(unfit)?;
            }
            "language" if !value.is_empty() => wish.asked.language = Some(value.clone()),
            _ => {}
        }
    }
    if !wish.asked.words && !wish.asked.segments {
        wish.asked.segments = true;
    }
    if wish.stream && !matches!(wish.form, Form::Json | Form::Text) {
        let message = "a stream is of text: ask for json or text, or leave `stream` out";
        return Err(Fault::wrong("response_format", message));
    }
    Ok(wish)
}

async fn whole(
    service: Arc<Service>,
    form: upload::Form,
    wish: Wish,
    place: OwnedSemaphorePermit,
) -> Result<Response, Fault> {
    let wanted = Wanted::default();
    let given_up = wanted.given_up(&service);
    let times = wish.form.needs_times();
    let work = move || {
        // Whoever goes leaves the place to the work, until that has noticed.
        let _place = place;
        let begun = Instant::now();
        let found = transcribe(&service, (form.file.path(), &form.name), times, &given_up, &mut |_| {})?;
        done(&service, &form.name, &found, begun);
        Ok(found)
    };
    let found = spawn_blocking(work).await.unwrap_or_else(|_| Err(lost()));
    drop(wanted);
    let text = write(&found?, wish.form, &wish.asked);
    Ok(([(CONTENT_TYPE, wish.form.content_type())], text).into_response())
}

fn lost() -> Fault {
    Fault::internal("the transcript was lost to a fault of this program; its log says more")
}

fn done(service: &Service, name: &str, found: &Transcript, begun: Instant) {
    let took = begun.elapsed().as_secs_f64();
    service.metrics.transcribed(found.duration, took);
    // One line, whatever a client calls its file.
    crate::log::tell(&format!("{name:?}: {:.1} s of audio in {took:.2} s", found.duration));
}

/// The text as it is found, in server-sent events.
fn streamed(service: Arc<Service>, form: upload::Form, wish: &Wish, place: OwnedSemaphorePermit) -> Response {
    let wanted = Wanted::default();
    let given_up = wanted.given_up(&service);
    let (give, get) = unbounded_channel::<Value>();
    let (times, name) = (wish.form.needs_times(), form.name.clone());
    spawn_blocking(move || {
        let _place = place;
        let begun = Instant::now();
        let mut sent = String::new();
        let mut tell = |text: &str| {
            let new = settled(&sent, text);
            if !new.is_empty() {
                // Whoever has gone is noticed before the next window.
                let _ = give.send(delta(new));
                sent.push_str(new);
            }
        };
        let outcome = transcribe(&service, (form.file.path(), &name), times, &given_up, &mut tell);
        let last = match &outcome {
            Ok(found) => {
                done(&service, &name, found, begun);
                let rest = found.text.strip_prefix(sent.as_str()).unwrap_or_default();
                if !rest.is_empty() {
                    let _ = give.send(delta(rest));
                }
                json!({ "type": "transcript.text.done", "text": found.text, "usage": usage(found) })
            }
            Err(fault) => {
                let mut body = fault.body();
                body["type"] = json!("error");
                body
            }
        };
        let _ = give.send(last);
    });
    let next = |(mut get, wanted): (UnboundedReceiver<Value>, Wanted)| async move {
        let value = get.recv().await?;
        Some((
            Ok::<Event, Infallible>(Event::default().data(value.to_string())),
            (get, wanted),
        ))
    };
    let events = Sse::new(unfold((get, wanted), next)).keep_alive(KeepAlive::default());
    events.into_response()
}

fn delta(text: &str) -> Value {
    json!({ "type": "transcript.text.delta", "delta": text })
}

/// What has been found beyond `sent`, without the last word, which may go on.
fn settled<'a>(sent: &str, text: &'a str) -> &'a str {
    let end = text.rfind(char::is_whitespace).unwrap_or(0);
    text[..end].strip_prefix(sent).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> Result<Wish, Value> {
        let own: Vec<_> = fields.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        wish(&own).map_err(|f| f.body())
    }

    #[test]
    fn fields_are_read_as_clients_send_them() {
        let usual = of(&[
            ("model", "whisper-1"),
            ("prompt", "x"),
            ("temperature", "0.2"),
            ("language", "en"),
        ])
        .unwrap();
        assert_eq!((usual.form, usual.stream), (Form::Json, false));
        assert_eq!(usual.asked.language.as_deref(), Some("en"));
        let words = of(&[
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
        ]);
        let words = words.unwrap();
        assert!(words.asked.words && !words.asked.segments);
        for (field, value) in [
            ("response_format", "docx"),
            ("timestamp_granularities[]", "letter"),
            ("temperature", "hot"),
            ("stream", "maybe"),
        ] {
            let error = of(&[(field, value)]).unwrap_err();
            assert_eq!(error["error"]["param"], field);
            assert!(error["error"]["message"].as_str().unwrap().contains(value), "{error}");
        }
        let both = of(&[("stream", "true"), ("response_format", "srt")]).unwrap_err();
        assert_eq!(both["error"]["param"], "response_format");
    }

    #[test]
    fn what_is_sent_of_a_stream_is_whole_words_and_each_once() {
        let mut sent = String::new();
        for text in ["", "ONE", "ONE TW", "ONE TWO", "ONE TWO THREE F"] {
            let new = settled(&sent, text).to_string();
            sent += &new;
        }
        assert_eq!(sent, "ONE TWO THREE");
    }
}
