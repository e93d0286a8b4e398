//! Tests of the emulator: single instructions, cooperation of threads, faults, whole programs.

mod cases;
mod common;
mod cooperation;
mod faults;
mod floats;
mod fragments;
mod integers;
mod programs;
mod races;
