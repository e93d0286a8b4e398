//! The named inputs of a program for one batch.
//!
//! | input | type and shape | meaning |
//! |-|-|-|
//! | `wave` | f32 [B, N] | samples at 16 kHz, zero beyond a clip's length |
//! | `lengths` | i32 [B] | samples of each clip |
//! | `mask` | i32 [B, T] | 1 where a frame is hidden |
//! | `masked_index` | i32 [B, M] | the hidden frames of each clip in order of time, padded with -1 |
//! | `negatives` | i32 [B, M, K] | positions among the clip's hidden frames, padded with -1 |
//! | `gumbel` | f32 [B, M, G, V] | standard Gumbel noise |
//! | `temperature` | f32 [1] | of the Gumbel-softmax |
//! | `channel_mask` | i32 [B, C] | 1 where a channel is hidden |
//! | `labels` | i32 [B, L] | classes of the text, padded with -100 |
//! | `keep` | f32 [layers] | 0 where a layer is skipped |
//! | `seed` | i32 [2] | key of the dropout masks |
//!
//! Every other input must be f32 [1] and named after a setting, whose value it takes.

use crate::error::Error;
use crate::geometry::Geometry;
use crate::masks::{Spans, check_rows, draw_keep, draw_negatives, draw_spans};
use crate::random::{Purpose, Stream};
use crate::session::Tensor;
use crate::settings::Settings;
use ir::artifact::{Artifact, Port, Program};
use ir::dim::Dim;
use ir::scalar::DType;
use rayon::prelude::*;

/// Numbers of noise that are drawn one after the other.
const NOISE_CHUNK: usize = 1 << 13;

/// Inputs by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(pub Vec<(String, Tensor)>);

impl Inputs {
    pub fn refs(&self) -> Vec<(&str, &Tensor)> {
        self.0.iter().map(|(n, t)| (n.as_str(), t)).collect()
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }
}

/// When numbers are drawn, which decides what they are, and what is drawn at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occasion {
    pub seed: u64,
    /// Update, or batch of a validation.
    pub major: u64,
    /// Micro-batch.
    pub minor: u64,
    /// Hide spans of frames and channels.
    pub masks: bool,
    /// Gumbel noise and skipped layers; both are for training only.
    pub noise: bool,
    pub temperature: f32,
}

impl Occasion {
    /// Nothing is drawn: recordings are listened to as they are.
    pub const STILL: Occasion = Occasion {
        seed: 0,
        major: 0,
        minor: 0,
        masks: false,
        noise: false,
        temperature: 1.0,
    };
    /// Everything is drawn, as in the first update of a training: for measurements.
    pub const MEASURED: Occasion = Occasion {
        seed: 1,
        masks: true,
        noise: true,
        temperature: 2.0,
        ..Occasion::STILL
    };

    fn stream(&self, purpose: Purpose) -> Stream {
        Stream::new(self.seed, purpose, self.major, self.minor)
    }
}

/// A batch of clips, with labels where the program takes them, and masks where they were not drawn here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clips<'a> {
    pub waves: &'a [&'a [f32]],
    pub labels: &'a [Vec<i32>],
}

/// Inputs of a program and what the host knows of them.
#[derive(Clone, Debug)]
pub struct Batch {
    pub inputs: Inputs,
    /// Hidden frames of the batch.
    pub masked: usize,
    /// Frames of each clip.
    pub frames: Vec<usize>,
}

/// Draws masks, negatives and noise, and lays out every input that `program` names.
pub fn build(
    program: &Program,
    geometry: &Geometry,
    settings: &Settings,
    clips: Clips,
    occasion: Occasion,
) -> Result<Batch, Error> {
    let frames: Vec<usize> = clips.waves.iter().map(|w| geometry.frames(w.len())).collect();
    let masked_rows = if occasion.masks && takes(program, "mask") {
        let spans = Spans {
            prob: settings.share("mask_prob")?,
            length: settings.count("mask_length", 1)? as usize,
            at_least: if settings.share("mask_prob")? > 0.0 {
                settings.count("mask_min", 0)? as usize
            } else {
                0
            },
        };
        draw_spans(&frames, spans, &mut occasion.stream(Purpose::TimeMask))?
    } else {
        vec![vec![]; frames.len()]
    };
    check_rows(&masked_rows, &frames)?;
    let layout = Layout {
        program,
        geometry,
        settings,
        clips,
        occasion,
        masked_rows: &masked_rows,
    };
    let inputs = program
        .inputs
        .iter()
        .map(|port| Ok((port.name.clone(), layout.input(port)?)))
        .collect::<Result<_, Error>>()?;
    Ok(Batch {
        inputs: Inputs(inputs),
        masked: masked_rows.iter().map(Vec::len).sum(),
        frames,
    })
}

