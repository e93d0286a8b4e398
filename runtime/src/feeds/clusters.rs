//! The cluster that each frame belongs to.
//!
//! Source: HuBERT (arXiv 2106.07447), section II; the form of a fairseq `.km` file: whole numbers with spaces between, a line per
//! clip.

use super::letters::beside;
use super::{Args, Feed, File, Fill, Label, Layout, Occasion, Padding};
use crate::data::Clip;
use crate::error::Error;
use crate::random::Stream;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, ParamKind, Signature};

/// Stands beyond the end of a clip.
const BEYOND: i32 = -1;

/// Clusters by frame, i32 [clips, frames].
pub struct Clusters {
    classes: usize,
    /// Samples from one frame to the next.
    hop: usize,
}

impl Feed for Clusters {
    const SIGNATURE: Signature = Signature {
        name: "Clusters",
        about: "the cluster of each frame, one of `classes`, padded with -1; the texts are whole numbers (a .km file)",
        dtype: DType::I32,
        rank: 2,
        params: &[FeedParam {
            name: "classes",
            kind: ParamKind::Size,
        }],
    };

    fn bind(args: &Args) -> Result<Clusters, Error> {
        Ok(Clusters {
            classes: args.fixed_size(0)?,
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
        let own = file.fit(name, file.ints(name, 2)?, &shape)?.ok_or_else(|| file.lacks(name))?;
        let values = own.as_i32().unwrap_or_default();
        for (b, frames) in layout.frames.iter().enumerate() {
            let row = &values[b * shape[1]..][..*frames];
            if let Some(bad) = row.iter().find(|l| **l < 0 || **l as usize >= self.classes) {
                let classes = self.classes;
                return Err(file.wrong(format!("`{name}` of clip {b} has {bad}, and there are {classes} clusters")));
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

impl Label for Clusters {
    fn of(&self, clip: &Clip, frames: usize) -> Result<Vec<i32>, String> {
        let all = self.of_text(clip.text.as_deref(), 0)?;
        let first = clip.start / self.hop.max(1);
        let mut own: Vec<i32> = all.iter().skip(first).take(frames).copied().collect();
        if own.len() + SLACK < frames {
            let n = own.len();
            return Err(format!("it has {frames} frames and {n} clusters; make them for frames of {} samples", self.hop));
        }
        let last = *own.last().ok_or("it has no clusters")?;
        own.resize(frames, last);
        Ok(own)
    }

    fn of_text(&self, text: Option<&str>, frames: usize) -> Result<Vec<i32>, String> {
        let own = self.read(text.ok_or("it has no clusters (a .km file beside the manifest)")?)?;
        if own.len() + SLACK < frames {
            let n = own.len();
            return Err(format!("it has {frames} frames and {n} clusters; make them for frames of {} samples", self.hop));
        }
        Ok(own)
    }

    fn made_up(&self, frames: usize, stream: &mut Stream) -> Vec<i32> {
        (0..frames).map(|_| stream.below(self.classes.max(1)) as i32).collect()
    }
}
