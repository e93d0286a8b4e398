//! Logits to texts and times, with what the flags name loaded once.

use super::{OutputFlags, SearchFlags};
use crate::audio::RATE;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::log::tell;
use crate::vocab::{Vocab, best_path};
use decode::align::{self, Matrix, WordSpan, log_softmax};
use decode::alphabet::Alphabet;
use decode::hotwords::{Hotwords, phrases};
use decode::lexicon::Lexicon;
use decode::lm::{Model, UNKNOWN};
use decode::output::{Alternative, Letter, Transcript, Word};
use decode::search::{Decoder, Found, Hypothesis, Options};

/// Logits [frames, classes] of a recording.
pub struct Frames<'a> {
    pub name: &'a str,
    pub logits: &'a [f32],
    pub classes: usize,
    /// Seconds.
    pub duration: f64,
}

impl Frames<'_> {
    /// Fails where there are other classes than the vocabulary has.
    pub(super) fn fit(&self, classes: usize) -> Result<(), Error> {
        if self.classes == classes {
            return Ok(());
        }
        Err(Error::data(
            self.name,
            format!("it has {} classes and the vocabulary {classes}", self.classes),
            "give the vocabulary of the model that made it",
        ))
    }
}

/// Finds texts in logits.
pub struct Finder {
    vocab: Vocab,
    alphabet: Alphabet,
    model: Option<Model>,
    lexicon: Option<Lexicon>,
    hotwords: Option<Hotwords>,
    /// None: each frame's best class.
    options: Option<Options>,
    times: bool,
    /// Seconds from frame to frame.
    hop: f64,
}

impl Finder {
    /// `classes`: of the logits; those beyond the vocabulary are never written.
    ///
    /// # Errors
    /// Where a file that the flags name cannot be used.
    pub fn new(
        vocab: Vocab,
        classes: usize,
        geometry: &Geometry,
        search: &SearchFlags,
        output: &OutputFlags,
    ) -> Result<Finder, Error> {
        let alphabet = alphabet(&vocab, classes.max(vocab.len()));
        let model = search.lm.as_deref().map(Model::open).transpose()?;
        let mut options = search.is_search().then(|| search.options());
        let spell = |word: &str| spell(&vocab, word);
        let mut lexicon = None;
        if let Some(path) = &search.lexicon {
            let (found, skipped) = Lexicon::open(path, &alphabet, model.as_ref(), &spell)?;
            if let Some(first) = &skipped.first {
                tell(&format!(
                    "note: {}: {} words cannot be written in the vocabulary's letters and never come out, as `{first}`",
                    path.display(),
                    skipped.count
                ));
            }
            if skipped.unknown > 0 {
                tell(&format!(
                    "note: {}: the language model lacks {} of {} words",
                    path.display(),
                    skipped.unknown,
                    found.len()
                ));
            }
            lexicon = Some(found);
        } else if let (Some(model), Some(path), Some(options)) = (&model, &search.lm, &mut options) {
            options.letters = is_of_letters(model, &alphabet)?;
            if !options.letters {
                if alphabet.word_end.is_none() {
                    return Err(Error::data(
                        path.display(),
                        "it is a model of words, and this vocabulary has no token that ends words",
                        "give a model of letters, or train with a vocabulary that has `|`",
                    ));
                }
                lexicon = words_of(model, path, &spell)?;
            }
        }
        let hotwords = match &search.hotwords {
            None => None,
            Some(named) => Some(hotwords(named, search.hotword_weight, &vocab)?),
        };
        Ok(Finder {
            times: output.needs_times(),
            hop: geometry.hop() as f64 / RATE as f64,
            vocab,
            alphabet,
            model,
            lexicon,
            hotwords,
            options,
        })
    }

