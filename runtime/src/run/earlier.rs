//! The state of a training as version 0.1 wrote it: postcard, without a digest.
//!
//! The types here are as they were then, and stay so.

use super::format::{Known, Saved, State};
use crate::data::Position;
use ir::artifact::SettingValue;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Earlier {
    command: String,
    update: u64,
    skips: u64,
    position: (u64, u64, u64),
    best: Option<Vec<f64>>,
    settings: BTreeMap<String, Value>,
    fingerprint: u64,
    constants: BTreeMap<String, f64>,
    config: String,
}

/// In the order of then, which is what postcard keeps of them.
#[derive(Deserialize)]
enum Value {
    Number(f64),
    Text(String),
    Flag(bool),
}

/// The state, or `None` where the bytes are none.
pub fn decode(bytes: &[u8]) -> Option<Saved> {
    let (e, rest) = postcard::take_from_bytes::<Earlier>(bytes).ok()?;
    let known = ["pretrain", "finetune"].contains(&e.command.as_str());
    if !known || !rest.is_empty() {
        return None;
    }
    let (epoch, batch, part) = e.position;
    let value = |v| match v {
        Value::Number(n) => SettingValue::Number(n),
        Value::Text(t) => SettingValue::Text(t),
        Value::Flag(f) => SettingValue::Flag(f),
    };
    Some(Saved {
        state: State {
            command: e.command,
            update: e.update,
            skips: e.skips,
            due: false,
            position: Position { epoch, batch, part },
            best: e.best,
            settings: e.settings.into_iter().map(|(k, v)| (k, value(v))).collect(),
            identity: Known::Earlier(e.fingerprint),
            constants: e.constants,
            graphs: BTreeMap::new(),
            config: e.config,
        },
        files: BTreeMap::new(),
    })
}
