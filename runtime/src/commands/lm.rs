//! `lm`: texts to a language model.

use crate::atomic::{check_output, replace};
use crate::error::Error;
use crate::log::{Progress, tell};
use crate::vocab::Vocab;
use clap::Args;
use decode::lm::{Counter, Estimate};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Orders beyond this are a slip; published models of letters go to 20.
const MOST_ORDER: i64 = 32;
const BINARY: &str = "bin";

#[derive(Args)]
pub struct LmArgs {
    /// Texts, one sentence per line, also gzipped; `-` for standard input.
    #[arg(required = true, value_name = "TEXT")]
    pub texts: Vec<PathBuf>,
    /// Normalise the texts to this vocabulary first, as fine-tuning does: vocab.json, or a run folder.
    #[arg(long, value_name = "FILE")]
    pub vocab: Option<PathBuf>,
    /// Order of the model: words per n-gram.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=MOST_ORDER))]
    pub order: u32,
    /// Prune n-grams with at most this count: one number per order, the last for all higher ones; single words are kept.
    #[arg(long, value_name = "N", num_args = 1..)]
    pub prune: Vec<u64>,
    /// A letter model, with `|` after every word, instead of a word model; use order 6 or more.
    #[arg(long)]
    pub letters: bool,
    /// Output file: .bin for a KenLM binary, which loads at once, else ARPA.
    #[arg(short, long, value_name = "lm.arpa|lm.bin")]
    pub output: PathBuf,
}

/// Counts and estimates; gives what to print.
///
/// # Errors
/// Where a file cannot be read or written, or there are no words.
pub fn run(args: &LmArgs) -> Result<String, Error> {
    check_output(&args.output, &args.texts)?;
    if let Some(fault) = prune_fault(&args.prune) {
        return Err(Error::Usage(fault));
    }
    let vocab = args.vocab.as_deref().map(super::decode::vocabulary).transpose()?;
    let mut counter = Counter::new(args.order as usize);
    let mut progress = Progress::new("texts counted", args.texts.len());
    for path in &args.texts {
        count(path, vocab.as_ref(), args.letters, &mut counter)?;
        progress.step();
    }
    drop(progress);
    let (sentences, words) = (counter.sentences, counter.words);
    if words == 0 {
        return Err(Error::data(
            args.texts[0].display(),
            "the texts have no words",
            "give text files, a sentence a line",
        ));
    }
    let estimate = counter.estimate(&args.prune);
    if !estimate.fallback.is_empty() {
        let orders: Vec<String> = estimate.fallback.iter().map(usize::to_string).collect();
        tell(&format!(
            "note: the texts are too few to tell the discounts of order {}; the usual ones are taken (0.5, 1, 1.5)",
            orders.join(", ")
        ));
    }
    let counts: Vec<String> = estimate.counts().iter().map(usize::to_string).collect();
    write(&args.output, estimate)?;
    let kind = if args.letters { "letters" } else { "words" };
    Ok(format!(
        "{sentences} sentences, {words} {kind}; n-grams of each order: {}; written to {}\n",
        counts.join(", "),
        args.output.display()
    ))
}

/// What is left out of an order must be left out of higher ones, which are looked for through it.
fn prune_fault(prune: &[u64]) -> Option<String> {
    if prune.first().is_some_and(|p| *p > 0) {
        return Some("--prune begins with 0: words by themselves always stay".into());
    }
    (!prune.is_sorted()).then(|| "numbers of --prune do not fall, as in --prune 0 0 1".into())
}

