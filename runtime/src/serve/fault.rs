//! What goes wrong with a request, in the form of OpenAI's errors.

use crate::error::Error;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Seconds after which to come again when all places are taken.
const LATER: &str = "2";

#[derive(Clone, Debug)]
pub(super) struct Fault {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

impl Fault {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Fault {
        Fault {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// The request is wrong; `param` is.
    pub fn wrong(param: &str, message: impl Into<String>) -> Fault {
        Fault {
            param: Some(param.into()),
            ..Fault::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
        }
    }

    pub fn not_found(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    pub fn method() -> Fault {
        let message = "this path does not take this method; recordings go to POST /v1/audio/transcriptions";
        Fault::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
    }

    pub fn too_large(most: u64) -> Fault {
        Fault {
            param: Some("file".into()),
            code: Some("file_too_large"),
            ..Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request_error",
                format!("the recording has more than {most} bytes, which is what this server takes (--max-upload)"),
            )
        }
    }

    pub fn busy(places: usize) -> Fault {
        Fault {
            code: Some("rate_limit_exceeded"),
            ..Fault::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                format!(
                    "{places} requests are being answered, which is what this server takes (--queue); try again soon"
                ),
            )
        }
    }

    pub fn slow() -> Fault {
        Fault::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            "the rest of the request did not come in time",
        )
    }

    pub fn stopping() -> Fault {
        Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "the server is stopping",
        )
    }

    /// There is no memory for so many bytes; later there may be.
    pub fn room(bytes: usize, later: bool) -> Fault {
        let needed = format!(
            "what is kept of this recording for times or a search takes {} MB",
            bytes >> 20
        );
        let remedy = match later {
            true => "other requests have that memory: try again later",
            false => "that is more than this server has: cut it, or ask for text alone where it has no language model",
        };
        Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            format!("{needed}; {remedy}"),
        )
    }

    pub fn internal(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// What went wrong with a recording, which its sender calls `name` and this process `path`.
    pub fn of(error: &Error, path: &str, name: &str) -> Fault {
        let message = error.to_string().replace(path, name);
        match error {
            Error::Audio { .. } => Fault {
                code: Some("invalid_audio"),
                ..Fault::wrong("file", message)
            },
            Error::Memory { .. } | Error::DeviceMemory(_) | Error::Room { .. } => {
                Fault::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
            }
            _ => Fault::internal(message),
        }
    }

    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        } })
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut answer = (self.status, [json], self.body().to_string()).into_response();
        if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&self.status) {
            let later = HeaderValue::from_static(LATER);
            answer.headers_mut().insert(header::RETRY_AFTER, later);
        }
        answer
    }
}
