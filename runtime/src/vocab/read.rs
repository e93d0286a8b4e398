//! Vocabularies in files: `vocab.json` with the files beside it, and fairseq's `dict.ltr.txt`.

use super::Vocab;
use super::rules::Rules;
use crate::error::Error;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// What tokens are for, where a file says more than their names do.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Roles {
    /// The token that says nothing.
    pub blank: Option<String>,
    /// Its number where no token is named as the blank.
    pub blank_id: Option<usize>,
    pub word_end: Option<String>,
    /// Tokens that are never written out, besides those in angle or square brackets.
    pub special: BTreeSet<String>,
    /// Texts are written in lower case, whatever the case of the tokens.
    pub lower_output: bool,
}

const VOCAB: &str = "vocab.json";
const FAIRSEQ: &str = "dict.ltr.txt";
/// Numbers beyond this are a slip: no vocabulary has so many tokens.
const MOST: usize = 1 << 20;
/// The key under which a run's own rules are kept in tokenizer_config.json.
pub(crate) const RULES: &str = "w2vc";

impl Vocab {
    /// Reads `vocab.json` (token: number) or fairseq's `dict.ltr.txt` (`token count` per line, after the four tokens
    /// that fairseq puts first; its `<s>`, number 0, is its blank). Numbers may have gaps.
    pub fn read(path: &Path) -> Result<Vocab, Error> {
        let text = text(path)?;
        if path.extension().is_none_or(|e| e != "json") {
            return from_fairseq(path, &text);
        }
        Ok(Vocab::new(from_json(path, &text)?))
    }

    /// The vocabulary of a folder, with the roles of tokens that its other files name, as transformers reads them.
    pub fn of_folder(dir: &Path) -> Result<Option<Vocab>, Error> {
        Vocab::of_language(dir, None)
    }

    /// The same for a language, where a folder has tables of several; by default the one that its tokenizer names, or English.
    pub fn of_language(dir: &Path, language: Option<&str>) -> Result<Option<Vocab>, Error> {
        let (path, fairseq) = (dir.join(VOCAB), dir.join(FAIRSEQ));
        if !path.is_file() {
            return fairseq.is_file().then(|| Vocab::read(&fairseq)).transpose();
        }
        let tokenizer = object(&dir.join("tokenizer_config.json"))?;
        let usual = tokenizer.get("target_lang").and_then(Value::as_str).unwrap_or("eng");
        let tokens = table(&path, &text(&path)?, language.unwrap_or(usual))?;
        let specials = object(&dir.join("special_tokens_map.json"))?;
        let config = object(&dir.join("config.json"))?;
        let name = |key: &str| [&tokenizer, &specials].iter().find_map(|file| content(file.get(key)?));
        let blank_id = config.get("pad_token_id").and_then(Value::as_u64).map(|i| i as usize);
        let roles = Roles {
            blank: name("pad_token"),
            blank_id: blank_id.filter(|i| *i < tokens.len()),
            word_end: name("word_delimiter_token"),
            special: ["pad_token", "unk_token", "bos_token", "eos_token"]
                .into_iter()
                .filter_map(name)
                .collect(),
            lower_output: tokenizer.get("do_lower_case").and_then(Value::as_bool).unwrap_or(false),
        };
        let rules = tokenizer
            .get(RULES)
            .and_then(|r| serde_json::from_value(r.clone()).ok())
            .unwrap_or_default();
        Ok(Some(Vocab::with(tokens, roles, rules)))
    }

    /// The tokens of a dictionary of fairseq, the four that it puts first included; its `<s>`, number 0, is its blank.
    pub(crate) fn of_fairseq(tokens: Vec<String>) -> Vocab {
        let roles = Roles {
            blank: Some("<s>".into()),
            ..Roles::default()
        };
        Vocab::with(tokens, roles, Rules::default())
    }

    /// Fails where a number has no token: a vocabulary of one's own has none to waste.
    pub fn without_gaps(self, path: &Path) -> Result<Vocab, Error> {
        match (0..self.len()).find(|i| self.token(*i).is_none()) {
            None => Ok(self),
            Some(gap) => Err(wrong(
                path,
                format!("no token has the number {gap}, and {} has one", self.len() - 1),
            )),
        }
    }
}

