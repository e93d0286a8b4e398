//! The text of each clip, as tokens of a vocabulary.

use super::{Args, Feed, File, Fill, Label, Layout, Occasion, Padding};
use crate::data::{Clip, Utterance};
use crate::error::Error;
use crate::random::Stream;
use crate::session::Tensor;
use crate::vocab::{Vocab, frames_needed};
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::Signature;

/// Stands beyond the end of a text.
const BEYOND: i32 = -100;

/// Classes of the letters of each clip's text, i32 [clips, letters of the longest text], of width 1 at least.
pub struct Letters {
    vocab: Option<Vocab>,
    classes: Option<usize>,
}

impl Feed for Letters {
    const SIGNATURE: Signature = Signature {
        name: "Letters",
        about: "classes of the letters of the text, padded with -100; class 0 is the blank",
        dtype: DType::I32,
        axes: &["clips", "letters"],
        params: &[],
    };

    fn bind(args: &Args) -> Result<Letters, Error> {
        Ok(Letters {
            vocab: args.target.vocab.cloned(),
            classes: args.classes(),
        })
    }
}

impl Fill for Letters {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        let longest = layout.clips.labels.iter().map(Vec::len).max().unwrap_or(0);
        Ok(vec![layout.rows(), longest.max(1)])
    }

    fn draw(&self, port: &Port, layout: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        let shape = self.shape(port, layout)?;
        Ok(beside(layout.clips.labels, &shape, BEYOND))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        let name = &port.name;
        let own = file.ints(name, 2)?.ok_or_else(|| file.lacks(name))?;
        let rows = layout.rows();
        if own.shape[0] != rows {
            return Err(file.wrong(format!("`{name}` has {} rows for {rows} clips", own.shape[0])));
        }
        let values = own.as_i32().unwrap_or_default();
        for (b, row) in values.chunks(own.shape[1].max(1)).enumerate() {
            let used = row.iter().position(|l| *l < 0).unwrap_or(row.len());
            if let Some(after) = row[used..].iter().find(|l| **l >= 0) {
                let what = format!("`{name}` of clip {b} has {after} after padding, which may only come last");
                return Err(file.wrong(what));
            }
            let beyond = |l: &&i32| self.classes.is_some_and(|n| **l as usize >= n);
            if let Some(bad) = row[..used].iter().find(beyond) {
                let classes = self.classes.unwrap_or_default();
                return Err(file.wrong(format!(
                    "`{name}` of clip {b} has {bad}, and the model has {classes} classes"
                )));
            }
        }
        Ok(own)
    }

    fn padding(&self) -> Padding {
        Padding::I32(BEYOND)
    }

    fn labels(&self) -> Option<&dyn Label> {
        Some(self)
    }
}

impl Label for Letters {
    fn of(&self, clip: &Clip, frames: usize) -> Result<Vec<i32>, String> {
        self.read(clip.text.as_deref(), frames)
    }

    fn judge(&self, utterance: &Utterance, frames: usize) -> Result<(), String> {
        self.read(utterance.text.as_deref(), frames).map(|_| ())
    }

    /// At about the rate of speech, and no more than the frames hold.
    fn made_up(&self, frames: usize, stream: &mut Stream) -> Vec<i32> {
        let classes = self.classes.unwrap_or(2).max(2);
        let mut labels: Vec<i32> = (0..frames / 4).map(|_| 1 + stream.below(classes - 1) as i32).collect();
        while frames_needed(&labels) > frames {
            labels.pop();
        }
        labels
    }
}

impl Letters {
    /// Classes of a text that so many frames can say.
    fn read(&self, text: Option<&str>, frames: usize) -> Result<Vec<i32>, String> {
        let text = text.ok_or("it has no text")?;
        let vocab = self
            .vocab
            .as_ref()
            .ok_or("there is no vocabulary to read its text by")?;
        let labels = vocab.encode(text).map_err(|c| {
            format!(
                "its text has `{c}`, which is not in the vocabulary; write it in letters (7 as seven), or give --vocab auto"
            )
        })?;
        let needed = frames_needed(&labels);
        if needed > frames {
            return Err(format!(
                "labels longer than frames: its text needs {needed} frames and it has {frames}; check that the text belongs \
                 to the recording"
            ));
        }
        Ok(labels)
    }
}

/// Labels side by side, padded.
pub(super) fn beside(labels: &[Vec<i32>], shape: &[usize], padding: i32) -> Tensor {
    let mut all = Vec::with_capacity(shape.iter().product());
    for row in 0..shape[0] {
        all.extend_from_slice(labels.get(row).map_or(&[], Vec::as_slice));
        all.resize((row + 1) * shape[1], padding);
    }
    Tensor::i32(shape, all)
}
