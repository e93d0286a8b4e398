//! Classes of characters that normalisation treats alike.

use unicode_properties::{GeneralCategory as G, GeneralCategoryGroup, UnicodeGeneralCategory};

pub(super) const APOSTROPHE: char = '\'';
/// Joins letters (Persian: ZWNJ, Indic scripts: ZWJ) and is spelling there.
pub(super) const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Characters that stand for an apostrophe wherever they are.
const APOSTROPHES: [char; 4] = ['\u{2019}', '\u{2bc}', '\u{2bb}', '\u{ff07}'];
/// Those that are quotation marks or accents unless letters are on both sides.
const APOSTROPHES_INSIDE: [char; 5] = ['\u{2018}', '\u{201b}', '\u{2032}', '`', '\u{b4}'];

/// Whether `c`, with these neighbours, is written for an apostrophe.
pub(super) fn is_apostrophe(c: char, before: Option<char>, after: Option<char>) -> bool {
    let letter = |c: Option<char>| c.is_some_and(|c| is_letter(c) && !APOSTROPHES.contains(&c));
    c == APOSTROPHE || APOSTROPHES.contains(&c) || APOSTROPHES_INSIDE.contains(&c) && letter(before) && letter(after)
}

/// Letters and the marks on them.
pub(super) fn is_letter(c: char) -> bool {
    matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark
    )
}

/// Marks between words rather than within them.
pub(super) fn is_dash(c: char) -> bool {
    c == '/' || c.general_category() == G::DashPunctuation
}

/// Punctuation of any script, and symbols that nobody says. Currency signs are said, so they are none.
pub(super) fn is_punctuation(c: char) -> bool {
    match c.general_category() {
        G::ModifierSymbol | G::OtherSymbol | G::MathSymbol => true,
        _ => c.general_category_group() == GeneralCategoryGroup::Punctuation,
    }
}

/// What has no shape or sound of its own: zero width spaces, marks of direction, soft hyphens, variation selectors, controls.
/// Joiners are none of these.
pub(super) fn is_invisible(c: char) -> bool {
    if JOINERS.contains(&c) {
        return false;
    }
    let selector = ('\u{fe00}'..='\u{fe0f}').contains(&c) || ('\u{e0100}'..='\u{e01ef}').contains(&c);
    selector || c == '\u{34f}' || matches!(c.general_category(), G::Format | G::Control)
}

/// Signs that a script writes or leaves out: Arabic vowel signs and the stretching line, Hebrew points.
pub(super) fn is_optional_point(c: char) -> bool {
    matches!(c, '\u{640}' | '\u{64b}'..='\u{652}' | '\u{670}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}'
        | '\u{5c4}' | '\u{5c5}' | '\u{5c7}')
}

/// `<unk>`, `[UNK]` and their like.
pub(super) fn is_special(token: &str) -> bool {
    let within = |open, close| token.starts_with(open) && token.ends_with(close);
    token.len() > 2 && (within('<', '>') || within('[', ']'))
}

/// Letters that Korean syllables are made of.
pub(super) fn is_jamo(c: char) -> bool {
    ('\u{1100}'..='\u{11ff}').contains(&c)
}

/// The same letters as they are written alone.
pub(super) fn is_lone_jamo(c: char) -> bool {
    ('\u{3131}'..='\u{318e}').contains(&c)
}

pub(super) fn is_syllable(c: char) -> bool {
    ('\u{ac00}'..='\u{d7a3}').contains(&c)
}
