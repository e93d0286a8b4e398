//! Text to statements and expressions: `(y, n) = conv(x, n, K: 3, S: 2) as layers.{i}`, arithmetic, lists, types.

use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::{Call, Expr, Infix, Kind, Statement, TypeExpr};
use crate::limits;

mod form;
mod loops;

pub use form::{Atom, Form};

/// Part of a source that holds statements or an expression.
pub struct Text<'a> {
    pub source: usize,
    /// Offset of `text` in the source.
    pub start: usize,
    pub text: &'a str,
}

impl Text<'_> {
    pub fn statements(&self) -> Result<Vec<Statement>> {
        let mut p = Parser {
            t: self,
            at: 0,
            depth: 0,
            level: 0,
        };
        p.statements(None)
    }

    pub fn expr(&self) -> Result<Expr> {
        // Line ends are plain space inside an expression.
        let mut p = Parser {
            t: self,
            at: 0,
            depth: 1,
            level: 0,
        };
        let e = p.sum()?;
        p.end()?;
        Ok(e)
    }

    pub fn ty(&self) -> Result<TypeExpr> {
        let mut p = Parser {
            t: self,
            at: 0,
            depth: 1,
            level: 0,
        };
        let dtype = p.name("an element type: f32, f64 or i32")?;
        p.expect('[', "`[` and the sizes, as in `f32[B, N]`")?;
        let shape = p.list(']')?;
        p.end()?;
        Ok(TypeExpr { dtype, shape })
    }
}

const TOO_DEEP: &str = "operations within each other in one expression";
const GIVE_NAMES: &str = "give parts of it names of their own";

