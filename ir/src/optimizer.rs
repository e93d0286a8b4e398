//! What the compiler and whoever runs programs agree on about updating parameters.
//!
//! Beside the model's programs there are some over a contiguous range of the arenas: [`RANGE_LEN`](crate::names::RANGE_LEN)
//! elements from [`RANGE_START`](crate::names::RANGE_START) on.

use crate::artifact::Program;

/// A program over a range of the arenas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Changes parameters and moments by the gradient. Its one input is [`SCALARS`].
    Adam,
    /// Gives [`SQUARES`].
    GradNorm,
    /// Rounds parameters to bf16, for programs that read them so.
    Narrow,
}

impl Update {
    /// All of them.
    pub const ALL: [Update; 3] = [Update::Adam, Update::GradNorm, Update::Narrow];

    /// The name of the program and of its kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Update::Adam => "adam",
            Update::GradNorm => "grad_norm",
            Update::Narrow => "narrow",
        }
    }

    /// Which of them a program is; `None` for the model's own.
    pub fn of(program: &Program) -> Option<Update> {
        Update::ALL.into_iter().find(|u| u.name() == program.name)
    }
}

/// The input of [`Update::Adam`]: f32, one element per [`Scalar`].
pub const SCALARS: &str = "adam";

/// The output of [`Update::GradNorm`]: f32 [ceil(RANGE_LEN / NORM_BLOCK)], a sum of squares per block of the gradient.
pub const SQUARES: &str = "squares";

/// Elements whose squares are summed together, so that the sum has the same order on any number of threads.
pub const NORM_BLOCK: i64 = 4096;

/// A number that a step of Adam needs, as fairseq writes it (`optim/adam.py`): p -= decay * p; m and v are moments of the
/// scaled gradient; p -= step * m / (sqrt(v) + eps).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// What gradients are multiplied with.
    Scale,
    Beta1,
    /// 1 - beta1
    Rest1,
    Beta2,
    /// 1 - beta2
    Rest2,
    Eps,
    /// Learning rate times weight decay.
    Decay,
    /// The learning rate, with the corrections of both moments.
    Step,
}

impl Scalar {
    /// In the order of the input's elements.
    pub const ALL: [Scalar; 8] = [
        Scalar::Scale,
        Scalar::Beta1,
        Scalar::Rest1,
        Scalar::Beta2,
        Scalar::Rest2,
        Scalar::Eps,
        Scalar::Decay,
        Scalar::Step,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_lie_in_their_own_order() {
        for (i, scalar) in Scalar::ALL.into_iter().enumerate() {
            assert_eq!(scalar as usize, i);
        }
    }
}
