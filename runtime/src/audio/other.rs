//! Compressed formats, through symphonia, and Opus through opus-decoder.

use super::decode::{Decoder, Format};
use super::input::{Input, Trouble};
use super::opus::Opus;
use super::{CONVERT, bad, seconds};
use crate::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_MP3, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as Failure;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::FORMAT_ID_OGG;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::Timestamp;

const DAMAGED: &str = "copy or record it again; `ffmpeg -i FILE OUT.wav` keeps what can be saved";

/// Packets at the start of an MP3 that may lean on others which were cut away: no fault of what is there.
const LEANING: u64 = 2;

/// A stream and its decoder.
pub(super) struct Other {
    path: PathBuf,
    trouble: Trouble,
    reader: Box<dyn FormatReader>,
    track: u32,
    codec: Codec,
    format: Format,
    /// Frames that were handed out, or passed over by seeking.
    done: u64,
    packets: u64,
    /// The first block, decoded to know the format.
    first: Option<Vec<f32>>,
    flac: bool,
    mp3: bool,
    /// Frames still to drop after seeking.
    drop: u64,
    sought: bool,
}

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Opus),
}

/// Decoders may panic on a malformed stream; one bad file must not end a training run.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(bad(path, "its stream is malformed", DAMAGED)))
}

/// A decoder, or why there is none for this format.
pub(super) fn open(path: &Path, input: Input) -> Result<Result<Other, String>, Error> {
    let trouble = input.trouble();
    let outcome = guarded(path, || start(path, input, trouble.clone()));
    match trouble.take(path) {
        Some(failure) => Err(failure),
        None => outcome,
    }
}

fn start(path: &Path, input: Input, trouble: Trouble) -> Result<Result<Other, String>, Error> {
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|e| e.to_str()) {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(Box::new(input), Default::default());
    // Pictures and long tags are of no use here.
    let tags = MetadataOptions::default()
        .limit_tag_bytes(Limit::Maximum(1 << 16))
        .limit_visual_bytes(Limit::Maximum(1 << 16));
    let reader = match symphonia::default::get_probe().probe(&hint, stream, FormatOptions::default(), tags) {
        Ok(reader) => reader,
        Err(e) => return Ok(Err(format!("its format is not known ({e})"))),
    };
    let Some(track) = reader.default_track(TrackType::Audio) else {
        return Ok(Err("it has no audio track".into()));
    };
    let Some(params) = track.codec_params.as_ref().and_then(|p| p.audio()) else {
        return Ok(Err("its audio codec is not known".into()));
    };
    let codec = if params.codec == CODEC_ID_OPUS {
        match Opus::new(params) {
            Ok(opus) => Codec::Opus(opus),
            Err(why) => return Ok(Err(why)),
        }
    } else {
        let options = AudioDecoderOptions::default().verify(true);
        match symphonia::default::get_codecs().make_audio_decoder(params, &options) {
            Ok(decoder) => Codec::Symphonia(decoder),
            Err(e) => return Ok(Err(format!("its audio codec is not supported ({e})"))),
        }
    };
    let (flac, mp3) = (params.codec == CODEC_ID_FLAC, params.codec == CODEC_ID_MP3);
    let mut frames = track.num_frames;
    if reader.format_info().format == FORMAT_ID_OGG && params.codec == CODEC_ID_OPUS {
        // Here the codec's delay is counted.
        frames = frames.map(|n| n.saturating_sub(track.delay.unwrap_or(0) as u64));
    }
    let track = track.id;
    let mut other = Other {
        path: path.into(),
        trouble,
        reader,
        track,
        codec,
        format: Format {
            rate: 0,
            channels: 0,
            frames: frames.filter(|n| *n > 0),
        },
        done: 0,
        packets: 0,
        first: None,
        flac,
        mp3,
        drop: 0,
        sought: false,
    };
    let mut block = vec![];
    while block.is_empty() && other.packet(&mut block)? {}
    if block.is_empty() {
        return Err(bad(path, "it holds no samples", "remove it or record it again"));
    }
    other.first = Some(block);
    Ok(Ok(other))
}

