//! Symbolic sizes: canonical integer polynomials over named symbols and floor divisions.
//!
//! Two dims are equal exactly when their canonical forms are, which is how shapes are compared.
//!
//! Arithmetic never fails and never wraps: a form with a coefficient beyond 64 bits, or one too large to work with, becomes
//! the dim that is too large ([`Dim::is_too_large`]). All arithmetic on it gives it again, it has no value, and no tensor
//! has it as a size.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A factor of a monomial: a named size, or a floor division that does not simplify.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Atom {
    Sym(Arc<str>),
    /// floor(numerator / denominator), denominator > 0
    Div(Box<Dim>, i64),
}

type Monomial = Vec<Atom>; // sorted, repeated factors repeated

/// A size known when a program runs. `Dim::from(3)` is the constant 3.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Dim(BTreeMap<Monomial, i64>);

/// Values of the named sizes of one run.
pub type Env = BTreeMap<Arc<str>, i64>;

/// Why a dim has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SizeError {
    #[error("size `{0}` has no value")]
    Unbound(Arc<str>),
    #[error("a size is too large: `{0}` goes beyond 64 bits")]
    TooLarge(String),
}

/// The symbol of the dim that is too large; no name of a model has a space.
const TOO_LARGE: &str = "too large";
/// Symbols, divisions and terms that a dim has at most.
const WEIGHT: usize = 4096;
/// Brackets within brackets in the text of a dim.
const DEPTH: usize = 100;

impl From<i64> for Dim {
    fn from(v: i64) -> Self {
        if v == 0 {
            return Dim::default();
        }
        Dim(BTreeMap::from([(vec![], v)]))
    }
}

impl Dim {
    pub fn sym(name: &str) -> Self {
        Dim(BTreeMap::from([(vec![Atom::Sym(name.into())], 1)]))
    }

    fn too_large() -> Self {
        Dim::sym(TOO_LARGE)
    }

    /// Whether arithmetic left what can be counted.
    pub fn is_too_large(&self) -> bool {
        let is = |m: &Monomial| matches!(&m[..], [Atom::Sym(s)] if &**s == TOO_LARGE);
        self.0.len() == 1 && self.0.keys().all(is)
    }

    /// Adds a term; whether the coefficient has room.
    #[must_use]
    fn add_term(&mut self, m: Monomial, c: i64) -> bool {
        match self.0.get(&m).copied().unwrap_or(0).checked_add(c) {
            Some(0) => {
                self.0.remove(&m);
                true
            }
            Some(total) => {
                self.0.insert(m, total);
                true
            }
            None => false,
        }
    }

    /// Terms, symbols and divisions, those inside divisions included.
    fn weight(&self) -> usize {
        let atom = |a: &Atom| match a {
            Atom::Sym(_) => 1,
            Atom::Div(n, _) => 1 + n.weight(),
        };
        self.0.keys().map(|m| 1 + m.iter().map(atom).sum::<usize>()).sum()
    }

    /// Itself, unless something had no room or there is too much of it.
    fn checked(self, fits: bool) -> Dim {
        if fits && self.weight() <= WEIGHT {
            self
        } else {
            Dim::too_large()
        }
    }

    /// Whether it is 0 or more whatever the sizes are, each of which is 0 or more.
    pub fn is_never_negative(&self) -> bool {
        let atom = |a: &Atom| match a {
            Atom::Sym(s) => &**s != TOO_LARGE,
            Atom::Div(n, _) => n.is_never_negative(),
        };
        self.0.iter().all(|(m, c)| *c >= 0 && m.iter().all(atom))
    }

