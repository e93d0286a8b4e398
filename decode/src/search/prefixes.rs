//! The tree of prefixes: beginnings of texts, each with what is known of it.
//!
//! A node is a prefix as CTC tells them apart: letters, and ends of words. What a prefix is worth besides its paths (language
//! model, hotwords, and while a word is begun a guess at them) is known when the node is made, so that the search only adds and
//! multiplies.

use super::states::{MOST_ANSWERS, States};
use super::{Options, Parts};
use crate::lm::{UNKNOWN, Word};
use std::f64::consts::LN_10;

pub const NONE: u32 = u32::MAX;
pub const ROOT: u32 = 0;
/// Children are not known yet.
const UNASKED: u32 = u32::MAX - 1;
/// In place of a node of the lexicon: no word begins so.
const LEFT: u32 = u32::MAX;
/// Letters from which on a word without end costs more.
const USUAL_LETTERS: f64 = 6.0;
/// Nodes that are made before those that lead nowhere are let go.
const MOST_NODES: usize = 1 << 18;

#[derive(Clone, Debug)]
pub struct Node {
    pub parent: u32,
    /// Its last class; none for the empty prefix.
    pub class: u32,
    /// Letters of the word begun; 0 where none is.
    pub letters: u32,
    /// For ends of words: the entry of the lexicon.
    pub entry: u32,
    /// What the weight of a path changes by when it comes here from the parent.
    pub gain: f64,
    /// ln of what its words are worth.
    pub score: f64,
    /// ln of what is guessed of the word begun.
    guess: f64,
    tree: u32,
    hot: u32,
    state: u32,
    /// Whether all letters of the lexicon follow.
    grown: bool,
    first_letter: u32,
    first_end: u32,
    /// The next child of its kind of the same parent.
    pub sibling: u32,
    /// The frame in which the prefix was last met, and its place in that frame's list.
    pub stamp: u32,
    pub slot: u32,
}

pub struct Prefixes<'a> {
    parts: Parts<'a>,
    states: Option<States<'a>>,
    pub nodes: Vec<Node>,
    word_end: u32,
    lm_weight: f64,
    /// Words of letters, where a model without its words has to be asked by name.
    by_name: bool,
    /// Nodes at which space is made.
    full: usize,
    text: Vec<u32>,
}

impl<'a> Prefixes<'a> {
    pub fn new(parts: Parts<'a>) -> Prefixes<'a> {
        let mut states = parts.model.map(States::new);
        let begin = parts.model.map(|m| match parts.options.boundaries {
            true => m.begin(),
            false => crate::lm::State::default(),
        });
        let state = match (&mut states, begin) {
            (Some(states), Some(begin)) => states.number(&begin),
            _ => 0,
        };
        let root = Node {
            parent: NONE,
            class: NONE,
            letters: 0,
            entry: NONE,
            gain: 1.0,
            score: 0.0,
            guess: 0.0,
            tree: if parts.lexicon.is_some() { 0 } else { LEFT },
            hot: parts.hotwords.map_or(0, |h| h.start()),
            state,
            grown: false,
            first_letter: NONE,
            first_end: UNASKED,
            sibling: NONE,
            stamp: NONE,
            slot: 0,
        };
        Prefixes {
            by_name: parts.lexicon.is_none() && parts.model.is_some() && !parts.options.letters,
            word_end: parts.alphabet.word_end.map_or(NONE, |e| e as u32),
            lm_weight: parts.options.lm_weight * LN_10,
            nodes: vec![root],
            full: MOST_NODES,
            states,
            parts,
            text: vec![],
        }
    }

    fn options(&self) -> &'a Options {
        self.parts.options
    }

