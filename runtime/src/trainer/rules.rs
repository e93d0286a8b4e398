//! Which clips a training uses, and how.

use super::LEAST_FRAMES;
use crate::data::{Limits, Utterance};
use crate::error::Error;
use crate::feeds::Feeds;
use crate::settings::{Settings, name_of};
use ir::task::{Amount, DataRules, Longer};

/// A task's rules for its data, with the values of this run.
pub(crate) struct Rules {
    least: usize,
    /// Samples of the longest clip that is taken whole; longer ones are dropped or cropped.
    most: usize,
    crops: bool,
    pads: bool,
    pub drop_silent: bool,
    max_tokens: usize,
    max_batch: usize,
    names: [String; 2],
}

impl Rules {
    /// # Errors
    /// Where no clip could be taken.
    pub fn bind(declared: &DataRules, settings: &Settings) -> Result<Rules, Error> {
        let (least, most) = (settings.whole(&declared.min)?, settings.whole(&declared.max)?);
        let names = [&declared.min, &declared.max].map(|a: &Amount| name_of(a));
        let (crops, pads) = match &declared.longer {
            Longer::Dropped => (false, true),
            Longer::Cropped { pad } => (true, settings.amount(pad)? != 0.0),
        };
        // Longer clips are cropped, so that the least may be above the most.
        if !crops && most > 0 && least > most {
            let [min, max] = &names;
            let what = format!("`{min}` is {least} and `{max}` is {most}: no clip could be used");
            return Err(Error::Setting(what));
        }
        let max_tokens = settings.count("max_tokens", 1)? as usize;
        let most = match most as usize {
            0 => max_tokens,
            n => n.min(max_tokens),
        };
        Ok(Rules {
            least: least as usize,
            most,
            crops,
            pads,
            drop_silent: declared.drop_silent,
            max_tokens,
            max_batch: match settings.count("max_batch", 0)? {
                0 => usize::MAX,
                n => n as usize,
            },
            names,
        })
    }

    pub fn limits(&self) -> Limits {
        Limits {
            max_tokens: self.max_tokens,
            max_batch: self.max_batch,
            max_crop: if self.crops { self.most } else { usize::MAX },
            crop_to_shortest: self.crops && !self.pads,
        }
    }

    /// Samples of the longest clip as it is learnt from.
    pub fn longest(&self) -> usize {
        self.most
    }

    /// Samples that a clip must have.
    pub fn least(&self, feeds: &Feeds) -> usize {
        self.least.max(feeds.geometry().least_samples(LEAST_FRAMES))
    }

    /// Why a clip of so many samples is left out, before it is decoded. `labels`: also where its labels cannot be learnt.
    pub fn judge(&self, feeds: &Feeds, utterance: &Utterance, samples: usize, labels: bool) -> Result<(), String> {
        let [min, max] = &self.names;
        if samples < self.least {
            return Err(format!("it has {samples} samples and {} is {}", min, self.least));
        }
        let possible = feeds.geometry().least_samples(LEAST_FRAMES);
        if samples < possible {
            return Err(format!("it has {samples} samples and training needs {possible}"));
        }
        if !self.crops && samples > self.most {
            return Err(format!(
                "it has {samples} samples and {} or max_tokens is {}; cut it into sentences",
                max, self.most
            ));
        }
        let frames = match self.crops {
            // What is left of it is known when it is cropped.
            true => 1,
            false => feeds.geometry().frames(samples),
        };
        match feeds.label().filter(|_| labels) {
            Some(label) => label.judge(utterance, frames),
            None => Ok(()),
        }
    }
}