    /// The constant this dim is, if it is one.
    pub fn as_const(&self) -> Option<i64> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get(&vec![]).copied(),
            _ => None,
        }
    }

    pub fn is_one(&self) -> bool {
        self.as_const() == Some(1)
    }

    pub fn is_zero(&self) -> bool {
        self.as_const() == Some(0)
    }

    /// Terms as (coefficient, factors), in canonical order.
    pub fn terms(&self) -> impl Iterator<Item = (i64, &[Atom])> {
        self.0.iter().map(|(m, c)| (*c, m.as_slice()))
    }

    /// floor(self / d). Whole multiples of `d` leave the division, so equal quotients have equal forms.
    pub fn floor_div(&self, d: i64) -> Dim {
        assert!(d > 0, "floor_div by {d}");
        if d == 1 || self.is_too_large() {
            return self.clone();
        }
        // Quotients and remainders are no larger than what they are of.
        let part = |f: fn(i64, i64) -> i64| {
            let terms = self.0.iter().map(|(m, c)| (m.clone(), f(*c, d)));
            Dim(terms.filter(|(_, c)| *c != 0).collect())
        };
        let (mut whole, rest) = (part(i64::div_euclid), part(i64::rem_euclid));
        if rest.as_const().is_some() {
            return whole; // 0 <= rest < d
        }
        // floor((g a + c) / (g e)) = floor((a + floor(c/g)) / e): what all but the constant share leaves the division.
        let shared = rest
            .0
            .iter()
            .filter(|(m, _)| !m.is_empty())
            .fold(d, |g, (_, c)| gcd(g, *c));
        if shared > 1 {
            let terms = rest.0.into_iter().map(|(m, c)| (m, c.div_euclid(shared)));
            let less = Dim(terms.filter(|(_, c)| *c != 0).collect());
            return whole + less.floor_div(d / shared);
        }
        // floor((floor(a/p) + c) / d) = floor((a + c p) / (p d)): nested divisions become one.
        if let Some((inner, p, c)) = rest.single_div() {
            let (Some(shift), Some(by)) = (c.checked_mul(p), p.checked_mul(d)) else {
                return Dim::too_large();
            };
            return whole + (inner + Dim::from(shift)).floor_div(by);
        }
        let fits = whole.add_term(vec![Atom::Div(Box::new(rest), d)], 1);
        whole.checked(fits)
    }

    /// `self` as floor(a/p) + c, if it has that form.
    fn single_div(&self) -> Option<(Dim, i64, i64)> {
        let mut div = None;
        let mut c = 0;
        for (m, k) in &self.0 {
            match (m.as_slice(), *k) {
                ([], k) => c = k,
                ([Atom::Div(a, p)], 1) if div.is_none() => div = Some((a.as_ref().clone(), *p)),
                _ => return None,
            }
        }
        div.map(|(a, p)| (a, p, c))
    }

    /// self / d when that is exact as a polynomial.
    pub fn exact_div(&self, d: &Dim) -> Option<Dim> {
        if self.is_too_large() || d.is_too_large() || d.is_zero() {
            return None;
        }
        if d.is_one() {
            return Some(self.clone());
        }
        if d.0.len() != 1 {
            return (self == d).then(|| Dim::from(1));
        }
        let (dm, dc) = d.0.iter().next()?;
        let mut out = Dim::default();
        for (m, c) in &self.0 {
            if c.checked_rem(*dc)? != 0 {
                return None;
            }
            let mut rest = m.clone();
            for a in dm {
                let at = rest.iter().position(|x| x == a)?;
                rest.remove(at);
            }
            if !out.add_term(rest, c / dc) {
                return None;
            }
        }
        Some(out)
    }

    /// Value under `env`.
    ///
    /// # Errors
    /// Where a size has no value, and where one goes beyond 64 bits on the way.
    pub fn eval(&self, env: &Env) -> Result<i64, SizeError> {
        let too_large = || SizeError::TooLarge(self.to_string());
        if self.is_too_large() {
            return Err(too_large());
        }
        let mut total = 0i64;
        for (m, c) in &self.0 {
            let mut v = *c;
            for a in m {
                let factor = match a {
                    Atom::Sym(s) => *env.get(s).ok_or_else(|| SizeError::Unbound(s.clone()))?,
                    Atom::Div(n, d) => n.eval(env)?.div_euclid(*d),
                };
                v = v.checked_mul(factor).ok_or_else(too_large)?;
            }
            total = total.checked_add(v).ok_or_else(too_large)?;
        }
        Ok(total)
    }

    /// Replaces symbols that `f` knows.
    pub fn substitute(&self, f: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let mut total = Dim::default();
        for (m, c) in &self.0 {
            let mut v = Dim::from(*c);
            for a in m {
                v = v * match a {
                    Atom::Sym(s) => f(s).unwrap_or_else(|| Dim::sym(s)),
                    Atom::Div(n, d) => n.substitute(f).floor_div(*d),
                };
            }
            total = total + v;
        }
        total
    }

    /// Every symbol the value depends on.
    pub fn symbols(&self, out: &mut std::collections::BTreeSet<Arc<str>>) {
        for a in self.0.keys().flatten() {
            match a {
                Atom::Sym(s) => {
                    out.insert(s.clone());
                }
                Atom::Div(n, _) => n.symbols(out),
            }
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

impl std::ops::Add for Dim {
    type Output = Dim;
    fn add(mut self, o: Dim) -> Dim {
        if self.is_too_large() || o.is_too_large() {
            return Dim::too_large();
        }
        let mut fits = true;
        for (m, c) in o.0 {
            fits &= self.add_term(m, c);
        }
        self.checked(fits)
    }
}
impl std::ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, o: Dim) -> Dim {
        self + o * Dim::from(-1)
    }
}
impl std::ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, o: Dim) -> Dim {
        if self.is_too_large() || o.is_too_large() {
            return Dim::too_large();
        }
        // Before it is made: the product of two large sums is larger than both.
        if self.0.len() * o.weight() + o.0.len() * self.weight() > 4 * WEIGHT {
            return Dim::too_large();
        }
        let (mut out, mut fits) = (Dim::default(), true);
        for (a, ca) in &self.0 {
            for (b, cb) in &o.0 {
                let mut m = a.clone();
                m.extend(b.iter().cloned());
                m.sort();
                match ca.checked_mul(*cb) {
                    Some(c) => fits &= out.add_term(m, c),
                    None => fits = false,
                }
            }
        }
        out.checked(fits)
    }
}
impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(iter: I) -> Dim {
        iter.fold(Dim::from(1), |a, b| a * b)
    }
}