pub fn takes(program: &Program, input: &str) -> bool {
    program.inputs.iter().any(|p| p.name == input)
}

struct Layout<'a> {
    program: &'a Program,
    geometry: &'a Geometry,
    settings: &'a Settings,
    clips: Clips<'a>,
    occasion: Occasion,
    masked_rows: &'a [Vec<usize>],
}

impl Layout<'_> {
    fn input(&self, port: &Port) -> Result<Tensor, Error> {
        let rows = self.clips.waves.len();
        let longest = self.clips.waves.iter().map(|w| w.len()).max().unwrap_or(0);
        Ok(match port.name.as_str() {
            "wave" => wave(self.clips.waves),
            "lengths" => Tensor::i32(&[rows], self.clips.waves.iter().map(|w| w.len() as i32).collect()),
            "mask" => mask(self.masked_rows, self.geometry.frames(longest)),
            "masked_index" => masked_index(self.masked_rows),
            "negatives" => self.negatives(port)?,
            "gumbel" => self.gumbel(port)?,
            "temperature" => Tensor::f32(&[1], vec![self.occasion.temperature]),
            "channel_mask" => self.channel_mask(port)?,
            "labels" => labels(self.clips.labels, rows),
            "keep" => self.keep(port)?,
            "seed" => Tensor::i32(&[2], self.occasion.stream(Purpose::Dropout).keys().to_vec()),
            _ => scalar(self.program, port, self.settings)?,
        })
    }

    fn most_masked(&self) -> usize {
        self.masked_rows.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn negatives(&self, port: &Port) -> Result<Tensor, Error> {
        let wanted = self.settings.count("negatives", 1)? as usize;
        let count = port
            .shape
            .get(2)
            .and_then(|d| d.as_const())
            .map_or(wanted, |k| k as usize);
        if count != wanted {
            let what = format!("`negatives` is {wanted}, and this model was compiled for {count}; use that number");
            return Err(Error::Setting(what));
        }
        let most = self.most_masked();
        let stream = self.occasion.stream(Purpose::Negatives);
        // One number of the stream for each negative: a row begins where those before it end.
        let starts = self.masked_rows.iter().scan(0, |next, masked| {
            Some(std::mem::replace(next, *next + masked.len() * count))
        });
        let rows: Vec<(usize, usize, usize)> = (0..)
            .zip(self.masked_rows)
            .zip(starts)
            .map(|((row, m), s)| (row, m.len(), s))
            .collect();
        let draw =
            |(row, masked, start): (usize, usize, usize)| draw_negatives(row, masked, count, &mut stream.after(start));
        // The first row that is wrong is told, whichever is drawn first.
        let drawn: Vec<Result<_, _>> = rows.into_par_iter().map(draw).collect();
        let drawn: Vec<Vec<i32>> = drawn.into_iter().collect::<Result<_, _>>()?;
        let mut all = Vec::with_capacity(drawn.len() * most * count);
        for (row, own) in drawn.into_iter().enumerate() {
            all.extend(own);
            all.resize((row + 1) * most * count, -1);
        }
        Ok(Tensor::i32(&[self.masked_rows.len(), most, count], all))
    }

    fn gumbel(&self, port: &Port) -> Result<Tensor, Error> {
        let (groups, codes) = (constant(self.program, port, 2)?, constant(self.program, port, 3)?);
        let shape = [self.masked_rows.len(), self.most_masked(), groups, codes];
        let n = shape.iter().product();
        let stream = self.occasion.stream(Purpose::Gumbel);
        let mut noise = vec![0.0; n];
        if self.occasion.noise {
            // Millions of logarithms, while the device waits for them.
            noise.par_chunks_mut(NOISE_CHUNK).enumerate().for_each(|(chunk, part)| {
                let mut stream = stream.after(chunk * NOISE_CHUNK);
                part.fill_with(|| stream.gumbel());
            });
        }
        Ok(Tensor::f32(&shape, noise))
    }

    fn channel_mask(&self, port: &Port) -> Result<Tensor, Error> {
        let channels = constant(self.program, port, 1)?;
        let rows = self.clips.waves.len();
        let prob = self.settings.share("channel_mask_prob")?;
        if !self.occasion.masks || prob == 0.0 {
            return Ok(Tensor::i32(&[rows, channels], vec![0; rows * channels]));
        }
        let length = (self.settings.count("channel_mask_length", 1)? as usize).min(channels.saturating_sub(1).max(1));
        let spans = Spans {
            prob,
            length,
            at_least: 0,
        };
        let drawn = draw_spans(
            &vec![channels; rows],
            spans,
            &mut self.occasion.stream(Purpose::ChannelMask),
        )?;
        Ok(mask(&drawn, channels))
    }

    fn keep(&self, port: &Port) -> Result<Tensor, Error> {
        let layers = constant(self.program, port, 0)?;
        let drop = if self.occasion.noise {
            self.settings.share("layerdrop")? as f32
        } else {
            0.0
        };
        Ok(Tensor::f32(
            &[layers],
            draw_keep(layers, drop, &mut self.occasion.stream(Purpose::LayerDrop)),
        ))
    }
}

