//! The seed of the random numbers that a program draws.

use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::random::Purpose;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::Signature;

/// Key of the dropout masks, i32 [2].
pub struct DropoutKey;

impl Feed for DropoutKey {
    const SIGNATURE: Signature = Signature {
        name: "DropoutKey",
        about: "seed of the random numbers that the program draws, different in every micro-batch",
        dtype: DType::I32,
        axes: &["2"],
        params: &[],
    };

    fn bind(_: &Args) -> Result<DropoutKey, Error> {
        Ok(DropoutKey)
    }
}

impl Fill for DropoutKey {
    fn shape(&self, _: &Port, _: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![2])
    }

    fn draw(&self, _: &Port, _: &Layout, occasion: &Occasion) -> Result<Tensor, Error> {
        Ok(Tensor::i32(&[2], occasion.stream(Purpose::Dropout).keys().to_vec()))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        self.draw(port, layout, &file.occasion)
    }

    fn padding(&self) -> Padding {
        Padding::None
    }
}
