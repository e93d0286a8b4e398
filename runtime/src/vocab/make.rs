//! A vocabulary made of training texts.

use super::case::{Case, is_turkic};
use super::letters::{
    JOINERS, is_apostrophe, is_invisible, is_letter, is_lone_jamo, is_punctuation, is_special, is_syllable,
};
use super::{Rules, Units, Vocab, WORD_END};
use std::collections::BTreeMap;
use unicode_normalization::UnicodeNormalization;

/// What every made vocabulary begins with, in fairseq's order with the blank first.
const SPECIAL: [&str; 4] = ["<pad>", "<s>", "</s>", "<unk>"];

/// Divides words that are one: Catalan's col·lecció.
const MIDDLE_DOT: char = '\u{b7}';

/// The tokens of these texts: the special ones, `|`, then letters by how often they are there, equals by code point. Texts of
/// both cases take that of `like`, where it has one, else lower case.
pub fn make(texts: &[&str], rules: Rules, like: Option<&Vocab>) -> Vocab {
    let (counts, word_end) = if rules.units == Units::Tokens {
        let separate = |t: &&str| t.split_whitespace().any(|p| p == WORD_END);
        (tokens(texts, rules), texts.iter().any(separate))
    } else {
        (letters(texts, rules, like), true)
    };
    let mut order: Vec<(String, usize)> = counts.into_iter().collect();
    // Names come sorted from the map, and this sort keeps the order of equals.
    order.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let first = SPECIAL.iter().copied().chain(word_end.then_some(WORD_END));
    let names = first.map(String::from).chain(order.into_iter().map(|(token, _)| token));
    Vocab::with(names.collect(), Default::default(), rules)
}

/// Whatever spaces separate.
fn tokens(texts: &[&str], rules: Rules) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let apart = |c: char| c.is_whitespace() || c == '|';
    let pieces = texts.iter().flat_map(|t| t.split(apart));
    for piece in pieces.filter(|p| !p.is_empty()) {
        let token = if rules.nfc {
            piece.nfc().collect()
        } else {
            piece.to_string()
        };
        // Of what is not said, as `<noise>`, nothing is to be learnt.
        if !is_special(&token) {
            *counts.entry(token).or_default() += 1;
        }
    }
    counts
}

fn letters(texts: &[&str], rules: Rules, like: Option<&Vocab>) -> BTreeMap<String, usize> {
    // A vocabulary of all that might be a token, so that texts are cleaned by the very rules they are encoded by later.
    let candidates = candidates(texts, rules, like);
    let open = Vocab::with(candidates, Default::default(), rules);
    let mut counts = BTreeMap::new();
    for piece in texts.iter().flat_map(|t| open.words(t)).flatten() {
        let piece: String = match rules.units {
            Units::Jamo => to_jamo(&piece),
            _ => piece,
        };
        for c in piece.chars() {
            *counts.entry(c.to_string()).or_default() += 1;
        }
    }
    counts
}

fn candidates(texts: &[&str], rules: Rules, like: Option<&Vocab>) -> Vec<String> {
    let all = || texts.iter().flat_map(|t| t.chars());
    let case = choose_case(all, like).filter(|_| rules.fold_case);
    let turkic = is_turkic(all());
    let mut found: Vec<String> = vec![WORD_END.to_string()];
    let mut seen = std::collections::BTreeSet::new();
    for text in texts {
        let composed: String = if rules.nfc {
            text.nfc().collect()
        } else {
            text.to_string()
        };
        let cased = match case {
            Some(case) => case.apply(&composed, &|_| false, turkic),
            None => composed,
        };
        let cased: String = if rules.nfc { cased.nfc().collect() } else { cased };
        let list: Vec<char> = cased
            .chars()
            .filter(|c| c.is_whitespace() || !is_invisible(*c))
            .collect();
        for (i, c) in list.iter().enumerate() {
            let before = i.checked_sub(1).map(|b| list[b]);
            if let Some(token) = candidate(*c, before, list.get(i + 1).copied(), rules)
                && seen.insert(token)
            {
                found.push(token.to_string());
            }
        }
    }
    found
}

/// The case of the texts, where they have one; else that of the other vocabulary; else lower case.
fn choose_case<I: Iterator<Item = char>>(all: impl Fn() -> I, like: Option<&Vocab>) -> Option<Case> {
    let own = |wanted: Case| all().any(|c| Case::of(std::iter::once(c)) == Some(wanted));
    match (own(Case::Upper), own(Case::Lower)) {
        (false, false) => None,
        (true, false) => Some(Case::Upper),
        (false, true) => Some(Case::Lower),
        (true, true) => Some(like.and_then(|v| v.index.case).unwrap_or(Case::Lower)),
    }
}

/// What a character of a text would be as a token; none for what normalisation drops.
fn candidate(c: char, before: Option<char>, after: Option<char>, rules: Rules) -> Option<char> {
    let inside = before.is_some_and(is_letter) && after.is_some_and(is_letter);
    match c {
        _ if c.is_whitespace() || c == '|' || is_invisible(c) => None,
        // The line that stretches Arabic letters, and the dot that lower case leaves on an i.
        '\u{640}' => None,
        '\u{307}' if before == Some('i') => None,
        _ if JOINERS.contains(&c) || c == MIDDLE_DOT => inside.then_some(c),
        _ if is_apostrophe(c, before, after) => (inside || rules.keep_punctuation).then_some('\''),
        _ if is_punctuation(c) => rules.keep_punctuation.then_some(c),
        _ => Some(c),
    }
}

fn to_jamo(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if is_syllable(c) || is_lone_jamo(c) {
            out.extend(std::iter::once(c).nfkd());
        } else {
            out.push(c);
        }
    }
    out
}
