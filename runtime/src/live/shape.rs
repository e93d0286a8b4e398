//! How much a stream hears at a time.

use crate::audio::RATE;
use crate::geometry::Geometry;
use clap::Args;
use ir::artifact::Artifact;

/// Frames that a model without a positional convolution is given to the right.
const USUAL_REACH: usize = 64;
/// Frames more than these at a time are no stream.
const MOST_SECONDS: f64 = 60.0;

/// Frames: those that are new, and those beside them that are computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub left: usize,
    pub chunk: usize,
    pub right: usize,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Stream")]
pub struct ShapeFlags {
    /// Seconds that are heard at a time.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5, value_parser = seconds)]
    pub chunk: f64,
    /// Seconds before a chunk that are heard with it again.
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0, value_parser = seconds_or_none)]
    pub left: f64,
    /// Seconds behind a chunk that it waits for; `auto`: as far as the model's positional convolution reaches.
    #[arg(long, value_name = "auto|SECONDS", default_value = "auto")]
    pub right: Right,
}

impl Default for ShapeFlags {
    fn default() -> ShapeFlags {
        ShapeFlags {
            chunk: 0.5,
            left: 4.0,
            right: Right::Auto,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Right {
    Auto,
    Seconds(f64),
}

impl std::str::FromStr for Right {
    type Err = String;
    fn from_str(text: &str) -> Result<Right, String> {
        match text {
            "auto" => Ok(Right::Auto),
            other => seconds_or_none(other).map(Right::Seconds),
        }
    }
}

impl Shape {
    /// In the frames of a model.
    pub fn new(flags: &ShapeFlags, artifact: &Artifact, geometry: &Geometry) -> Shape {
        let frames = |seconds: f64| (seconds * RATE as f64 / geometry.hop() as f64).round() as usize;
        Shape {
            left: frames(flags.left),
            chunk: frames(flags.chunk).max(1),
            right: match flags.right {
                Right::Auto => reach(artifact),
                Right::Seconds(seconds) => frames(seconds),
            },
        }
    }

    /// Seconds from when something is said until it is computed, at most, without the time that computing takes.
    pub fn delay(&self, geometry: &Geometry) -> f64 {
        ((self.chunk + self.right) * geometry.hop()) as f64 / RATE as f64
    }
}

/// Frames that the positional convolutions of a model see ahead: half of each kernel.
fn reach(artifact: &Artifact) -> usize {
    let kernel = |p: &&ir::artifact::Param| p.name.contains("pos_conv_embed") && !p.name.ends_with("original0");
    let halves = artifact.params.iter().filter(kernel).filter(|p| p.shape.len() == 3);
    match halves.map(|p| p.shape[2] as usize / 2).sum() {
        0 => USUAL_REACH,
        frames => frames,
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| *n > 0.0 && *n <= MOST_SECONDS);
    number.ok_or_else(|| format!("give seconds above 0 and up to {MOST_SECONDS}"))
}

fn seconds_or_none(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (0.0..=MOST_SECONDS).contains(n));
    number.ok_or_else(|| format!("give seconds from 0 to {MOST_SECONDS}"))
}
