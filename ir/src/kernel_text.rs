//! Kernel IR as text, for people to read, and back.
//!
//! A row kernel that normalises rows to a sum of 1:
//! ```text
//! row [B, T, 768]
//!   s0 read f32
//!   s1 write f32
//!   v0 = load s0[768*T*a0 + 768*a1 + a2]
//!   v1 = r0
//!   v2 = div v0, v1
//!   columns
//!     r0 = sum v0
//!   columns
//!     s1[768*T*a0 + 768*a1 + a2] = v2
//! ```
//! `s` are slots with access and dtype, `a` axes, `v` values, `r` reductions. The lines of `columns` happen for every column
//! and those of `row` once per row; `=` writes, `+=` adds to what is there. Indices count elements of the slot: the base
//! first, then strides times coordinates. `load s0[...] if v3` reads only where v3 is not zero and is 0 elsewhere.
//!
//! In a contraction `a = s0[...]` gives the element of the first operand in terms of the batch axes `b0`, `b1`, ..., the
//! summed axes `o` and `p` and the row `i` (for the second operand the column `j`); `round bf16` at the end of its first line
//! says that both are rounded before they are multiplied. In attention an operand's element 0 of
//! the head, in terms of `b`, `t` and `h`. `#` begins a comment.

mod parse;
mod print;
mod scan;

pub use parse::{Extents, Lines, parse};
pub use print::print;
pub(crate) use print::{dims, float, nonzero};
pub use scan::Parsed;
pub(crate) use scan::{Strides, after, number, numbered, pieces, slot_and_address, split};
pub(crate) use scan::{address as parse_address, dims as parse_dims, float as parse_float};

/// Text that is no kernel.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl std::fmt::Display for crate::kernel::Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print(self))
    }
}

/// A coordinate as written in an index. A size of the same name is put in parentheses.
fn is_coordinate(name: &str) -> bool {
    let numbered = |letter| {
        name.strip_prefix(letter)
            .is_some_and(|n: &str| n.bytes().all(|c| c.is_ascii_digit()))
    };
    matches!(name, "b" | "t" | "h" | "o" | "p" | "i" | "j") || ["a", "v", "b"].iter().any(|l| numbered(*l))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_sample;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn text_reads_back(seed: u32) {
            let kernel = kernel_sample::narrowed(kernel_sample::any(seed), seed).kernel;
            let text = print(&kernel);
            prop_assert_eq!(parse(&text), Ok(kernel), "{}", text);
        }
    }

    #[test]
    fn mistakes_are_told_by_line() {
        let good = "row [4]\n  s0 read f32 # a comment\n  v0 = load s0[a0]\n  columns\n    r0 = sum v0\n";
        assert!(parse(good).is_ok());
        for (from, to, line, part) in [
            ("row [4]", "rows [4]", 1, "`rows` is no kind of kernel"),
            ("read f32", "read f16", 2, "`f16` is no dtype"),
            ("load s0[a0]", "loud s0[a0]", 3, "`loud` is no function"),
            ("load s0[a0]", "add v0", 3, "2 operands"),
            ("v0 = load", "v1 = load", 3, "v0"),
            ("s0[a0]", "s0[a0", 3, "]"),
            ("r0 = sum", "r0 = mean", 5, "`mean` is no reduction"),
            ("r0 = sum", "r1 = sum", 5, "r0"),
        ] {
            let e = parse(&good.replace(from, to)).unwrap_err();
            assert!(
                e.line == line && e.message.contains(part),
                "{e}, not line {line}: {part}"
            );
        }
    }
}
