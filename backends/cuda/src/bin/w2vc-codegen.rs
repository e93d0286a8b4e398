//! The code generator for the GPU, run by `w2vc` as a process of its own.

fn main() {}
