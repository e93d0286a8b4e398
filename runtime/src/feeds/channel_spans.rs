//! Masked spans of channels, over all frames of a clip.
//!
//! Source: SpecAugment (arXiv 1904.08779), in fairseq's form.

use super::bind::constant;
use super::spans::flags;
use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::masks::{self, draw_spans};
use crate::random::Purpose;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

/// 1 where a channel is hidden, i32 [clips, channels].
pub struct ChannelSpans {
    prob: f64,
    length: usize,
}

impl Feed for ChannelSpans {
    const SIGNATURE: Signature = Signature {
        name: "ChannelSpans",
        about: "1 where a channel is masked: spans of `length` channels, which would cover the share `prob` without overlap",
        dtype: DType::I32,
        axes: &["clips", "channels"],
        params: &[FeedParam::amount("prob"), FeedParam::amount("length")],
    };

    fn bind(args: &Args) -> Result<ChannelSpans, Error> {
        Ok(ChannelSpans {
            prob: args.share(0)?,
            length: args.count(1, 1)?,
        })
    }
}

impl Fill for ChannelSpans {
    fn shape(&self, port: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows(), constant(port, 1)?])
    }

    fn draw(&self, port: &Port, layout: &Layout, occasion: &Occasion) -> Result<Tensor, Error> {
        let (rows, channels) = (layout.rows(), constant(port, 1)?);
        if !occasion.masks || self.prob == 0.0 {
            return Ok(flags(&vec![vec![]; rows], channels));
        }
        let spans = masks::Spans {
            prob: self.prob,
            length: self.length.min(channels.saturating_sub(1).max(1)),
            at_least: 0,
        };
        let sizes = vec![channels; rows];
        let drawn = draw_spans(&sizes, spans, &mut occasion.stream(Purpose::ChannelMask))?;
        Ok(flags(&drawn, channels))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        let shape = self.shape(port, layout)?;
        let own = file.fit(&port.name, file.ints(&port.name, 2)?, &shape)?;
        Ok(own.unwrap_or_else(|| flags(&vec![vec![]; shape[0]], shape[1])))
    }

    fn padding(&self) -> Padding {
        Padding::None
    }
}
