//! Packets of Opus to samples.

use opus_decoder::{OpusDecoder, OpusMultistreamDecoder};
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::errors::Error as Failure;
use symphonia::core::packet::Packet;

/// What Opus decodes to.
const RATE: u32 = 48_000;

/// Most frames of a packet: 120 ms.
const LONGEST: usize = 5_760;

enum Streams {
    One(OpusDecoder),
    Several(OpusMultistreamDecoder),
}

pub(super) struct Opus {
    streams: Streams,
    channels: usize,
    gain: f32,
    /// Frames at the start that are the codec's own delay.
    skip: usize,
    block: Vec<f32>,
}

impl Opus {
    /// By the identification header (RFC 7845) that containers carry.
    pub fn new(params: &AudioCodecParameters) -> Result<Opus, String> {
        let head = params.extra_data.as_deref().unwrap_or(&[]);
        let fault = |what: &str| format!("its Opus header {what}");
        if head.len() < 19 || !head.starts_with(b"OpusHead") {
            return Err(fault("is missing"));
        }
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let channels = head[9] as usize;
        let streams = match (head[18], channels) {
            (0, 1 | 2) => OpusDecoder::new(RATE, channels).map(Streams::One),
            (0, _) | (_, 0) => return Err(fault(&format!("gives {channels} channels"))),
            _ => {
                let Some(map) = head.get(21..21 + channels) else {
                    return Err(fault("is cut off"));
                };
                let (all, coupled) = (head[19] as usize, head[20] as usize);
                OpusMultistreamDecoder::new(RATE, channels, all, coupled, map).map(Streams::Several)
            }
        };
        Ok(Opus {
            streams: streams.map_err(|e| fault(&format!("is not sound ({e})")))?,
            channels,
            gain: 10f32.powf(half(16) as i16 as f32 / (20.0 * 256.0)),
            skip: half(10) as usize,
            block: vec![0.0; LONGEST * channels],
        })
    }

    pub fn rate(&self) -> u32 {
        RATE
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Appends a packet's samples without the delay at the start and the padding at the end.
    pub fn decode(&mut self, packet: &Packet, block: &mut Vec<f32>) -> Result<(), Failure> {
        let fault = |_| Failure::DecodeError("a packet of Opus cannot be decoded");
        if packet.data.is_empty() {
            return Err(Failure::DecodeError("a packet of Opus is empty"));
        }
        let frames = match &mut self.streams {
            Streams::One(one) => one.decode_float(&packet.data, &mut self.block, false).map_err(fault)?,
            Streams::Several(all) => all.decode_float(&packet.data, &mut self.block, false).map_err(fault)?,
        };
        let skip = self.skip.min(frames);
        self.skip -= skip;
        let end = frames - (packet.trim_end.get() as usize).min(frames - skip);
        let kept = &self.block[skip * self.channels..end * self.channels];
        block.extend(kept.iter().map(|s| s * self.gain));
        Ok(())
    }
}
