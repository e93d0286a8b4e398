//! What is said between two pauses: its text so far, and when it is over.

use super::Told;
use crate::error::Error;
use crate::texts::{Finder, Frames};
use crate::vocab::best_path;
use decode::output::Word;
use serde::Serialize;

/// Seconds of silence that end an utterance, after which one ends in any case, and of the silence before it that are kept.
const PAUSE: f64 = 1.2;
const LONGEST: f64 = 20.0;
const KEPT: f64 = 1.0;

/// What a stream tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The text of an utterance so far; it may change until the final one.
    Partial {
        id: usize,
        start: f64,
        end: f64,
        text: String,
    },
    /// An utterance is over.
    Final {
        id: usize,
        start: f64,
        end: f64,
        text: String,
        words: Vec<Word>,
    },
}

/// The utterance that is being said.
pub(super) struct Utterance {
    id: usize,
    /// Seconds from frame to frame.
    hop: f64,
    /// The number of its first frame in the stream.
    first: usize,
    classes: usize,
    logits: Vec<f32>,
    /// Each frame's best class.
    path: Vec<usize>,
    shown: String,
}

impl Utterance {
    pub fn new(hop: f64) -> Utterance {
        Utterance {
            id: 0,
            hop,
            first: 0,
            classes: 0,
            logits: vec![],
            path: vec![],
            shown: String::new(),
        }
    }

    fn frames(&self, seconds: f64) -> usize {
        (seconds / self.hop).round() as usize
    }

    /// Seconds at which a frame of it begins.
    fn seconds(&self, frame: usize) -> f64 {
        (self.first + frame) as f64 * self.hop
    }

    pub fn add(&mut self, rows: &[f32], classes: usize, finder: &Finder, tell: &mut Told) -> Result<(), Error> {
        self.classes = classes;
        self.logits.extend_from_slice(rows);
        self.path.extend(best_path(rows, classes));
        loop {
            let silent = |class: &usize| !finder.is_letter(*class);
            let Some(begin) = self.path.iter().position(|c| !silent(c)) else {
                // Nothing is said yet: of silence only the end can matter.
                self.forget(self.path.len().saturating_sub(self.frames(KEPT)));
                return Ok(());
            };
            let spoken = self.path.iter().rposition(|c| !silent(c)).unwrap_or(begin) + 1;
            let pause = self.frames(PAUSE);
            // Two utterances may have come with one chunk.
            let gap =
                (begin..spoken).find(|at| self.path[*at..spoken].iter().take_while(|c| silent(c)).count() >= pause);
            let cut = match gap {
                Some(at) => Some(at + pause / 2),
                None if self.path.len() - spoken >= pause => Some(self.path.len()),
                None if self.path.len() >= self.frames(LONGEST) => Some(self.longest_silence(&silent)),
                None => None,
            };
            let Some(cut) = cut else {
                return self.partial(begin, finder)?.map_or(Ok(()), tell);
            };
            self.end(cut, finder)?.map_or(Ok(()), &mut *tell)?;
        }
    }

    /// Ends what is being said.
    pub fn close(&mut self, finder: &Finder, tell: &mut Told) -> Result<(), Error> {
        let all = self.path.len();
        let said = self.path.iter().any(|c| finder.is_letter(*c));
        match said {
            true => self.end(all, finder)?.map_or(Ok(()), tell),
            false => {
                self.forget(all);
                Ok(())
            }
        }
    }

    /// The middle of the longest silence in the second half; where there is none, the end.
    fn longest_silence(&self, silent: &dyn Fn(&usize) -> bool) -> usize {
        let mut best = (0, self.path.len());
        let mut run = 0;
        for at in self.path.len() / 2..self.path.len() {
            run = if silent(&self.path[at]) { run + 1 } else { 0 };
            if run > best.0 {
                best = (run, at + 1 - run / 2);
            }
        }
        best.1
    }

    fn frames_of(&self, count: usize) -> Frames<'_> {
        Frames {
            name: "stream",
            logits: &self.logits[..count * self.classes],
            classes: self.classes,
            duration: count as f64 * self.hop,
        }
    }

    fn partial(&mut self, begin: usize, finder: &Finder) -> Result<Option<Event>, Error> {
        let text = finder.find_with(&self.frames_of(self.path.len()), false)?.text;
        if text == self.shown {
            return Ok(None);
        }
        self.shown.clone_from(&text);
        Ok(Some(Event::Partial {
            id: self.id,
            start: self.seconds(begin),
            end: self.seconds(self.path.len()),
            text,
        }))
    }

    /// Ends the utterance at a frame; what is behind it begins the next.
    fn end(&mut self, cut: usize, finder: &Finder) -> Result<Option<Event>, Error> {
        let found = finder.find_with(&self.frames_of(cut), true)?;
        let (offset, shown) = (self.seconds(0), !self.shown.is_empty());
        let until = self.seconds(cut);
        self.forget(cut);
        if found.text.is_empty() && !shown {
            return Ok(None);
        }
        self.id += 1;
        let words: Vec<Word> = found.words.into_iter().map(|w| later(w, offset)).collect();
        Ok(Some(Event::Final {
            id: self.id - 1,
            start: words.first().map_or(offset, |w| w.start),
            end: words.last().map_or(until, |w| w.end),
            text: found.text,
            words,
        }))
    }

    fn forget(&mut self, frames: usize) {
        self.logits.drain(..frames * self.classes);
        self.path.drain(..frames);
        self.first += frames;
        self.shown.clear();
    }
}

fn later(word: Word, seconds: f64) -> Word {
    Word {
        start: word.start + seconds,
        end: word.end + seconds,
        letters: vec![],
        ..word
    }
}
