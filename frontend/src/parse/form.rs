//! One of several kinds with its arguments, as RON writes it: `Spans(prob: "mask_prob", length: 10)`, `Bits("loss")`,
//! `Clips`.

use super::{Parser, Text};
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::Expr;
use crate::limits;

/// A number, or what stands in quotes.
#[derive(Clone, Debug)]
pub struct Atom {
    pub text: String,
    pub quoted: bool,
    /// Without the quotes.
    pub span: Span,
}

impl Atom {
    /// As an expression, which `$` may introduce.
    pub fn expr(&self) -> Result<Expr> {
        let text = self.text.strip_prefix('$').unwrap_or(&self.text);
        Text {
            source: self.span.source,
            start: self.span.end - text.len(),
            text,
        }
        .expr()
    }

    /// A name in quotes.
    pub fn name(&self, what: &str) -> Result<Spanned<String>> {
        if self.quoted && !self.text.is_empty() && !self.text.contains(char::is_whitespace) {
            return Ok(Spanned {
                value: self.text.clone(),
                span: self.span,
            });
        }
        Err(Diagnostic::new(
            self.span,
            format!("expected {what}"),
            "expected one word in quotes",
        ))
    }
}

#[derive(Clone, Debug)]
pub struct Form {
    pub name: Spanned<String>,
    pub args: Vec<(Option<Spanned<String>>, Atom)>,
}

impl Form {
    /// Which of the kinds it is (name, names of arguments), and its arguments in their order. An argument needs no name where
    /// there is one alone.
    pub fn take(&self, what: &str, kinds: &[(&str, Vec<&str>)]) -> Result<(usize, Vec<&Atom>)> {
        let Spanned { value: name, span } = &self.name;
        let Some(kind) = kinds.iter().position(|(n, _)| n == name) else {
            let d = Diagnostic::new(*span, format!("`{name}` is no {what}"), format!("expected a {what}"));
            return Err(d.suggest(name, kinds.iter().map(|(n, _)| *n)));
        };
        let params = &kinds[kind].1;
        let mut args: Vec<Option<&Atom>> = vec![None; params.len()];
        for (key, atom) in &self.args {
            let place = match key {
                Some(key) => {
                    let Some(place) = params.iter().position(|p| *p == key.value) else {
                        return Err(unknown(name, key, params));
                    };
                    place
                }
                None if params.len() == 1 => 0,
                None => {
                    let label = match params.first() {
                        Some(first) => format!("expected a name before it, as in `{first}: ...`"),
                        None => format!("expected `{name}` alone"),
                    };
                    return Err(Diagnostic::new(
                        atom.span,
                        format!("an argument of `{name}` without a name"),
                        label,
                    ));
                }
            };
            if args[place].replace(atom).is_some() {
                let message = format!("`{name}` has the argument `{}` twice", params[place]);
                return Err(Diagnostic::new(atom.span, message, "expected it once"));
            }
        }
        match args.iter().position(Option::is_none) {
            Some(missing) => Err(Diagnostic::new(
                *span,
                format!("`{name}` lacks its argument `{}`", params[missing]),
                format!("expected `{}: ...` in its brackets", params[missing]),
            )),
            None => Ok((kind, args.into_iter().flatten().collect())),
        }
    }
}

fn unknown(name: &str, key: &Spanned<String>, params: &[&str]) -> Diagnostic {
    let label = match params {
        [] => format!("expected `{name}` alone"),
        _ => format!("expected one of: {}", params.join(", ")),
    };
    let d = Diagnostic::new(key.span, format!("`{name}` has no `{}`", key.value), label);
    d.suggest(&key.value, params.iter().copied())
}

impl Text<'_> {
    pub fn form(&self) -> Result<Form> {
        let mut p = Parser {
            t: self,
            at: 0,
            depth: 1,
            level: 0,
        };
        let name = p.name("a word such as those of the documentation")?;
        let mut form = Form { name, args: vec![] };
        if p.eat('(') {
            while !p.eat(')') {
                if form.args.len() == limits::ITEMS {
                    return Err(p.too_many(limits::ITEMS, "arguments", "leave some out"));
                }
                let at = p.at;
                let key = p.word().filter(|_| p.eat(':'));
                if key.is_none() {
                    p.at = at;
                }
                let atom = p.form_argument()?;
                form.args.push((key, atom));
                if !p.eat(',') {
                    p.expect(')', "`,` or `)`")?;
                    break;
                }
            }
        }
        p.end()?;
        Ok(form)
    }
}

impl Parser<'_> {
    fn form_argument(&mut self) -> Result<Atom> {
        self.space();
        let quoted = self.peek() == Some('"');
        if !quoted
            && !self
                .peek()
                .is_some_and(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        {
            return Err(self.unexpected("a number, or a name in quotes"));
        }
        self.at += quoted as usize;
        let start = self.at;
        let ends = |c: char| match quoted {
            true => c == '"',
            false => !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_')),
        };
        self.at += self.rest().find(ends).unwrap_or(self.rest().len());
        let atom = Atom {
            text: self.t.text[start..self.at].to_string(),
            quoted,
            span: self.span(start, self.at),
        };
        if atom.text.contains('\\') {
            return Err(Diagnostic::new(
                atom.span,
                "escapes are not understood here",
                "expected no `\\`",
            ));
        }
        self.at += quoted as usize;
        Ok(atom)
    }
}
