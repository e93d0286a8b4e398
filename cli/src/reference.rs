//! Reference pages of docs/reference that are made of the code itself. A test of the workspace holds that they are current.

pub mod commands;
pub mod ops;
pub mod settings;
