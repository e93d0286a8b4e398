//! Prefix beam search over log-probabilities, with language model, lexicon and hotwords.
//!
//! Weights of paths are kept as plain numbers, relative to the best, and hold what the language model says: the search adds
//! and multiplies, and takes no logarithm but one per frame.

mod frame;
mod prefixes;
mod states;

use crate::alphabet::Alphabet;
use crate::hotwords::Hotwords;
use crate::lexicon::Lexicon;
use crate::lm::{Model, Word};
use frame::Classes;
use prefixes::{NONE, Prefixes, ROOT};
use rustc_hash::FxHashMap;
use std::cmp::Ordering;

/// How words are scored, and what is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Weight of the language model's log10, in units of ln 10.
    pub lm_weight: f64,
    /// Added for every word.
    pub word_score: f64,
    /// log10 that an unknown word pays beside what the model says; minus infinity: none comes out.
    pub unk_score: f64,
    /// Texts are sentences, from `<s>` to `</s>`.
    pub boundaries: bool,
    /// The language model is of letters, not of words.
    pub letters: bool,
    /// Prefixes kept.
    pub beam: usize,
    /// Prefixes so much below the best (ln) are dropped.
    pub beam_prune: f64,
    /// Classes so much below certainty (ln) are not looked at, except for a frame's best.
    pub token_prune: f64,
    /// Texts wanted.
    pub nbest: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            lm_weight: 0.5,
            word_score: 1.5,
            unk_score: -10.0,
            boundaries: true,
            letters: false,
            beam: 100,
            beam_prune: 10.0,
            token_prune: 5.0,
            nbest: 1,
        }
    }
}

/// A found word.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its classes.
    pub letters: Vec<u32>,
    /// Its entry in the lexicon.
    pub entry: Option<u32>,
}

/// A found text. Scores are natural logarithms.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its words.
    pub words: Vec<Found>,
    /// Of all paths of the text that the search kept.
    pub acoustic: f64,
    /// Of language model, words and hotwords.
    pub language: f64,
}

impl Hypothesis {
    /// The sum of both parts.
    pub fn score(&self) -> f64 {
        self.acoustic + self.language
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub alphabet: &'a Alphabet,
    pub model: Option<&'a Model>,
    pub lexicon: Option<&'a Lexicon>,
    pub hotwords: Option<&'a Hotwords>,
    pub options: &'a Options,
    /// Per class its word in a model of letters.
    pub letters: &'a [Word],
}

/// Finds texts in matrices of log-probabilities.
pub struct Decoder<'a> {
    /// The classes of the matrices.
    pub alphabet: &'a Alphabet,
    /// Scores words or letters.
    pub model: Option<&'a Model>,
    /// The only words that are found, unless [`Options::unk_score`] permits others.
    pub lexicon: Option<&'a Lexicon>,
    /// Phrases that are expected.
    pub hotwords: Option<&'a Hotwords>,
    /// Weights and beam.
    pub options: Options,
    letters: Vec<Word>,
}

/// A prefix with the weights of its paths that end in a blank and of those that end in its last class.
#[derive(Clone, Copy)]
struct Item {
    node: u32,
    blank: f64,
    label: f64,
}

impl Item {
    fn all(&self) -> f64 {
        self.blank + self.label
    }
}

impl<'a> Decoder<'a> {
    /// A decoder over these parts.
    pub fn new(
        alphabet: &'a Alphabet,
        model: Option<&'a Model>,
        lexicon: Option<&'a Lexicon>,
        hotwords: Option<&'a Hotwords>,
        options: Options,
    ) -> Decoder<'a> {
        let letters = match (model, options.letters) {
            (Some(model), true) => alphabet.tokens.iter().map(|t| model.index(t)).collect(),
            _ => vec![],
        };
        Decoder {
            alphabet,
            model,
            lexicon,
            hotwords,
            options,
            letters,
        }
    }

    /// The best texts of a matrix [frames, classes] of log-probabilities or logits, best first. The same matrix gives the same
    /// texts.
    pub fn decode(&self, matrix: &[f32]) -> Vec<Hypothesis> {
        let mut search = Search::new(self);
        matrix
            .chunks_exact(self.alphabet.len())
            .for_each(|row| search.frame(row));
        search.finish()
    }

    fn parts(&'a self) -> Parts<'a> {
        Parts {
            alphabet: self.alphabet,
            model: self.model,
            lexicon: self.lexicon,
            hotwords: self.hotwords,
            options: &self.options,
            letters: &self.letters,
        }
    }
}

