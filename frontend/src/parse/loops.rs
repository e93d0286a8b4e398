//! What is written out for every item of a list: `for (k, s) in convs { ... }`, `fold n = N for (k, s) in convs: ...`, and
//! `list[at]`.

use super::{GIVE_NAMES, Parser, TOO_DEEP};
use crate::diagnostic::{Diagnostic, Result, Spanned};
use crate::expr::{Expr, Fold, Kind, Statement};
use crate::limits;

impl Parser<'_> {
    /// Takes a word where it is the next one and another word or a bracket follows: `for = 1` is a statement about `for`.
    pub(super) fn keyword(&mut self, keyword: &str) -> Option<Spanned<String>> {
        let before = self.at;
        let word = self.word().filter(|w| w.value == keyword);
        self.space();
        if word.is_some() && (self.starts_a_word() || self.peek() == Some('(')) {
            return word;
        }
        self.at = before;
        None
    }

    pub(super) fn starts_a_word(&mut self) -> bool {
        self.space();
        self.peek().is_some_and(|c| c.is_alphabetic() || c == '_')
    }

    fn expect_word(&mut self, wanted: &str) -> Result<()> {
        let before = self.at;
        match self.word() {
            Some(w) if w.value == wanted => Ok(()),
            _ => {
                self.at = before;
                self.space();
                Err(self.unexpected(&format!("`{wanted}`")))
            }
        }
    }

    /// The names of an item's parts and the list, after `for`.
    fn items(&mut self) -> Result<(Vec<Spanned<String>>, Expr)> {
        let items = self.targets("a name for a part of an item", "a name for an item")?;
        self.expect_word("in")?;
        Ok((items, self.sum()?))
    }

    /// After `for`.
    pub(super) fn for_loop(&mut self, word: Spanned<String>) -> Result<Statement> {
        if self.level == limits::HEIGHT {
            return Err(self.too_many(limits::HEIGHT, TOO_DEEP, GIVE_NAMES));
        }
        let (items, list) = self.items()?;
        self.expect('{', "`{` and the statements for every item")?;
        // Inside, a line ends a statement again, whatever stands around the loop.
        let depth = std::mem::take(&mut self.depth);
        self.level += 1;
        let body = self.statements(Some('}'))?;
        self.level -= 1;
        self.depth = depth;
        if !self.eat('}') {
            let label = "expected `}` after the statements of this loop";
            return Err(Diagnostic::new(word.span, "a loop does not end", label));
        }
        Ok(Statement::For { items, list, body })
    }

    /// After `fold`.
    pub(super) fn fold(&mut self, start: usize) -> Result<Expr> {
        let name = self.name("a name, as in `fold n = N for k in kernels: n - k`")?;
        self.expect('=', "`=` and what it is at first")?;
        let first = self.sum()?;
        self.expect_word("for")?;
        let (items, list) = self.items()?;
        self.expect(':', "`:` and what every item makes of it")?;
        let step = self.sum()?;
        let fold = Fold {
            name,
            start: first,
            items,
            list,
            step,
        };
        let whole = Expr::new(Kind::Fold(Box::new(fold)), self.span(start, self.at));
        self.no_higher(whole)
    }

    /// `[at]` as often as it follows.
    pub(super) fn indices(&mut self, of: Expr) -> Result<Expr> {
        let mut e = of;
        while self.peek() == Some('[') {
            self.at += 1;
            self.depth += 1;
            let at = self.sum()?;
            self.expect(']', "`]`")?;
            self.depth -= 1;
            let span = e.span.to(self.span(self.at, self.at));
            e = self.no_higher(Expr::new(Kind::Index(Box::new(e), Box::new(at)), span))?;
        }
        Ok(e)
    }

    fn no_higher(&self, e: Expr) -> Result<Expr> {
        match e.height > limits::HEIGHT {
            true => Err(self.too_many(limits::HEIGHT, TOO_DEEP, GIVE_NAMES)),
            false => Ok(e),
        }
    }
}
