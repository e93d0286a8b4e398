//! What machine code is made for.

use crate::{Error, Schedule, Shape};
use inkwell::OptimizationLevel;
use inkwell::targets::{CodeModel, InitializationConfig, RelocMode, TargetMachine, TargetTriple};
use ir::rounding::Levels;

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
    /// Whether it adds up products of bytes in 32 bits (AVX-512 VNNI).
    pub vnni: bool,
    /// Whether it adds up products of pairs of bf16 (AVX512-BF16).
    pub bf16: bool,
    /// Multiplies convolutions out tap by tap, although there are ways with fewer multiplications.
    pub direct: bool,
    /// Cuts products otherwise than the table says, to try it.
    pub tried: Option<Schedule>,
}

/// The part of x86-64-v3 that generated code leans on.
const V3: [&str; 9] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt"];
/// What x86-64-v4 adds.
const V4: [&str; 5] = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];
/// Adds up products of bytes.
const VNNI: &str = "avx512vnni";
/// Adds up products of pairs of bf16. Every processor that has it adds up products of bytes too.
const BF16: &str = "avx512bf16";

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

impl Target {
    /// The newest of our levels that this processor has. Levels, not the processor's own list of features: hot loops are
    /// written out in vectors, so rarer instructions would win nothing and tie the executable to one machine.
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
        Target::parse(match (V4.iter().all(|f| has(f)), has(VNNI), has(BF16)) {
            (true, true, true) => "x86-64-v4-bf16",
            (true, true, false) => "x86-64-v4-vnni",
            (true, false, _) => "x86-64-v4",
            (false, _, _) => "x86-64-v3",
        })
    }

    /// `native`, `x86-64-v3` (AVX2), `x86-64-v4` (AVX-512), `x86-64-v4-vnni` (and its products of bytes, which only programs
    /// in 8 bits have) or `x86-64-v4-bf16` (and products of pairs of bf16 besides).
    ///
    /// # Errors
    /// On any other name, and where `native` is too old (see [`Target::host`]).
    pub fn parse(name: &str) -> Result<Target, Error> {
        let level = |cpu: &str, vector_bits, required: Vec<&str>| Target {
            cpu: cpu.into(),
            features: String::new(),
            vector_bits,
            required: required.into_iter().map(String::from).collect(),
            vnni: false,
            bf16: false,
            direct: false,
            tried: None,
        };
        match name {
            "native" => Target::host(),
            "x86-64-v3" => Ok(level(name, 256, V3.to_vec())),
            "x86-64-v4" => Ok(level(name, 512, V3.into_iter().chain(V4).collect())),
            "x86-64-v4-vnni" => Ok(Target {
                features: format!("+{VNNI}"),
                vnni: true,
                ..level("x86-64-v4", 512, V3.into_iter().chain(V4).chain([VNNI]).collect())
            }),
            "x86-64-v4-bf16" => {
                let required = V3.into_iter().chain(V4).chain([VNNI, BF16]).collect();
                Ok(Target {
                    features: format!("+{VNNI},+{BF16}"),
                    vnni: true,
                    bf16: true,
                    ..level("x86-64-v4", 512, required)
                })
            }
            _ => Err(Error::UnknownTarget(name.into())),
        }
    }

    /// The level's name, as [`Target::parse`] takes it.
    pub fn level(&self) -> &str {
        match (self.vnni, self.bf16) {
            (_, true) => "x86-64-v4-bf16",
            (true, false) => "x86-64-v4-vnni",
            (false, false) => &self.cpu,
        }
    }

    /// f32 lanes of a vector; loops over f64 and i32 use as many lanes.
    pub fn lanes(&self) -> u32 {
        self.vector_bits / 32
    }

    /// Elements of a step of a loop over elements: two vectors where they are of 256 bits. The chains of exp and erf are
    /// longer than what such a processor looks ahead, and half of their instructions load constants, which both share.
    pub fn step_lanes(&self) -> u32 {
        if self.vector_bits == 256 {
            2 * self.lanes()
        } else {
            self.lanes()
        }
    }

    /// How products are cut.
    pub fn schedule(&self, shape: Shape) -> Schedule {
        self.tried
            .unwrap_or_else(|| Schedule::for_vectors(self.vector_bits, shape))
    }

    /// How products of so many columns are cut.
    pub fn schedule_for(&self, shape: Shape, columns: i64) -> Schedule {
        self.tried
            .unwrap_or_else(|| Schedule::for_columns(self.vector_bits, shape, columns))
    }

    /// What products of bytes divide their operands into.
    pub fn levels(&self) -> Levels {
        if self.vnni { Levels::BYTES } else { Levels::PAIRS }
    }

    /// For programs with or without products of bytes and of bf16: they shall not need what only these use.
    pub fn only_for(&self, bytes: bool, bf16: bool) -> Target {
        let (vnni, bf16) = (self.vnni && bytes, self.bf16 && bf16);
        let unused = |f: &str| f == VNNI && !vnni || f == BF16 && !bf16;
        let features = [(VNNI, vnni), (BF16, bf16)].into_iter().filter(|(_, used)| *used);
        let features: Vec<String> = features.map(|(f, _)| format!("+{f}")).collect();
        Target {
            features: features.join(","),
            required: self.required.iter().filter(|f| !unused(f)).cloned().collect(),
            vnni,
            bf16,
            ..self.clone()
        }
    }

    /// How products of bytes are cut.
    pub fn schedule_of_bytes(&self) -> Schedule {
        self.tried.unwrap_or_else(|| Schedule::for_bytes(self.vector_bits))
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
