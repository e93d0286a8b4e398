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

fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(before) else {
        return false;
    };
    // What is after the star may begin anywhere in the rest.
    (0..=rest.len())
        .filter(|i| rest.is_char_boundary(*i))
        .any(|i| fits(after, &rest[i..]))
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
}
