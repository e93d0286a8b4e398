//! Sizes that the compiler weighs its choices with, where the real ones are known only when a program runs.

use crate::dim::{Atom, Dim};
use crate::types::Type;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of a size that nobody gave an example for.
pub const DEFAULT: i64 = 40;

/// Example sizes by symbol, as the model file gives them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples(BTreeMap<Arc<str>, i64>);

impl<S: Into<Arc<str>>> FromIterator<(S, i64)> for Examples {
    fn from_iter<I: IntoIterator<Item = (S, i64)>>(sizes: I) -> Examples {
        Examples(sizes.into_iter().map(|(name, size)| (name.into(), size)).collect())
    }
}

impl Examples {
    /// Those given, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, size)| (&**name, *size))
    }

    /// A size at the examples. In floating point: an example is no bound, so that nothing may overflow.
    pub fn size(&self, d: &Dim) -> f64 {
        let atom = |a: &Atom| match a {
            Atom::Sym(s) => self.0.get(s).copied().unwrap_or(DEFAULT) as f64,
            Atom::Div(n, by) => (self.size(n) / *by as f64).floor(),
        };
        d.terms()
            .map(|(c, factors)| c as f64 * factors.iter().map(atom).product::<f64>())
            .sum()
    }

    /// Elements of a tensor.
    pub fn elements(&self, ty: &Type) -> f64 {
        ty.shape.iter().map(|d| self.size(d)).product()
    }

    /// Bytes of a tensor.
    pub fn bytes(&self, ty: &Type) -> f64 {
        self.elements(ty) * ty.dtype.bytes() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_given_or_the_default() {
        let examples: Examples = [("S", 100)].into_iter().collect();
        let size = |d: &str| examples.size(&d.parse().unwrap());
        assert_eq!(size("(S - 10)/5 + 1"), 19.0);
        assert_eq!(size("S*other"), 100.0 * DEFAULT as f64);
        assert_eq!(examples.iter().collect::<Vec<_>>(), [("S", 100)]);
    }
}
