//! RON text to the document as it is written: values keep their place in the source as raw slices of it.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::Expr;
use crate::parse::Text;
use ron::extensions::Extensions;
use ron::value::RawValue;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::marker::PhantomData;

/// A file of the model language. Every field may be missing, so that one file can extend another.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Document<'a> {
    #[serde(borrow)]
    pub extends: Option<&'a RawValue>,
    pub name: Option<&'a RawValue>,
    pub constants: Option<&'a RawValue>,
    pub run_sizes: Option<&'a RawValue>,
    pub symbols: Option<&'a RawValue>,
    pub sizes: Option<&'a RawValue>,
    pub blocks: Option<&'a RawValue>,
    pub programs: Option<&'a RawValue>,
    pub tasks: Option<&'a RawValue>,
    pub recipes: Option<&'a RawValue>,
    pub by_hours: Option<&'a RawValue>,
    pub export: Option<&'a RawValue>,
    pub config_defaults: Option<&'a RawValue>,
    pub config_settings: Option<&'a RawValue>,
}

/// A piece of a network with parameters of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockText<'a> {
    #[serde(borrow, default)]
    pub args: Vec<&'a RawValue>,
    #[serde(default)]
    pub dims: Vec<&'a RawValue>,
    #[serde(default = "Entries::empty")]
    pub params: Entries<'a, ParamText<'a>>,
    pub body: &'a RawValue,
    pub returns: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamText<'a> {
    #[serde(borrow)]
    pub shape: Vec<&'a RawValue>,
    pub init: &'a RawValue,
}

/// How a parameter starts; numbers may be expressions in quotes.
#[derive(Deserialize)]
pub enum InitText<'a> {
    Zeros,
    Ones,
    /// Standard deviation.
    Normal(#[serde(borrow)] &'a RawValue),
    /// Lower and upper bound.
    Uniform(&'a RawValue, &'a RawValue),
    /// Normal with variance 2 / fan-in (He et al. 2015); fan-in is the product of all axes but the first.
    KaimingNormal,
    /// Uniform with bound sqrt(6 / (fan-in + fan-out)) (Glorot & Bengio 2010).
    XavierUniform,
    /// Uniform with bound 1 / sqrt(fan-in), the usual default of frameworks; the fan-in is given.
    FanIn(&'a RawValue),
    /// The norm of another parameter of the block over all axes but one.
    NormOf(&'a RawValue, usize),
}

/// What is compiled: named inputs and outputs. A field that is missing is taken from the program `like`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramText<'a> {
    #[serde(borrow, default)]
    pub like: Option<&'a RawValue>,
    #[serde(default)]
    pub inputs: Option<Entries<'a, &'a RawValue>>,
    #[serde(default)]
    pub body: Option<&'a RawValue>,
    #[serde(default)]
    pub outputs: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    pub loss: Option<&'a RawValue>,
    #[serde(default)]
    pub trains: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    pub frozen: Option<Vec<&'a RawValue>>,
}

/// A map in the order in which it is written.
pub struct Entries<'a, V>(pub Vec<(&'a RawValue, V)>);

impl<V> Entries<'_, V> {
    fn empty() -> Self {
        Entries(vec![])
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Entries<'a, V> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct InOrder<'a, V>(PhantomData<(&'a (), V)>);
        impl<'de: 'a, 'a, V: Deserialize<'de>> Visitor<'de> for InOrder<'a, V> {
            type Value = Entries<'a, V>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a map `{ \"name\": value }`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut all = vec![];
                while let Some(key) = map.next_key::<&'de RawValue>()? {
                    all.push((key, map.next_value()?));
                }
                Ok(Entries(all))
            }
        }
        d.deserialize_map(InOrder(PhantomData))
    }
}

/// One source, and where slices of it lie.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub source: usize,
    pub text: &'a str,
}