    pub fn get(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    /// Whether an end of word changes nothing: no word is begun.
    pub fn is_closed(&self, node: u32) -> bool {
        self.get(node).letters == 0
    }

    /// The prefix with one letter more; [`NONE`] where no word begins so and others are not allowed.
    pub fn letter(&mut self, node: u32, class: u32) -> u32 {
        match self.known_letter(node, class) {
            NONE => self.grow(node, class),
            known => known,
        }
    }

    /// The prefix with one letter more, if it was met.
    pub fn known_letter(&self, node: u32, class: u32) -> u32 {
        let mut child = self.get(node).first_letter;
        while child != NONE {
            let own = self.get(child);
            if own.class == class {
                return child;
            }
            child = own.sibling;
        }
        NONE
    }

    /// Whether the letters that may follow are those of the lexicon's words alone.
    pub fn is_closed_lexicon(&self) -> bool {
        self.parts.lexicon.is_some() && !self.unknown_allowed()
    }

    /// The first of all prefixes with one letter more; for lexicons whose words alone come out.
    pub fn letters(&mut self, node: u32) -> u32 {
        let own = self.get(node);
        if let (false, Some(lexicon)) = (own.grown, self.parts.lexicon) {
            let tree = own.tree;
            self.nodes[node as usize].grown = true;
            for child in lexicon.children(tree) {
                self.letter(node, lexicon.class(child));
            }
        }
        self.get(node).first_letter
    }

    /// The most that the weight of a path may grow by with a letter.
    pub fn most_gain(&self) -> f64 {
        let credit = self.parts.hotwords.map_or(0.0, |h| h.most_credit());
        match self.parts.options.unk_score > 0.0 {
            true => f64::INFINITY,
            false => credit.exp(),
        }
    }

    fn grow(&mut self, node: u32, class: u32) -> u32 {
        let parent = self.get(node);
        let tree = match (self.parts.lexicon, parent.tree) {
            (Some(lexicon), tree) if tree != LEFT => lexicon.child(tree, class).unwrap_or(LEFT),
            _ => LEFT,
        };
        if tree == LEFT && self.parts.lexicon.is_some() && !self.unknown_allowed() {
            return NONE;
        }
        let hot = self.parts.hotwords.map_or(0, |h| h.next(parent.hot, class));
        let letters = parent.letters + 1;
        let (mut score, mut state) = (parent.score, parent.state);
        if self.options().letters {
            let word = self.parts.letters[class as usize];
            (score, state) = self.say(score, state, word, word == UNKNOWN);
        }
        // Without an end of words phrases are complete with their last letter.
        if self.word_end == NONE {
            score += self.parts.hotwords.map_or(0.0, |h| h.complete(hot));
        }
        let guess = self.guess(tree, hot, letters);
        let parent = self.get(node);
        let new = Node {
            parent: node,
            class,
            letters,
            entry: NONE,
            gain: (score + guess - parent.score - parent.guess).exp(),
            score,
            guess,
            tree,
            hot,
            state,
            grown: false,
            first_letter: NONE,
            first_end: UNASKED,
            sibling: parent.first_letter,
            stamp: NONE,
            slot: 0,
        };
        let at = self.nodes.len() as u32;
        self.nodes[node as usize].first_letter = at;
        self.nodes.push(new);
        at
    }

    fn unknown_allowed(&self) -> bool {
        self.options().unk_score > f64::NEG_INFINITY
    }

    /// What the word begun is worth as far as one can tell.
    fn guess(&self, tree: u32, hot: u32, letters: u32) -> f64 {
        let begun = self.parts.hotwords.filter(|h| h.is_begun(hot));
        let credit = self.parts.hotwords.map_or(0.0, |h| h.credit(hot));
        let Some(lexicon) = self.parts.lexicon else {
            return credit;
        };
        if tree != LEFT {
            let ahead = !self.unknown_allowed() && self.parts.model.is_some();
            return credit
                + if ahead {
                    self.lm_weight * lexicon.best(tree) as f64
                } else {
                    0.0
                };
        }
        if begun.is_some() {
            return credit;
        }
        credit + self.options().unk_score * (letters as f64 / USUAL_LETTERS).max(1.0)
    }

    /// Adds a word of the language model.
    fn say(&mut self, score: f64, state: u32, word: Word, unknown: bool) -> (f64, u32) {
        let penalty = if unknown { self.options().unk_score } else { 0.0 };
        let Some(states) = &mut self.states else {
            return (score + self.lm_weight * penalty, state);
        };
        let (log10, next) = states.ask(state, word);
        (score + self.lm_weight * (log10 as f64 + penalty), next)
    }

    /// The first prefix in which the word begun has ended; the others follow it as siblings.
    pub fn ends(&mut self, node: u32) -> u32 {
        match self.get(node).first_end {
            UNASKED => self.close(node),
            first => first,
        }
    }

    fn close(&mut self, node: u32) -> u32 {
        self.nodes[node as usize].first_end = NONE;
        let tree = self.get(node).tree;
        let entries = match self.parts.lexicon {
            Some(lexicon) if tree != LEFT => lexicon.entries(tree),
            _ => 0..0,
        };
        if entries.is_empty() {
            if self.parts.lexicon.is_some() && !self.unknown_allowed() {
                return NONE;
            }
            let (word, unknown) = match self.by_name {
                true => self.named(node),
                false => (UNKNOWN, self.parts.lexicon.is_some()),
            };
            self.end(node, NONE, word, unknown);
        }
        for entry in entries.rev() {
            let word = self.parts.lexicon.map_or(UNKNOWN, |l| l.entry(entry).word);
            self.end(node, entry, word, false);
        }
        self.get(node).first_end
    }

    /// The word begun as a model knows it that does not tell its words.
    fn named(&mut self, node: u32) -> (Word, bool) {
        let mut letters = std::mem::take(&mut self.text);
        self.letters_of(node, &mut letters);
        let text = self.parts.alphabet.write(&letters);
        self.text = letters;
        let model = self.parts.model.expect("names are asked of a model");
        let forms = [text.to_lowercase(), text.to_uppercase()];
        let word = std::iter::once(&text)
            .chain(&forms)
            .map(|t| model.index(t))
            .find(|w| *w != UNKNOWN)
            .unwrap_or(UNKNOWN);
        (word, word == UNKNOWN)
    }

    fn end(&mut self, node: u32, entry: u32, word: Word, unknown: bool) {
        let own = self.get(node);
        let (mut score, mut state) = (own.score, own.state);
        let hot = self.parts.hotwords.map_or(0, |h| match self.word_end {
            NONE => own.hot,
            end => h.next(own.hot, end),
        });
        if self.options().letters {
            if self.word_end != NONE {
                let word = self.parts.letters[self.word_end as usize];
                (score, state) = self.say(score, state, word, word == UNKNOWN);
            }
        } else {
            (score, state) = self.say(score, state, word, unknown);
        }
        score += self.options().word_score;
        let mut guess = 0.0;
        if let Some(hotwords) = self.parts.hotwords.filter(|_| self.word_end != NONE) {
            score += hotwords.complete(hot);
            guess = hotwords.credit(hot);
        }
        let own = self.get(node);
        let new = Node {
            parent: node,
            class: self.word_end,
            letters: 0,
            entry,
            gain: (score + guess - own.score - own.guess).exp(),
            score,
            guess,
            tree: if self.parts.lexicon.is_some() { 0 } else { LEFT },
            hot,
            state,
            grown: false,
            first_letter: NONE,
            first_end: UNASKED,
            sibling: own.first_end,
            stamp: NONE,
            slot: 0,
        };
        let at = self.nodes.len() as u32;
        self.nodes[node as usize].first_end = at;
        self.nodes.push(new);
    }

    /// ln of what the end of the sentence is worth behind a prefix without a word begun, and of the guess that it takes back.
    pub fn finish(&mut self, node: u32) -> (f64, f64) {
        let (state, guess) = (self.get(node).state, self.get(node).guess);
        let (Some(model), true) = (self.parts.model, self.options().boundaries) else {
            return (0.0, guess);
        };
        let (score, _) = self.say(0.0, state, model.sentence_end(), false);
        (score, guess)
    }

    /// Letters of the word that a node is in.
    pub fn letters_of(&self, mut node: u32, out: &mut Vec<u32>) {
        out.clear();
        while self.get(node).letters > 0 {
            out.push(self.get(node).class);
            node = self.get(node).parent;
        }
        out.reverse();
    }

    /// Lets go of prefixes that lead to none of those in use; these get new numbers.
    pub fn make_room(&mut self, used: &mut dyn Iterator<Item = &mut u32>) {
        let answers = self.states.as_ref().map_or(0, States::answers);
        if self.nodes.len() < self.full && answers < MOST_ANSWERS {
            return;
        }
        let mut used: Vec<&mut u32> = used.collect();
        let mut new = vec![NONE; self.nodes.len()];
        new[ROOT as usize] = ROOT;
        for node in &used {
            let mut at = **node;
            while new[at as usize] == NONE {
                new[at as usize] = ROOT;
                let parent = self.get(at).parent;
                if self.is_closed(at) {
                    // Ends of a word stay together, as they are made together.
                    let mut end = self.get(parent).first_end;
                    while end != NONE {
                        new[end as usize] = ROOT;
                        end = self.get(end).sibling;
                    }
                }
                at = parent;
            }
        }
        let kept: Vec<usize> = (0..new.len()).filter(|i| new[*i] != NONE).collect();
        kept.iter().enumerate().for_each(|(to, from)| new[*from] = to as u32);
        let mut nodes: Vec<Node> = kept.iter().map(|i| self.nodes[*i].clone()).collect();
        for node in &mut nodes {
            node.parent = new.get(node.parent as usize).copied().unwrap_or(NONE);
            node.first_letter = NONE;
            node.first_end = UNASKED;
            node.grown = false;
            node.sibling = NONE;
        }
        for at in 1..nodes.len() {
            let parent = nodes[at].parent as usize;
            let ends = nodes[at].letters == 0;
            let own = &mut nodes[parent];
            let first = if ends {
                &mut own.first_end
            } else {
                &mut own.first_letter
            };
            let sibling = std::mem::replace(first, at as u32);
            nodes[at].sibling = if sibling == UNASKED { NONE } else { sibling };
        }
        if let Some(states) = &mut self.states {
            let renamed = states.keep(nodes.iter().map(|n| n.state));
            nodes.iter_mut().for_each(|n| n.state = renamed[&n.state]);
        }
        self.nodes = nodes;
        self.full = MOST_NODES.max(2 * self.nodes.len());
        used.iter_mut().for_each(|n| **n = new[**n as usize]);
    }
}
