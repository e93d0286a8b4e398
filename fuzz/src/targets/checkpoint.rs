//! The state in a checkpoint: as a file, and its body under a digest that fits.

use super::Target;
use crate::input::Input;
use ir::artifact::SettingValue;
use runtime::data::Position;
use runtime::digest::Digest;
use runtime::run::{Known, Marker, Saved, State, decode_state, encode_state};
use std::collections::BTreeMap;
use std::path::Path;

pub const TARGET: Target = Target {
    name: "checkpoint",
    seeds,
    words: &[
        "null",
        "true",
        "{}",
        "[]",
        "\"NaN\"",
        "\"inf\"",
        "\"1e400\"",
        "w2vc checkpoint 2",
        "w2vc checkpoint 99999999999999999999",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let state = State {
        command: "pretrain".into(),
        update: 1000,
        skips: 0,
        due: false,
        position: Position {
            epoch: 1,
            batch: 2,
            part: 0,
        },
        best: Some(vec![1.5, 2.25]),
        settings: BTreeMap::from([
            ("lr".into(), SettingValue::Number(1e-3)),
            ("updates".into(), SettingValue::Number(1500.0)),
        ]),
        identity: Known::Earlier(7),
        constants: BTreeMap::from([("hidden".into(), 128.0)]),
        graphs: BTreeMap::from([("pretrain".into(), "00ff".into())]),
        config: "{\"hidden_size\": 128}".into(),
    };
    let files = BTreeMap::from([("weights.safetensors".into(), Digest::of(b"weights"))]);
    let text = encode_state(&Saved { state, files });
    let marker = "{\"format\": 1, \"command\": \"pretrain\"}".to_string();
    vec![Input {
        files: vec![
            ("state".into(), text.into_bytes()),
            ("run.json".into(), marker.into_bytes()),
        ],
    }]
}

fn run(input: &Input, folder: &Path) -> bool {
    if input.write(folder).is_err() {
        return false;
    }
    let path = folder.join("state");
    let _ = Marker::read(folder);
    let whole = decode_state(&path, input.bytes()).is_ok();
    let from = input.bytes().iter().position(|b| *b == b'\n').map_or(0, |n| n + 1);
    let body = &input.bytes()[from..];
    let mut sealed = format!("w2vc checkpoint 2 version 0 blake3 {}\n", Digest::of(body)).into_bytes();
    sealed.extend_from_slice(body);
    decode_state(&path, &sealed).is_ok() || whole
}
