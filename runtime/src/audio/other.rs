//! Every format but plain WAV, through symphonia.

use super::{Raw, bad};
use crate::error::Error;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error as Failure;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

const REMEDY: &str = "use WAV, FLAC, MP3, Ogg Vorbis or AAC, for example by `ffmpeg -i FILE -ar 16000 -ac 1 OUT.wav`";

fn open(path: &Path) -> Result<Box<dyn FormatReader>, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|e| e.to_str()) {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|e| bad(path, format!("its format is not known ({e})"), REMEDY))
}

/// A decoder may panic on a malformed stream; one bad file must not end a training run.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(bad(path, "its stream is malformed", REMEDY)))
}

/// Rate and frames where the container tells them.
pub(super) fn probe(path: &Path) -> Result<Option<(u32, u64)>, Error> {
    guarded(path, || {
        let format = open(path)?;
        let Some(track) = format.default_track(TrackType::Audio) else {
            return Err(bad(path, "it has no audio track", REMEDY));
        };
        let rate = track
            .codec_params
            .as_ref()
            .and_then(|p| p.audio())
            .and_then(|a| a.sample_rate);
        Ok(rate.zip(track.num_frames))
    })
}

pub(super) fn read(path: &Path) -> Result<Raw, Error> {
    guarded(path, || {
        let mut format = open(path)?;
        let Some(track) = format.default_track(TrackType::Audio) else {
            return Err(bad(path, "it has no audio track", REMEDY));
        };
        let id = track.id;
        let Some(codec) = track.codec_params.as_ref().and_then(|p| p.audio()) else {
            return Err(bad(path, "its audio codec is not known", REMEDY));
        };
        let mut decoder = symphonia::default::get_codecs()
            .make_audio_decoder(codec, &AudioDecoderOptions::default())
            .map_err(|e| bad(path, format!("its audio codec is not supported ({e})"), REMEDY))?;
        let (mut rate, mut samples, mut block) = (0, Vec::new(), Vec::<f32>::new());
        loop {
            let packet = match format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                // A cut-off last packet: what came before is sound.
                Err(Failure::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(bad(path, format!("its stream breaks off ({e})"), REMEDY)),
            };
            if packet.track_id != id {
                continue;
            }
            match decoder.decode(&packet) {
                Ok(decoded) => {
                    let channels = decoded.num_planes();
                    if channels == 0 {
                        continue;
                    }
                    if rate != 0 && rate != decoded.spec().rate() {
                        return Err(bad(path, "its sample rate changes within the file", REMEDY));
                    }
                    rate = decoded.spec().rate();
                    decoded.copy_to_vec_interleaved(&mut block);
                    samples.extend(
                        block
                            .chunks_exact(channels)
                            .map(|f| f.iter().sum::<f32>() / channels as f32),
                    );
                }
                // Decoders skip a malformed packet and go on with the next.
                Err(Failure::DecodeError(_)) => {}
                Err(e) => return Err(bad(path, format!("it cannot be decoded ({e})"), REMEDY)),
            }
        }
        if samples.is_empty() {
            return Err(bad(path, "nothing in it could be decoded", REMEDY));
        }
        Ok(Raw { rate, samples })
    })
}
