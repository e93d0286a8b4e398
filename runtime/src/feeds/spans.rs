//! Masked spans of frames.
//!
//! Source: wav2vec 2.0 (arXiv 2006.11477), section 3.1, in fairseq's form.

use super::{Args, Feed, File, Fill, Layout, Mark, Marks, Occasion, Padding};
use crate::error::Error;
use crate::masks::{self, check_rows, draw_spans};
use crate::random::Purpose;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

/// 1 where a frame is hidden, i32 [clips, frames].
pub struct Spans {
    spans: masks::Spans,
}

impl Feed for Spans {
    const SIGNATURE: Signature = Signature {
        name: "Spans",
        about: "1 where a frame is masked: spans of `length` frames, which would cover the share `prob` without overlap, \
                at least `least` of them in a clip",
        dtype: DType::I32,
        axes: &["clips", "frames"],
        params: &[
            FeedParam::amount("prob"),
            FeedParam::amount("length"),
            FeedParam::amount("least"),
        ],
    };

    fn bind(args: &Args) -> Result<Spans, Error> {
        let prob = args.share(0)?;
        Ok(Spans {
            spans: masks::Spans {
                prob,
                length: args.count(1, 1)?,
                at_least: if prob > 0.0 { args.count(2, 0)? } else { 0 },
            },
        })
    }
}

impl Fill for Spans {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows(), layout.most_frames])
    }

    fn draw(&self, port: &Port, layout: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        Ok(flags(layout.marked(&port.name), layout.most_frames))
    }

    fn given(&self, port: &Port, layout: &Layout, _: &File) -> Result<Tensor, Error> {
        Ok(flags(layout.marked(&port.name), layout.most_frames))
    }

    fn padding(&self) -> Padding {
        Padding::I32(0)
    }

    fn marks(&self) -> Option<&dyn Mark> {
        Some(self)
    }
}

impl Mark for Spans {
    fn draw(&self, layout: &Layout, occasion: &Occasion) -> Result<Marks, Error> {
        Ok(draw_spans(
            &layout.frames,
            self.spans,
            &mut occasion.stream(Purpose::TimeMask),
        )?)
    }

    fn given(&self, name: &str, layout: &Layout, file: &File, used: bool) -> Result<Marks, Error> {
        let (rows, longest, frames) = (layout.rows(), layout.most_frames, &layout.frames);
        let Some(own) = file.fit(name, file.ints(name, 2)?, &[rows, longest])? else {
            return match used {
                true => Err(file.lacks(name)),
                false => Ok(vec![vec![]; rows]),
            };
        };
        let values = own.as_i32().unwrap_or_default();
        let row = |b: usize| {
            (0..longest)
                .filter(|t| values[b * longest + t] != 0)
                .collect::<Vec<_>>()
        };
        let hidden: Marks = (0..rows).map(row).collect();
        if let Some(b) = (0..rows).find(|b| hidden[*b].last().is_some_and(|t| *t >= frames[*b])) {
            let n = frames[b];
            return Err(file.wrong(format!("`{name}` hides frames of clip {b} beyond its {n} frames")));
        }
        check_rows(&hidden, frames)?;
        if let Some(b) = hidden.iter().position(|h| used && h.is_empty()) {
            return Err(file.wrong(format!("`{name}` hides no frame of clip {b}")));
        }
        Ok(hidden)
    }
}

/// Positions to flags, [rows, size].
pub(super) fn flags(rows: &[Vec<usize>], size: usize) -> Tensor {
    let mut flags = vec![0; rows.len() * size];
    for (row, hidden) in rows.iter().enumerate() {
        hidden.iter().for_each(|t| flags[row * size + t] = 1);
    }
    Tensor::i32(&[rows.len(), size], flags)
}