/// As text; a reader of text formats may write plain integers.
impl Serialize for Dim {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Dim, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Dim;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a size: an integer or an expression")
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Dim, E> {
                Ok(Dim::from(v))
            }
            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Dim, E> {
                i64::try_from(v).map(Dim::from).map_err(E::custom)
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Dim, E> {
                v.parse().map_err(E::custom)
            }
        }
        if d.is_human_readable() {
            d.deserialize_any(Text)
        } else {
            d.deserialize_str(Text)
        }
    }
}

/// Number of elements of a shape.
pub fn numel(shape: &[Dim]) -> Dim {
    shape.iter().cloned().product()
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "0");
        }
        // Constants last reads better: `N - 10`.
        let ordered = self
            .0
            .iter()
            .filter(|(m, _)| !m.is_empty())
            .chain(self.0.iter().filter(|(m, _)| m.is_empty()));
        for (i, (m, c)) in ordered.enumerate() {
            match (i, *c < 0) {
                (0, false) => {}
                (0, true) => write!(f, "-")?,
                (_, false) => write!(f, " + ")?,
                (_, true) => write!(f, " - ")?,
            }
            let mag = c.unsigned_abs();
            if m.is_empty() || mag != 1 {
                write!(f, "{mag}")?;
            }
            for (j, a) in m.iter().enumerate() {
                if j > 0 || mag != 1 {
                    write!(f, "*")?;
                }
                match a {
                    Atom::Sym(s) => write!(f, "{s}")?,
                    Atom::Div(n, d) => write!(f, "(({n})/{d})")?,
                }
            }
        }
        Ok(())
    }
}

/// Parses the text form: `+ - *`, parentheses, and `/` by a positive constant, which floors.
impl std::str::FromStr for Dim {
    type Err = String;
    fn from_str(s: &str) -> Result<Dim, String> {
        let mut p = Parser {
            s: s.as_bytes(),
            at: 0,
            depth: 0,
        };
        let d = p.sum()?;
        p.space();
        if p.at < p.s.len() {
            let rest = String::from_utf8_lossy(&p.s[p.at..]);
            return Err(format!("unexpected `{rest}` in size `{s}`"));
        }
        if d.is_too_large() {
            return Err("a size is too large".into());
        }
        Ok(d)
    }
}

