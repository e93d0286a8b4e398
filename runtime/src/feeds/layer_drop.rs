//! Which layers of the network are skipped.
//!
//! Source: LayerDrop (arXiv 1909.11556).

use super::bind::constant;
use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::masks::draw_keep;
use crate::random::Purpose;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

/// 0 where a layer is skipped, f32 [layers].
pub struct LayerDrop {
    rate: f64,
}

impl Feed for LayerDrop {
    const SIGNATURE: Signature = Signature {
        name: "LayerDrop",
        about: "0 where a layer is skipped, with probability `rate` in training; else 1",
        dtype: DType::F32,
        axes: &["layers"],
        params: &[FeedParam::amount("rate")],
    };

    fn bind(args: &Args) -> Result<LayerDrop, Error> {
        Ok(LayerDrop { rate: args.share(0)? })
    }
}

impl Fill for LayerDrop {
    fn shape(&self, port: &Port, _: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![constant(port, 0)?])
    }

    fn draw(&self, port: &Port, _: &Layout, occasion: &Occasion) -> Result<Tensor, Error> {
        let layers = constant(port, 0)?;
        let rate = match occasion.noise && !occasion.whole {
            true => self.rate as f32,
            false => 0.0,
        };
        let keep = draw_keep(layers, rate, &mut occasion.stream(Purpose::LayerDrop));
        Ok(Tensor::f32(&[layers], keep))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        self.draw(port, layout, &file.occasion)
    }

    fn padding(&self) -> Padding {
        Padding::None
    }
}
