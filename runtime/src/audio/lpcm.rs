//! Sun's .au and NIST's SPHERE: short headers before plain samples.

use super::pcm::{Layout, Sample};
use super::{CONVERT, bad};
use crate::error::Error;
use std::path::Path;

/// The layout of an .au file (`.snd`, then big-endian words); `None` for encodings that are not plain samples.
pub(super) fn au(path: &Path, head: &[u8]) -> Result<Option<Layout>, Error> {
    let word = |i: usize| {
        head.get(4 * i..4 * i + 4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    };
    let (Some(start), Some(bytes), Some(encoding), Some(rate), Some(channels)) =
        (word(1), word(2), word(3), word(4), word(5))
    else {
        return Err(bad(path, "its header is cut off", CONVERT));
    };
    let sample = match encoding {
        1 => Sample::MuLaw,
        2..=5 => Sample::Int(encoding as usize - 1),
        6 => Sample::F32,
        7 => Sample::F64,
        27 => Sample::ALaw,
        _ => return Ok(None),
    };
    Ok(Some(Layout {
        rate,
        channels,
        sample,
        big_endian: true,
        start: start.max(24) as u64,
        bytes: (bytes != u32::MAX).then_some(bytes as u64),
    }))
}

/// The layout of a SPHERE file: lines `name -type value` in a header of a stated size. `None` where samples are compressed.
pub(super) fn sphere(path: &Path, head: &[u8]) -> Result<Option<Layout>, Error> {
    let fault = |what: &str| bad(path, format!("its SPHERE header {what}"), CONVERT);
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let start = lines.nth(1).and_then(|l| l.trim().parse::<u64>().ok());
    let start = start.ok_or_else(|| fault("does not say how long it is"))?;
    let (mut rate, mut channels, mut bytes, mut frames) = (None, 1, 2, None);
    let (mut coding, mut order) = ("pcm".to_string(), "01".to_string());
    let mut ended = false;
    for line in lines {
        if line.trim() == "end_head" {
            ended = true;
            break;
        }
        let mut words = line.splitn(3, ' ');
        let (name, value) = (words.next().unwrap_or(""), words.nth(1).unwrap_or("").trim());
        let number = || value.parse::<u64>().map_err(|_| fault(&format!("has `{line}`")));
        match name {
            "sample_rate" => rate = Some(number()?),
            "channel_count" => channels = number()?,
            "sample_n_bytes" => bytes = number()?,
            "sample_count" => frames = Some(number()?),
            "sample_coding" => coding = value.to_lowercase(),
            "sample_byte_format" => order = value.into(),
            _ => {}
        }
    }
    if !ended {
        return Err(fault("has no end"));
    }
    let rate = rate.and_then(|r| u32::try_from(r).ok());
    let rate = rate.ok_or_else(|| fault("gives no sample rate"))?;
    let channels = u32::try_from(channels).ok().filter(|c| (1..=64).contains(c));
    let channels = channels.ok_or_else(|| fault("gives no sound number of channels"))?;
    let sample = match (coding.as_str(), bytes) {
        ("pcm", 1..=4) => Sample::Int(bytes as usize),
        ("ulaw" | "mu-law", 1) => Sample::MuLaw,
        ("alaw", 1) => Sample::ALaw,
        // Shorten and the like.
        _ => return Ok(None),
    };
    let frame = channels as u64 * sample.bytes() as u64;
    Ok(Some(Layout {
        rate,
        channels,
        sample,
        big_endian: order.starts_with("10") || order.starts_with("32"),
        start,
        bytes: frames.map(|f| f.saturating_mul(frame)),
    }))
}
