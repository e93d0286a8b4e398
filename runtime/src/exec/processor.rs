//! What this processor can execute.

use crate::error::Error;

/// The least that compiled programs need (x86-64-v3).
const LEAST: [&str; 2] = ["avx2", "fma"];

/// What programs in bf16 need besides AVX-512.
const BF16: &str = "avx512bf16";

/// Whether this processor multiplies bf16, which programs in f32 leave unused.
pub fn has_bf16() -> bool {
    has("avx512f") && has("avx512bw") && has("avx512vl") && has(BF16)
}

/// Whether this processor can run code that was compiled for `features`. To be asked before any of it runs.
///
/// # Errors
/// Names every one that is missing.
pub fn require(features: &[String]) -> Result<(), Error> {
    let missing: Vec<&str> = features.iter().map(String::as_str).filter(|f| !has(f)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let remedy = match LEAST.iter().all(|f| has(f)) {
        true if missing.contains(&BF16) => {
            "compile it without --precision bf16 or int8-bf16: `w2vc compile FILE.ron --target cpu --cpu x86-64-v3`"
        }
        true => {
            "compile it with `w2vc compile FILE.ron --target cpu --cpu x86-64-v3`, or on this machine without --cpu"
        }
        false => "w2vc compiles for processors with AVX2 and FMA or newer ones; use another machine",
    };
    Err(Error::Processor {
        missing: missing.join(", "),
        remedy,
    })
}

fn has(feature: &str) -> bool {
    match feature {
        "avx" => std::arch::is_x86_feature_detected!("avx"),
        "avx2" => std::arch::is_x86_feature_detected!("avx2"),
        "fma" => std::arch::is_x86_feature_detected!("fma"),
        "bmi1" => std::arch::is_x86_feature_detected!("bmi1"),
        "bmi2" => std::arch::is_x86_feature_detected!("bmi2"),
        "f16c" => std::arch::is_x86_feature_detected!("f16c"),
        "lzcnt" => std::arch::is_x86_feature_detected!("lzcnt"),
        "movbe" => std::arch::is_x86_feature_detected!("movbe"),
        "popcnt" => std::arch::is_x86_feature_detected!("popcnt"),
        "avx512f" => std::arch::is_x86_feature_detected!("avx512f"),
        "avx512bw" => std::arch::is_x86_feature_detected!("avx512bw"),
        "avx512cd" => std::arch::is_x86_feature_detected!("avx512cd"),
        "avx512dq" => std::arch::is_x86_feature_detected!("avx512dq"),
        "avx512vl" => std::arch::is_x86_feature_detected!("avx512vl"),
        "avx512vnni" => std::arch::is_x86_feature_detected!("avx512vnni"),
        BF16 => std::arch::is_x86_feature_detected!("avx512bf16"),
        // Unknown names are refused: better a message than an illegal instruction.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let features = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        require(&[]).unwrap();
        // One that no processor has, and one that this one has wherever the tests of compiled programs can run at all.
        let have = if has("popcnt") { features(&["popcnt"]) } else { vec![] };
        require(&have).unwrap();
        let error = require(&[have, features(&["sse9", "sse10"])].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 8);
        let text = error.to_string();
        assert!(
            text.contains("lacks sse9, sse10;") && text.contains("w2vc compile"),
            "{text}"
        );
    }
}