impl Other {
    /// Appends the samples of the next packet; false at the end.
    fn packet(&mut self, block: &mut Vec<f32>) -> Result<bool, Error> {
        let packet = loop {
            match self.reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => break packet,
                Ok(Some(_)) => {}
                Ok(None) => return self.end().map(|()| false),
                Err(Failure::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(self.broken("it is cut off"));
                }
                Err(e) => return Err(self.broken(&format!("its stream breaks off ({e})"))),
            }
        };
        self.packets += 1;
        if self.flac && !self.sought && packet.pts != Timestamp::from(self.done as i64) {
            return Err(self.broken("it is damaged"));
        }
        let before = block.len();
        match self.decode(&packet, block) {
            Ok(()) => {}
            Err(Failure::DecodeError(_)) if self.mp3 && self.packets <= LEANING => {}
            Err(e) => return Err(self.broken(&format!("it is damaged ({e})"))),
        }
        let channels = self.format.channels.max(1);
        let frames = ((block.len() - before) / channels) as u64;
        let dropped = self.drop.min(frames);
        block.drain(before..before + dropped as usize * channels);
        self.drop -= dropped;
        self.done += frames - dropped;
        Ok(true)
    }

    fn decode(&mut self, packet: &Packet, block: &mut Vec<f32>) -> Result<(), Failure> {
        let (rate, channels) = match &mut self.codec {
            Codec::Opus(opus) => {
                opus.decode(packet, block)?;
                (opus.rate(), opus.channels())
            }
            Codec::Symphonia(decoder) => {
                let decoded = decoder.decode(packet)?;
                let (rate, channels) = (decoded.spec().rate(), decoded.num_planes());
                if channels == 0 || decoded.frames() == 0 {
                    return Ok(());
                }
                let mut own = vec![];
                decoded.copy_to_vec_interleaved(&mut own);
                let usual = self.format.channels;
                if usual == 0 || usual == channels {
                    block.extend_from_slice(&own);
                } else {
                    // A stream that goes from stereo to mono, as MP3 may, stays as it began.
                    let mean = |f: &[f32]| f.iter().sum::<f32>() / channels as f32;
                    block.extend(
                        own.chunks_exact(channels)
                            .flat_map(|f| std::iter::repeat_n(mean(f), usual)),
                    );
                }
                (rate, channels)
            }
        };
        if self.format.rate != 0 && self.format.rate != rate {
            return Err(Failure::DecodeError("its sample rate changes"));
        }
        if self.format.rate == 0 {
            (self.format.rate, self.format.channels) = (rate, channels);
        }
        Ok(())
    }

    /// Checks what only the end can show.
    fn end(&mut self) -> Result<(), Error> {
        if self.sought {
            return Ok(());
        }
        if self.flac && self.format.frames.is_some_and(|promised| promised != self.done) {
            return Err(self.broken("it is cut off or damaged"));
        }
        if let Codec::Symphonia(decoder) = &mut self.codec
            && decoder.finalize().verify_ok == Some(false)
        {
            let what = "its samples are not those it was made of: the checksum (MD5) in its header differs";
            return Err(bad(&self.path, what, DAMAGED));
        }
        Ok(())
    }

    fn broken(&self, what: &str) -> Error {
        let read = format!("{} samples ({})", self.done, seconds(self.done, self.format.rate));
        let of = match self.format.frames {
            Some(frames) => format!("{read} of {frames} ({})", seconds(frames, self.format.rate)),
            None => read,
        };
        bad(&self.path, format!("{what}; {of} could be read"), DAMAGED)
    }
}

impl Decoder for Other {
    fn format(&self) -> Format {
        self.format
    }

    fn next(&mut self, block: &mut Vec<f32>) -> Result<bool, Error> {
        if let Some(first) = self.first.take() {
            block.extend(first);
            return Ok(true);
        }
        let path = self.path.clone();
        let outcome = guarded(&path, || self.packet(block));
        match self.trouble.take(&path) {
            Some(failure) => Err(failure),
            None => outcome,
        }
    }

    fn seek(&mut self, frame: u64) -> Result<bool, Error> {
        // Elsewhere times are too coarse, or the first packets after a jump lean on those before.
        if !self.flac || frame < self.done {
            return Ok(false);
        }
        let path = self.path.clone();
        let to = SeekTo::Timestamp {
            ts: Timestamp::from(frame as i64),
            track_id: self.track,
        };
        let reached = guarded(&path, || Ok(self.reader.seek(SeekMode::Accurate, to)))?;
        if let Some(failure) = self.trouble.take(&path) {
            return Err(failure);
        }
        let reached =
            reached.map_err(|e| bad(&path, format!("sample {frame} cannot be found in it ({e})"), CONVERT))?;
        if let Codec::Symphonia(decoder) = &mut self.codec {
            decoder.reset();
        }
        self.first = None;
        self.sought = true;
        self.drop = frame.saturating_sub(reached.actual_ts.get().max(0) as u64);
        self.done = frame;
        Ok(true)
    }
}
