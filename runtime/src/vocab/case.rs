//! The case of a vocabulary, and texts in it.

/// The one case that all letters with a case have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Case {
    Upper,
    Lower,
}

/// The other form of a letter, where that is one letter too.
fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}

/// Letters without another form of one letter (ß, Hangul, digits) have no case; title-case digraphs have none either.
fn of_letter(c: char) -> Option<Case> {
    let other = |mapped: Option<char>| mapped.is_some_and(|m| m != c);
    match (other(single(c.to_lowercase())), other(single(c.to_uppercase()))) {
        (true, false) => Some(Case::Upper),
        (false, true) => Some(Case::Lower),
        _ => None,
    }
}

impl Case {
    /// The case that all of these letters share.
    pub(super) fn of(letters: impl Iterator<Item = char>) -> Option<Case> {
        let mut found = None;
        for case in letters.filter_map(of_letter) {
            match found {
                None => found = Some(case),
                Some(one) if one != case => return None,
                _ => {}
            }
        }
        found
    }

    /// A text in this case. Letters that `known` accepts stay. With `turkic`, i with and without a dot are two letters.
    pub(super) fn apply(self, text: &str, known: &dyn Fn(char) -> bool, turkic: bool) -> String {
        match self {
            Case::Lower => lower(text, known, turkic),
            Case::Upper => upper(text, known, turkic),
        }
    }
}

fn lower(text: &str, known: &dyn Fn(char) -> bool, turkic: bool) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    for (i, c) in letters.iter().enumerate() {
        let alphabetic = |at: Option<usize>| at.and_then(|i| letters.get(i)).is_some_and(|c| c.is_alphabetic());
        match c {
            _ if known(*c) => out.push(*c),
            'I' if turkic => out.push('ı'),
            // Its lower case would keep the dot as a mark on an i that has one.
            'İ' => out.push('i'),
            // The last one of a word has a form for itself, where the vocabulary tells them apart.
            'Σ' if alphabetic(i.checked_sub(1)) && !alphabetic(Some(i + 1)) && (known('ς') || !known('σ')) => {
                out.push('ς');
            }
            'ς' if known('σ') => out.push('σ'),
            _ => out.extend(c.to_lowercase()),
        }
    }
    out
}

fn upper(text: &str, known: &dyn Fn(char) -> bool, turkic: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if known(c) => out.push(c),
            'i' if turkic => out.push('İ'),
            'ß' if known('ẞ') => out.push('ẞ'),
            _ => out.extend(c.to_uppercase()),
        }
    }
    out
}

/// Whether letters tell a dotted from a dotless i.
pub(super) fn is_turkic(mut letters: impl Iterator<Item = char>) -> bool {
    letters.any(|c| c == 'ı' || c == 'İ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_letters_is_found_in_any_script() {
        let of = |s: &str| Case::of(s.chars());
        for lower in ["abc'", "абв", "αβγς", "აბგ", "աբգ", "ßa", "a7영"] {
            assert_eq!(of(lower), Some(Case::Lower), "{lower}");
        }
        for upper in ["ABC|", "АБВ", "ΑΒΓ", "ԱԲԳ", "ẞA"] {
            assert_eq!(of(upper), Some(Case::Upper), "{upper}");
        }
        for none in ["Aa", "영일", "७", "", "ß", "Äб"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn letters_with_forms_of_their_own_are_folded() {
        let fold = |case: Case, text: &str, known: &str, turkic| case.apply(text, &|c| known.contains(c), turkic);
        assert_eq!(fold(Case::Lower, "ΣΟΦΟΣ ΣΑΣ", "σς", false), "σοφος σας");
        assert_eq!(fold(Case::Lower, "ΣΑΣ", "σ", false), "σασ");
        assert_eq!(fold(Case::Lower, "IĞDIR İZMİR", "ı", true), "ığdır izmir");
        assert_eq!(fold(Case::Lower, "İstanbul I", "i", false), "istanbul i");
        assert_eq!(fold(Case::Upper, "ığdır izmir", "İ", true), "IĞDIR İZMİR");
        assert_eq!(fold(Case::Upper, "straße", "S", false), "STRASSE");
        assert_eq!(fold(Case::Upper, "straße", "Sß", false), "STRAßE");
        assert_eq!(fold(Case::Upper, "straße", "ẞ", false), "STRAẞE");
        assert_eq!(fold(Case::Lower, "STRAẞE", "ß", false), "straße");
        assert_eq!(fold(Case::Lower, "ᲐᲑ ԱԲ ДА", "ა", false), "აბ աբ да");
    }
}
