//! Records what a GPU gives for the micro-kernels that the emulator is held against, into a folder to be committed:
//! `backends/ptx/tests/recorded/README.md` says how and what.

use clap::Parser;
use ir::artifact::{Artifact, Grid, KernelInfo, Precision, PtxImage, PtxKernel};
use ptx::vectors::{KERNELS, MicroKernel};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use w2vc_runtime::Error;
use w2vc_runtime::gpu::{Choice, Device, Launch, Region, open_device};

/// What nearly all texts are made for; a later GPU's driver compiles them as well.
const ARCH: &str = "sm_80";

/// Records what a GPU gives for the micro-kernels that the PTX emulator is held against.
#[derive(Parser)]
struct Options {
    /// Where to, a folder of this GPU's: facts.json, and NAME.bin for each kernel.
    out: PathBuf,
    /// cuda:N, or emulator for a trial; what the emulator gives is refused as a recording.
    #[arg(long, default_value = "cuda:0")]
    device: Choice,
    /// The day, YYYY-MM-DD, for the facts.
    #[arg(long)]
    date: String,
}

/// What a recording says about itself.
#[derive(Serialize)]
struct Facts {
    device: String,
    driver: String,
    date: String,
    kernels: Vec<&'static str>,
}

fn main() -> ExitCode {
    match record(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => w2vc_runtime::cli::fail(&e),
    }
}

fn record(options: &Options) -> Result<(), Error> {
    let mut device = open(&options.device)?;
    std::fs::create_dir_all(&options.out).map_err(Error::io("create", &options.out))?;
    let mut recorded = vec![];
    for (index, kernel) in KERNELS.iter().enumerate() {
        match device.prepare(&[index]) {
            Ok(()) => {}
            // An older GPU has not all instructions; the test names what is missing.
            Err(e) if kernel.target() != ARCH => {
                println!("{} needs {} and is left out: {e}", kernel.name, kernel.target());
                continue;
            }
            Err(e) => return Err(e),
        }
        let results = run(device.as_mut(), index, kernel)?;
        let path = options.out.join(kernel.name).with_extension("bin");
        write(&path, &kernel.encode(&results))?;
        recorded.push(kernel.name);
    }
    let emulated = matches!(options.device, Choice::Emulator(_));
    let facts = Facts {
        device: if emulated { "emulator".into() } else { device.name() },
        driver: if emulated { "none".into() } else { driver() },
        date: options.date.clone(),
        kernels: recorded,
    };
    // Plain strings and a list of them are always JSON.
    let json = serde_json::to_string_pretty(&facts).expect("facts are JSON");
    write(&options.out.join("facts.json"), format!("{json}\n").as_bytes())?;
    println!(
        "{} kernels on {}, driver {}: {}",
        facts.kernels.len(),
        facts.device,
        facts.driver,
        options.out.display()
    );
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(Error::io("write", path))
}

/// The version in the kernel driver's first line about itself, as Linux has it.
fn driver() -> String {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let first = text.lines().next().unwrap_or_default();
    first
        .split_whitespace()
        .find(is_version)
        .unwrap_or("unknown")
        .to_string()
}

/// A device that has the micro-kernels, by their index in the list.
fn open(choice: &Choice) -> Result<Box<dyn Device>, Error> {
    let image = PtxImage {
        arch: ARCH.into(),
        kernels: KERNELS.iter().map(code).collect(),
    };
    open_device(choice, &artifact(), vec![image], 1)
}

/// An artifact that is nothing but kernels.
fn artifact() -> Artifact {
    Artifact {
        name: "micro-kernels".into(),
        cpu_features: vec![],
        gpu: Some(Precision::Fp32),
        int8: None,
        constants: Default::default(),
        graphs: Default::default(),
        tasks: vec![],
        export: Default::default(),
        config: Default::default(),
        run_sizes: vec![],
        params: vec![],
        param_room: 0.into(),
        param_elements: 0,
        symbols: vec![],
        dims: vec![],
        kernels: KERNELS.iter().map(info).collect(),
        programs: vec![],
    }
}

fn code(kernel: &MicroKernel) -> PtxKernel {
    let grid = Grid {
        function: kernel.name.into(),
        blocks: [i64::from(kernel.blocks).into(), 1.into(), 1.into()],
        threads: kernel.threads,
        shared: 0,
        sizes: vec![],
        maps: vec![],
        schedule: String::new(),
    };
    PtxKernel {
        text: kernel.ptx.to_string(),
        grids: vec![grid],
        workspace: 0.into(),
    }
}

fn info(kernel: &MicroKernel) -> KernelInfo {
    KernelInfo {
        name: kernel.name.into(),
        what: String::new(),
        entries: vec![],
        workspace: 0.into(),
        scratch: 0.into(),
        flops: 0.into(),
        factors: ir::artifact::Factors::F32,
        bytes: 0.into(),
    }
}

/// Runs a prepared kernel.
fn run(device: &mut dyn Device, index: usize, kernel: &MicroKernel) -> Result<Vec<u32>, Error> {
    let inputs: Vec<u8> = kernel.inputs().iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut results = vec![0; 4 * kernel.result_words()];
    let from = device.alloc(inputs.len())?;
    let to = device.alloc(results.len())?;
    device.upload(from, &inputs)?;
    // A kernel that writes nothing is not to leave the results of the one before.
    device.zero(to, results.len())?;
    let region = |address, bytes: usize, write| Region {
        address,
        bytes: bytes as u64,
        write,
    };
    device.launch(&Launch {
        kernel: index,
        grid: 0,
        blocks: [kernel.blocks, 1, 1],
        threads: kernel.threads,
        shared: 0,
        params: vec![from, to],
        maps: vec![],
        regions: vec![region(from, inputs.len(), false), region(to, results.len(), true)],
    })?;
    device.download(to, &mut results)?;
    device.free(from)?;
    device.free(to)?;
    let (words, _) = results.as_chunks::<4>();
    Ok(words.iter().map(|w| u32::from_le_bytes(*w)).collect())
}
