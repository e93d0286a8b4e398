//! The commands and the executables they make, run as a user runs them.

mod commands;
mod cpu;
mod files;
mod generator;
#[cfg(feature = "gpu")]
mod gpu;
mod hostile;
mod kills;

mod library;
mod listen;
mod long;
mod opening;
mod others;
mod power;
mod ranks;
mod serve;
mod threads;
mod transcribe;
mod tuned;