/// A search under way.
pub struct Search<'a> {
    parts: Parts<'a>,
    prefixes: Prefixes<'a>,
    items: Vec<Item>,
    next: Vec<Item>,
    classes: Classes,
    /// ln of what weights are relative to.
    scale: f64,
    time: u32,
    /// The most that a letter may add to a path's worth, and whether only a lexicon's letters follow.
    most_gain: f64,
    closed: bool,
    /// What prefixes weigh at least, relative to the heaviest.
    least: f64,
    /// The heaviest prefix of the next frame so far.
    heaviest: f64,
    weights: Vec<f64>,
}

impl<'a> Search<'a> {
    /// A search over no frames yet.
    pub fn new(decoder: &'a Decoder<'a>) -> Search<'a> {
        let parts = decoder.parts();
        let prefixes = Prefixes::new(parts);
        Search {
            most_gain: prefixes.most_gain(),
            closed: prefixes.is_closed_lexicon(),
            least: (-parts.options.beam_prune).exp(),
            heaviest: 0.0,
            prefixes,
            items: vec![Item {
                node: ROOT,
                blank: 1.0,
                label: 0.0,
            }],
            next: vec![],
            classes: Classes::new(parts.alphabet, parts.options.token_prune),
            scale: 0.0,
            time: 0,
            weights: vec![],
            parts,
        }
    }

    /// Takes a frame's log-probabilities or logits.
    pub fn frame(&mut self, row: &[f32]) {
        self.scale += self.classes.read(row);
        self.next.clear();
        self.heaviest = 0.0;
        let items = std::mem::take(&mut self.items);
        for item in &items {
            self.spread(item);
        }
        self.items = items;
        self.prune();
        std::mem::swap(&mut self.items, &mut self.next);
        self.time += 1;
        self.prefixes.make_room(&mut self.items.iter_mut().map(|i| &mut i.node));
    }

    /// Adds weights to a prefix of the next frame.
    fn add(&mut self, node: u32, blank: f64, label: f64) {
        let own = &mut self.prefixes.nodes[node as usize];
        if own.stamp != self.time {
            own.stamp = self.time;
            own.slot = self.next.len() as u32;
            self.next.push(Item { node, blank, label });
            self.heaviest = self.heaviest.max(blank + label);
            return;
        }
        let item = &mut self.next[own.slot as usize];
        item.blank += blank;
        item.label += label;
        self.heaviest = self.heaviest.max(item.all());
    }

    /// What becomes of a prefix with the frame's classes.
    fn spread(&mut self, item: &Item) {
        let (all, last) = (item.all(), self.prefixes.get(item.node).class);
        let closed = self.prefixes.is_closed(item.node);
        if self.classes.blank > 0.0 {
            self.add(item.node, all * self.classes.blank, 0.0);
        }
        if self.classes.word_end > 0.0 {
            let weight = self.classes.word_end;
            if closed {
                self.add(item.node, 0.0, all * weight);
            } else {
                let mut end = self.prefixes.ends(item.node);
                while end != NONE {
                    let own = self.prefixes.get(end);
                    let (gain, sibling) = (own.gain, own.sibling);
                    self.enter(end, all * weight * gain);
                    end = sibling;
                }
            }
        }
        let repeated = self.classes.weights.get(last as usize).copied().unwrap_or(0.0);
        if !closed && repeated > 0.0 {
            self.add(item.node, 0.0, item.label * repeated);
        }
        let before = |class: u32| if class == last { item.blank } else { all };
        if self.closed {
            let mut child = self.prefixes.letters(item.node);
            while child != NONE {
                let own = self.prefixes.get(child);
                let sibling = own.sibling;
                let weight = self.classes.weights[own.class as usize] * before(own.class) * own.gain;
                self.enter(child, weight);
                child = sibling;
            }
            return;
        }
        // What is too light for the next frame needs no prefix; an older one may get more from itself.
        let least = self.heaviest * self.least / self.most_gain;
        for at in 0..self.classes.letters.len() {
            let (class, weight) = self.classes.letters[at];
            let weight = before(class) * weight;
            let child = match weight > least {
                true => self.prefixes.letter(item.node, class),
                false => self.prefixes.known_letter(item.node, class),
            };
            if child != NONE {
                let gain = self.prefixes.get(child).gain;
                self.enter(child, weight * gain);
            }
        }
    }

    /// Adds weight to a prefix from a shorter one, unless it is too light and nothing else can come to it.
    fn enter(&mut self, node: u32, weight: f64) {
        let stamp = self.prefixes.get(node).stamp;
        let lasting = stamp == self.time || stamp == self.time.wrapping_sub(1);
        if weight > 0.0 && (lasting || weight > self.heaviest * self.least) {
            self.add(node, 0.0, weight);
        }
    }

    /// Keeps the best of the next frame's prefixes, relative to the best of them.
    fn prune(&mut self) {
        let best = self.heaviest;
        if !(best > 0.0 && best.is_finite()) {
            // No class of this frame goes on with any prefix: what was found stays.
            self.next.clear();
            self.next.extend_from_slice(&self.items);
            return;
        }
        let options = self.parts.options;
        let least = best * self.least;
        self.next.retain(|i| i.all() >= least && i.all() > 0.0);
        if self.next.len() > options.beam {
            self.weights.clear();
            self.weights.extend(self.next.iter().map(Item::all));
            let (_, cut, _) = self
                .weights
                .select_nth_unstable_by(options.beam - 1, |a, b| b.total_cmp(a));
            let cut = *cut;
            // Of equals those that came first stay.
            let mut equal = options.beam - self.next.iter().filter(|i| i.all() > cut).count();
            self.next.retain(|i| match i.all().total_cmp(&cut) {
                Ordering::Greater => true,
                Ordering::Equal if equal > 0 => {
                    equal -= 1;
                    true
                }
                _ => false,
            });
        }
        self.scale += best.ln();
        for item in &mut self.next {
            item.blank /= best;
            item.label /= best;
        }
    }

    /// The best texts of the frames so far.
    pub fn finish(&mut self) -> Vec<Hypothesis> {
        let mut weights: FxHashMap<u32, f64> = FxHashMap::default();
        for item in self.items.clone() {
            if self.prefixes.is_closed(item.node) {
                *weights.entry(item.node).or_default() += item.all();
                continue;
            }
            let mut end = self.prefixes.ends(item.node);
            while end != NONE {
                let own = self.prefixes.get(end);
                *weights.entry(end).or_default() += item.all() * own.gain;
                end = own.sibling;
            }
        }
        let mut found: Vec<Hypothesis> = vec![];
        for (node, weight) in weights {
            let (last, guess) = self.prefixes.finish(node);
            let score = self.prefixes.get(node).score;
            found.push(Hypothesis {
                words: self.words(node),
                acoustic: weight.ln() + self.scale - score - guess,
                language: score + last,
            });
        }
        self.rank(found)
    }

    /// Texts in order, each once.
    fn rank(&self, mut found: Vec<Hypothesis>) -> Vec<Hypothesis> {
        found.retain(|h| h.score() > f64::NEG_INFINITY);
        let best_first = |a: &Hypothesis, b: &Hypothesis| {
            let spelled = |h: &Hypothesis| h.words.iter().map(|w| w.letters.clone()).collect::<Vec<_>>();
            b.score()
                .total_cmp(&a.score())
                .then_with(|| spelled(a).cmp(&spelled(b)))
        };
        found.sort_by(best_first);
        let mut places: FxHashMap<Vec<String>, usize> = FxHashMap::default();
        let mut spellings: FxHashMap<Vec<Vec<u32>>, ()> = FxHashMap::default();
        let mut out: Vec<Hypothesis> = vec![];
        for one in found {
            let text: Vec<String> = one.words.iter().map(|w| self.written(w)).collect();
            let letters = one.words.iter().map(|w| w.letters.clone()).collect();
            // Words with the same letters have the same paths, which count once.
            let new = spellings.insert(letters, ()).is_none();
            match places.get(&text) {
                None => {
                    places.insert(text, out.len());
                    out.push(one);
                }
                Some(place) if new => {
                    let known = &mut out[*place];
                    let sum = known.score() + (one.score() - known.score()).exp().ln_1p();
                    known.acoustic = sum - known.language;
                }
                Some(_) => {}
            }
        }
        out.sort_by(best_first);
        out.truncate(self.parts.options.nbest.max(1));
        out
    }

    /// What is written for a word.
    fn written(&self, word: &Found) -> String {
        written(self.parts.alphabet, self.parts.lexicon, word)
    }

    fn words(&self, mut node: u32) -> Vec<Found> {
        let mut words = vec![];
        while node != ROOT {
            let own = self.prefixes.get(node);
            let mut letters = vec![];
            self.prefixes.letters_of(own.parent, &mut letters);
            words.push(Found {
                entry: Some(own.entry).filter(|e| *e != NONE),
                letters,
            });
            node = own.parent;
            while !self.prefixes.is_closed(node) {
                node = self.prefixes.get(node).parent;
            }
        }
        words.reverse();
        words
    }
}

/// What is written for a found word: the lexicon's text, or its letters.
pub fn written(alphabet: &Alphabet, lexicon: Option<&Lexicon>, word: &Found) -> String {
    let entry = word.entry.zip(lexicon).and_then(|(e, l)| l.entry(e).text.clone());
    entry.unwrap_or_else(|| alphabet.write(&word.letters))
}
