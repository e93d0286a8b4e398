//! Tests of the emulator: single instructions, cooperation of threads, faults, whole programs, what sm_90 adds.

mod cases;
mod common;
mod cooperation;
mod faults;
mod floats;
mod fragments;
mod hopper;
mod integers;
mod programs;
mod races;
