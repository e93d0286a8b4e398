//! ARPA files.

use super::UNKNOWN;
use super::build::{Ngrams, build};
use super::hash::murmur;
use crate::error::Error;
use rustc_hash::FxHashMap;
use std::io::BufRead;

const REMEDY: &str = "see the format in `man ngram-format`, or make the file again";
/// Orders beyond this are a slip.
const MOST_ORDER: usize = 64;
/// What a model without `<unk>` says of words that it lacks.
const NO_UNKNOWN: f32 = -100.0;

struct Reader<'a> {
    place: &'a str,
    input: &'a mut dyn BufRead,
    line: Vec<u8>,
    number: usize,
}

/// Reads an ARPA file; gives the bytes of a probing model.
pub fn read(place: &str, input: &mut dyn BufRead) -> Result<Vec<u8>, Error> {
    let mut reader = Reader {
        place,
        input,
        line: vec![],
        number: 0,
    };
    let counts = reader.counts()?;
    let mut ids: FxHashMap<u64, u32> = FxHashMap::default();
    let mut names = vec!["<unk>".to_string()];
    let mut orders = vec![];
    for (i, count) in counts.iter().enumerate() {
        orders.push(reader.section(i + 1, *count, &mut ids, &mut names)?);
    }
    if reader.trimmed() != b"\\end\\" {
        return Err(reader.wrong("expected `\\end\\` here"));
    }
    build(&names, orders).map_err(|what| Error::file(place, what, REMEDY))
}

impl Reader<'_> {
    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::file(format!("{}:{}", self.place, self.number), what, REMEDY)
    }

    /// The next line that is neither empty nor a comment; an empty one at the end of the file.
    fn next(&mut self) -> Result<(), Error> {
        loop {
            self.line.clear();
            let read = self.input.read_until(b'\n', &mut self.line);
            let size = read.map_err(|e| {
                Error::file(
                    self.place,
                    format!("it cannot be read further than line {}: {e}", self.number),
                    "copy the file again",
                )
            })?;
            self.number += 1;
            if size == 0 || !(self.trimmed().is_empty() || self.line[0] == b'#') {
                return Ok(());
            }
        }
    }

    fn trimmed(&self) -> &[u8] {
        self.line.trim_ascii()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.trimmed()).chars().take(60).collect()
    }

    /// The n-grams that the head announces; the line behind it is read.
    fn counts(&mut self) -> Result<Vec<u64>, Error> {
        self.next()?;
        while self.trimmed() != b"\\data\\" {
            if self.line.is_empty() {
                return Err(Error::file(
                    self.place,
                    "it is neither an ARPA file nor a KenLM binary: no line is `\\data\\`",
                    "name a language model",
                ));
            }
            self.next()?;
        }
        let mut counts = vec![];
        loop {
            self.next()?;
            let text = String::from_utf8_lossy(self.trimmed()).into_owned();
            let Some(rest) = text.strip_prefix("ngram ") else { break };
            let numbers = rest.split_once('=');
            let numbers =
                numbers.and_then(|(n, c)| Some((n.trim().parse::<usize>().ok()?, c.trim().parse::<u64>().ok()?)));
            let Some((order, count)) = numbers else {
                return Err(self.wrong(format!("`{}` should be `ngram ORDER=COUNT`", self.text())));
            };
            if order != counts.len() + 1 || order > MOST_ORDER {
                return Err(self.wrong(format!("the orders are not counted one by one from 1: {order}")));
            }
            counts.push(count);
        }
        match counts.is_empty() {
            true => Err(self.wrong("expected `ngram 1=COUNT` here")),
            false => Ok(counts),
        }
    }

    /// The n-grams of one order; their head is the line just read, and the line behind them is read.
    fn section(
        &mut self,
        order: usize,
        count: u64,
        ids: &mut FxHashMap<u64, u32>,
        names: &mut Vec<String>,
    ) -> Result<Ngrams, Error> {
        if self.trimmed() != format!("\\{order}-grams:").as_bytes() {
            return Err(self.wrong(format!("expected `\\{order}-grams:` here, got `{}`", self.text())));
        }
        let mut out = Ngrams::new(order);
        if order == 1 {
            out.push(&[UNKNOWN], NO_UNKNOWN, 0.0);
        }
        let mut words = vec![0; order];
        let mut read = 0u64;
        loop {
            self.next()?;
            if self.line.is_empty() || self.line[0] == b'\\' {
                break;
            }
            let mut fields = self.line.split(|b| b.is_ascii_whitespace()).filter(|f| !f.is_empty());
            let prob = fields.next().and_then(number);
            let mut seen = 0;
            let mut stranger = None;
            for (slot, name) in words.iter_mut().zip(&mut fields) {
                seen += 1;
                *slot = match name {
                    b"<unk>" | b"<UNK>" => UNKNOWN,
                    _ => match ids.get(&murmur(name)) {
                        Some(_) if order == 1 => {
                            stranger = Some((name, "is given twice"));
                            UNKNOWN
                        }
                        Some(id) => *id,
                        None if order == 1 => {
                            let Ok(text) = std::str::from_utf8(name) else {
                                stranger = Some((name, "is not UTF-8"));
                                break;
                            };
                            let id = names.len() as u32;
                            ids.insert(murmur(name), id);
                            names.push(text.to_string());
                            id
                        }
                        None => {
                            stranger = Some((name, "is no unigram"));
                            UNKNOWN
                        }
                    },
                };
            }
            if let Some((name, what)) = stranger {
                let what = format!("the word `{}` {what}", String::from_utf8_lossy(name));
                return Err(self.wrong(what));
            }
            let backoff = match fields.next() {
                None => Some(0.0),
                Some(field) => number(field),
            };
            let (Some(prob), Some(backoff), true, true) = (prob, backoff, seen == order, fields.next().is_none())
            else {
                return Err(self.wrong(format!(
                    "`{}` should be a number, {order} words, and at most one more number",
                    self.text()
                )));
            };
            if prob.is_nan() || prob > 0.0 {
                return Err(self.wrong(format!("{prob} is no logarithm of a probability")));
            }
            if !backoff.is_finite() {
                return Err(self.wrong(format!("the backoff is {backoff}")));
            }
            // Zero probabilities are written as -inf by some: so little that it never matters, and still a number.
            let prob = prob.max(-1e4);
            match order == 1 && words[0] == UNKNOWN {
                true => out.set(0, prob, backoff),
                false => out.push(&words, prob, backoff),
            }
            read += 1;
        }
        match read == count {
            true => Ok(out),
            false => Err(self.wrong(format!("{read} {order}-grams end here, and {count} were announced"))),
        }
    }
}

fn number(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}