    /// Whether texts need more than each frame's best class.
    pub fn needs_logits(&self) -> bool {
        self.options.is_some() || self.times
    }

    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The same with other weights of model and words.
    pub(super) fn with_weights(&self, lm_weight: f64, word_score: f64) -> Decoder<'_> {
        let options = Options {
            lm_weight,
            word_score,
            nbest: 1,
            ..self.options.clone().unwrap_or_default()
        };
        self.decoder(options)
    }

    fn decoder(&self, options: Options) -> Decoder<'_> {
        let (model, lexicon, hotwords) = (self.model.as_ref(), self.lexicon.as_ref(), self.hotwords.as_ref());
        Decoder::new(&self.alphabet, model, lexicon, hotwords, options)
    }

    /// Texts of logits; times and confidences where they were asked for.
    ///
    /// # Errors
    /// Where the logits have other classes than the vocabulary, or a text cannot be found in them again.
    pub fn find(&self, frames: &Frames) -> Result<Transcript, Error> {
        self.find_with(frames, self.times)
    }

    /// Whether a class is a letter that is written.
    pub fn is_letter(&self, class: usize) -> bool {
        class < self.alphabet.len() && self.alphabet.is_letter(class)
    }

    /// As [`Finder::find`], with times and confidences or without.
    ///
    /// # Errors
    /// As [`Finder::find`].
    pub fn find_with(&self, frames: &Frames, times: bool) -> Result<Transcript, Error> {
        if frames.logits.is_empty() {
            return Ok(self.empty(frames));
        }
        frames.fit(self.alphabet.len())?;
        let mut alternatives = vec![];
        let (text, words) = match &self.options {
            None => {
                let path = best_path(frames.logits, frames.classes);
                (self.vocab.decode(&path), self.collapse(&path))
            }
            Some(options) => {
                let found = self.decoder(options.clone()).decode(frames.logits);
                if options.nbest > 1 {
                    alternatives = found.iter().map(|h| self.alternative(h)).collect();
                }
                let best = found.into_iter().next().map(|h| h.words).unwrap_or_default();
                (self.text(&best), best)
            }
        };
        let mut transcript = Transcript {
            text,
            alternatives,
            ..self.empty(frames)
        };
        if times {
            transcript.words = self.timed(frames, &words)?;
        }
        Ok(transcript)
    }

    fn empty(&self, frames: &Frames) -> Transcript {
        Transcript {
            name: frames.name.into(),
            duration: frames.duration,
            gap: if self.alphabet.word_end.is_some() { " " } else { "" }.into(),
            ..Transcript::default()
        }
    }

    fn alternative(&self, found: &Hypothesis) -> Alternative {
        Alternative {
            text: self.text(&found.words),
            score: found.score(),
            acoustic: found.acoustic,
            language: found.language,
        }
    }

    /// Words of a path of best classes.
    fn collapse(&self, path: &[usize]) -> Vec<Found> {
        let mut words = vec![Found {
            letters: vec![],
            entry: None,
        }];
        let mut last = self.alphabet.blank;
        for class in path {
            if *class != last {
                if Some(*class) == self.alphabet.word_end {
                    words.push(Found {
                        letters: vec![],
                        entry: None,
                    });
                } else if self.alphabet.is_letter(*class) {
                    let word = words.last_mut().expect("there is always a word begun");
                    word.letters.push(*class as u32);
                }
            }
            last = *class;
        }
        words.retain(|w| !w.letters.is_empty());
        words
    }

    /// What the lexicon writes for a word, if it is not the letters.
    fn own_text(&self, word: &Found) -> Option<&str> {
        let (entry, lexicon) = (word.entry?, self.lexicon.as_ref()?);
        lexicon.entry(entry).text.as_deref()
    }

    pub(super) fn text(&self, words: &[Found]) -> String {
        if words.iter().any(|w| self.own_text(w).is_some()) {
            let written = words.iter().map(|w| self.word(w));
            return written.collect::<Vec<_>>().join(" ");
        }
        let mut path = vec![];
        for word in words {
            path.extend(self.apart(&word.letters));
            path.extend(self.alphabet.word_end);
        }
        self.vocab.decode(&path)
    }

    fn word(&self, word: &Found) -> String {
        match self.own_text(word) {
            Some(text) => text.to_string(),
            None => self.vocab.decode(&self.apart(&word.letters)),
        }
    }

    /// Letters with blanks between, so that equal ones stay two.
    fn apart(&self, letters: &[u32]) -> Vec<usize> {
        letters
            .iter()
            .flat_map(|l| [*l as usize, self.alphabet.blank])
            .collect()
    }

    fn timed(&self, frames: &Frames, words: &[Found]) -> Result<Vec<Word>, Error> {
        let mut values = frames.logits.to_vec();
        log_softmax(&mut values, frames.classes);
        let matrix = Matrix::new(&values, frames.classes);
        let letters: Vec<Vec<u32>> = words.iter().map(|w| w.letters.clone()).collect();
        let spans = align::words(&matrix, &self.alphabet, &letters)
            .map_err(|e| Error::data(frames.name, e.to_string(), "check the logits"))?;
        let whole = words
            .iter()
            .zip(&spans)
            .map(|(w, s)| self.timed_word(self.word(w), &w.letters, s));
        let whole: Vec<Word> = whole.collect();
        // Where nothing ends words, letters are what subtitles are cut between.
        if self.alphabet.word_end.is_some() {
            return Ok(whole);
        }
        let letters = whole.into_iter().flat_map(|w| w.letters);
        Ok(letters
            .map(|l| Word {
                text: l.text.clone(),
                start: l.start,
                end: l.end,
                confidence: l.confidence,
                letters: vec![l],
            })
            .collect())
    }

    fn timed_word(&self, text: String, letters: &[u32], span: &WordSpan) -> Word {
        let seconds = |frame: usize| frame as f64 * self.hop;
        let letter = |(class, s): (&u32, &align::Span)| Letter {
            text: self.vocab.decode(&[*class as usize]),
            start: seconds(s.start),
            end: seconds(s.end),
            confidence: s.confidence,
        };
        Word {
            text,
            start: seconds(span.start),
            end: seconds(span.end),
            confidence: span.confidence,
            letters: letters.iter().zip(&span.letters).map(letter).collect(),
        }
    }
}