struct Parser<'a> {
    t: &'a Text<'a>,
    at: usize,
    /// Open brackets; a line may end where there are any.
    depth: usize,
    /// Expressions that are open within each other.
    level: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.t.text[self.at..]
    }
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }
    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            source: self.t.source,
            start: self.t.start + start,
            end: self.t.start + end,
        }
    }
    fn spanned<T>(&self, value: T, start: usize) -> Spanned<T> {
        Spanned {
            value,
            span: self.span(start, self.at),
        }
    }

    fn space(&mut self) {
        loop {
            let rest = self.rest();
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(c) = self
                .peek()
                .filter(|c| c.is_whitespace() && (*c != '\n' || self.depth > 0))
            {
                self.at += c.len_utf8();
            } else {
                return;
            }
        }
    }

    fn eat(&mut self, c: char) -> bool {
        self.space();
        let hit = self.peek() == Some(c);
        if hit {
            self.at += c.len_utf8();
        }
        hit
    }

    fn expect(&mut self, c: char, wanted: &str) -> Result<()> {
        if self.eat(c) {
            Ok(())
        } else {
            Err(self.unexpected(wanted))
        }
    }

    fn unexpected(&self, wanted: &str) -> Diagnostic {
        let found = match self.peek() {
            None => "end".to_string(),
            Some('\n') => "end of the line".to_string(),
            Some(c) => format!("`{c}`"),
        };
        let width = self.peek().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        Diagnostic::new(
            self.span(self.at, self.at + width),
            format!("unexpected {found}"),
            format!("expected {wanted}"),
        )
    }

    fn too_many(&self, limit: usize, what: &str, help: &str) -> Diagnostic {
        let at = self.span(self.at, self.at + self.peek().map_or(0, char::len_utf8));
        Diagnostic::new(
            at,
            format!("more than {limit} {what}"),
            format!("expected at most {limit}"),
        )
        .help(help)
    }

    fn end(&mut self) -> Result<()> {
        self.space();
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(self.unexpected("an operator or the end of the expression"))
        }
    }

    /// A name; dots join parts, as in `conv.weight`.
    fn word(&mut self) -> Option<Spanned<String>> {
        self.space();
        let start = self.at;
        let first = |c: char| c.is_alphabetic() || c == '_';
        if !self.peek().is_some_and(first) {
            return None;
        }
        let rest = self.rest();
        let mut len = 0;
        for (i, c) in rest.char_indices() {
            let joins = c == '.' && rest[i + 1..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if !(c.is_alphanumeric() || c == '_' || joins) {
                break;
            }
            len = i + c.len_utf8();
        }
        let word = rest[..len].to_string();
        self.at += len;
        Some(self.spanned(word, start))
    }

    fn name(&mut self, wanted: &str) -> Result<Spanned<String>> {
        self.word().ok_or_else(|| self.unexpected(wanted))
    }

    /// Statements up to the end of the text, or to the bracket that ends them, which is left.
    fn statements(&mut self, end: Option<char>) -> Result<Vec<Statement>> {
        let mut all = vec![];
        loop {
            self.space();
            while self.peek() == Some('\n') || self.peek() == Some(';') {
                self.at += 1;
                self.space();
            }
            if self.peek().is_none() || self.peek() == end {
                return Ok(all);
            }
            if all.len() == limits::STATEMENTS {
                return Err(self.too_many(
                    limits::STATEMENTS,
                    "statements in one body",
                    "put parts of it into blocks",
                ));
            }
            all.push(self.statement()?);
            self.space();
            if self.peek() != end && !matches!(self.peek(), None | Some('\n') | Some(';')) {
                return Err(self.unexpected("the end of the statement"));
            }
        }
    }

    fn statement(&mut self) -> Result<Statement> {
        if let Some(word) = self.keyword("for") {
            return self.for_loop(word);
        }
        let targets = self.targets("a name for a result", "a name, as in `y = gelu(x)`")?;
        self.expect('=', "`=`")?;
        let value = self.sum()?;
        Ok(Statement::Let { targets, value })
    }

    /// `a`, or `(a, b)`.
    fn targets(&mut self, inside: &str, alone: &str) -> Result<Vec<Spanned<String>>> {
        let mut targets = vec![];
        if self.eat('(') {
            self.depth += 1;
            loop {
                targets.push(self.name(inside)?);
                if !self.eat(',') {
                    break;
                }
            }
            self.expect(')', "`,` or `)`")?;
            self.depth -= 1;
        } else {
            targets.push(self.name(alone)?);
        }
        Ok(targets)
    }

    fn sum(&mut self) -> Result<Expr> {
        let mut left = self.product()?;
        loop {
            let op = if self.eat('+') {
                Infix::Add
            } else if self.eat('-') {
                Infix::Sub
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = self.infix(op, left, right)?;
        }
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.atom()?;
        loop {
            self.space();
            let op = if self.rest().starts_with("//") {
                return Ok(left);
            } else if self.eat('*') {
                Infix::Mul
            } else if self.eat('/') {
                Infix::Div
            } else {
                return Ok(left);
            };
            let right = self.atom()?;
            left = self.infix(op, left, right)?;
        }
    }

    fn list(&mut self, close: char) -> Result<Vec<Expr>> {
        self.depth += 1;
        let mut all = vec![];
        while !self.eat(close) {
            all.push(self.sum()?);
            if !self.eat(',') {
                self.expect(close, &format!("`,` or `{close}`"))?;
                break;
            }
        }
        self.depth -= 1;
        Ok(all)
    }

    fn infix(&self, op: Infix, left: Expr, right: Expr) -> Result<Expr> {
        let span = left.span.to(right.span);
        let joined = Expr::new(Kind::Infix(op, Box::new(left), Box::new(right)), span);
        if joined.height > limits::HEIGHT {
            return Err(self.too_many(limits::HEIGHT, TOO_DEEP, GIVE_NAMES));
        }
        Ok(joined)
    }

    /// What has no operator outside brackets.
    fn atom(&mut self) -> Result<Expr> {
        if self.level == limits::HEIGHT {
            return Err(self.too_many(limits::HEIGHT, TOO_DEEP, GIVE_NAMES));
        }
        self.level += 1;
        let e = self.unlimited_atom()?;
        self.level -= 1;
        Ok(e)
    }

    fn unlimited_atom(&mut self) -> Result<Expr> {
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            Some('-') => {
                self.at += 1;
                Kind::Negate(Box::new(self.atom()?))
            }
            Some('(') => {
                self.at += 1;
                self.depth += 1;
                let inner = self.sum()?;
                self.expect(')', "`)`")?;
                self.depth -= 1;
                return Ok(Expr {
                    span: self.span(start, self.at),
                    ..inner
                });
            }
            Some('[') => {
                self.at += 1;
                let list = Kind::List(self.list(']')?);
                return self.indices(Expr::new(list, self.span(start, self.at)));
            }
            Some('\'') => {
                let rest = &self.rest()[1..];
                let Some(len) = rest.find(['\'', '\n']).filter(|i| rest[*i..].starts_with('\'')) else {
                    return Err(Diagnostic::new(
                        self.span(start, start + 1),
                        "a string does not end",
                        "expected `'` after it",
                    ));
                };
                let text = rest[..len].to_string();
                self.at += len + 2;
                Kind::Text(text)
            }
            Some(c) if c.is_ascii_digit() => self.number()?,
            _ => {
                let word = self.name("a value: a number, a name, a call, `[` or `(`")?;
                return self.after_name(word, start);
            }
        };
        Ok(Expr::new(kind, self.span(start, self.at)))
    }

    fn number(&mut self) -> Result<Kind> {
        let start = self.at;
        let rest = self.rest().as_bytes();
        let mut len = 0;
        while len < rest.len() {
            let c = rest[len];
            let sign = (c == b'-' || c == b'+') && len > 0 && matches!(rest[len - 1], b'e' | b'E');
            if !(c.is_ascii_alphanumeric() || c == b'.' || c == b'_' || sign) {
                break;
            }
            len += 1;
        }
        self.at += len;
        let text = self.t.text[start..self.at].replace('_', "");
        if let Ok(v) = text.parse::<i64>() {
            return Ok(Kind::Int(v));
        }
        match text.parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(Kind::Float(v)),
            _ => {
                let shown: String = text.chars().take(40).collect();
                Err(Diagnostic::new(
                    self.span(start, self.at),
                    format!("`{shown}` is no number, or beyond 1e308"),
                    "expected a number such as 3 or 1e-5",
                ))
            }
        }
    }

    fn after_name(&mut self, word: Spanned<String>, start: usize) -> Result<Expr> {
        if word.value == "fold" && self.starts_a_word() {
            return self.fold(start);
        }
        if word.value == "repeat" {
            self.expect(
                '(',
                "`(` and the number of layers, as in `repeat(layers) layer(x) as layers.{i}`",
            )?;
            let head = self.arguments(word)?;
            let mut named = head.named.into_iter();
            let keep = match named.next() {
                Some((n, e)) if n.value == "keep" => Some(Box::new(e)),
                Some((n, _)) => {
                    let d = Diagnostic::new(n.span, format!("`repeat` takes no `{}`", n.value), "expected `keep`");
                    return Err(d.suggest(&n.value, ["keep"]));
                }
                None => None,
            };
            let mut args = head.args.into_iter();
            let (Some(count), None) = (args.next(), args.next()) else {
                return Err(Diagnostic::new(
                    head.name.span,
                    "`repeat` takes one number",
                    "expected `repeat(layers)`",
                ));
            };
            let name = self.name("the block to repeat")?;
            self.expect('(', "`(` and the block's arguments")?;
            let mut call = self.arguments(name)?;
            call.prefix = self.prefix()?;
            let kind = Kind::Repeat {
                count: Box::new(count),
                keep,
                call,
            };
            return Ok(Expr::new(kind, self.span(start, self.at)));
        }
        // A call's bracket follows its name at once or on the same line.
        if !self.eat('(') {
            let span = word.span;
            return self.indices(Expr::new(Kind::Name(word.value), span));
        }
        let mut call = self.arguments(word)?;
        let end = self.at;
        call.prefix = self.prefix()?;
        let end = if call.prefix.is_some() { self.at } else { end };
        Ok(Expr::new(Kind::Call(call), self.span(start, end)))
    }

    /// What stands between the brackets of a call.
    fn arguments(&mut self, name: Spanned<String>) -> Result<Call> {
        self.depth += 1;
        let mut call = Call {
            name,
            args: vec![],
            named: vec![],
            prefix: None,
        };
        while !self.eat(')') {
            let at = self.at;
            let key = self.word().filter(|_| self.eat(':'));
            match key {
                Some(key) => {
                    let value = self.sum()?;
                    call.named.push((key, value));
                }
                None => {
                    self.at = at;
                    let value = self.sum()?;
                    if !call.named.is_empty() {
                        let label = "expected `name: value`: operands come before named attributes";
                        return Err(Diagnostic::new(value.span, "an operand after attributes", label));
                    }
                    call.args.push(value);
                }
            }
            if !self.eat(',') {
                self.expect(')', "`,` or `)`")?;
                break;
            }
        }
        self.depth -= 1;
        Ok(call)
    }

    fn prefix(&mut self) -> Result<Option<Spanned<String>>> {
        let before = self.at;
        match self.word() {
            Some(w) if w.value == "as" => {}
            _ => {
                self.at = before;
                return Ok(None);
            }
        }
        self.space();
        let start = self.at;
        let rest = self.rest();
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '{' | '}');
        self.at += rest.find(|c| !inside(c)).unwrap_or(rest.len());
        if self.at == start {
            return Err(self.unexpected("what the names of the parameters begin with"));
        }
        let text = self.t.text[start..self.at].to_string();
        Ok(Some(self.spanned(text, start)))
    }
}
