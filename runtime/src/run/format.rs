//! The state of a training as it lies in a checkpoint.
//!
//! One line, `w2vc checkpoint FORMAT version VERSION blake3 DIGEST`, and after it a JSON object that the digest is of. Numbers
//! with a fraction are written as texts, the shortest that read back to the same bits.

use super::earlier;
use crate::data::Position;
use crate::digest::Digest;
use crate::error::Error;
use crate::identity::Identity;
use ir::artifact::SettingValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::Path;

const MAGIC: &str = "w2vc checkpoint ";
const FORMAT: u64 = 2;

/// What goes on where it left off, besides weights and moments. Random numbers need no state: they are functions of the
/// seed and the update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub command: String,
    /// Updates done.
    pub update: u64,
    /// Updates in a row that were skipped for not being finite.
    pub skips: u64,
    /// Whether the validation that belongs to the last update is still to be done.
    #[serde(default)]
    pub due: bool,
    /// The next batch.
    #[serde(with = "position")]
    pub position: Position,
    /// Lowest validation score so far, compared in order.
    #[serde(with = "exact_list")]
    pub best: Option<Vec<f64>>,
    #[serde(with = "settings")]
    pub settings: BTreeMap<String, SettingValue>,
    /// Of data and vocabulary.
    pub identity: Known,
    /// Constants the model was compiled with.
    #[serde(with = "exact_map")]
    pub constants: BTreeMap<String, f64>,
    /// Digests of what the programs of the task compute, by name; empty in checkpoints that were written before they were kept.
    #[serde(default)]
    pub graphs: BTreeMap<String, String>,
    /// config.json of the model, empty where it has none: what no parameter's shape tells, such as the number of heads.
    pub config: String,
}

/// What is known of the data that a run was begun with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    Now(Identity),
    /// A number that version 0.1 kept: of paths, lengths and texts.
    Earlier(u64),
}

/// A state with the digests of the files beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    #[serde(flatten)]
    pub state: State,
    /// By their names; empty in checkpoints of version 0.1.
    pub files: BTreeMap<String, Digest>,
}

/// The text of a state file.
pub fn encode(saved: &Saved) -> String {
    let body = serde_json::to_string_pretty(saved).expect("plain data always serialises") + "\n";
    let digest = Digest::of(body.as_bytes());
    format!(
        "{MAGIC}{FORMAT} version {} blake3 {digest}\n{body}",
        env!("CARGO_PKG_VERSION")
    )
}

/// Reads a state file of this or an earlier form.
///
/// # Errors
/// Where it is damaged, or of a later form.
pub fn decode(path: &Path, bytes: &[u8]) -> Result<Saved, Error> {
    let damaged = |what: String| Error::damaged(path, what, "a checkpoint before it may be sound");
    let Some(rest) = bytes.strip_prefix(MAGIC.as_bytes()) else {
        return earlier::decode(bytes).ok_or_else(|| damaged("it is not the state of a training".into()));
    };
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    let (line, body) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split(' ').collect();
    let [format, "version", version, "blake3", digest] = words[..] else {
        return Err(damaged("its first line is not whole".into()));
    };
    if format.parse::<u64>().is_ok_and(|f| f > FORMAT) {
        let what = format!("w2vc {version} wrote it, in form {format}; this one reads up to form {FORMAT}");
        return Err(Error::damaged(
            path,
            what,
            "resume with an executable compiled by that version",
        ));
    }
    if Digest::of(body).as_str() != digest {
        return Err(damaged("it is not what was written (its digest differs)".into()));
    }
    serde_json::from_slice(body).map_err(|e| damaged(format!("it cannot be read ({e})")))
}

/// A number that comes back to the bit.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Exact(String);

impl From<f64> for Exact {
    fn from(value: f64) -> Exact {
        Exact(value.to_string())
    }
}

impl Exact {
    fn value<E: serde::de::Error>(&self) -> Result<f64, E> {
        self.0
            .parse()
            .map_err(|_| E::custom(format!("`{}` is no number", self.0)))
    }
}

mod position {
    use super::*;

