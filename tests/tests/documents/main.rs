//! Texts: IR that reads back, the models in models/, and the pages of the documentation.

mod benchmarks;
mod commands;
mod generated;
mod ir_text;
mod links;
mod models;
mod pages;
mod snippets;
