//! Tests of the emulator: single instructions, cooperation of threads, faults, whole programs.

mod common;
mod cooperation;
mod faults;
mod fragments;
mod instructions;
mod programs;
mod races;
mod recorded;