impl<'a> Reader<'a> {
    /// Reads the whole source.
    pub fn document(&self) -> Result<Document<'a>> {
        self.read(self.text)
    }

    /// Reads a slice of the source as `T`.
    pub fn parse<T: Deserialize<'a>>(&self, raw: &'a RawValue) -> Result<T> {
        self.read(raw.get_ron())
    }

    fn read<T: Deserialize<'a>>(&self, slice: &'a str) -> Result<T> {
        let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
        options.from_str(slice).map_err(|e| {
            let place = |p: ron::error::Position| {
                let line: usize = slice.split_inclusive('\n').take(p.line - 1).map(str::len).sum();
                let rest = &slice[line..];
                line + rest.char_indices().nth(p.col - 1).map_or(rest.len(), |(i, _)| i)
            };
            self.explain(slice, place(e.span.start), place(e.span.end), e.code)
        })
    }

    /// Where a slice of the source begins.
    fn offset(&self, slice: &str) -> usize {
        slice.as_ptr() as usize - self.text.as_ptr() as usize
    }

    fn explain(&self, slice: &str, start: usize, end: usize, code: ron::Error) -> Diagnostic {
        let base = self.offset(slice);
        // Name the word, not the punctuation after it.
        let word = |name: &str| {
            let at = slice[..end].rfind(name).unwrap_or(start);
            Span {
                source: self.source,
                start: base + at,
                end: base + at + name.len(),
            }
        };
        let span = Span {
            source: self.source,
            start: base + start,
            end: base + end.max(start),
        };
        let list = |names: &[&str]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        match code {
            ron::Error::NoSuchStructField { expected, found, .. } => Diagnostic::new(
                word(&found),
                format!("there is no field `{found}` here"),
                format!("expected one of {}", list(expected)),
            )
            .suggest(&found, expected.iter().copied()),
            ron::Error::NoSuchEnumVariant { expected, found, .. } => Diagnostic::new(
                word(&found),
                format!("`{found}` is not known here"),
                format!("expected one of {}", list(expected)),
            )
            .suggest(&found, expected.iter().copied()),
            ron::Error::MissingStructField { field, .. } => Diagnostic::new(
                span,
                format!("the field `{field}` is missing"),
                format!("expected `{field}: ...` in these brackets"),
            ),
            ron::Error::DuplicateStructField { field, .. } => {
                Diagnostic::new(span, format!("the field `{field}` occurs twice"), "expected it once")
            }
            ron::Error::ExpectedComma => self.after_last_value(slice, start, "a comma is missing", "expected `,` here"),
            ron::Error::ExpectedDifferentLength { expected, found } => {
                let wanted = expected.rsplit_once("with ").map_or(&*expected, |(_, wanted)| wanted);
                let message = "too few or too many values in these brackets";
                Diagnostic::new(span, message, format!("expected {wanted}, not {found}"))
            }
            ron::Error::InvalidIdentifier(_) | ron::Error::SuggestRawIdentifier(_) => {
                Diagnostic::new(span, "this is no valid name", "expected `name: value`")
            }
            ron::Error::Eof => Diagnostic::new(span, "the text ends too early", "expected a closing bracket or quote"),
            other => {
                let text = other.to_string();
                let text = text
                    .strip_prefix("Expected ")
                    .map_or(text.clone(), |t| format!("expected {t}"));
                Diagnostic::new(span, "this is no valid model file", text)
            }
        }
    }

    /// A place right after the last thing that is no space, where something is missing.
    fn after_last_value(&self, slice: &str, before: usize, message: &str, label: &str) -> Diagnostic {
        let at = self.offset(slice) + slice[..before].trim_end().len();
        Diagnostic::new(
            Span {
                source: self.source,
                start: at,
                end: at,
            },
            message,
            label,
        )
        .help("values in RON are separated by commas")
    }

    /// A raw value without the space and the comments around it.
    pub fn spanned(&self, raw: &'a RawValue) -> Spanned<&'a str> {
        let value = raw.trim().get_ron();
        let start = self.offset(value);
        Spanned {
            value,
            span: Span {
                source: self.source,
                start,
                end: start + value.len(),
            },
        }
    }

    /// The inside of a quoted string (plain or raw), with its place.
    pub fn string(&self, raw: &'a RawValue, what: &str) -> Result<Text<'a>> {
        let Spanned { value, span } = self.spanned(raw);
        let opening = value.find('"').filter(|i| {
            value[..*i]
                .chars()
                .enumerate()
                .all(|(j, c)| c == if j == 0 { 'r' } else { '#' })
        });
        let Some(opening) = opening else {
            return Err(Diagnostic::new(
                span,
                format!("expected {what}"),
                "expected a string in quotes",
            ));
        };
        // `r#"` ends with `"#`.
        let hashes = opening.saturating_sub(1);
        let inside = &value[opening + 1..value.len() - 1 - hashes];
        if opening == 0 && inside.contains('\\') {
            let label = "expected no `\\`: strings inside statements need single quotes";
            return Err(Diagnostic::new(span, "escapes are not understood here", label));
        }
        Ok(Text {
            source: self.source,
            start: span.start + opening + 1,
            text: inside,
        })
    }

    /// A name in quotes.
    pub fn name(&self, raw: &'a RawValue, what: &str) -> Result<Spanned<String>> {
        let text = self.string(raw, what)?;
        let span = Span {
            source: text.source,
            start: text.start,
            end: text.start + text.text.len(),
        };
        if text.text.is_empty() || text.text.contains(char::is_whitespace) {
            return Err(Diagnostic::new(
                span,
                format!("expected {what}"),
                "expected one word in quotes",
            ));
        }
        Ok(Spanned {
            value: text.text.to_string(),
            span,
        })
    }

    pub fn names(&self, raws: &[&'a RawValue], what: &str) -> Result<Vec<Spanned<String>>> {
        raws.iter().map(|raw| self.name(raw, what)).collect()
    }

    /// An expression: a number, or arithmetic in quotes.
    pub fn expr(&self, raw: &'a RawValue) -> Result<Expr> {
        let Spanned { value, span } = self.spanned(raw);
        if value.contains('"') {
            return self.string(raw, "a number or an expression in quotes")?.expr();
        }
        Text {
            source: self.source,
            start: span.start,
            text: value,
        }
        .expr()
    }

    pub fn exprs(&self, raws: &[&'a RawValue]) -> Result<Vec<Expr>> {
        raws.iter().map(|raw| self.expr(raw)).collect()
    }
}
