//! Host inputs: what fills the inputs of programs. A feed is one file here and one line in the table below; a model file
//! says which feed fills which input of a task.
//!
//! An input that has no feed is f32 [1] and named after a setting, whose value it takes; where nothing is left to chance
//! (validation), a setting that is a rate of dropout gives 0.

mod batch;
mod bind;
mod channel_spans;
mod class;
mod clusters;
mod decay;
mod dropout_key;
mod file;
mod first_layers;
mod gumbel;
mod layer_drop;
mod lengths;
mod letters;
mod others;
mod span_index;
mod spans;
#[cfg(test)]
mod tests;
mod wave;

pub use batch::{Batch, Clips, Inputs, Layout, Occasion};
pub use bind::{Args, Feeds, Target};
pub use file::File;

use crate::data::{Clip, Utterance};
use crate::error::Error;
use crate::random::Stream;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::task::Signature;

/// The feed that takes recordings; its size is the number of frames that these become.
pub const RECORDINGS: &str = <wave::Wave as Feed>::SIGNATURE.name;

/// Positions of each clip, ascending.
pub type Marks = Vec<Vec<usize>>;

/// A feed as the language knows it and as a task binds it.
pub trait Feed: Fill + Sized + 'static {
    const SIGNATURE: Signature;

    /// # Errors
    /// Where an argument has a value that makes no sense.
    fn bind(args: &Args) -> Result<Self, Error>;
}

/// Fills one input of a program, batch after batch.
pub trait Fill: Send + Sync {
    /// Sizes of the input for a batch.
    ///
    /// # Errors
    /// Where the program's input cannot be filled by this feed.
    fn shape(&self, port: &Port, layout: &Layout) -> Result<Vec<usize>, Error>;

    /// What training and validation give.
    fn draw(&self, port: &Port, layout: &Layout, occasion: &Occasion) -> Result<Tensor, Error>;

    /// What a file of tensors gives, checked; where the file may lack it, what stands for it.
    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error>;

    /// What stands beyond the end of a clip.
    fn padding(&self) -> Padding;

    /// Where this feed marks positions of clips, for other feeds to read.
    fn marks(&self) -> Option<&dyn Mark> {
        None
    }

    /// Where this feed gives what is to be learnt.
    fn labels(&self) -> Option<&dyn Label> {
        None
    }

    /// A number worth a place in the log, after so many updates.
    fn logged(&self, _update: u64) -> Option<f64> {
        None
    }

    /// Fails where the arguments do not go with the program's input.
    fn check(&self, _port: &Port) -> Result<(), Error> {
        Ok(())
    }
}

/// What stands beyond the end of a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding {
    /// Every clip has as much as any other.
    None,
    F32(f32),
    I32(i32),
}

/// Marks positions of clips.
pub trait Mark {
    fn draw(&self, layout: &Layout, occasion: &Occasion) -> Result<Marks, Error>;

    /// `used`: another input of the program is made of these marks.
    fn given(&self, name: &str, layout: &Layout, file: &File, used: bool) -> Result<Marks, Error>;
}

/// Says what is to be learnt of a clip.
pub trait Label {
    /// Labels of a clip of so many frames, or why it cannot be learnt from.
    fn of(&self, clip: &Clip, frames: usize) -> Result<Vec<i32>, String>;

    /// Whether a recording of so many frames that has not been read can be learnt from.
    fn judge(&self, utterance: &Utterance, frames: usize) -> Result<(), String>;

    /// Labels for a made-up clip.
    fn made_up(&self, frames: usize, stream: &mut Stream) -> Vec<i32>;
}

macro_rules! feeds {
    ($($file:ident::$kind:ident,)*) => {
        /// What the model language knows of the feeds.
        pub const SIGNATURES: &[Signature] = &[$(<$file::$kind as Feed>::SIGNATURE,)*];

        /// The feed that a task declares.
        fn bound(args: &Args) -> Result<(&'static str, Box<dyn Fill>), Error> {
            match args.kind() {
                $(kind if kind == <$file::$kind as Feed>::SIGNATURE.name => {
                    Ok((<$file::$kind as Feed>::SIGNATURE.name, Box::new($file::$kind::bind(args)?)))
                })*
                other => Err(args.wrong(format!("there is no feed `{other}` in this executable"))),
            }
        }
    };
}

feeds! {
    wave::Wave,
    lengths::Lengths,
    spans::Spans,
    channel_spans::ChannelSpans,
    span_index::SpanIndex,
    others::Others,
    gumbel::Gumbel,
    decay::Decay,
    dropout_key::DropoutKey,
    layer_drop::LayerDrop,
    first_layers::FirstLayers,
    letters::Letters,
    class::Class,
    clusters::Clusters,
}
