//! Damaged inputs from sound ones. Everything is drawn from a seed and a number.

use crate::input::Input;
use crate::targets::Target;
use ir::sample::Rand;

/// Inputs do not grow beyond this by mutation alone.
const LARGEST: usize = 1 << 20;

/// Numbers at which something tends to give way.
const TEXTS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "255",
    "65536",
    "2147483647",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e12",
    "1e308",
    "1e999",
    "-0.0",
    "nan",
    "inf",
];
const BRACKETS: &[(&str, &str)] = &[
    ("(", ")"),
    ("[", "]"),
    ("{", "}"),
    ("-", ""),
    ("Some(", ")"),
    ("\"", "\""),
];

/// The input with this number. The first of each seed file are the files themselves.
pub fn input(target: &Target, seeds: &[Input], seed: u32, number: u64) -> Input {
    if (number as usize) < seeds.len() {
        return seeds[number as usize].clone();
    }
    let key = ir::rng::bits(ir::rng::keys([seed, (number >> 32) as u32], 11, 0), number as u32);
    let mut r = Rand::new(key);
    let mut out = chosen(seeds, &mut r).clone();
    let edits = *r.pick(&[1, 1, 1, 2, 3, 5, 8, 20]);
    for _ in 0..edits {
        let file = r.int(0, out.files.len() as i64 - 1) as usize;
        let other = chosen(seeds, &mut r);
        let donor = &other.files[file.min(other.files.len() - 1)].1;
        edit(&mut out.files[file].1, donor, target.words, &mut r);
        out.files[file].1.truncate(LARGEST);
    }
    out
}

/// Bytes of an input that is small.
const SMALL: usize = 4096;

/// One of the seeds; large ones seldom, for they take long and most of their bytes are alike.
fn chosen<'a>(seeds: &'a [Input], r: &mut Rand) -> &'a Input {
    let small = |i: &&Input| i.files.iter().map(|f| f.1.len()).sum::<usize>() <= SMALL;
    let few: Vec<&Input> = seeds.iter().filter(small).collect();
    match few.is_empty() || r.int(0, 49) == 0 {
        true => r.pick(seeds),
        false => *r.pick(&few),
    }
}

/// A place in 0..=end; half of them near the beginning, where headers are.
fn place(end: usize, r: &mut Rand) -> usize {
    let end = if r.flag() { end.min(256) } else { end };
    r.int(0, end as i64) as usize
}

fn stretch(bytes: &[u8], r: &mut Rand) -> std::ops::Range<usize> {
    let from = place(bytes.len(), r);
    let most = *r.pick(&[1, 2, 4, 16, 64, 1024, 65536]);
    from..(from + r.int(0, most) as usize).min(bytes.len())
}

/// A run of digits near a place.
fn digits(bytes: &[u8], r: &mut Rand) -> Option<std::ops::Range<usize>> {
    let start = place(bytes.len(), r).min(bytes.len());
    let from = start + bytes[start..].iter().position(u8::is_ascii_digit)?;
    let length = bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    Some(from..from + length)
}

fn edit(bytes: &mut Vec<u8>, donor: &[u8], words: &[&str], r: &mut Rand) {
    match r.int(0, 12) {
        0 | 1 if !bytes.is_empty() => {
            let at = place(bytes.len() - 1, r);
            bytes[at] ^= 1 << r.int(0, 7);
        }
        2 if !bytes.is_empty() => {
            let at = place(bytes.len() - 1, r);
            bytes[at] = r.bits() as u8;
        }
        // A binary number of one of the usual widths.
        3 if !bytes.is_empty() => {
            let value = *r.pick(&[
                0,
                1,
                u64::MAX,
                i64::MAX as u64,
                1 << 31,
                u32::MAX as u64,
                1 << 32,
                1 << 51,
                0xffff,
                7,
            ]);
            let (at, width) = (place(bytes.len() - 1, r), *r.pick(&[1, 2, 4, 8]));
            let little = r.flag();
            let (le, be) = (value.to_le_bytes(), value.to_be_bytes());
            let from = if little { &le[..width] } else { &be[8 - width..] };
            for (to, from) in bytes[at..].iter_mut().zip(from) {
                *to = *from;
            }
        }
        4 => {
            let range = stretch(bytes, r);
            bytes.drain(range);
        }
        5 => {
            let piece = bytes[stretch(bytes, r)].to_vec();
            let (at, times) = (place(bytes.len(), r), *r.pick(&[1, 1, 1, 2, 10, 100]));
            let piece = piece.repeat(times);
            bytes.splice(at..at, piece.into_iter().take(LARGEST));
        }
        6 => {
            let (range, piece) = (stretch(bytes, r), donor[stretch(donor, r)].to_vec());
            bytes.splice(range, piece);
        }
        7 => {
            let end = place(bytes.len(), r);
            bytes.truncate(end);
        }
        8 | 9 => {
            if let Some(range) = digits(bytes, r) {
                bytes.splice(range, r.pick(TEXTS).bytes());
            }
        }
        10 if !words.is_empty() => {
            let (range, word) = (stretch(bytes, r), *r.pick(words));
            let range = if r.flag() { range.start..range.start } else { range };
            bytes.splice(range, word.bytes());
        }
        // Deep nesting.
        11 => {
            let ((open, close), range) = (*r.pick(BRACKETS), stretch(bytes, r));
            let depth = *r.pick(&[1, 2, 100, 3000, 100_000]);
            bytes.splice(range.end..range.end, close.bytes().cycle().take(close.len() * depth));
            bytes.splice(range.start..range.start, open.bytes().cycle().take(open.len() * depth));
        }
        _ => {
            let at = place(bytes.len(), r);
            let noise: Vec<u8> = (0..r.int(1, 16)).map(|_| r.bits() as u8).collect();
            bytes.splice(at..at, noise);
        }
    }
}
