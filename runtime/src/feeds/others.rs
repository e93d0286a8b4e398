//! Distractors: other masked frames of the same clip.
//!
//! Source: wav2vec 2.0 (arXiv 2006.11477), section 3.2, in fairseq's form.

use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::masks::draw_negatives;
use crate::random::Purpose;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};
use rayon::prelude::*;

/// For each hidden frame so many others, as positions among the clip's hidden frames, i32 [clips, hidden frames, count].
pub struct Others {
    of: String,
    count: usize,
}

impl Feed for Others {
    const SIGNATURE: Signature = Signature {
        name: "Others",
        about: "for each frame that `of` masks, `count` others of the same clip, as positions among its masked frames, padded \
                with -1",
        dtype: DType::I32,
        axes: &["clips", "masked", "count"],
        params: &[FeedParam::input("of", "Spans"), FeedParam::amount("count")],
    };

    fn bind(args: &Args) -> Result<Others, Error> {
        Ok(Others {
            of: args.other(0)?,
            count: args.count(1, 1)?,
        })
    }
}

impl Fill for Others {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows(), layout.most_marked(&self.of), self.count])
    }

    fn draw(&self, port: &Port, layout: &Layout, occasion: &Occasion) -> Result<Tensor, Error> {
        let shape = self.shape(port, layout)?;
        let (hidden, most, count) = (layout.marked(&self.of), shape[1], self.count);
        let stream = occasion.stream(Purpose::Negatives);
        // One number of the stream for each negative: a row begins where those before it end.
        let starts = hidden.iter().scan(0, |next, masked| {
            Some(std::mem::replace(next, *next + masked.len() * count))
        });
        let rows: Vec<(usize, usize, usize)> = (0..)
            .zip(hidden)
            .zip(starts)
            .map(|((row, m), s)| (row, m.len(), s))
            .collect();
        let draw =
            |(row, masked, start): (usize, usize, usize)| draw_negatives(row, masked, count, &mut stream.after(start));
        // The first row that is wrong is told, whichever is drawn first.
        let drawn: Vec<Result<_, _>> = rows.into_par_iter().map(draw).collect();
        let drawn: Vec<Vec<i32>> = drawn.into_iter().collect::<Result<_, _>>()?;
        let mut all = Vec::with_capacity(drawn.len() * most * count);
        for (row, own) in drawn.into_iter().enumerate() {
            all.extend(own);
            all.resize((row + 1) * most * count, -1);
        }
        Ok(Tensor::i32(&shape, all))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        let name = &port.name;
        let own = file.ints(name, 3)?.ok_or_else(|| file.lacks(name))?;
        let (hidden, most) = (layout.marked(&self.of), layout.most_marked(&self.of));
        let (rows, count) = (hidden.len(), own.shape[2]);
        if own.shape[..2] != [rows, most] {
            let what = format!("`{name}` has the shape {:?} and needs [{rows}, {most}, K]", own.shape);
            return Err(file.wrong(what));
        }
        let fixed = port.shape.get(2).and_then(|d| d.as_const());
        if let Some(fixed) = fixed.filter(|k| *k as usize != count) {
            return Err(file.wrong(format!("`{name}` has {count} per frame and the model takes {fixed}")));
        }
        let values = own.as_i32().unwrap_or_default();
        // What lies beyond a clip's hidden frames is padding, whatever the file has there.
        let mut clean = vec![-1; values.len()];
        for (b, row) in hidden.iter().enumerate() {
            let used = &values[b * most * count..][..row.len() * count];
            if let Some(bad) = used.iter().find(|n| **n < 0 || **n as usize >= row.len()) {
                let n = row.len();
                return Err(file.wrong(format!("`{name}` of clip {b} has {bad}, and it has {n} hidden frames")));
            }
            clean[b * most * count..][..used.len()].copy_from_slice(used);
        }
        Ok(Tensor::i32(&own.shape, clean))
    }

    fn padding(&self) -> Padding {
        Padding::I32(-1)
    }

    fn check(&self, port: &Port) -> Result<(), Error> {
        match port.shape.get(2).and_then(|d| d.as_const()) {
            Some(fixed) if fixed as usize != self.count => {
                let (name, count) = (&port.name, self.count);
                let what = format!("`{name}` is {count}, and this model was compiled for {fixed}; use that number");
                Err(Error::Setting(what))
            }
            _ => Ok(()),
        }
    }
}
