//! Positions of the masked frames.

use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

/// The hidden frames of each clip in order of time, i32 [clips, hidden frames of the clip that has the most].
pub struct SpanIndex {
    of: String,
}

impl Feed for SpanIndex {
    const SIGNATURE: Signature = Signature {
        name: "SpanIndex",
        about: "the masked frames of each clip in order of time, padded with -1",
        dtype: DType::I32,
        axes: &["clips", "masked"],
        params: &[FeedParam::input("of", "Spans")],
    };

    fn bind(args: &Args) -> Result<SpanIndex, Error> {
        Ok(SpanIndex { of: args.other(0)? })
    }
}

impl Fill for SpanIndex {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows(), layout.most_marked(&self.of)])
    }

    fn draw(&self, port: &Port, layout: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        let shape = self.shape(port, layout)?;
        let mut all = Vec::with_capacity(shape[0] * shape[1]);
        for (row, hidden) in layout.marked(&self.of).iter().enumerate() {
            all.extend(hidden.iter().map(|t| *t as i32));
            all.resize((row + 1) * shape[1], -1);
        }
        Ok(Tensor::i32(&shape, all))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        self.draw(port, layout, &file.occasion)
    }

    fn padding(&self) -> Padding {
        Padding::I32(-1)
    }
}
