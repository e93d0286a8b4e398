//! What machine code is made for.

use crate::Error;
use inkwell::OptimizationLevel;
use inkwell::targets::{CodeModel, InitializationConfig, RelocMode, TargetMachine, TargetTriple};

/// An x86-64 processor. Programs made for it check `required` before they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// LLVM's name of the processor.
    pub cpu: String,
    /// LLVM's feature string (`+avx2,-avx512f,...`); empty where `cpu` says all.
    pub features: String,
    /// Width of the vectors that loops are made of: 256 or 512.
    pub vector_bits: u32,
    /// Instruction sets the code needs, as `is_x86_feature_detected!` spells them.
    pub required: Vec<String>,
}

/// The part of x86-64-v3 that generated code leans on.
const V3: [&str; 7] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt"];
/// What x86-64-v4 adds.
const V4: [&str; 5] = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

impl Target {
    /// The processor this runs on.
    ///
    /// # Errors
    /// If it lacks AVX2 or FMA.
    pub fn host() -> Result<Target, Error> {
        let cpu = TargetMachine::get_host_cpu_name().to_string();
        let features = TargetMachine::get_host_cpu_features().to_string();
        let has = |f: &str| features.split(',').any(|have| have.strip_prefix('+') == Some(f));
        for needed in ["avx2", "fma"] {
            if !has(needed) {
                return Err(Error::MissingFeature(format!("this processor ({cpu})"), needed));
            }
        }
        // Whatever LLVM may use of this processor, the program must find again where it runs.
        let mut required: Vec<String> = DETECTABLE
            .iter()
            .filter(|f| has(llvm_name(f)))
            .map(|f| f.to_string())
            .collect();
        required.sort();
        Ok(Target {
            vector_bits: if has("avx512f") { 512 } else { 256 },
            cpu,
            features,
            required,
        })
    }

    /// `native`, `x86-64-v3` (AVX2) or `x86-64-v4` (AVX-512).
    ///
    /// # Errors
    /// On any other name, and where `native` is too old (see [`Target::host`]).
    pub fn parse(name: &str) -> Result<Target, Error> {
        let level = |cpu: &str, vector_bits, required: Vec<&str>| Target {
            cpu: cpu.into(),
            features: String::new(),
            vector_bits,
            required: required.into_iter().map(String::from).collect(),
        };
        match name {
            "native" => Target::host(),
            "x86-64-v3" => Ok(level(name, 256, V3.to_vec())),
            "x86-64-v4" => Ok(level(name, 512, V3.into_iter().chain(V4).collect())),
            _ => Err(Error::UnknownTarget(name.into())),
        }
    }

    /// f32 lanes of a vector; loops over f64 and i32 use as many lanes.
    pub fn lanes(&self) -> u32 {
        self.vector_bits / 32
    }

    /// Architectural vector registers.
    pub fn registers(&self) -> u32 {
        if self.vector_bits == 512 { 32 } else { 16 }
    }

    pub(crate) fn machine(&self) -> Result<TargetMachine, Error> {
        inkwell::targets::Target::initialize_x86(&InitializationConfig::default());
        let triple = TargetTriple::create(TRIPLE);
        let llvm = |e: inkwell::support::LLVMString| Error::Llvm(e.to_string());
        let target = inkwell::targets::Target::from_triple(&triple).map_err(llvm)?;
        target
            .create_target_machine(
                &triple,
                &self.cpu,
                &self.features,
                OptimizationLevel::Default,
                RelocMode::PIC,
                CodeModel::Small,
            )
            .ok_or_else(|| Error::Llvm(format!("no code generator for {} {}", self.cpu, self.features)))
    }
}

/// Features LLVM may use on a `native` target and the standard library can detect, by the latter's name.
const DETECTABLE: [&str; 25] = [
    "adx",
    "avx",
    "avx2",
    "avx512bf16",
    "avx512bitalg",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512f",
    "avx512fp16",
    "avx512ifma",
    "avx512vbmi",
    "avx512vbmi2",
    "avx512vl",
    "avx512vnni",
    "avx512vpopcntdq",
    "bmi1",
    "bmi2",
    "f16c",
    "fma",
    "lzcnt",
    "movbe",
    "popcnt",
    "sse4.1",
    "sse4.2",
];

fn llvm_name(detected: &str) -> &str {
    match detected {
        "bmi1" => "bmi",
        other => other,
    }
}
