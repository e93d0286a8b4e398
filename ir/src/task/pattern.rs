//! Patterns of parameter names.

/// Whether a name is chosen by a list of patterns, in which `*` stands for any text. Later ones count more; `!` in front of
/// one takes out.
pub fn matches<S: AsRef<str>>(patterns: &[S], name: &str) -> bool {
    patterns
        .iter()
        .fold(false, |chosen, pattern| match pattern.as_ref().strip_prefix('!') {
            Some(out) => chosen && !fits(out, name),
            None => chosen || fits(pattern.as_ref(), name),
        })
}

/// Whether one pattern, without `!`, is the name's. Its time is linear in the name for each star: patterns come from files of
/// others.
fn fits(pattern: &str, name: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = &parts[..] else {
        return pattern == name;
    };
    // What is found first leaves the most for the parts after it.
    let rest = name.strip_prefix(first).and_then(|rest| {
        middle
            .iter()
            .try_fold(rest, |rest, part| rest.find(part).map(|at| &rest[at + part.len()..]))
    });
    rest.is_some_and(|rest| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_patterns_count_more() {
        let exports = ["*", "!lm_head.*"];
        assert!(matches(&exports, "net.encoder.weight") && !matches(&exports, "lm_head.bias"));
        assert!(matches(&["*.weight"], "a.b.weight") && !matches(&["*.weight"], "a.b.weight_g"));
        assert!(matches(&["a*c*e"], "abcde") && !matches(&["a*c*e"], "abde") && !matches::<&str>(&[], "a"));
        assert!(matches(&["*", "!a*", "ab"], "ab"));
    }

    #[test]
    fn stars_stand_for_any_text() {
        assert!(matches(&["*"], "a.b") && matches(&["a.*"], "a.b.c") && matches(&["a.*.c"], "a.b.c"));
        assert!(!matches(&["a.*.c"], "a.b.d") && !matches(&["a"], "a.b"));
        // An overlap of what stands before and after a star is no match.
        assert!(!matches(&["aba*ba"], "aba") && matches(&["aba*ba"], "ababa"));
    }

    /// Trying every place for every star would take longer than the age of the world.
    #[test]
    fn many_stars_cost_little() {
        let pattern = "*a".repeat(40) + "*b";
        assert!(!matches(&[pattern], &"a".repeat(2000)));
    }
}
