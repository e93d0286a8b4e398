//! How long each clip is.

use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::Signature;

/// Samples of each clip, i32 [clips].
pub struct Lengths;

impl Feed for Lengths {
    const SIGNATURE: Signature = Signature {
        name: "Lengths",
        about: "samples of each clip",
        dtype: DType::I32,
        axes: &["clips"],
        params: &[],
    };

    fn bind(_: &Args) -> Result<Lengths, Error> {
        Ok(Lengths)
    }
}

impl Fill for Lengths {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows()])
    }

    fn draw(&self, _: &Port, layout: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        let list = layout.samples.iter().map(|n| *n as i32).collect();
        Ok(Tensor::i32(&[layout.rows()], list))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        self.draw(port, layout, &file.occasion)
    }

    fn padding(&self) -> Padding {
        Padding::None
    }
}
