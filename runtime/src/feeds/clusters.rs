//! The cluster that each frame belongs to.
//!
//! Source: HuBERT (arXiv 2106.07447), section II; the form of a fairseq `.km` file: whole numbers with spaces between, a line per
//! clip.

use super::letters::beside;
use super::{Args, Feed, File, Fill, Label, Layout, Occasion, Padding};
use crate::audio::RATE;
use crate::data::{Clip, Utterance};
use crate::error::Error;
use crate::random::Stream;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

const NONE: &str = "it has no clusters (a .km file beside the manifest)";

/// Stands beyond the end of a clip.
const BEYOND: i32 = -1;

/// Clusters by frame, i32 [clips, frames].
pub struct Clusters {
    classes: usize,
    /// Clusters per sample.
    rate: f64,
    /// Samples from one frame to the next.
    hop: usize,
}

impl Feed for Clusters {
    const SIGNATURE: Signature = Signature {
        name: "Clusters",
        about: "the cluster of each frame, one of `classes`, padded with -1: from a .km file, which has `rate` of them for a second",
        dtype: DType::I32,
        axes: &["clips", "frames"],
        params: &[FeedParam::size("classes"), FeedParam::amount("rate")],
    };

    fn bind(args: &Args) -> Result<Clusters, Error> {
        Ok(Clusters {
            classes: args.fixed_size(0)?,
            rate: args.number(1)? / RATE as f64,
            hop: args.hop()?,
        })
    }
}

impl Fill for Clusters {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows(), layout.most_frames])
    }

    fn draw(&self, port: &Port, layout: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        Ok(beside(layout.clips.labels, &self.shape(port, layout)?, BEYOND))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        let (name, shape) = (&port.name, self.shape(port, layout)?);
        let own = file
            .fit(name, file.ints(name, 2)?, &shape)?
            .ok_or_else(|| file.lacks(name))?;
        let values = own.as_i32().unwrap_or_default();
        for (b, frames) in layout.frames.iter().enumerate() {
            let row = &values[b * shape[1]..][..*frames];
            if let Some(bad) = row.iter().find(|l| **l < 0 || **l as usize >= self.classes) {
                let classes = self.classes;
                return Err(file.wrong(format!(
                    "`{name}` of clip {b} has {bad}, and there are {classes} clusters"
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

impl Clusters {
    fn read(&self, text: &str) -> Result<Vec<i32>, String> {
        let number = |word: &str| match word.parse::<usize>() {
            Ok(n) if n < self.classes => Ok(n as i32),
            Ok(n) => Err(format!("its cluster {n} is beyond the {} of the model", self.classes)),
            Err(_) => Err(format!("`{word}` among its clusters is no whole number")),
        };
        text.split_whitespace().map(number).collect()
    }
}

/// Frames that a clip may have beyond its clusters: whoever made them may have counted the last one otherwise.
const SLACK: usize = 2;

impl Clusters {
    /// Which cluster a frame of a part of the recording belongs to. As fairseq counts: the part's start rounded, the frame's
    /// place in it rounded down.
    fn place(&self, start: usize, frame: usize) -> usize {
        (start as f64 * self.rate).round() as usize + ((frame * self.hop) as f64 * self.rate) as usize
    }

    fn too_few(&self, frames: usize, clusters: usize) -> String {
        let rate = self.rate * RATE as f64;
        format!("it has {frames} frames and {clusters} clusters, {rate} for a second; make them of the same recordings")
    }
}

impl Label for Clusters {
    fn of(&self, clip: &Clip, frames: usize) -> Result<Vec<i32>, String> {
        let all = self.read(clip.clusters.as_deref().ok_or(NONE)?)?;
        let known = (0..frames)
            .take_while(|t| self.place(clip.start, *t) < all.len())
            .count();
        if known == 0 || known + SLACK < frames {
            return Err(self.too_few(frames, known));
        }
        Ok((0..frames)
            .map(|t| all[self.place(clip.start, t.min(known - 1))])
            .collect())
    }

    fn judge(&self, utterance: &Utterance, frames: usize) -> Result<(), String> {
        let all = self.read(utterance.clusters.as_deref().ok_or(NONE)?)?;
        match frames > SLACK && self.place(0, frames - 1 - SLACK) >= all.len() {
            true => Err(self.too_few(frames, all.len())),
            false => Ok(()),
        }
    }

    fn made_up(&self, frames: usize, stream: &mut Stream) -> Vec<i32> {
        (0..frames).map(|_| stream.below(self.classes.max(1)) as i32).collect()
    }
}
