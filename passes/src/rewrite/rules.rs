//! The rules, one family to a file.

pub mod attention;
mod conv_norm;
mod gather;
pub mod identities;
mod scale;
mod weight_norm;

use super::rule::Rule;

/// Every rule, in the order in which they are tried.
pub const ALL: &[&[Rule]] = &[
    identities::RULES,
    scale::RULES,
    attention::RULES,
    gather::RULES,
    conv_norm::RULES,
    weight_norm::RULES,
];
