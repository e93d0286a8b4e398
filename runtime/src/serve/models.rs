//! Which model this is, and whether it is well.

use super::Service;
use super::fault::Fault;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

pub(super) fn json_of(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn model(service: &Service) -> Value {
    let created = service.since.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    json!({ "id": service.model, "object": "model", "created": created, "owned_by": "w2vc" })
}

pub(super) async fn list(State(service): State<Arc<Service>>) -> Response {
    json_of(&json!({ "object": "list", "data": [model(&service)] }))
}

pub(super) async fn one(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    match id == service.model {
        true => json_of(&model(&service)),
        false => Fault::not_found(format!("there is no model `{id}`; this is `{}`", service.model)).into_response(),
    }
}

pub(super) async fn health(State(service): State<Arc<Service>>) -> Response {
    match service.stopping.load(Ordering::Relaxed) {
        true => Fault::stopping().into_response(),
        false => json_of(&json!({ "status": "ok", "model": service.model })),
    }
}
