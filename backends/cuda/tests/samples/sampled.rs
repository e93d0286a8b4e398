//! Sampled kernels.

use crate::harness::check;
use ir::kernel_sample::{self, Sample};
use proptest::prelude::*;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    }
}

fn narrowed_if(narrow: bool, sample: Sample, seed: u32) -> Sample {
    if narrow {
        kernel_sample::narrowed(sample, seed)
    } else {
        sample
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn row(seed: u32, aligned: bool) {
        check(&kernel_sample::row(seed), seed, aligned)?;
    }

    #[test]
    fn column(seed: u32, aligned: bool) {
        check(&kernel_sample::column(seed), seed, aligned)?;
    }

    #[test]
    fn scatter(seed: u32, aligned: bool) {
        check(&kernel_sample::scatter(seed), seed, aligned)?;
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn contract(seed: u32, aligned: bool) {
        check(&kernel_sample::contract(seed), seed, aligned)?;
    }

    #[test]
    fn attention(seed: u32, aligned: bool) {
        check(&kernel_sample::attention(seed), seed, aligned)?;
    }

    #[test]
    fn attention_grad(seed: u32, aligned: bool) {
        check(&kernel_sample::attention_grad(seed), seed, aligned)?;
    }

    #[test]
    fn ctc(seed: u32, aligned: bool) {
        check(&kernel_sample::ctc(seed), seed, aligned)?;
    }
}

// Some operands in bf16, products rounded to it.
proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn narrowed_maps(seed: u32, aligned: bool) {
        let sample = if seed % 2 == 0 { kernel_sample::row(seed) } else { kernel_sample::column(seed) };
        check(&kernel_sample::narrowed(sample, seed), seed, aligned)?;
    }

    #[test]
    fn narrowed_contract(seed: u32, aligned: bool) {
        check(&kernel_sample::narrowed(kernel_sample::contract(seed), seed), seed, aligned)?;
    }

    #[test]
    fn narrowed_attention(seed: u32, aligned: bool) {
        let sample = if seed % 2 == 0 { kernel_sample::attention(seed) } else { kernel_sample::attention_grad(seed) };
        check(&kernel_sample::narrowed(sample, seed), seed, aligned)?;
    }
}

// Sizes of several tiles.
proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn large_rows(seed: u32, aligned: bool, narrow: bool) {
        check(&narrowed_if(narrow, kernel_sample::row_large(seed), seed), seed, aligned)?;
    }

    #[test]
    fn large_contract(seed: u32, aligned: bool, narrow: bool) {
        check(&narrowed_if(narrow, kernel_sample::contract_large(seed), seed), seed, aligned)?;
    }

    #[test]
    fn large_attention(seed: u32, aligned: bool, narrow: bool) {
        check(&narrowed_if(narrow, kernel_sample::attention_large(seed), seed), seed, aligned)?;
    }

    #[test]
    fn large_attention_grad(seed: u32, aligned: bool, narrow: bool) {
        check(&narrowed_if(narrow, kernel_sample::attention_grad_large(seed), seed), seed, aligned)?;
    }
}