/// The classes of logits, which may be more than the vocabulary's tokens.
pub(super) fn alphabet(vocab: &Vocab, classes: usize) -> Alphabet {
    let token = |i: usize| vocab.token(i).unwrap_or_default().to_string();
    let silent = |i: usize| i >= vocab.len() || vocab.is_silent(i) || vocab.token(i).is_none();
    Alphabet {
        tokens: (0..classes).map(token).collect(),
        blank: vocab.blank(),
        word_end: vocab.word_end(),
        silent: (0..classes).map(silent).collect(),
    }
}

/// The classes of a word, if the vocabulary can write it as one.
fn spell(vocab: &Vocab, word: &str) -> Option<Vec<u32>> {
    let mut labels = vocab.encode(word).ok()?;
    let end = vocab.word_end().map(|e| e as i32);
    if end.is_some() && labels.last().copied() == end {
        labels.pop();
    }
    let one = !labels.is_empty() && !labels.iter().any(|l| Some(*l) == end);
    one.then(|| labels.iter().map(|l| *l as u32).collect())
}

/// The words of a model that the vocabulary can write; says where these are few.
fn words_of(
    model: &Model,
    path: &std::path::Path,
    spell: &dyn Fn(&str) -> Option<Vec<u32>>,
) -> Result<Option<Lexicon>, Error> {
    let found = Lexicon::of_model(model, spell)?;
    match &found {
        Some(words) if words.is_empty() => Err(Error::data(
            path.display(),
            "none of its words can be written in the letters of the vocabulary",
            "give a language model of the same language and script",
        )),
        Some(words) if 2 * words.len() < model.len().saturating_sub(3) => {
            tell(&format!(
                "note: {}: only {} of {} words can be written in the letters of the vocabulary",
                path.display(),
                words.len(),
                model.len()
            ));
            Ok(found)
        }
        _ => Ok(found),
    }
}

/// Whether the words of a model are the vocabulary's letters.
fn is_of_letters(model: &Model, alphabet: &Alphabet) -> Result<bool, Error> {
    let letters: std::collections::BTreeSet<String> = (0..alphabet.len())
        .filter(|c| alphabet.is_letter(*c) || Some(*c) == alphabet.word_end)
        .flat_map(|c| [alphabet.tokens[c].to_lowercase(), alphabet.tokens[c].to_uppercase()])
        .chain(["|", "<space>"].map(String::from))
        .collect();
    let words = model.words()?;
    if words.is_empty() {
        let end = alphabet.word_end.map(|e| alphabet.tokens[e].as_str());
        return Ok([end, Some("|")]
            .into_iter()
            .flatten()
            .any(|t| model.index(t) != UNKNOWN));
    }
    let special = |w: &str| ["<s>", "</s>", "<unk>", "<UNK>"].contains(&w);
    let mut own = words.iter().filter(|w| !special(w)).peekable();
    Ok(own.peek().is_some() && own.all(|w| letters.contains(*w)))
}

fn hotwords(named: &str, weight: f64, vocab: &Vocab) -> Result<Hotwords, Error> {
    let mut spelled = vec![];
    let mut lost: Vec<String> = vec![];
    for (phrase, weight) in phrases(named, weight)? {
        let clean = vocab.normalize(&phrase);
        let parts: Option<Vec<Vec<u32>>> = clean.split_whitespace().map(|w| spell(vocab, w)).collect();
        match parts.filter(|p| !p.is_empty()) {
            Some(words) => spelled.push((words, weight)),
            None => lost.push(phrase),
        }
    }
    if spelled.is_empty() {
        return Err(Error::data(
            named,
            "none of the hotwords can be written in the letters of the vocabulary",
            "check them, or leave --hotwords out",
        ));
    }
    if let Some(first) = lost.first() {
        tell(&format!(
            "note: {} hotwords cannot be written in the letters of the vocabulary, as `{first}`",
            lost.len()
        ));
    }
    Ok(Hotwords::new(&spelled, vocab.word_end()))
}