/// A fixed size of a port.
pub fn constant(program: &Program, port: &Port, axis: usize) -> Result<usize, Error> {
    let size = port.shape.get(axis).and_then(|d| d.as_const());
    size.map(|s| s as usize).ok_or_else(|| {
        Error::program(
            &program.name,
            format!("axis {axis} of the input `{}` must be fixed", port.name),
        )
    })
}

/// The class axis of the model's logits, where it has any.
fn class_axis(artifact: &Artifact) -> Option<&Dim> {
    let mut ports = artifact.programs.iter().flat_map(|p| &p.outputs);
    ports.find(|p| p.name == "logits")?.shape.last()
}

/// Classes of the model's head, where it has one.
pub fn classes(artifact: &Artifact) -> Option<usize> {
    let classes = class_axis(artifact)?.eval(&artifact.run_env()).ok()?;
    usize::try_from(classes).ok()
}

/// The run size that says how many classes the head has; `None` where that was fixed when compiling.
pub fn class_size(artifact: &Artifact) -> Option<std::sync::Arc<str>> {
    crate::exec::program::symbol(class_axis(artifact)?).filter(|s| artifact.run_size(s).is_some())
}

/// Clips side by side, padded with zeros.
pub fn wave(waves: &[&[f32]]) -> Tensor {
    let longest = waves.iter().map(|w| w.len()).max().unwrap_or(0);
    let mut all = Vec::with_capacity(waves.len() * longest);
    for (row, w) in waves.iter().enumerate() {
        all.extend_from_slice(w);
        all.resize((row + 1) * longest, 0.0);
    }
    Tensor::f32(&[waves.len(), longest], all)
}

/// Positions to flags, [rows, size].
pub fn mask(rows: &[Vec<usize>], size: usize) -> Tensor {
    let mut flags = vec![0; rows.len() * size];
    for (row, hidden) in rows.iter().enumerate() {
        hidden.iter().for_each(|t| flags[row * size + t] = 1);
    }
    Tensor::i32(&[rows.len(), size], flags)
}

/// Positions side by side, padded with -1.
pub fn masked_index(rows: &[Vec<usize>]) -> Tensor {
    let most = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut all = Vec::with_capacity(rows.len() * most);
    for (row, hidden) in rows.iter().enumerate() {
        all.extend(hidden.iter().map(|t| *t as i32));
        all.resize((row + 1) * most, -1);
    }
    Tensor::i32(&[rows.len(), most], all)
}

/// Labels side by side, padded with -100; never of width 0.
fn labels(texts: &[Vec<i32>], rows: usize) -> Tensor {
    let most = texts.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut all = Vec::with_capacity(rows * most);
    for row in 0..rows {
        all.extend_from_slice(texts.get(row).map_or(&[], Vec::as_slice));
        all.resize((row + 1) * most, -100);
    }
    Tensor::i32(&[rows, most], all)
}

