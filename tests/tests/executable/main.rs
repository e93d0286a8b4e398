//! The commands and the executables they make, run as a user runs them.

mod commands;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
mod hostile;
mod kills;
mod others;
mod power;
mod transcribe;
