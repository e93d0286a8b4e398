//! States of the language model by number, and what words are worth in them, asked once.

use crate::lm::{Model, State, Word};
use rustc_hash::FxHashMap;

/// Answers that are kept before they are forgotten.
pub const MOST_ANSWERS: usize = 1 << 20;

pub struct States<'a> {
    model: &'a Model,
    states: Vec<State>,
    numbers: FxHashMap<Box<[Word]>, u32>,
    answers: FxHashMap<(u32, Word), (f32, u32)>,
    next: State,
}

impl<'a> States<'a> {
    pub fn new(model: &'a Model) -> States<'a> {
        States {
            model,
            states: vec![],
            numbers: FxHashMap::default(),
            answers: FxHashMap::default(),
            next: State::default(),
        }
    }

    pub fn number(&mut self, state: &State) -> u32 {
        if let Some(number) = self.numbers.get(state.words()) {
            return *number;
        }
        let number = self.states.len() as u32;
        self.numbers.insert(state.words().into(), number);
        self.states.push(state.clone());
        number
    }

    /// log10 of a word's probability, and the state behind it.
    pub fn ask(&mut self, state: u32, word: Word) -> (f32, u32) {
        if let Some(answer) = self.answers.get(&(state, word)) {
            return *answer;
        }
        let mut next = std::mem::take(&mut self.next);
        let score = self.model.score(&self.states[state as usize], word, &mut next);
        let answer = (score.log10, self.number(&next));
        self.next = next;
        self.answers.insert((state, word), answer);
        answer
    }

    pub fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Forgets all but some states, which get new numbers.
    pub fn keep(&mut self, numbers: impl Iterator<Item = u32>) -> FxHashMap<u32, u32> {
        let old = std::mem::take(&mut self.states);
        self.numbers.clear();
        self.answers.clear();
        let mut renamed = FxHashMap::default();
        for number in numbers {
            let state = &old[number as usize];
            renamed.entry(number).or_insert_with(|| self.number(state));
        }
        renamed
    }
}
