//! What sm_90 adds: mbarriers, bulk copies of tensors, `wgmma`.

mod common;
mod compiled;
mod mbarriers;
mod products;
mod tensors;
