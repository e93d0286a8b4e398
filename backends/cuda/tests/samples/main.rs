//! Kernels as GPU code under the emulator against the interpreter, which defines their meaning.

mod assemble;
mod hand;
mod harness;
mod hopper;
mod sampled;
mod tiles;