    pub fn serialize<S: Serializer>(p: &Position, s: S) -> Result<S::Ok, S::Error> {
        [p.epoch, p.batch, p.part].serialize(s)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Position, D::Error> {
        let [epoch, batch, part] = <[u64; 3]>::deserialize(d)?;
        Ok(Position { epoch, batch, part })
    }
}

mod exact_list {
    use super::*;

    pub fn serialize<S: Serializer>(list: &Option<Vec<f64>>, s: S) -> Result<S::Ok, S::Error> {
        let exact = |l: &Vec<f64>| l.iter().map(|v| Exact::from(*v)).collect::<Vec<_>>();
        list.as_ref().map(exact).serialize(s)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<f64>>, D::Error> {
        let list = Option::<Vec<Exact>>::deserialize(d)?;
        list.map(|l| l.iter().map(Exact::value).collect()).transpose()
    }
}

mod exact_map {
    use super::*;

    pub fn serialize<S: Serializer>(map: &BTreeMap<String, f64>, s: S) -> Result<S::Ok, S::Error> {
        let exact: BTreeMap<&String, Exact> = map.iter().map(|(k, v)| (k, Exact::from(*v))).collect();
        exact.serialize(s)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, f64>, D::Error> {
        let map = BTreeMap::<String, Exact>::deserialize(d)?;
        map.into_iter().map(|(k, v)| Ok((k, v.value()?))).collect()
    }
}

mod settings {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Value {
        Number(Exact),
        Text(String),
        Flag(bool),
    }

    pub fn serialize<S: Serializer>(map: &BTreeMap<String, SettingValue>, s: S) -> Result<S::Ok, S::Error> {
        let value = |v: &SettingValue| match v {
            SettingValue::Number(n) => Value::Number((*n).into()),
            SettingValue::Text(t) => Value::Text(t.clone()),
            SettingValue::Flag(f) => Value::Flag(*f),
        };
        let map: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, value(v))).collect();
        map.serialize(s)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, SettingValue>, D::Error> {
        let value = |v: Value| {
            Ok(match v {
                Value::Number(n) => SettingValue::Number(n.value()?),
                Value::Text(t) => SettingValue::Text(t),
                Value::Flag(f) => SettingValue::Flag(f),
            })
        };
        let map = BTreeMap::<String, Value>::deserialize(d)?;
        map.into_iter().map(|(k, v)| Ok((k, value(v)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn saved(update: u64, best: Option<Vec<f64>>, lr: f64) -> Saved {
        Saved {
            state: State {
                command: "pretrain".into(),
                update,
                skips: 1,
                due: true,
                position: Position {
                    epoch: 1,
                    batch: update,
                    part: 2,
                },
                best,
                settings: [
                    ("lr".to_string(), SettingValue::Number(lr)),
                    ("on_nan".into(), SettingValue::Text("skip".into())),
                    ("pad".into(), SettingValue::Flag(true)),
                ]
                .into(),
                identity: Known::Now(Identity {
                    vocabulary: Some(vec!["<pad>".into(), "É".into()]),
                    ..Identity::default()
                }),
                constants: [("heads".to_string(), 1.0 / lr)].into(),
                graphs: [("pretrain".to_string(), "abc".to_string())].into(),
                config: "{}".into(),
            },
            files: [("weights".to_string(), Digest::of(b"w"))].into(),
        }
    }

    proptest! {
        #[test]
        fn states_come_back_to_the_bit(update: u64, best in prop::option::of(prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, 0..4)), lr in prop::num::f64::NORMAL) {
            let saved = saved(update, best, lr);
            let back = decode(Path::new("state"), encode(&saved).as_bytes()).unwrap();
            prop_assert_eq!(back, saved);
        }

        #[test]
        fn no_flipped_bit_changes_what_is_read(at in 0usize..10_000, bit in 0u8..8) {
            let saved = saved(7, Some(vec![0.1 + 0.2, 1e-300]), 1.0 / 3.0);
            let mut bytes = encode(&saved).into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = decode(Path::new("state"), &bytes) {
                prop_assert_eq!(read, saved);
            }
        }
    }

    #[test]
    fn a_later_form_is_said_to_be_one() {
        let text = encode(&saved(7, None, 0.5)).replacen("checkpoint 2 version 0", "checkpoint 3 version 9", 1);
        let said = decode(Path::new("state"), text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains("w2vc 9.") && said.contains("form 3"), "{said}");
    }
}
