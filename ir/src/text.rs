//! Tensor IR as text, for people to read, and back.
//!
//! ```text
//! %0 = input(name:"x",ty:(dtype:f32,shape:["B","8"])) : f32[B, 8]
//! %1 = param(name:"w",ty:(dtype:f32,shape:["3","8"])) : f32[3, 8]
//! %2 = repeat(count: 3, carries: 1, stacked: 1, keep: false, reverse: false) %0 %1 : f32[B, 8] {
//!   %0 = input(name:"x",ty:(dtype:f32,shape:["B","8"])) : f32[B, 8]
//!   %1 = input(name:"w",ty:(dtype:f32,shape:["8"])) : f32[8]
//!   %2 = mul %0 %1 : f32[B, 8]
//!   inputs %0 %1
//!   output "x" %2
//! }
//! inputs %0
//! output "y" %2
//! ```
//! One line per node: its number, op, attributes in RON, operands, and the types of its results. Numbers count from 0
//! in every graph, including the body of each repeat. Then the inputs in order, and the outputs by name. Lines that
//! begin with `#` are comments; indentation means nothing.

mod parse;
mod print;

pub use parse::parse;
pub(crate) use parse::types;

/// Text that is no graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// A name in quotes.
pub fn quoted(text: &str) -> Result<String, String> {
    ron::from_str(text.trim()).map_err(|_| format!("a name in quotes is expected, not `{}`", text.trim()))
}

/// Names in quotes between brackets.
pub fn quoted_list(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    ron::from_str(text).map_err(|_| format!("names in quotes like [\"a\", \"b\"] are expected, not `{text}`"))
}

/// The lines `from..to` of a text, counted from 1, behind as many empty ones as stood before them: places in it are those in
/// the text.
pub fn lines_from(text: &str, from: usize, to: usize) -> String {
    let own = text
        .lines()
        .enumerate()
        .map(|(i, l)| if (from..to).contains(&(i + 1)) { l } else { "" });
    own.take(to - 1).flat_map(|l| [l, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::Op;
    use crate::sample::Rand;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_op_reads_back(seed: u32) {
            for (name, sampler) in Op::SAMPLERS {
                let mut r = Rand::new(seed);
                let sample = sampler(&mut r);
                let mut g = Graph::default();
                let args: Vec<_> = sample.args.iter().enumerate().map(|(i, a)| g.input(&format!("a{i}"), a.ty.clone())).collect();
                // These read the results of others and are drawn without them.
                if let Ok(v) = g.push(sample.op, &args) {
                    g.outputs = g.results(v).into_iter().enumerate().map(|(i, v)| (format!("r\"{i}\n"), v)).collect();
                } else {
                    prop_assert!(["get", "attention_grad"].contains(name), "{}", name);
                }
                let text = g.to_string();
                prop_assert_eq!(parse(&text), Ok(g), "{}", text);
            }
        }
    }

    const GOOD: &str = r#"# a comment
%0 = input(name:"x",ty:(dtype:f32,shape:["B","8"])) : f32[B, 8]
%1 = input(name:"w",ty:(dtype:f32,shape:["3","8"])) : f32[3, 8]
%2 = repeat(count: 3, carries: 1, stacked: 1, keep: false, reverse: false) %0 %1 : f32[B, 8] {
  %0 = input(name:"x",ty:(dtype:f32,shape:["B","8"])) : f32[B, 8]
  %1 = input(name:"w",ty:(dtype:f32,shape:["8"])) : f32[8]
  %2 = mul %0 %1 : f32[B, 8]
  inputs %0 %1
  output "x" %2
}
inputs %0 %1
output "y" %2
"#;

    #[test]
    fn mistakes_are_told_by_line() {
        assert!(parse(GOOD).is_ok(), "{:?}", parse(GOOD));
        for (from, to, line, part) in [
            (
                "%1 = input(name:\"w\",ty:(dtype:f32,shape:[\"3\"",
                "%2 = input(name:\"w\",ty:(dtype:f32,shape:[\"3\"",
                3,
                "`%1` is expected",
            ),
            ("= mul", "= mull", 7, "there is no op `mull`"),
            ("mul %0 %1", "mul %0 %3", 7, "%3"),
            (
                "mul %0 %1 : f32[B, 8]",
                "mul %0 %1 : f32[B, 9]",
                7,
                "f32[B, 8] is expected",
            ),
            (
                "mul %0 %1 : f32[B, 8]",
                "mul %0 %1 : f33[B, 8]",
                7,
                "a type is expected",
            ),
            ("mul %0 %1 : f32[B, 8]", "mul %0 %1", 7, "` : ` and the types"),
            ("mul %0 %1", "mul %0", 7, "takes 2 operands"),
            (
                "name:\"x\",ty:(dtype:f32,shape:[\"B\",\"8\"])) : f32[B, 8]\n%1",
                "name:\"x\") : f32[B, 8]\n%1",
                2,
                "attributes of `input`",
            ),
            ("count: 3, ", "", 4, "count"),
            ("stacked: 1", "stacked: 0", 4, "operand 1 must be"),
            ("carries: 1", "carries: 2", 4, "the body takes 2 values"),
            ("}\n", "", 10, "an output or the end"),
            ("}\ninputs %0 %1\noutput \"y\" %2\n", "", 10, "`}` is expected"),
            ("  inputs %0 %1", "  inputs %0 %2", 8, "%2 is no input"),
            ("output \"y\" %2", "output y %2", 12, "a name in quotes"),
            ("inputs %0 %1\noutput \"y\"", "output \"y\"", 11, "`inputs`"),
            ("output \"y\" %2\n", "output \"y\" %2\n}\n", 13, "`}`"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let e = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(
                e.line == line && e.message.contains(part),
                "{e}, not line {line}: {part}"
            );
        }
    }
}
