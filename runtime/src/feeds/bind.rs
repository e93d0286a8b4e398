//! Binds a task's feeds to the inputs of its programs.

use super::batch::{Batch, Clips, Inputs, Layout, Occasion};
use super::{Feed, File, Fill, Label, RECORDINGS, bound, lengths, wave};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::random::Stream;
use crate::session::Tensor;
use crate::settings::Settings;
use crate::vocab::Vocab;
use ir::artifact::{Artifact, Port, Program};
use ir::dim::Dim;
use ir::scalar::DType;
use ir::task::{Amount, Arg, Range, Task};
use std::collections::BTreeMap;

/// What labels are told apart by, where that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    /// With the blank as class 0.
    pub vocab: Option<&'a Vocab>,
    /// Labels of clips, by class.
    pub names: Option<&'a [String]>,
}

/// Arguments of a feed, in the order of its signature.
pub struct Args<'a> {
    input: &'a str,
    feed: &'a ir::task::Feed,
    task: &'a Task,
    artifact: &'a Artifact,
    settings: &'a Settings,
    pub target: Target<'a>,
}

impl Args<'_> {
    pub fn kind(&self) -> &str {
        &self.feed.kind
    }

    /// The input that is filled.
    pub fn input(&self) -> &str {
        self.input
    }

    pub fn wrong(&self, what: impl std::fmt::Display) -> Error {
        let (input, task) = (self.input, &self.task.name);
        Error::Setting(format!("of the input `{input}` of `{task}`: {what}"))
    }

    fn arg(&self, at: usize) -> Result<&Arg, Error> {
        let missing = || self.wrong(format!("`{}` lacks its argument {at}", self.feed.kind));
        self.feed.args.get(at).ok_or_else(missing)
    }

    /// A number.
    pub fn number(&self, at: usize) -> Result<f64, Error> {
        match self.arg(at)? {
            Arg::Amount(amount) => self.settings.amount(amount),
            _ => Err(self.wrong(format!("argument {at} of `{}` is no number", self.feed.kind))),
        }
    }

    /// A number in [0, 1].
    pub fn share(&self, at: usize) -> Result<f64, Error> {
        let value = self.number(at)?;
        match (0.0..=1.0).contains(&value) {
            true => Ok(value),
            false => Err(self.wrong(format!("{} must be 0 to 1, not {value}", self.word(at)))),
        }
    }

    /// A whole number of at least `least`.
    pub fn count(&self, at: usize, least: usize) -> Result<usize, Error> {
        let value = self.number(at)?;
        match value.fract() == 0.0 && value >= least as f64 && value < 9e15 {
            true => Ok(value as usize),
            false => Err(self.wrong(format!(
                "{} must be a whole number of at least {least}, not {value}",
                self.word(at)
            ))),
        }
    }

    fn word(&self, at: usize) -> String {
        match self.feed.args.get(at) {
            Some(Arg::Amount(Amount::Setting(name))) => format!("`{name}`"),
            _ => format!("argument {at}"),
        }
    }

    /// Another input.
    pub fn other(&self, at: usize) -> Result<String, Error> {
        match self.arg(at)? {
            Arg::Input(name) => Ok(name.clone()),
            _ => Err(self.wrong(format!("argument {at} of `{}` is no input", self.feed.kind))),
        }
    }

    /// A size, with run sizes as chosen.
    pub fn size(&self, at: usize) -> Result<Dim, Error> {
        match self.arg(at)? {
            Arg::Size(dim) => Ok(dim.clone()),
            _ => Err(self.wrong(format!("argument {at} of `{}` is no size", self.feed.kind))),
        }
    }

    /// A size that does not depend on the batch.
    pub fn fixed_size(&self, at: usize) -> Result<usize, Error> {
        let size = self.size(at)?;
        let value = size.eval(&self.artifact.run_env()).ok();
        let value = value.and_then(|v| usize::try_from(v).ok());
        value.ok_or_else(|| self.wrong(format!("{size} depends on the batch")))
    }

    /// Samples from one frame to the next.
    pub fn hop(&self) -> Result<usize, Error> {
        Ok(Geometry::new(self.artifact, self.task)?.hop())
    }

    /// Classes that the task's predictions tell apart.
    pub fn classes(&self) -> Option<usize> {
        self.artifact.classes(self.task)
    }
}

