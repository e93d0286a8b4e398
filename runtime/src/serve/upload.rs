//! The form that a client sends: its recording goes to a file as it comes, so that memory does not grow with it.

use super::Service;
use super::fault::Fault;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_LENGTH;
use futures_util::StreamExt;
use std::io::Write;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bytes of a form beside its recording, fields of it, and letters of a field's value.
const AROUND: u64 = 1 << 16;
const MOST_FIELDS: usize = 64;
const MOST_LETTERS: usize = 1 << 14;

/// Bytes that a refused client may go on sending, and how long it may: many read no answer before all is sent.
const MOST_DRAINED: u64 = 64 << 20;
const DRAINED: Duration = Duration::from_secs(5);

/// Bytes a second that a client sends at least: slower than any line, and enough that nobody holds a place by dripping.
const LEAST: f64 = 4096.0;

/// Bytes that are gathered before they are written.
const PIECE: usize = 1 << 18;

/// Whether a client sends fast enough: in every stretch of `idle`, as many bytes as it has to.
struct Pace {
    idle: Duration,
    since: Instant,
    bytes: usize,
}

impl Pace {
    fn new(idle: Duration) -> Pace {
        Pace {
            idle,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Waits for the next bytes of a client.
    async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Fault> {
        timeout(self.idle, next).await.map_err(|_| Fault::slow())
    }

    fn came(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        let took = self.since.elapsed();
        if took < self.idle {
            return Ok(());
        }
        if (self.bytes as f64) < LEAST * took.as_secs_f64() {
            return Err(Fault::slow());
        }
        *self = Pace::new(self.idle);
        Ok(())
    }
}

/// A form that came whole.
pub(super) struct Form {
    pub file: NamedTempFile,
    /// What the client calls it.
    pub name: String,
    /// The other fields, in their order.
    pub fields: Vec<(String, String)>,
}

/// Receives a form; what is wrong with it, where it is refused. A refused client is listened to for a while, so that it hears why.
pub(super) async fn receive(service: &Service, request: Request) -> Result<Form, Fault> {
    let most = service.limits.upload;
    let claimed = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|n| n > most.saturating_add(AROUND)) {
        drain(request.into_body()).await;
        return Err(Fault::too_large(most));
    }
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|e| {
        Fault::wrong(
            "file",
            format!("send a form (multipart/form-data) with a `file`: {}", e.body_text()),
        )
    })?;
    let outcome = read(service, &mut form).await;
    if outcome.is_err() {
        let rest = async { while let Ok(Some(_)) = form.next_field().await {} };
        // Who goes on sending beyond that is cut off.
        let _ = timeout(DRAINED, rest).await;
    }
    outcome
}

/// Lets a client that is refused end its sending.
pub(super) async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let all = async {
        let mut left = MOST_DRAINED;
        while let Some(Ok(bytes)) = stream.next().await {
            left = match left.checked_sub(bytes.len() as u64) {
                Some(left) => left,
                None => return,
            };
        }
    };
    let _ = timeout(DRAINED, all).await;
}

fn broken(e: &MultipartError) -> Fault {
    Fault::wrong("file", format!("the form is broken: {}", e.body_text()))
}

async fn read(service: &Service, form: &mut Multipart) -> Result<Form, Fault> {
    let mut pace = Pace::new(service.limits.idle);
    let mut found: Option<(NamedTempFile, String)> = None;
    let mut fields = vec![];
    loop {
        let next = pace.wait(form.next_field()).await?;
        let Some(field) = next.map_err(|e| broken(&e))? else {
            break;
        };
        let name = field.name().unwrap_or_default().to_string();
        if name == "file" {
            if found.is_some() {
                return Err(Fault::wrong("file", "there are two files; send one for each request"));
            }
            let own = field.file_name().unwrap_or("recording").to_string();
            found = Some((store(service, field, &mut pace).await?, own));
            continue;
        }
        if fields.len() == MOST_FIELDS {
            return Err(Fault::wrong(
                &name,
                format!("the form has more than {MOST_FIELDS} fields"),
            ));
        }
        let value = text(field, &name, &mut pace).await?;
        fields.push((name, value));
    }
    match found {
        Some((file, name)) => Ok(Form { file, name, fields }),
        None => Err(Fault::wrong(
            "file",
            "the form has no `file`; send the recording as one",
        )),
    }
}

/// Does what may wait for a disk on a thread where others do not wait for it.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Fault> {
    let done = spawn_blocking(work).await.unwrap_or_else(|e| Err(e.into()));
    done.map_err(|e| Fault::internal(format!("the recording cannot be stored: {e}")))
}

async fn store(service: &Service, mut field: Field<'_>, pace: &mut Pace) -> Result<NamedTempFile, Fault> {
    let folder = service.folder.path().to_path_buf();
    let mut file = on_disk(move || NamedTempFile::new_in(folder)).await?;
    let (mut size, mut piece) = (0, vec![]);
    loop {
        let next = pace.wait(field.chunk()).await?.map_err(|e| broken(&e))?;
        let over = next.is_none();
        let bytes = next.unwrap_or_default();
        if !over {
            pace.came(bytes.len())?;
        }
        size += bytes.len() as u64;
        if size > service.limits.upload {
            return Err(Fault::too_large(service.limits.upload));
        }
        piece.extend_from_slice(&bytes);
        if over || piece.len() >= PIECE {
            let full = std::mem::take(&mut piece);
            file = on_disk(move || file.write_all(&full).map(|()| file)).await?;
            // How long that took is not the client's.
            *pace = Pace::new(pace.idle);
        }
        if over {
            break;
        }
    }
    match size {
        0 => Err(Fault::wrong("file", "the recording is empty")),
        _ => Ok(file),
    }
}

async fn text(mut field: Field<'_>, name: &str, pace: &mut Pace) -> Result<String, Fault> {
    let mut bytes = vec![];
    loop {
        let Some(more) = pace.wait(field.chunk()).await?.map_err(|e| broken(&e))? else {
            break;
        };
        pace.came(more.len())?;
        bytes.extend_from_slice(&more);
        if bytes.len() > MOST_LETTERS {
            return Err(Fault::wrong(name, format!("it is longer than {MOST_LETTERS} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Fault::wrong(name, "it is not in UTF-8"))
}
