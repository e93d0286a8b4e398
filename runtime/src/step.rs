//! One step on given tensors: the window through which losses and gradients are compared with other implementations.

use crate::atomic::{Piece, Values, check_output, write_tensors};
use crate::batch::{Inputs, classes, constant, mask, masked_index, scalar};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::masks::{check_rows, draw_keep};
use crate::memory::Guard;
use crate::random::{Purpose, Stream};
use crate::session::{Data, Session, Tensor};
use crate::settings::Settings;
use crate::weights::{Folder, HeadRows, Missing, TensorFile, adopt_sizes, is_head};
use ir::artifact::{Port, Program};
use std::path::{Path, PathBuf};

/// What a user asks of a step.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub weights: PathBuf,
    pub batch: PathBuf,
    pub out: PathBuf,
    /// `pretrain` or `finetune`; by default the latter where the batch has labels.
    pub program: Option<String>,
    pub no_dropout: bool,
    pub set: Vec<String>,
}

/// Runs forward and backward once and writes the losses (undivided sums), logits and gradients.
pub fn step(session: &mut dyn Session, options: &Options) -> Result<(), Error> {
    let inputs = [options.batch.clone(), options.weights.join(crate::weights::MODEL)];
    check_output(&options.out, &inputs)?;
    let file = TensorFile::open(&options.batch)?;
    let has_labels = file.shape("labels").is_some();
    let name = options
        .program
        .as_deref()
        .unwrap_or(if has_labels { "finetune" } else { "pretrain" });
    let folder = Folder::open(&options.weights)?;
    let artifact = adopt_sizes(session, &folder)?;
    let program = artifact.programs.iter().find(|p| p.name == name).ok_or_else(|| {
        let known = artifact
            .programs
            .iter()
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        Error::Usage(format!("there is no program `{name}`; there are {known}"))
    })?;
    let command = if artifact.recipes.contains_key(name) || name == "pretrain" {
        name
    } else {
        "finetune"
    };
    let mut settings = Settings::new(&artifact, command)?;
    options.set.iter().try_for_each(|s| settings.set(s))?;
    if options.no_dropout {
        settings = settings.without_dropout();
    }
    let missing = if name == "pretrain" {
        Missing::Head
    } else {
        Missing::Quantizer
    };
    // Programs take class 0 for the blank, and a folder may have it anywhere.
    let blank = folder.vocab()?.map_or(0, |v| v.blank());
    let order = Order::new(blank, classes(&artifact).filter(|n| blank < *n).unwrap_or(0));
    folder.load(&artifact, session.params()?, missing, order.head().as_ref())?;

    let given = Given {
        file,
        path: &options.batch,
        program,
        settings: &settings,
        geometry: Geometry::new(&artifact)?,
        classes: classes(&artifact),
        order: &order,
    };
    let inputs = given.inputs()?;
    session.zero_grads()?;
    Guard::default().check(session, name, &inputs.refs(), "give fewer or shorter clips")?;
    let mut outputs = session.run(name, &inputs.refs())?;
    for (_, logits) in outputs.iter_mut().filter(|(name, _)| name == "logits") {
        if let Data::F32(values) = &mut logits.data {
            order.back(values, 1);
        }
    }

    let mut pieces: Vec<(String, Piece)> = outputs
        .iter()
        .map(|(name, t)| {
            let values = match &t.data {
                Data::F32(v) => Values::F32(v),
                Data::I32(v) => Values::I32(v),
            };
            (
                name.clone(),
                Piece {
                    shape: t.shape.clone(),
                    values,
                },
            )
        })
        .collect();
    let grads = session.grads()?;
    let trained = || program.trains.iter().map(|i| &artifact.params[*i]);
    for p in trained().filter(|p| is_head(&p.name)) {
        let width = p.shape[1..].iter().product::<i64>() as usize;
        order.back(&mut grads[p.offset..p.offset + p.len()], width);
    }
    for p in trained() {
        let shape = p.shape.iter().map(|d| *d as usize).collect();
        let values = Values::F32(&grads[p.offset..p.offset + p.len()]);
        pieces.push((format!("grad.{}", p.name), Piece { shape, values }));
    }
    write_tensors(&options.out, pieces)
}

/// Classes as programs have them, the blank first, and as the folder numbers them.
struct Order {
    /// The folder's number of each class; empty where they agree.
    numbers: Vec<usize>,
}

impl Order {
    fn new(blank: usize, classes: usize) -> Order {
        let numbers = match blank {
            0 => vec![],
            _ => std::iter::once(blank)
                .chain((0..classes).filter(|c| *c != blank))
                .collect(),
        };
        Order { numbers }
    }

    fn head(&self) -> Option<HeadRows> {
        (!self.numbers.is_empty()).then(|| HeadRows::reordered(&self.numbers, self.numbers.len()))
    }

