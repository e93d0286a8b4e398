//! PTX text to tokens with line numbers.

use crate::ParseError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// Opcodes, directives, registers, labels, numbers: a run of letters, digits and `_ $ % .`.
    Word(String),
    /// `"..."`
    Text(String),
    /// Punctuation.
    Sign(char),
}

/// A token and the line (from 1) on which it starts.
#[derive(Clone, Debug)]
pub struct Located {
    pub token: Token,
    pub line: u32,
}

fn word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

/// Splits a text into tokens, leaving out comments.
pub fn tokens(text: &str) -> Result<Vec<Located>, ParseError> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line) = (0, 1);
    let mut out = Vec::new();
    while at < chars.len() {
        let (c, start) = (chars[at], at);
        let next = chars.get(at + 1).copied();
        match c {
            '\n' => {
                line += 1;
                at += 1;
            }
            c if c.is_whitespace() || c == '\0' => at += 1,
            '/' if next == Some('/') => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if next == Some('*') => {
                at += 2;
                while at < chars.len() && !(chars[at] == '*' && chars.get(at + 1) == Some(&'/')) {
                    line += u32::from(chars[at] == '\n');
                    at += 1;
                }
                at += 2;
            }
            '"' => {
                at += 1;
                while at < chars.len() && chars[at] != '"' {
                    at += 1;
                }
                let inner = chars[start + 1..at.min(chars.len())].iter().collect();
                at += 1;
                out.push(Located {
                    token: Token::Text(inner),
                    line,
                });
            }
            c if word_char(c) => {
                while at < chars.len() && word_char(chars[at]) {
                    at += 1;
                }
                // `a::b` occurs only inside opcodes: L1::evict_last, mbarrier::complete_tx::bytes.
                while chars[at..].starts_with(&[':', ':']) {
                    at += 2;
                    while at < chars.len() && word_char(chars[at]) {
                        at += 1;
                    }
                }
                out.push(Located {
                    token: Token::Word(chars[start..at].iter().collect()),
                    line,
                });
            }
            c if "{}[]()<>,;:+-@!|=*".contains(c) => {
                out.push(Located {
                    token: Token::Sign(c),
                    line,
                });
                at += 1;
            }
            c => return Err(ParseError::Character { line, character: c }),
        }
    }
    Ok(out)
}
