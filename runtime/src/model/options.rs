//! What a model is opened with, as JSON: the flags of the commands by their names.

use crate::error::Error;
use crate::live::ShapeFlags;
use crate::texts::SearchFlags;
use clap::Parser;
use serde_json::{Map, Value};

/// `{"threads": 2, "lm": "lm.bin", "lm_weight": 0.7, "set": ["window_seconds=20"], "chunk": 0.5}`
#[derive(Parser, Clone, Debug, Default)]
#[command(name = "options", disable_help_flag = true)]
pub struct Options {
    /// Threads to compute with; 0: one per core.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// As `--device` of the commands.
    #[arg(long)]
    pub device: Option<String>,
    /// Settings of `transcribe`.
    #[arg(long)]
    pub set: Vec<String>,
    #[command(flatten)]
    pub search: SearchFlags,
    #[command(flatten)]
    pub shape: ShapeFlags,
}

impl Options {
    /// # Errors
    /// Where it is no JSON object, or there is no such option or value.
    pub fn parse(text: &str) -> Result<Options, Error> {
        let wrong = |e: &dyn std::fmt::Display| Error::Usage(format!("options: {e}"));
        let given: Map<String, Value> = match text.trim() {
            "" => Map::new(),
            text => serde_json::from_str(text).map_err(|e| wrong(&e))?,
        };
        let mut words = vec!["options".to_string()];
        for (name, value) in &given {
            words.extend(flag(name, value).map_err(|e| wrong(&e))?);
        }
        Options::try_parse_from(words).map_err(|e| {
            let text = e.to_string();
            // The first paragraph says what is wrong; the rest is about command lines.
            let said = text.split("\n\n").next().unwrap_or_default();
            wrong(&said.trim_start_matches("error: "))
        })
    }
}

/// An option as it stands on a command line.
fn flag(name: &str, value: &Value) -> Result<Vec<String>, String> {
    let name = name.replace('_', "-");
    Ok(match value {
        Value::Null | Value::Bool(false) => vec![],
        Value::Bool(true) => vec![format!("--{name}")],
        Value::String(text) => vec![format!("--{name}={text}")],
        Value::Number(number) => vec![format!("--{name}={number}")],
        Value::Array(all) => {
            let each: Result<Vec<_>, _> = all.iter().map(|v| flag(&name, v)).collect();
            each?.concat()
        }
        Value::Object(_) => return Err(format!("`{name}` cannot be an object")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_the_flags_of_the_commands() {
        let given =
            r#"{"threads": 2, "lm_weight": 0.7, "word_score": -1.5, "set": ["a=1", "b=2"], "right": 0.2, "lm": null}"#;
        let options = Options::parse(given).unwrap();
        assert_eq!((options.threads, options.search.lm_weight), (2, Some(0.7)));
        assert_eq!((options.search.word_score, options.set.len()), (Some(-1.5), 2));
        assert_eq!(Options::parse("").unwrap().search.nbest, 1);
        for (text, part) in [
            ("[]", "map"),
            (r#"{"beem": 3}"#, "--beem"),
            (r#"{"beam": "many"}"#, "many"),
            (r#"{"lm": {}}"#, "object"),
        ] {
            let error = Options::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("Usage"), "{error}");
        }
    }
}