    /// The class of a number of the folder.
    fn class(&self, number: i32) -> i32 {
        let class = self.numbers.iter().position(|n| *n as i32 == number);
        class.map_or(number, |c| c as i32)
    }

    /// Rows of `width` values each, one for every class, put in the folder's order; as often as they come.
    fn back(&self, values: &mut [f32], width: usize) {
        for rows in values.chunks_exact_mut((self.numbers.len() * width).max(1)) {
            let of_program = rows.to_vec();
            for (class, number) in self.numbers.iter().enumerate() {
                rows[number * width..][..width].copy_from_slice(&of_program[class * width..][..width]);
            }
        }
    }
}

/// The batch file and what completes it.
struct Given<'a> {
    file: TensorFile,
    path: &'a Path,
    program: &'a Program,
    settings: &'a Settings,
    geometry: Geometry,
    classes: Option<usize>,
    order: &'a Order,
}

impl Given<'_> {
    fn wrong(&self, what: impl Into<String>) -> Error {
        let names = self
            .program
            .inputs
            .iter()
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        Error::weights(self.path, what, format!("`{}` takes {names}", self.program.name))
    }

    /// An integer tensor of two or three axes, or `None` where the file lacks it.
    fn ints(&self, name: &str, rank: usize) -> Result<Option<Tensor>, Error> {
        let Some(values) = self.file.integers(name)? else {
            return Ok(None);
        };
        let shape = self.file.shape(name).unwrap_or_default();
        if shape.len() != rank {
            return Err(self.wrong(format!("`{name}` has the shape {shape:?} and needs {rank} axes")));
        }
        Ok(Some(Tensor::i32(shape, values)))
    }

    fn floats(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let Some(values) = self.file.floats(name)? else {
            return Ok(None);
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.wrong(format!("element {at} of `{name}` is {}", values[at])));
        }
        Ok(Some(Tensor::f32(self.file.shape(name).unwrap_or_default(), values)))
    }

    fn inputs(&self) -> Result<Inputs, Error> {
        let wave = self.floats("wave")?.ok_or_else(|| self.wrong("it has no `wave`"))?;
        let &[rows, samples] = wave.shape.as_slice() else {
            return Err(self.wrong(format!(
                "`wave` has the shape {:?} and needs [clips, samples]",
                wave.shape
            )));
        };
        let lengths = match self.ints("lengths", 1)? {
            Some(own) => own,
            None => Tensor::i32(&[rows], vec![samples as i32; rows]),
        };
        let list = lengths.as_i32().unwrap_or_default();
        if list.len() != rows || list.iter().any(|n| *n < 1 || *n as usize > samples) {
            return Err(self.wrong(format!(
                "`lengths` must be {rows} numbers from 1 to {samples}, not {list:?}"
            )));
        }
        let frames: Vec<usize> = list.iter().map(|n| self.geometry.frames(*n as usize)).collect();
        if let Some(b) = frames.iter().position(|n| *n == 0) {
            return Err(self.wrong(format!("clip {b} has {} samples, too few for a frame", list[b])));
        }
        let hidden = self.hidden(rows, self.geometry.frames(samples), &frames)?;
        let fill = |port: &Port| {
            self.input(port, &wave, &lengths, &hidden)
                .map(|t| (port.name.clone(), t))
        };
        self.program
            .inputs
            .iter()
            .map(fill)
            .collect::<Result<_, _>>()
            .map(Inputs)
    }

    /// Hidden frames of each clip by the file's `mask`; none without one.
    fn hidden(&self, rows: usize, longest: usize, frames: &[usize]) -> Result<Vec<Vec<usize>>, Error> {
        let Some(mask) = self.ints("mask", 2)? else {
            if self.program.inputs.iter().any(|p| p.name == "negatives") {
                return Err(self.wrong("it has no `mask`"));
            }
            return Ok(vec![vec![]; rows]);
        };
        if mask.shape != [rows, longest] {
            return Err(self.wrong(format!(
                "`mask` has the shape {:?} and needs {:?}",
                mask.shape,
                [rows, longest]
            )));
        }
        let flags = mask.as_i32().unwrap_or_default();
        let row = |b: usize| (0..longest).filter(|t| flags[b * longest + t] != 0).collect::<Vec<_>>();
        let hidden: Vec<Vec<usize>> = (0..rows).map(row).collect();
        if let Some(b) = (0..rows).find(|b| hidden[*b].last().is_some_and(|t| *t >= frames[*b])) {
            return Err(self.wrong(format!(
                "`mask` hides frames of clip {b} beyond its {} frames",
                frames[b]
            )));
        }
        check_rows(&hidden, frames)?;
        let contrasts = self.program.inputs.iter().any(|p| p.name == "negatives");
        if let Some(b) = hidden.iter().position(|h| contrasts && h.is_empty()) {
            return Err(self.wrong(format!("`mask` hides no frame of clip {b}")));
        }
        Ok(hidden)
    }

    fn labels(&self, rows: usize) -> Result<Tensor, Error> {
        let own = self
            .ints("labels", 2)?
            .ok_or_else(|| self.wrong("it has no `labels`"))?;
        if own.shape[0] != rows {
            return Err(self.wrong(format!("`labels` has {} rows for {rows} clips", own.shape[0])));
        }
        let values = own.as_i32().unwrap_or_default();
        for (b, row) in values.chunks(own.shape[1].max(1)).enumerate() {
            let used = row.iter().position(|l| *l < 0).unwrap_or(row.len());
            if let Some(after) = row[used..].iter().find(|l| **l >= 0) {
                let what = format!("`labels` of clip {b} has {after} after padding, which may only come last");
                return Err(self.wrong(what));
            }
            let beyond = |l: &&i32| self.classes.is_some_and(|n| **l as usize >= n);
            if let Some(bad) = row[..used].iter().find(beyond) {
                let classes = self.classes.unwrap_or_default();
                return Err(self.wrong(format!(
                    "`labels` of clip {b} has {bad}, and the model has {classes} classes"
                )));
            }
        }
        let classes = values.iter().map(|l| self.order.class(*l)).collect();
        Ok(Tensor::i32(&own.shape, classes))
    }

    fn input(&self, port: &Port, wave: &Tensor, lengths: &Tensor, hidden: &[Vec<usize>]) -> Result<Tensor, Error> {
        let rows = wave.shape[0];
        let most = hidden.iter().map(Vec::len).max().unwrap_or(0);
        let fixed = |axis| constant(self.program, port, axis);
        let seed = self.settings.count("seed", 0)?;
        Ok(match port.name.as_str() {
            "wave" => wave.clone(),
            "lengths" => lengths.clone(),
            "mask" => mask(hidden, self.geometry.frames(wave.shape[1])),
            "masked_index" => masked_index(hidden),
            "negatives" => self.negatives(port, hidden, most)?,
            "gumbel" => {
                let shape = [rows, most, fixed(2)?, fixed(3)?];
                match self.floats("gumbel")? {
                    Some(own) if own.shape == shape => own,
                    Some(own) => {
                        let what = format!("`gumbel` has the shape {:?} and needs {shape:?}", own.shape);
                        return Err(self.wrong(what));
                    }
                    None => Tensor::f32(&shape, vec![0.0; shape.iter().product()]),
                }
            }
            "temperature" => {
                let own = self.floats("temperature")?.and_then(|t| t.as_f32()?.first().copied());
                let start = self.settings.scalar("temperature_start").unwrap_or(1.0) as f32;
                let temperature = own.unwrap_or(start);
                if temperature <= 0.0 {
                    return Err(self.wrong(format!("`temperature` is {temperature} and must be above 0")));
                }
                Tensor::f32(&[1], vec![temperature])
            }
            "labels" => self.labels(rows)?,
            "channel_mask" => {
                let shape = [rows, fixed(1)?];
                match self.ints("channel_mask", 2)? {
                    Some(own) if own.shape == shape => own,
                    Some(own) => {
                        let what = format!("`channel_mask` has the shape {:?} and needs {shape:?}", own.shape);
                        return Err(self.wrong(what));
                    }
                    None => Tensor::i32(&shape, vec![0; rows * shape[1]]),
                }
            }
            "keep" => {
                let drop = self.settings.scalar("layerdrop").unwrap_or(0.0) as f32;
                let layers = fixed(0)?;
                Tensor::f32(
                    &[layers],
                    draw_keep(layers, drop, &mut Stream::new(seed, Purpose::LayerDrop, 0, 0)),
                )
            }
            "seed" => Tensor::i32(&[2], Stream::new(seed, Purpose::Dropout, 0, 0).keys().to_vec()),
            _ => scalar(self.program, port, self.settings)?,
        })
    }

    fn negatives(&self, port: &Port, hidden: &[Vec<usize>], most: usize) -> Result<Tensor, Error> {
        let own = self
            .ints("negatives", 3)?
            .ok_or_else(|| self.wrong("it has no `negatives`"))?;
        let (rows, count) = (hidden.len(), own.shape[2]);
        if own.shape[..2] != [rows, most] {
            let what = format!(
                "`negatives` has the shape {:?} and needs [{rows}, {most}, K]",
                own.shape
            );
            return Err(self.wrong(what));
        }
        if let Some(fixed) = port
            .shape
            .get(2)
            .and_then(|d| d.as_const())
            .filter(|k| *k as usize != count)
        {
            return Err(self.wrong(format!("`negatives` has {count} per frame and the model takes {fixed}")));
        }
        let values = own.as_i32().unwrap_or_default();
        // What lies beyond a clip's hidden frames is padding, whatever the file has there.
        let mut clean = vec![-1; values.len()];
        for (b, row) in hidden.iter().enumerate() {
            let used = &values[b * most * count..][..row.len() * count];
            if let Some(bad) = used.iter().find(|n| **n < 0 || **n as usize >= row.len()) {
                let what = format!(
                    "`negatives` of clip {b} has {bad}, and it has {} hidden frames",
                    row.len()
                );
                return Err(self.wrong(what));
            }
            clean[b * most * count..][..used.len()].copy_from_slice(used);
        }
        Ok(Tensor::i32(&own.shape, clean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeSession;

    fn stepped(dir: &Path, name: &str, pieces: Vec<(&str, Piece)>) -> Result<(), String> {
        let batch = dir.join("batch.safetensors");
        let wave: Vec<f32> = (0..120).map(|i| (i as f32).sin()).collect();
        let values = Values::F32(&wave);
        let mut all = vec![(
            "wave".to_string(),
            Piece {
                shape: vec![2, 60],
                values,
            },
        )];
        all.extend(pieces.into_iter().map(|(n, p)| (n.to_string(), p)));
        write_tensors(&batch, all).unwrap();
        let options = Options {
            weights: dir.into(),
            batch,
            out: dir.join("out"),
            program: Some(name.into()),
            ..Options::default()
        };
        step(&mut FakeSession::default(), &options).map_err(|e| e.to_string())
    }

    /// Weights with every parameter but those that start with `without`.
    fn weights(dir: &Path, without: &str) {
        let zeros = vec![0f32; 64];
        let artifact = crate::fake::artifact();
        let kept = artifact.params.iter().filter(|p| !p.name.starts_with(without));
        let piece = |p: &ir::artifact::Param| Piece {
            shape: p.shape.iter().map(|d| *d as usize).collect(),
            values: Values::F32(&zeros[..p.len()]),
        };
        let pieces = kept.map(|p| (p.name.clone(), piece(p))).collect();
        write_tensors(&dir.join(crate::weights::MODEL), pieces).unwrap();
    }

    #[test]
    fn classes_are_numbered_as_in_the_folder() {
        let order = Order::new(2, 4);
        assert_eq!((0..4).map(|n| order.class(n)).collect::<Vec<_>>(), [1, 2, 0, 3]);
        assert_eq!(order.class(-100), -100);
        let mut logits = [9.0, 0.0, 1.0, 3.0, 19.0, 10.0, 11.0, 13.0];
        order.back(&mut logits, 1);
        assert_eq!(logits, [0.0, 1.0, 9.0, 3.0, 10.0, 11.0, 19.0, 13.0]);
        let mut rows = [9.0, 9.5, 0.0, 0.5, 1.0, 1.5, 3.0, 3.5];
        order.back(&mut rows, 2);
        assert_eq!(rows, [0.0, 0.5, 1.0, 1.5, 9.0, 9.5, 3.0, 3.5]);
        assert!(Order::new(0, 4).head().is_none());
    }

    #[test]
    fn labels_beyond_the_head_and_padding_between_them_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        weights(tmp.path(), "quantizer");
        let with = |labels: &[i32; 6]| {
            let values = Values::I32(labels);
            let shape = vec![2, 3];
            stepped(tmp.path(), "finetune", vec![("labels", Piece { shape, values })])
        };
        with(&[5, 31, -100, 7, -100, -100]).unwrap();
        let error = with(&[5, 32, -100, 7, 7, 7]).unwrap_err();
        assert!(
            error.contains("clip 0 has 32") && error.contains("32 classes"),
            "{error}"
        );
        let error = with(&[5, 6, 7, 7, -100, 7]).unwrap_err();
        assert!(error.contains("clip 1") && error.contains("padding"), "{error}");
    }

    #[test]
    fn a_temperature_or_mask_that_gives_no_number_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        weights(tmp.path(), "lm_head");
        let with = |temperature: f32, mask: &[i32; 10]| {
            let temperature = [temperature];
            let own = |shape: &[usize], values| Piece {
                shape: shape.to_vec(),
                values,
            };
            let pieces = vec![
                ("mask", own(&[2, 5], Values::I32(mask))),
                ("negatives", own(&[2, 2, 5], Values::I32(&[0; 20]))),
                ("temperature", own(&[1], Values::F32(&temperature))),
            ];
            stepped(tmp.path(), "pretrain", pieces)
        };
        let mask = [1, 1, 0, 0, 0, 0, 1, 1, 0, 0];
        with(0.5, &mask).unwrap();
        assert!(with(0.0, &mask).unwrap_err().contains("above 0"));
        assert!(with(f32::NAN, &mask).unwrap_err().contains("NaN"));
        let error = with(0.5, &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert!(error.contains("hides no frame of clip 1"), "{error}");
    }
}
