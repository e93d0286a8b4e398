//! Diagnostics: what is wrong in a model file, where, and how to fix it.

use ariadne::{CharSet, Config, IndexType, Label, Report, ReportKind};
use std::path::PathBuf;

/// Bytes `start..end` of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Number of the source.
    pub source: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// From here to the end of another span.
    pub fn to(self, end: Span) -> Span {
        Span { end: end.end, ..self }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub span: Span,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What was expected, shown at the place itself.
    pub label: String,
    /// Other places that matter: the calls that led here, a first definition.
    pub related: Vec<(Span, String)>,
    /// What to do.
    pub help: Option<String>,
}

/// A value, or one mistake.
pub type Result<T> = std::result::Result<T, Diagnostic>;

impl Diagnostic {
    /// A mistake at a place; the label says what was expected.
    pub fn new(span: Span, message: impl Into<String>, label: impl Into<String>) -> Diagnostic {
        Diagnostic {
            span,
            message: message.into(),
            label: label.into(),
            related: vec![],
            help: None,
        }
    }
    /// Adds what to do.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }
    /// Suggests the nearest known name, or lists all where none is near.
    pub fn suggest<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
        let mut known: Vec<&str> = known.into_iter().collect();
        known.sort();
        known.dedup();
        match nearest(name, &known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => self.help("there is none to choose from"),
            None if known.len() <= 24 => self.help(format!("there are: {}", known.join(", "))),
            None => self,
        }
    }
    /// Adds another place that matters.
    pub fn related(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.related.push((span, text.into()));
        self
    }
}

/// The text of a file, or of a `--set`.
#[derive(Clone, Debug)]
pub struct Source {
    /// As messages show it.
    pub name: String,
    /// Its path; empty for a `--set`.
    pub path: PathBuf,
    /// The text.
    pub text: String,
}

/// Mistakes with the sources they lie in.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    /// Files, and `--set` options.
    pub sources: Vec<Source>,
    /// The mistakes.
    pub list: Vec<Diagnostic>,
}

impl std::error::Error for Diagnostics {}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Diagnostics {
    /// The text for people: file, line, column, the lines themselves, and what was expected.
    pub fn render(&self, color: bool) -> String {
        let config = Config::default()
            .with_color(color)
            .with_index_type(IndexType::Byte)
            .with_char_set(if color { CharSet::Unicode } else { CharSet::Ascii });
        let mut out = vec![];
        for d in &self.list {
            if self.is_long(&d.span) || d.related.iter().any(|(span, _)| self.is_long(span)) {
                out.extend(self.plain(d).into_bytes());
                continue;
            }
            let at = |s: &Span| (self.sources[s.source].name.clone(), s.start..s.end.max(s.start));
            let mut report = Report::build(ReportKind::Error, at(&d.span))
                .with_config(config)
                .with_message(&d.message);
            // In the order of the text, or one file is shown in pieces.
            let mut labels: Vec<(&Span, &String)> = d.related.iter().map(|(span, text)| (span, text)).collect();
            labels.push((&d.span, &d.label));
            labels.sort_by_key(|(span, _)| (span.source != d.span.source, **span));
            for (span, text) in labels {
                report = report.with_label(Label::new(at(span)).with_message(text));
            }
            if let Some(help) = &d.help {
                report = report.with_help(help);
            }
            let cache = ariadne::sources(self.sources.iter().map(|s| (s.name.clone(), s.text.clone())));
            // Writing to memory fails only where a source is missing, and all are given.
            report
                .finish()
                .write(cache, &mut out)
                .expect("every span lies in a known source");
        }
        let text = String::from_utf8_lossy(&out);
        text.lines().map(|l| l.trim_end().to_string() + "\n").collect()
    }
}

/// Bytes of a line that are shown.
const LINE: usize = 400;

impl Diagnostics {
    /// Line and column, from 1, and the line itself.
    fn place(&self, span: &Span) -> (usize, usize, &str) {
        let text = &self.sources[span.source].text;
        let start = span.start.min(text.len());
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[begin..].lines().next().unwrap_or_default();
        let number = 1 + text[..begin].matches('\n').count();
        (number, 1 + text[begin..start].chars().count(), line)
    }

    fn is_long(&self, span: &Span) -> bool {
        self.place(span).2.len() > LINE
    }

    /// Without the lines, which would fill the screen.
    fn plain(&self, d: &Diagnostic) -> String {
        let at = |span: &Span| {
            let (line, column, _) = self.place(span);
            format!("{}:{line}:{column}", self.sources[span.source].name)
        };
        let mut text = format!("Error: {}\n   at {}: {}\n", d.message, at(&d.span), d.label);
        for (span, what) in &d.related {
            text += &format!("   at {}: {what}\n", at(span));
        }
        if let Some(help) = &d.help {
            text += &format!("   Help: {help}\n");
        }
        text
    }
}

/// The nearest name, if it is near enough to be a slip.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = name.chars().count();
    let near = |d: usize| d <= 1 + length / 3 && d < length;
    known
        .iter()
        .map(|k| (distance(name, k), *k))
        .filter(|(d, _)| near(*d))
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let step = diagonal + (x != *y) as usize;
            diagonal = row[j + 1];
            row[j + 1] = step.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_have_a_nearest_name() {
        assert_eq!(nearest("con1d", &["einsum", "conv1d", "cast"]), Some("conv1d"));
        assert_eq!(nearest("layer_nrom", &["layer_norm", "group_norm"]), Some("layer_norm"));
        assert_eq!(nearest("quantizer", &["gelu", "sum"]), None);
        assert_eq!(nearest("S", &["B", "N"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
