//! The first layers of the network.

use super::bind::constant;
use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::Signature;

/// 1 for the layers that are run, f32 [layers]: all of them, unless whoever reads hidden states chooses.
pub struct FirstLayers;

impl Feed for FirstLayers {
    const SIGNATURE: Signature = Signature {
        name: "FirstLayers",
        about: "1 for the layers up to the requested one, else 0",
        dtype: DType::F32,
        axes: &["layers"],
        params: &[],
    };

    fn bind(_: &Args) -> Result<FirstLayers, Error> {
        Ok(FirstLayers)
    }
}

impl Fill for FirstLayers {
    fn shape(&self, port: &Port, _: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![constant(port, 0)?])
    }

    fn draw(&self, port: &Port, _: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        let layers = constant(port, 0)?;
        Ok(Tensor::f32(&[layers], vec![1.0; layers]))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        let shape = self.shape(port, layout)?;
        match file.fit(&port.name, file.floats(&port.name)?, &shape)? {
            Some(own) => Ok(own),
            None => self.draw(port, layout, &file.occasion),
        }
    }

    fn padding(&self) -> Padding {
        Padding::None
    }
}
