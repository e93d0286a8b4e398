//! A batch of recordings at 16 kHz, padded.

use super::{Args, Feed, File, Fill, Layout, Occasion, Padding};
use crate::error::Error;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

/// Samples of the clips, f32 [clips, samples]. `frames` is the number of frames that so many samples become.
pub struct Wave;

impl Feed for Wave {
    const SIGNATURE: Signature = Signature {
        name: "Wave",
        about: "samples at 16 kHz, zero beyond a clip's end; `frames` says how many frames they become",
        dtype: DType::F32,
        axes: &["clips", "samples"],
        params: &[FeedParam::size("frames")],
    };

    fn bind(_: &Args) -> Result<Wave, Error> {
        Ok(Wave)
    }
}

impl Fill for Wave {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows(), layout.longest])
    }

    fn draw(&self, _: &Port, layout: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        let mut all = Vec::with_capacity(layout.rows() * layout.longest);
        for (row, w) in layout.clips.waves.iter().enumerate() {
            all.extend_from_slice(w);
            all.resize((row + 1) * layout.longest, 0.0);
        }
        Ok(Tensor::f32(&[layout.rows(), layout.longest], all))
    }

    fn given(&self, port: &Port, _: &Layout, file: &File) -> Result<Tensor, Error> {
        file.floats(&port.name)?.ok_or_else(|| file.lacks(&port.name))
    }

    fn padding(&self) -> Padding {
        Padding::F32(0.0)
    }
}

/// Samples of each clip of a file, and of the longest row.
pub(super) fn lengths_of(wave: &str, lengths: Option<&str>, file: &File) -> Result<(Vec<usize>, usize), Error> {
    let given = file.floats(wave)?.ok_or_else(|| file.lacks(wave))?;
    let &[rows, samples] = given.shape.as_slice() else {
        let what = format!("`{wave}` has the shape {:?} and needs [clips, samples]", given.shape);
        return Err(file.wrong(what));
    };
    let own = lengths.map_or(Ok(None), |name| file.ints(name, 1))?;
    let Some((name, own)) = lengths.zip(own) else {
        return Ok((vec![samples; rows], samples));
    };
    let list = own.as_i32().unwrap_or_default();
    if list.len() != rows || list.iter().any(|n| *n < 1 || *n as usize > samples) {
        return Err(file.wrong(format!(
            "`{name}` must be {rows} numbers from 1 to {samples}, not {list:?}"
        )));
    }
    Ok((list.iter().map(|n| *n as usize).collect(), samples))
}
