//! A number that decays during training.

use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::schedule::decay;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

/// max(start x factor^updates, floor), f32 [1].
pub struct Decay {
    start: f64,
    factor: f64,
    floor: f64,
}

impl Feed for Decay {
    const SIGNATURE: Signature = Signature {
        name: "Decay",
        about: "the greater of `start` times `factor` to the power of the number of updates, and `floor`",
        dtype: DType::F32,
        axes: &["1"],
        params: &[
            FeedParam::amount("start"),
            FeedParam::amount("factor"),
            FeedParam::amount("floor"),
        ],
    };

    fn bind(args: &Args) -> Result<Decay, Error> {
        Ok(Decay {
            start: args.number(0)?,
            factor: args.number(1)?,
            floor: args.number(2)?,
        })
    }
}

impl Decay {
    fn at(&self, update: u64) -> f64 {
        decay(self.start, self.factor, self.floor, update)
    }
}

impl Fill for Decay {
    fn shape(&self, _: &Port, _: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![1])
    }

    fn draw(&self, _: &Port, _: &Layout, occasion: &Occasion) -> Result<Tensor, Error> {
        Ok(Tensor::f32(&[1], vec![self.at(occasion.update) as f32]))
    }

    fn given(&self, port: &Port, _: &Layout, file: &File) -> Result<Tensor, Error> {
        let own = file.floats(&port.name)?.and_then(|t| t.as_f32()?.first().copied());
        let value = own.unwrap_or(self.start as f32);
        if value <= 0.0 {
            return Err(file.wrong(format!("`{}` is {value} and must be above 0", port.name)));
        }
        Ok(Tensor::f32(&[1], vec![value]))
    }

    fn padding(&self) -> Padding {
        Padding::None
    }

    fn logged(&self, update: u64) -> Option<f64> {
        Some(self.at(update))
    }
}
