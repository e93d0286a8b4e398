//! Gumbel noise for the choice of code vectors.
//!
//! Source: Gumbel-softmax (arXiv 1611.01144).

use super::bind::constant;
use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::random::Purpose;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};
use rayon::prelude::*;

/// Numbers of noise that are drawn one after the other.
const CHUNK: usize = 1 << 13;

/// Standard Gumbel noise for the hidden frames, f32 [clips, hidden frames, groups, codes].
pub struct Gumbel {
    of: String,
}

impl Feed for Gumbel {
    const SIGNATURE: Signature = Signature {
        name: "Gumbel",
        about: "standard Gumbel noise for each frame that `of` masks; 0 outside training",
        dtype: DType::F32,
        axes: &["clips", "masked", "groups", "codes"],
        params: &[FeedParam::input("of", "Spans")],
    };

    fn bind(args: &Args) -> Result<Gumbel, Error> {
        Ok(Gumbel { of: args.other(0)? })
    }
}

impl Fill for Gumbel {
    fn shape(&self, port: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        let (groups, codes) = (constant(port, 2)?, constant(port, 3)?);
        Ok(vec![layout.rows(), layout.most_marked(&self.of), groups, codes])
    }

    fn draw(&self, port: &Port, layout: &Layout, occasion: &Occasion) -> Result<Tensor, Error> {
        let shape = self.shape(port, layout)?;
        let stream = occasion.stream(Purpose::Gumbel);
        let mut noise = vec![0.0; shape.iter().product()];
        if occasion.noise {
            // Millions of logarithms, while the device waits for them.
            noise.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, part)| {
                let mut stream = stream.after(chunk * CHUNK);
                part.fill_with(|| stream.gumbel());
            });
        }
        Ok(Tensor::f32(&shape, noise))
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        let shape = self.shape(port, layout)?;
        let own = file.fit(&port.name, file.floats(&port.name)?, &shape)?;
        Ok(own.unwrap_or_else(|| Tensor::f32(&shape, vec![0.0; shape.iter().product()])))
    }

    fn padding(&self) -> Padding {
        Padding::None
    }
}