/// The setting that an input is named after.
pub fn scalar(program: &Program, port: &Port, settings: &Settings) -> Result<Tensor, Error> {
    let single = port.dtype == DType::F32 && port.shape.iter().all(|d| d.is_one());
    match settings.scalar(&port.name).filter(|_| single) {
        Some(value) => Ok(Tensor::f32(&vec![1; port.shape.len()], vec![value as f32])),
        None => Err(Error::program(
            &program.name,
            format!(
                "its input `{}` is none this program fills and no setting of `{}`",
                port.name,
                settings.command()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use proptest::prelude::*;

    fn occasion(major: u64) -> Occasion {
        Occasion {
            seed: 5,
            major,
            minor: 0,
            masks: true,
            noise: true,
            temperature: 2.0,
        }
    }

    proptest! {
        #[test]
        fn masked_frames_negatives_and_padding_agree(lengths in prop::collection::vec(60usize..900, 1..5), major: u64) {
            let artifact = fake::artifact();
            let geometry = Geometry::new(&artifact).unwrap();
            let settings = Settings::new(&artifact, "pretrain").unwrap();
            let program = artifact.programs.iter().find(|p| p.name == "pretrain").unwrap();
            let waves: Vec<Vec<f32>> = lengths.iter().map(|n| vec![0.5; *n]).collect();
            let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
            let clips = Clips { waves: &waves, labels: &[] };
            let batch = build(program, &geometry, &settings, clips, occasion(major)).unwrap();
            let get = |name: &str| batch.inputs.get(name).unwrap();
            let (mask, index, negatives) = (get("mask"), get("masked_index"), get("negatives"));
            let (rows, frames, most, count) = (lengths.len(), mask.shape[1], index.shape[1], negatives.shape[2]);
            prop_assert_eq!(mask.as_i32().unwrap().iter().sum::<i32>() as usize, batch.masked);
            prop_assert_eq!(&negatives.shape[..2], &[rows, most][..]);
            prop_assert_eq!(&get("gumbel").shape[..2], &[rows, most][..]);
            for row in 0..rows {
                let hidden = &index.as_i32().unwrap()[row * most..][..most];
                for (own, t) in hidden.iter().enumerate() {
                    prop_assert!((*t as usize) < batch.frames[row]);
                    prop_assert_eq!(mask.as_i32().unwrap()[row * frames + *t as usize], 1);
                    for n in &negatives.as_i32().unwrap()[(row * most + own) * count..][..count] {
                        prop_assert!((*n as usize) < hidden.len() && *n as usize != own);
                    }
                }
            }
            let again = build(program, &geometry, &settings, clips, occasion(major)).unwrap();
            prop_assert_eq!(again.inputs, batch.inputs);
        }
    }

    /// Drawn side by side, they are the numbers of one stream drawn one after the other.
    #[test]
    fn noise_and_negatives_are_those_of_one_stream() {
        let artifact = fake::artifact();
        let geometry = Geometry::new(&artifact).unwrap();
        let settings = Settings::new(&artifact, "pretrain").unwrap();
        let program = artifact.programs.iter().find(|p| p.name == "pretrain").unwrap();
        let waves = [vec![0.5f32; 60_000], vec![0.5; 50_000]];
        let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
        let clips = Clips {
            waves: &waves,
            labels: &[],
        };
        let batch = build(program, &geometry, &settings, clips, occasion(3)).unwrap();
        let get = |name: &str| batch.inputs.get(name).unwrap();

        let noise = get("gumbel").as_f32().unwrap();
        assert!(noise.len() > 2 * NOISE_CHUNK, "{}", noise.len());
        let mut stream = occasion(3).stream(Purpose::Gumbel);
        assert!(noise.iter().all(|v| *v == stream.gumbel()));

        let (most, count) = (get("negatives").shape[1], get("negatives").shape[2]);
        let mut stream = occasion(3).stream(Purpose::Negatives);
        for (row, own) in get("negatives").as_i32().unwrap().chunks(most * count).enumerate() {
            let hidden = &get("masked_index").as_i32().unwrap()[row * most..][..most];
            let masked = hidden.iter().filter(|t| **t >= 0).count();
            let drawn = draw_negatives(row, masked, count, &mut stream).unwrap();
            assert_eq!(&own[..drawn.len()], drawn, "row {row}");
        }
    }

    #[test]
    fn an_input_without_a_source_is_named() {
        let mut artifact = fake::artifact();
        let geometry = Geometry::new(&artifact).unwrap();
        let settings = Settings::new(&artifact, "pretrain").unwrap();
        let program = artifact.programs.iter_mut().find(|p| p.name == "pretrain").unwrap();
        let mut port = program.inputs.iter().find(|p| p.name == "temperature").unwrap().clone();
        port.name = "mystery".into();
        program.inputs.push(port);
        let wave = vec![0.1f32; 400];
        let clips = Clips {
            waves: &[&wave],
            labels: &[],
        };
        let error = build(program, &geometry, &settings, clips, occasion(0))
            .unwrap_err()
            .to_string();
        assert!(error.contains("mystery"), "{error}");
    }
}
