//! The header of KenLM's binaries.

use super::bytes::{f32_at, u32_at, u64_at};

const MAGIC: &[u8] = b"mmap lm http://kheafield.com/code format version 5\n";
/// Begins binaries of every version.
const FAMILY: &[u8] = b"mmap lm http://kheafield.com/code";
const MAGIC_SPACE: usize = 56;
const FIXED: usize = 108;
/// Orders beyond this are a slip.
const MOST_ORDER: u8 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Probing { rest: bool },
    Trie { quantised: bool, array: bool },
}

#[derive(Clone, Debug)]
pub struct Header {
    pub kind: Kind,
    pub multiplier: f32,
    pub has_words: bool,
    /// n-grams of each order.
    pub counts: Vec<u64>,
    /// Bytes of the header.
    pub size: usize,
}

pub fn is_binary(bytes: &[u8]) -> bool {
    bytes.starts_with(FAMILY)
}

impl Header {
    pub fn read(bytes: &[u8]) -> Result<Header, String> {
        if !bytes.starts_with(MAGIC) {
            return Err("it is a KenLM binary of another version than 5".into());
        }
        let short = || "it ends within its header".to_string();
        let sane = f32_at(bytes, 56) == Some(0.0)
            && f32_at(bytes, 60) == Some(1.0)
            && f32_at(bytes, 64) == Some(-0.5)
            && u32_at(bytes, 68) == Some(1)
            && u32_at(bytes, 72) == Some(u32::MAX)
            && u32_at(bytes, 76) == Some(0)
            && u64_at(bytes, 80) == Some(1);
        if !sane {
            return Err("its numbers have another form than this machine's, or it is damaged".into());
        }
        let order = *bytes.get(88).ok_or_else(short)?;
        let multiplier = f32_at(bytes, 92).ok_or_else(short)?;
        let kind = u32_at(bytes, 96).ok_or_else(short)?;
        let has_words = *bytes.get(100).ok_or_else(short)? != 0;
        let version = u32_at(bytes, 104).ok_or_else(short)?;
        let kind = match kind {
            0 | 1 => Kind::Probing { rest: kind == 1 },
            2..=5 => Kind::Trie {
                quantised: kind & 1 == 1,
                array: kind >= 4,
            },
            _ => return Err(format!("its type is {kind}, and types are 0 to 5")),
        };
        let expected = matches!(kind, Kind::Trie { .. }) as u32;
        if version != expected {
            return Err(format!("its search has the version {version} instead of {expected}"));
        }
        if order == 0 || order > MOST_ORDER {
            return Err(format!("its order is {order}"));
        }
        if matches!(kind, Kind::Trie { .. }) && order < 2 {
            return Err("it is a trie of order 1".into());
        }
        if !(multiplier.is_finite() && (1.0..=100.0).contains(&multiplier)) {
            return Err(format!("its tables are {multiplier} times as large as their contents"));
        }
        let counts: Option<Vec<u64>> = (0..order as usize).map(|i| u64_at(bytes, FIXED + 8 * i)).collect();
        let counts = counts.ok_or_else(short)?;
        if counts[0] == 0 || counts[0] > u32::MAX as u64 - 2 {
            return Err(format!("it has {} words", counts[0]));
        }
        // What is more than 2^48 cannot lie in a file, and products of it would wrap.
        if let Some(count) = counts.iter().find(|c| **c >= 1 << 48) {
            return Err(format!("it claims {count} n-grams"));
        }
        Ok(Header {
            kind,
            multiplier,
            has_words,
            size: (FIXED + 8 * counts.len()).next_multiple_of(8),
            counts,
        })
    }

    /// The bytes of a header of a probing model with words.
    pub fn probing(multiplier: f32, counts: &[u64]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.resize(MAGIC_SPACE, 0);
        for number in [0.0f32, 1.0, -0.5] {
            out.extend(number.to_le_bytes());
        }
        for number in [1u32, u32::MAX, 0] {
            out.extend(number.to_le_bytes());
        }
        out.extend(1u64.to_le_bytes());
        out.extend([counts.len() as u8, 0, 0, 0]);
        out.extend(multiplier.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        out.extend([1, 0, 0, 0]);
        out.extend(0u32.to_le_bytes());
        counts.iter().for_each(|c| out.extend(c.to_le_bytes()));
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }
}