/// A feed and the input that it fills.
struct Bound {
    input: String,
    kind: &'static str,
    /// The input whose marks it is made of.
    of: Option<String>,
    fill: Box<dyn Fill>,
}

impl Bound {
    fn new(args: &Args) -> Result<Bound, Error> {
        let (kind, fill) = bound(args)?;
        let of = args.feed.args.iter().find_map(|a| match a {
            Arg::Input(name) => Some(name.clone()),
            _ => None,
        });
        Ok(Bound {
            input: args.input.into(),
            kind,
            of,
            fill,
        })
    }
}

/// What fills the inputs of a task's programs.
pub struct Feeds {
    task: String,
    list: Vec<Bound>,
    /// Values of the settings that inputs are named after, and whether they are rates of dropout.
    scalars: BTreeMap<String, (f32, bool)>,
    geometry: Geometry,
}

impl Feeds {
    /// # Errors
    /// Where a setting has a value that the inputs of the programs cannot have.
    pub fn bind(artifact: &Artifact, task: &Task, settings: &Settings, target: Target) -> Result<Feeds, Error> {
        let mut list = vec![];
        for (input, feed) in &task.feeds {
            let args = Args {
                input,
                feed,
                task,
                artifact,
                settings,
                target,
            };
            list.push(Bound::new(&args)?);
        }
        let feeds = Feeds {
            task: task.name.clone(),
            list,
            scalars: settings
                .list()
                .iter()
                .filter_map(|s| {
                    let dropout = matches!(s.range, Range::Below(low, 1.0) if low == 0.0);
                    Some((s.name.clone(), (settings.scalar(&s.name)? as f32, dropout)))
                })
                .collect(),
            geometry: Geometry::new(artifact, task)?,
        };
        for port in task
            .programs()
            .filter_map(|name| artifact.program(name))
            .flat_map(|p| &p.inputs)
        {
            if let Some(feed) = feeds.find(&port.name) {
                feed.check(port)?;
            }
        }
        Ok(feeds)
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[cfg(test)]
    pub fn padding(&self, input: &str) -> super::Padding {
        self.find(input).map_or(super::Padding::None, Fill::padding)
    }

    fn find(&self, input: &str) -> Option<&dyn Fill> {
        self.list.iter().find(|b| b.input == input).map(|b| &*b.fill)
    }

    /// The feed that says what is to be learnt, where there is one.
    pub fn label(&self) -> Option<&dyn Label> {
        self.list.iter().find_map(|b| b.fill.labels())
    }

    /// The input that it fills.
    pub fn label_input(&self) -> Option<&str> {
        self.list
            .iter()
            .find(|b| b.fill.labels().is_some())
            .map(|b| b.input.as_str())
    }

    /// Labels for made-up clips; none where the task has no use for any.
    pub fn made_up_labels<W: AsRef<[f32]>>(&self, waves: &[W], stream: &mut Stream) -> Vec<Vec<i32>> {
        let Some(label) = self.label() else { return vec![] };
        let frames = waves.iter().map(|w| self.geometry.frames(w.as_ref().len()));
        frames.map(|n| label.made_up(n, stream)).collect()
    }

    /// Numbers of the log after so many updates.
    pub fn logged(&self, update: u64) -> Vec<(String, f64)> {
        let one = |b: &Bound| Some((b.input.clone(), b.fill.logged(update)?));
        self.list.iter().filter_map(one).collect()
    }

    /// Whether the program needs what an input marks, and whether another input of it is made of that.
    fn needs_marks(&self, program: &Program, input: &str) -> (bool, bool) {
        let takes = |name: &str| program.inputs.iter().any(|p| p.name == name);
        let made_of_it = self
            .list
            .iter()
            .any(|b| b.of.as_deref() == Some(input) && takes(&b.input));
        (takes(input) || made_of_it, made_of_it)
    }

    /// Draws what is random and lays out every input that the program names.
    ///
    /// # Errors
    /// Where clips are too short for what is drawn.
    pub fn draw(&self, program: &Program, clips: Clips, occasion: &Occasion) -> Result<Batch, Error> {
        let samples: Vec<usize> = clips.waves.iter().map(|w| w.len()).collect();
        let mut layout = self.layout(clips, samples);
        for Bound { input, fill, .. } in &self.list {
            let Some(mark) = fill.marks() else { continue };
            let marks = match self.needs_marks(program, input).0 && occasion.masks {
                true => mark.draw(&layout, occasion)?,
                false => vec![vec![]; layout.rows()],
            };
            layout.marks.insert(input.clone(), marks);
        }
        self.fill(
            program,
            layout,
            |feed, port, layout| feed.draw(port, layout, occasion),
            occasion,
        )
    }

    /// Takes every input that the program names from a file of tensors; what the file may lack is made up.
    ///
    /// # Errors
    /// Where the file lacks what it must have, or has what does not fit.
    pub fn read(&self, program: &Program, file: &File, occasion: &Occasion) -> Result<Inputs, Error> {
        let named = |kind: &str| self.list.iter().find(|b| b.kind == kind).map(|b| b.input.as_str());
        let (wave, lengths) = (named(RECORDINGS), named(lengths::Lengths::SIGNATURE.name));
        let wave = wave.ok_or_else(|| file.wrong(format!("`{}` takes no recordings", self.task)))?;
        let (samples, longest) = wave::lengths_of(wave, lengths, file)?;
        let mut layout = self.layout(Clips::default(), samples);
        (layout.longest, layout.most_frames) = (longest, self.geometry.frames(longest));
        if let Some(b) = layout.frames.iter().position(|n| *n == 0) {
            let n = layout.samples[b];
            return Err(file.wrong(format!("clip {b} has {n} samples, too few for a frame")));
        }
        for Bound { input, fill, .. } in &self.list {
            let Some(mark) = fill.marks() else { continue };
            let used = self.needs_marks(program, input).1;
            let marks = mark.given(input, &layout, file, used)?;
            layout.marks.insert(input.clone(), marks);
        }
        self.fill(
            program,
            layout,
            |feed, port, layout| feed.given(port, layout, file),
            occasion,
        )
        .map(|b| b.inputs)
    }

    fn layout<'a>(&self, clips: Clips<'a>, samples: Vec<usize>) -> Layout<'a> {
        let frames: Vec<usize> = samples.iter().map(|n| self.geometry.frames(*n)).collect();
        let longest = samples.iter().max().copied().unwrap_or(0);
        Layout {
            clips,
            longest,
            most_frames: self.geometry.frames(longest),
            samples,
            frames,
            marks: BTreeMap::new(),
        }
    }

    fn fill(
        &self,
        program: &Program,
        layout: Layout,
        fill: impl Fn(&dyn Fill, &Port, &Layout) -> Result<Tensor, Error>,
        occasion: &Occasion,
    ) -> Result<Batch, Error> {
        let one = |port: &Port| -> Result<(String, Tensor), Error> {
            let tensor = match self.find(&port.name) {
                Some(feed) => fill(feed, port, &layout)?,
                None => self.scalar(program, port, occasion)?,
            };
            Ok((port.name.clone(), tensor))
        };
        let inputs = Inputs(program.inputs.iter().map(one).collect::<Result<_, _>>()?);
        Ok(Batch {
            inputs,
            frames: layout.frames,
        })
    }

    /// The setting that an input is named after.
    fn scalar(&self, program: &Program, port: &Port, occasion: &Occasion) -> Result<Tensor, Error> {
        let single = port.dtype == DType::F32 && port.shape.iter().all(|d| d.is_one());
        match self.scalars.get(&port.name).filter(|_| single) {
            Some((_, true)) if !occasion.noise => Ok(Tensor::f32(&vec![1; port.shape.len()], vec![0.0])),
            Some((value, _)) => Ok(Tensor::f32(&vec![1; port.shape.len()], vec![*value])),
            None => {
                let (name, task) = (&port.name, &self.task);
                let what = format!("its input `{name}` has no feed, and `{task}` has no setting of that name");
                Err(Error::program(&program.name, what))
            }
        }
    }
}

/// A fixed size of a port.
pub(super) fn constant(port: &Port, axis: usize) -> Result<usize, Error> {
    let size = port.shape.get(axis).and_then(|d| d.as_const());
    let wrong = || {
        Error::Setting(format!(
            "axis {axis} of the input `{}` must be fixed when compiling",
            port.name
        ))
    };
    size.map(|s| s as usize).ok_or_else(wrong)
}
