//! Hidden states of the transformer's layers.
//!
//! The program of the task takes an input f32 [layers] and skips layers where that is 0. Layer n is thus a run with the
//! first n layers kept: 0 is the input of the first layer, and the last is what the head would get, as in
//! `hidden_states` of transformers.

use crate::audio::{Reader, normalize};
use crate::data::Utterance;
use crate::error::Error;
use crate::feeds::{Clips, Feeds, Occasion};
use crate::memory::Guard;
use crate::session::{Session, Tensor};
use crate::trainer::predict::open;
use ir::artifact::Program;
use ir::task::Gives;
use std::path::Path;

/// A model with weights, whose layers are read.
pub struct Features<'a> {
    session: &'a mut dyn Session,
    program: Program,
    feeds: Feeds,
    /// The output that is read, and the input that says how many layers are run.
    states: String,
    keep: String,
    normalize: bool,
    guard: Guard,
    reader: Reader,
    wanted: Vec<usize>,
    layers: usize,
}

/// What one layer gives for a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub layer: usize,
    /// Of 20 ms.
    pub frames: usize,
    pub width: usize,
    /// [frames, width]
    pub values: Vec<f32>,
}

/// How many layers the input chooses from.
fn layers_of(program: &Program, keep: &str) -> Result<usize, Error> {
    let port = program.inputs.iter().find(|p| p.name == keep);
    let layers = port.and_then(|p| p.shape.first()?.as_const());
    let wrong = || Error::program(&program.name, format!("it has no input `{keep}` of a fixed size"));
    layers.map(|n| n as usize).ok_or_else(wrong)
}

/// Fails where a layer beyond the last is wanted.
fn beyond(wanted: &[usize], layers: usize) -> Result<(), Error> {
    match wanted.iter().find(|l| **l > layers) {
        Some(layer) => Err(Error::Usage(format!(
            "--layer {layer}: this model has the layers 1 to {layers}; 0 is the input of the first"
        ))),
        None => Ok(()),
    }
}

impl<'a> Features<'a> {
    /// Loads weights; those that the program does not read may be absent.
    ///
    /// # Errors
    /// A layer beyond the last; a task that gives no hidden states; what loading weights refuses.
    pub fn new(
        session: &'a mut dyn Session,
        task: &str,
        weights: &Path,
        set: &[String],
        wanted: &[usize],
    ) -> Result<Features<'a>, Error> {
        let opened = open(session, (task, weights, set), |program, gives| match gives {
            Gives::States { states, keep } => {
                let layers = layers_of(program, keep)?;
                beyond(wanted, layers)?;
                Ok(Some((states.clone(), keep.clone(), layers)))
            }
            _ => Ok(None),
        })?;
        let (states, keep, layers) = opened.own;
        Ok(Features {
            feeds: opened.feeds,
            states,
            keep,
            normalize: opened.normalize,
            program: opened.program,
            session,
            guard: Guard::default(),
            reader: Reader::default(),
            wanted: wanted.to_vec(),
            layers,
        })
    }

    /// The wanted layers of a recording, in the order in which they were named. A recording shorter than one frame has none.
    pub fn of(&mut self, utterance: &Utterance) -> Result<Vec<State>, Error> {
        let samples = self.reader.part(&utterance.path, utterance.segment)?;
        let wanted = self.wanted.clone();
        self.of_samples(samples, &wanted)
    }

    /// The same of mono samples at 16 kHz, for layers that are named now.
    pub fn of_samples(&mut self, mut samples: Vec<f32>, wanted: &[usize]) -> Result<Vec<State>, Error> {
        beyond(wanted, self.layers)?;
        if self.feeds.geometry().frames(samples.len()) == 0 {
            return Ok(vec![]);
        }
        if self.normalize {
            normalize(&mut samples);
        }
        wanted.iter().map(|layer| self.layer(*layer, &samples)).collect()
    }

    fn layer(&mut self, layer: usize, samples: &[f32]) -> Result<State, Error> {
        let keep: Vec<f32> = (0..self.layers).map(|i| (i < layer) as u8 as f32).collect();
        let waves = [samples];
        let clips = Clips {
            waves: &waves,
            labels: &[],
        };
        let mut batch = self.feeds.draw(&self.program, clips, &Occasion::STILL)?;
        for (name, tensor) in &mut batch.inputs.0 {
            if *name == self.keep {
                *tensor = Tensor::f32(&[self.layers], keep.clone());
            }
        }
        let (program, inputs) = (self.program.name.as_str(), batch.inputs.refs());
        self.guard
            .check(self.session, program, &inputs, "cut the recording into shorter ones")?;
        let outputs = self.session.run(program, &inputs)?;
        let hidden = outputs.into_iter().find(|(n, _)| *n == self.states).map(|(_, t)| t);
        match hidden
            .as_ref()
            .and_then(|t| Some((t.as_f32()?, t.shape.get(1)?, t.shape.get(2)?)))
        {
            // What is not finite is no result.
            Some((values, _, _)) if values.iter().any(|v| !v.is_finite()) => Err(Error::program(
                program,
                format!("layer {layer} gave values that are not finite"),
            )),
            Some((values, frames, width)) => Ok(State {
                layer,
                frames: *frames,
                width: *width,
                values: values.to_vec(),
            }),
            None => {
                let what = format!("it has no output `{}` [clips, frames, width]", self.states);
                Err(Error::program(program, what))
            }
        }
    }
}