fn count(path: &Path, vocab: Option<&Vocab>, letters: bool, counter: &mut Counter) -> Result<(), Error> {
    let read = Error::io("read", path);
    let mut reader: Box<dyn BufRead> = match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(read)?)),
    };
    let zipped = reader
        .fill_buf()
        .map_err(Error::io("read", path))?
        .starts_with(&[0x1f, 0x8b]);
    let mut text: Box<dyn Read> = match zipped {
        true => Box::new(MultiGzDecoder::new(reader)),
        false => Box::new(reader),
    };
    let mut lines = BufReader::new(&mut text);
    let (mut line, mut number) = (vec![], 0);
    loop {
        line.clear();
        number += 1;
        if lines.read_until(b'\n', &mut line).map_err(Error::io("read", path))? == 0 {
            return Ok(());
        }
        let text = std::str::from_utf8(&line).map_err(|_| {
            let place = format!("{}:{number}", path.display());
            Error::data(place, "it is not UTF-8 text", "save it as UTF-8")
        })?;
        sentence(text.trim_start_matches('\u{feff}'), vocab, letters, counter);
    }
}

fn sentence(text: &str, vocab: Option<&Vocab>, letters: bool, counter: &mut Counter) {
    match (vocab, letters) {
        (None, false) => counter.sentence(text.split_whitespace()),
        (Some(vocab), false) => counter.sentence(vocab.normalize(text).split_whitespace()),
        (None, true) => {
            let spelled: Vec<String> = text
                .split_whitespace()
                .flat_map(|w| w.chars().map(String::from).chain(["|".into()]))
                .collect();
            counter.sentence(spelled.iter().map(String::as_str));
        }
        // Words with a letter that the vocabulary lacks can never be heard; the rest of the sentence stays.
        (Some(vocab), true) => {
            let words = vocab.normalize(text);
            let labels = words.split_whitespace().filter_map(|w| vocab.encode(w).ok()).flatten();
            let tokens: Vec<&str> = labels.filter_map(|l| vocab.token(l as usize)).collect();
            counter.sentence(tokens.into_iter());
        }
    }
}

fn write(path: &Path, estimate: Estimate) -> Result<(), Error> {
    if path.extension().is_some_and(|e| e == BINARY) {
        let bytes = estimate
            .binary()
            .map_err(|what| Error::data(path.display(), what, "prune the model"))?;
        return crate::atomic::write_bytes(path, &bytes);
    }
    replace(path, |file| {
        let mut out = BufWriter::new(file);
        estimate
            .arpa(&mut out)
            .and_then(|()| out.flush())
            .map_err(Error::io("write", path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use decode::lm::{Model, UNKNOWN};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: LmArgs,
    }

    fn call(line: &str) -> Result<String, String> {
        let args = Line::try_parse_from(line.split_whitespace())
            .map_err(|e| e.to_string())?
            .args;
        run(&args).map_err(|e| e.to_string())
    }

    #[test]
    fn models_of_words_and_of_letters_are_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        std::fs::write(dir.path().join("a.txt"), "Hello, world!\nhello there\n\n").unwrap();
        let vocab = Vocab::default().to_json();
        std::fs::write(dir.path().join("vocab.json"), vocab).unwrap();
        let said = call(&format!(
            "lm {at}/a.txt --vocab {at}/vocab.json --order 2 -o {at}/lm.bin"
        ))
        .unwrap();
        assert!(
            said.starts_with("2 sentences, 4 words; n-grams of each order: 6, "),
            "{said}"
        );
        let model = Model::open(&dir.path().join("lm.bin")).unwrap();
        assert!(model.index("WORLD") != UNKNOWN && model.index("world") == UNKNOWN);
        call(&format!(
            "lm {at}/a.txt --vocab {at}/vocab.json --letters --order 5 -o {at}/letters.arpa"
        ))
        .unwrap();
        let model = Model::open(&dir.path().join("letters.arpa")).unwrap();
        assert!(model.order() == 5 && model.index("|") != UNKNOWN && model.index("W") != UNKNOWN);
        for (flags, part) in [
            (format!("{at}/vocab.json --prune 1 -o {at}/x"), "begins with 0"),
            (format!("{at}/vocab.json --prune 0 2 1 -o {at}/x"), "do not fall"),
            (format!("{at}/none.txt -o {at}/x"), "none.txt"),
            (format!("{at}/a.txt --order 0 -o {at}/x"), "--order"),
            (format!("{at}/a.txt -o {at}/a.txt"), "is read"),
        ] {
            let said = call(&format!("lm {flags}")).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}