struct Parser<'a> {
    s: &'a [u8],
    at: usize,
    /// Open brackets.
    depth: usize,
}
impl Parser<'_> {
    fn space(&mut self) {
        while self.s.get(self.at).is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
    }
    fn eat(&mut self, c: u8) -> bool {
        self.space();
        let hit = self.s.get(self.at) == Some(&c);
        self.at += hit as usize;
        hit
    }
    fn sum(&mut self) -> Result<Dim, String> {
        let mut d = if self.eat(b'-') {
            self.product()? * Dim::from(-1)
        } else {
            self.product()?
        };
        loop {
            if self.eat(b'+') {
                d = d + self.product()?;
            } else if self.eat(b'-') {
                d = d - self.product()?;
            } else {
                return Ok(d);
            }
        }
    }
    fn product(&mut self) -> Result<Dim, String> {
        let mut d = self.atom()?;
        loop {
            if self.eat(b'*') {
                d = d * self.atom()?;
            } else if self.eat(b'/') {
                let by = self
                    .atom()?
                    .as_const()
                    .filter(|c| *c > 0)
                    .ok_or("a size is divided by positive constants only")?;
                d = d.floor_div(by);
            } else {
                return Ok(d);
            }
        }
    }
    fn atom(&mut self) -> Result<Dim, String> {
        if self.eat(b'(') {
            self.depth += 1;
            if self.depth > DEPTH {
                return Err(format!("more than {DEPTH} brackets within each other in a size"));
            }
            let d = self.sum()?;
            self.depth -= 1;
            return if self.eat(b')') {
                Ok(d)
            } else {
                Err("missing `)` in a size".into())
            };
        }
        self.space();
        let start = self.at;
        while self
            .s
            .get(self.at)
            .is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_')
        {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.s[start..self.at]).map_err(|e| e.to_string())?;
        match word.as_bytes().first() {
            None => Err("a size is missing".into()),
            Some(c) if c.is_ascii_digit() => word.parse().map(|v: i64| Dim::from(v)).map_err(|e| e.to_string()),
            Some(_) => Ok(Dim::sym(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(s: &str) -> Dim {
        s.parse().unwrap()
    }

    #[test]
    fn equal_sizes_have_equal_forms() {
        assert_eq!(d("(N - 10)/5 + 1"), d("(N - 5)/5"));
        assert_eq!(d("((N - 5)/5 - 3)/2 + 1"), d("(N - 10)/10"));
        assert_eq!(d("B*T*3 - T*B"), d("2*B*T"));
        assert_eq!(d("(4*N + 8)/4"), d("N + 2"));
        assert_eq!(d("(6*N + 7)/4"), d("N + (N + 1)/2 + 1"));
        assert_eq!(d("(16*((N + 80)/160) - 16)/32 + 1"), d("(((N + 80)/160) - 1)/2 + 1"));
        assert_eq!(d("6*B*T").exact_div(&d("2*T")), Some(d("3*B")));
        assert_eq!(d("B + 1").exact_div(&d("T")), None);
    }

    #[test]
    fn text_reads_back() {
        for s in ["0", "-3", "N - 10", "2*B*((N - 5)/7) - 4", "B*B + 3"] {
            assert_eq!(d(&d(s).to_string()), d(s), "{s}");
        }
    }

    #[test]
    fn evaluates() {
        let env = Env::from([("N".into(), 250_000)]);
        assert_eq!(
            d("((((((((N-10)/5+1-3)/2+1-3)/2+1-3)/2+1-3)/2+1-2)/2+1-2)/2+1)").eval(&env),
            Ok(781)
        );
        assert!(d("Q").eval(&env).is_err());
    }

    #[test]
    fn what_is_beyond_64_bits_is_too_large_and_stays_so() {
        let most = Dim::from(i64::MAX);
        let square = (most.clone() + Dim::sym("N")) * (most.clone() + Dim::sym("N"));
        for large in [
            most.clone() + Dim::from(1),
            most.clone() * Dim::from(2),
            Dim::from(i64::MIN) * Dim::from(-1),
            Dim::from(0) - Dim::from(i64::MIN),
            square.clone(),
            // floor((floor(N / (2^63 - 1)) - 2) / 2) divides by 2^64 - 2.
            (d("N").floor_div(i64::MAX) - Dim::from(2)).floor_div(2),
        ] {
            assert!(large.is_too_large(), "{large}");
            for more in [
                large.clone() - large.clone(),
                large.clone() * Dim::from(0),
                large.floor_div(3),
                Dim::sym("N") * large.clone(),
            ] {
                assert!(more.is_too_large(), "{more}");
            }
            assert_eq!(large.exact_div(&large), None);
            assert_eq!(large.as_const(), None);
            assert!(!large.is_never_negative());
            assert!(matches!(large.eval(&Env::new()), Err(SizeError::TooLarge(_))));
            assert!(large.to_string().parse::<Dim>().is_err());
        }
        assert_eq!(Dim::from(i64::MIN).to_string(), i64::MIN.to_string());
        assert_eq!(Dim::from(i64::MIN).exact_div(&Dim::from(-1)), None);
        assert_eq!(d("N*N").exact_div(&Dim::from(0)), None);
        let env = Env::from([("N".into(), i64::MAX / 2)]);
        assert!(matches!(d("4*N").eval(&env), Err(SizeError::TooLarge(_))));
        assert!(matches!(d("N*N").eval(&env), Err(SizeError::TooLarge(_))));
        assert_eq!(d("2*N").eval(&env), Ok(i64::MAX - 1));
    }

    #[test]
    fn forms_do_not_grow_without_end() {
        // Squares of squares, and divisions of squares, would double with every step.
        let (mut square, mut quotient) = (d("B + N + 1"), d("B + N"));
        for _ in 0..100 {
            square = square.clone() * square;
            quotient = (quotient.clone() * quotient + Dim::from(1)).floor_div(3);
        }
        assert!(square.is_too_large() && quotient.is_too_large());
        let deep = |n: usize| format!("{}N{}", "(".repeat(n), ")".repeat(n)).parse::<Dim>();
        assert!(deep(DEPTH).is_ok());
        assert!(deep(100_000).unwrap_err().contains("brackets"));
    }

    #[test]
    fn signs_are_known_where_they_are_certain() {
        assert!(d("3*B*N + (N + 2)/7 + 1").is_never_negative());
        assert!(d("0").is_never_negative());
        assert!(!d("N - 1").is_never_negative());
        assert!(!d("(N - 10)/5 + 1").is_never_negative());
    }
}