fn wrong(path: &Path, what: String) -> Error {
    Error::data(
        path.display(),
        what,
        "write one number per token, 0 to N-1, as {\"<pad>\": 0, \"|\": 1, \"a\": 2}",
    )
}

fn text(path: &Path) -> Result<String, Error> {
    // A FIFO that nobody writes to would be waited for for ever; what a shell puts in the place of `<(command)` is written to.
    let found = std::fs::metadata(path).map_err(Error::io("read", path))?;
    let of_shell = path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
    if let Some(kind) = crate::audio::special(found.file_type()).filter(|_| !of_shell) {
        return Err(Error::data(
            path.display(),
            format!("it is {kind}, not a file"),
            "name a file of tokens",
        ));
    }
    let bytes = crate::atomic::read(path).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong(path, "it is not UTF-8 text".into()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

/// A JSON object of a file.
fn parsed(path: &Path, text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(|e| wrong(path, format!("it is no JSON object of tokens: {e}")))
}

/// Tokens by number, of a language where there are tables of several (as MMS has).
fn table(path: &Path, text: &str, language: &str) -> Result<Vec<String>, Error> {
    let mut map = parsed(path, text)?;
    if !map.values().any(Value::is_object) {
        return of_map(path, map);
    }
    match map.remove(language) {
        Some(Value::Object(own)) => of_map(path, own),
        _ => {
            let known: Vec<&str> = map.keys().map(String::as_str).take(20).collect();
            let more = if map.len() > known.len() { " and others" } else { "" };
            Err(Error::data(
                path.display(),
                format!(
                    "it has no letters of the language `{language}`; there are {}{more}",
                    known.join(", ")
                ),
                "name one of them with --language, by its ISO 639-3 code",
            ))
        }
    }
}

/// Tokens by number.
fn from_json(path: &Path, text: &str) -> Result<Vec<String>, Error> {
    of_map(path, parsed(path, text)?)
}

fn of_map(path: &Path, map: Map<String, Value>) -> Result<Vec<String>, Error> {
    if let Some((language, _)) = map.iter().find(|(_, v)| v.is_object()) {
        return Err(Error::data(
            path.display(),
            format!("it is nested by language (as MMS's; `{language}` is one)"),
            "write the inner table of one language as vocab.json, beside that language's weights",
        ));
    }
    let mut tokens: Vec<String> = vec![];
    for (token, number) in map {
        let id = number.as_u64().map(|i| i as usize).filter(|i| *i < MOST);
        let Some(id) = id.filter(|_| !token.is_empty()) else {
            return Err(wrong(path, format!("token `{token}` has the number {number}")));
        };
        if tokens.len() <= id {
            tokens.resize(id + 1, String::new());
        }
        if !tokens[id].is_empty() {
            return Err(wrong(
                path,
                format!("tokens `{}` and `{token}` have the number {id}", tokens[id]),
            ));
        }
        tokens[id] = token;
    }
    if tokens.is_empty() {
        return Err(wrong(path, "it holds no tokens".into()));
    }
    Ok(tokens)
}

fn from_fairseq(path: &Path, text: &str) -> Result<Vocab, Error> {
    let mut tokens: Vec<String> = ["<s>", "<pad>", "</s>", "<unk>"].map(String::from).to_vec();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let line = line.strip_suffix(" #fairseq:overwrite").unwrap_or(line);
        let Some((token, count)) = line.rsplit_once(' ') else {
            return Err(wrong(path, format!("line {} is not `token count`", i + 1)));
        };
        if count.trim().parse::<u64>().is_err() {
            return Err(wrong(path, format!("line {}: `{count}` is no count", i + 1)));
        }
        if tokens.iter().any(|t| t == token) && tokens.len() >= 4 {
            return Err(wrong(path, format!("line {}: `{token}` occurs twice", i + 1)));
        }
        tokens.push(token.to_string());
    }
    Ok(Vocab::of_fairseq(tokens))
}

/// A JSON object, empty where there is no such file.
fn object(path: &Path) -> Result<Map<String, Value>, Error> {
    if !path.is_file() {
        return Ok(Map::new());
    }
    serde_json::from_str(&text(path)?)
        .map_err(|e| Error::weights(path, format!("it is no JSON object: {e}"), "restore the file"))
}

/// A token's text: plain, or in an object as transformers writes tokens that were added.
fn content(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value.get("content")?.as_str())
        .map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Units;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn files_read_back_and_slips_are_refused() {
        let dir = folder(&[]);
        let path = dir.path().join("vocab.json");
        std::fs::write(&path, Vocab::default().to_json()).unwrap();
        assert_eq!(Vocab::read(&path).unwrap(), Vocab::default());
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let read = Vocab::read(&path).and_then(|v| v.without_gaps(&path));
            read.unwrap_err().to_string()
        };
        assert!(refused(r#"{"<pad>": 0, "A": 2}"#).contains("number 1"));
        assert!(refused(r#"{"<pad>": 0, "A": 0}"#).contains("`A`"));
        assert!(refused(r#"{"<pad>": 0, "A": -1}"#).contains("-1"));
        assert!(refused(r#"{"<pad>": 0, "A": 99999999999}"#).contains("99999999999"));
        assert!(refused(r#"{"eng": {"a": 0}, "deu": {"a": 0}}"#).contains("nested by language"));
        assert!(refused("{}").contains("no tokens"));
        assert!(refused("[]").contains("JSON"));
    }

    #[test]
    fn fairseq_dictionaries_have_their_blank_first() {
        let dir = folder(&[("dict.ltr.txt", "| 94802\nE 51860\n"), ("twice.txt", "A 1\nA 1\n")]);
        let vocab = Vocab::of_folder(dir.path()).unwrap().unwrap();
        assert_eq!(vocab.encode("e e"), Ok(vec![5, 4, 5, 4]));
        assert_eq!((vocab.blank(), vocab.token(0)), (0, Some("<s>")));
        let error = Vocab::read(&dir.path().join("twice.txt")).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    /// What a folder fine-tuned by transformers' usual recipe holds: special tokens after the letters, two of them beyond the
    /// vocabulary's own file.
    #[test]
    fn roles_are_read_as_transformers_reads_them() {
        let dir = folder(&[
            ("vocab.json", r#"{"a": 1, "b": 2, "|": 0, "[UNK]": 3, "[PAD]": 4}"#),
            (
                "tokenizer_config.json",
                r#"{"unk_token": "[UNK]", "pad_token": {"content": "[PAD]", "lstrip": false}, "word_delimiter_token": "|"}"#,
            ),
            ("added_tokens.json", r#"{"<s>": 5, "</s>": 6}"#),
        ]);
        let vocab = Vocab::of_folder(dir.path()).unwrap().unwrap();
        assert_eq!((vocab.blank(), vocab.word_end(), vocab.len()), (4, Some(0), 5));
        assert_eq!(vocab.decode(&[1, 4, 1, 0, 0, 2, 3, 4]), "aa b");
        let dir = folder(&[
            ("vocab.json", r#"{"_": 0, "A": 1, "~": 2}"#),
            (
                "tokenizer_config.json",
                r#"{"pad_token": "_", "word_delimiter_token": "~", "do_lower_case": true}"#,
            ),
        ]);
        let vocab = Vocab::of_folder(dir.path()).unwrap().unwrap();
        assert_eq!(vocab.encode("a A"), Ok(vec![1, 2, 1, 2]));
        assert_eq!(
            (vocab.decode(&[1, 0, 1, 2, 1]), vocab.normalize("AA a")),
            ("aa a".into(), "aa a".into())
        );
        // Without a name for it, the model's own configuration has the blank's number.
        let dir = folder(&[
            ("vocab.json", r#"{"a": 0, "_": 1}"#),
            ("config.json", r#"{"pad_token_id": 1}"#),
        ]);
        assert_eq!(Vocab::of_folder(dir.path()).unwrap().unwrap().blank(), 1);
    }

    #[test]
    fn a_runs_rules_are_read_back() {
        let rules = r#"{"w2vc": {"fold_case": false, "units": "jamo"}}"#;
        let dir = folder(&[
            ("vocab.json", r#"{"<pad>": 0, "a": 1}"#),
            ("tokenizer_config.json", rules),
        ]);
        let rules = Vocab::of_folder(dir.path()).unwrap().unwrap().rules();
        assert!(rules.nfc && !rules.fold_case && rules.units == Units::Jamo);
    }
}
