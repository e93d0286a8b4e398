//! Hidden states of the transformer's layers, for those who use the model as a front end.
//!
//! The program `features` takes `keep` f32 [layers] and skips layers where that is 0. Layer n is thus a run with the first n
//! layers kept: 0 is the input of the first layer, and the last is what the head would get, as in `hidden_states` of
//! transformers.

use crate::audio::{Reader, normalize};
use crate::batch::{constant, scalar, wave};
use crate::data::Utterance;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::memory::Guard;
use crate::session::{Session, Tensor};
use crate::settings::Settings;
use crate::weights::{Folder, Missing, adopt_sizes};
use ir::artifact::Program;
use std::path::Path;

const PROGRAM: &str = "features";

/// A model with weights, whose layers are read.
pub struct Features<'a> {
    session: &'a mut dyn Session,
    program: Program,
    geometry: Geometry,
    settings: Settings,
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

impl<'a> Features<'a> {
    /// Loads weights; the head and what only pretraining needs may be absent from them.
    ///
    /// # Errors
    /// A layer beyond the last; a model that was compiled without the program; what loading weights refuses.
    pub fn new(
        session: &'a mut dyn Session,
        weights: &Path,
        set: &[String],
        wanted: &[usize],
    ) -> Result<Features<'a>, Error> {
        let folder = Folder::open(weights)?;
        let artifact = adopt_sizes(session, &folder)?;
        let without = "this model was compiled without it; compile it again from a model file that extends base.ron";
        let program = artifact.programs.iter().find(|p| p.name == PROGRAM).cloned();
        let program = program.ok_or_else(|| Error::program(PROGRAM, without))?;
        let port = program.inputs.iter().find(|p| p.name == "keep");
        let port = port.ok_or_else(|| Error::program(PROGRAM, "it has no input `keep`"))?;
        let layers = constant(&program, port, 0)?;
        if let Some(beyond) = wanted.iter().find(|l| **l > layers) {
            return Err(Error::Usage(format!(
                "--layer {beyond}: this model has the layers 1 to {layers}; 0 is the input of the first"
            )));
        }
        let mut settings = Settings::new(&artifact, "transcribe")?;
        if let Some(own) = folder.normalize()? {
            settings.force("normalize", own as u8 as f64);
        }
        set.iter().try_for_each(|s| settings.set(s))?;
        folder.load(&artifact, session.params()?, Missing::HeadAndQuantizer, None)?;
        Ok(Features {
            geometry: Geometry::new(&artifact)?,
            normalize: settings.flag("normalize")?,
            settings,
            program,
            session,
            guard: Guard::default(),
            reader: Reader::default(),
            wanted: wanted.to_vec(),
            layers,
        })
    }

    /// The wanted layers of a recording, in the order in which they were named. A recording shorter than one frame has none.
    pub fn of(&mut self, utterance: &Utterance) -> Result<Vec<State>, Error> {
        let mut samples = self.reader.part(&utterance.path, utterance.segment)?;
        if self.geometry.frames(samples.len()) == 0 {
            return Ok(vec![]);
        }
        if self.normalize {
            normalize(&mut samples);
        }
        (0..self.wanted.len())
            .map(|i| self.layer(self.wanted[i], &samples))
            .collect()
    }

    fn layer(&mut self, layer: usize, samples: &[f32]) -> Result<State, Error> {
        let keep = (0..self.layers).map(|i| (i < layer) as u8 as f32).collect();
        let inputs: Vec<(String, Tensor)> = self
            .program
            .inputs
            .iter()
            .map(|port| {
                let tensor = match port.name.as_str() {
                    "wave" => wave(&[samples]),
                    "lengths" => Tensor::i32(&[1], vec![samples.len() as i32]),
                    "keep" => Tensor::f32(&[self.layers], Vec::clone(&keep)),
                    _ => scalar(&self.program, port, &self.settings)?,
                };
                Ok((port.name.clone(), tensor))
            })
            .collect::<Result<_, Error>>()?;
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
        self.guard
            .check(self.session, PROGRAM, &inputs, "cut the recording into shorter ones")?;
        let outputs = self.session.run(PROGRAM, &inputs)?;
        let hidden = outputs.into_iter().find(|(n, _)| n == "hidden").map(|(_, t)| t);
        match hidden
            .as_ref()
            .and_then(|t| Some((t.as_f32()?, t.shape.get(1)?, t.shape.get(2)?)))
        {
            // What is not finite is no result.
            Some((values, _, _)) if values.iter().any(|v| !v.is_finite()) => Err(Error::program(
                PROGRAM,
                format!("layer {layer} gave values that are not finite"),
            )),
            Some((values, frames, width)) => Ok(State {
                layer,
                frames: *frames,
                width: *width,
                values: values.to_vec(),
            }),
            None => Err(Error::program(PROGRAM, "it has no output `hidden` [B, T, width]")),
        }
    }
}
