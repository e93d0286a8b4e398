//! The micro-kernels in the emulator, held against what GPUs gave: see `recorded/README.md`.

use std::fs;
use std::path::{Path, PathBuf};
use w2vc_ptx::vectors::{Compare, KERNELS, MicroKernel};
use w2vc_ptx::{Launch, Memory, Module, Region};

/// Runs a micro-kernel, which may touch its inputs and results alone.
fn run(kernel: &MicroKernel, inputs: &[u32], threads: usize) -> Vec<u32> {
    let module = Module::parse(kernel.ptx).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
    let mut memory = Memory::poisoned();
    let bytes: Vec<u8> = inputs.iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut results = vec![0; 4 * kernel.result_words()];
    let [from, to] = [bytes.len(), results.len()].map(|n| memory.alloc(n as u64));
    memory.write(from, &bytes).unwrap();
    let region = |address, bytes: usize, write| Region {
        address,
        bytes: bytes as u64,
        write,
    };
    let params = [from, to].map(u64::to_le_bytes).concat();
    let launch = Launch {
        regions: Some(&[region(from, bytes.len(), false), region(to, results.len(), true)]),
        ..Launch::new(kernel.name, kernel.blocks, kernel.threads, &params)
    };
    module
        .launch(&launch, &memory, threads)
        .unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
    memory.read(to, &mut results).unwrap();
    let words = results.chunks_exact(4);
    words.map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect()
}

fn single(word: u32) -> f64 {
    f64::from(f32::from_bits(word))
}

/// The distance to the next single away from zero.
fn ulp(x: f64) -> f64 {
    let bits = (x as f32).abs().to_bits();
    single(bits + 1) - single(bits)
}

/// Whether two singles are the same or at most `bound` apart.
fn close(found: u32, recorded: u32, bound: impl Fn(f64) -> f64) -> bool {
    let (x, y) = (single(found), single(recorded));
    let both_finite = x.is_finite() && y.is_finite();
    found == recorded || (x.is_nan() && y.is_nan()) || (both_finite && (x - y).abs() <= bound(x))
}

/// The first word of the results that does not agree.
fn mismatch(kernel: &MicroKernel, found: &[u32], recorded: &[u32]) -> Option<usize> {
    let words = || found.iter().zip(recorded);
    match kernel.compare {
        Compare::Bits => words().position(|(f, r)| f != r),
        Compare::Singles => words().position(|(f, r)| !close(*f, *r, |_| 0.0)),
        Compare::Near { relative, absolute } => {
            let bound = |x: f64| (relative * x.abs()).max(absolute) + ulp(x);
            words().position(|(f, r)| !close(*f, *r, bound))
        }
        Compare::Sums { roundings } => {
            let scales = run(kernel, &kernel.magnitudes(), 1);
            let part = f64::from(roundings) / f64::from(1 << 23);
            words()
                .zip(scales)
                .position(|((f, r), scale)| !close(*f, *r, |_| part * single(scale)))
        }
        Compare::Doubles => {
            let double = |w: &[u32]| f64::from_bits(u64::from(w[0]) | u64::from(w[1]) << 32);
            let pairs = found.chunks_exact(2).zip(recorded.chunks_exact(2));
            let agree = |(f, r)| f == r || (double(f).is_nan() && double(r).is_nan());
            pairs.map(agree).position(|agrees| !agrees).map(|pair| 2 * pair)
        }
    }
}

/// What is wrong with a word of the results, with the record of the inputs it comes from.
fn describe(kernel: &MicroKernel, word: usize, found: &[u32], recorded: &[u32]) -> String {
    let record = word / kernel.results;
    let inputs = kernel.inputs();
    let width = inputs.len() / kernel.records();
    format!(
        "{}, thread {record}, word {} of its record: {:#010x} here, {:#010x} on the GPU; inputs {:#010x?}",
        kernel.name,
        word % kernel.results,
        found[word],
        recorded[word],
        &inputs[record * width..(record + 1) * width]
    )
}

/// How a folder of recordings compares.
#[derive(Debug, Default, PartialEq)]
struct Report {
    confirmed: usize,
    /// Kernels without a recording.
    missing: Vec<&'static str>,
    wrong: Vec<String>,
}

/// Compares all kernels with the recordings of one GPU. An error if they are not a GPU's.
fn check(folder: &Path) -> Result<Report, String> {
    let facts = fs::read_to_string(folder.join("facts.json")).map_err(|e| format!("facts.json: {e}"))?;
    let device = facts.lines().find(|line| line.trim_start().starts_with("\"device\":"));
    match device {
        None => return Err("facts.json names no device".into()),
        Some(line) if line.contains("emulator") => return Err("the emulator cannot confirm itself".into()),
        Some(_) => {}
    }
    let mut report = Report::default();
    for kernel in KERNELS {
        let Ok(bytes) = fs::read(folder.join(kernel.name).with_extension("bin")) else {
            report.missing.push(kernel.name);
            continue;
        };
        let Some(recorded) = kernel.decode(&bytes) else {
            let stale = "its text or inputs have changed since it was recorded; record it again";
            report.wrong.push(format!("{}: {stale}", kernel.name));
            continue;
        };
        let found = run(kernel, &kernel.inputs(), 1);
        match mismatch(kernel, &found, &recorded) {
            Some(word) => report.wrong.push(describe(kernel, word, &found, &recorded)),
            None => report.confirmed += 1,
        }
    }
    Ok(report)
}

/// The folders of recordings, one per GPU.
fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/vectors");
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| p.is_dir()).collect()
}

#[test]
fn the_emulator_agrees_with_recorded_gpus() {
    let folders = folders();
    if folders.is_empty() {
        println!("unconfirmed: {} kernels have no recorded vectors", KERNELS.len());
    }
    for folder in folders {
        let report = check(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        println!("{}: {} kernels confirmed", folder.display(), report.confirmed);
        if !report.missing.is_empty() {
            println!(
                "unconfirmed: {} kernels have no recorded vectors: {}",
                report.missing.len(),
                report.missing.join(", ")
            );
        }
        assert!(
            report.wrong.is_empty(),
            "{}:\n{}",
            folder.display(),
            report.wrong.join("\n")
        );
    }
}

#[test]
fn micro_kernels_run_and_give_the_same_on_any_number_of_threads() {
    for kernel in KERNELS {
        let once = run(kernel, &kernel.inputs(), 1);
        assert_eq!(once, run(kernel, &kernel.inputs(), 3), "{}", kernel.name);
        assert_eq!(mismatch(kernel, &once, &once), None, "{}", kernel.name);
        let distinct: std::collections::BTreeSet<u32> = once.iter().copied().collect();
        // All bits are set in whatever is divided by zero.
        let constant = kernel.name.ends_with("divide_by_zero");
        assert!(
            constant || distinct.len() > 2,
            "{}: results that show nothing",
            kernel.name
        );
    }
}

/// The formula of a product of matrices, against the layout the inputs were made with.
#[test]
fn each_lane_is_fed_its_own_elements() {
    let kernel = KERNELS.iter().find(|k| k.name == "mma_layout").unwrap();
    let (inputs, found) = (kernel.inputs(), run(kernel, &kernel.inputs(), 1));
    let half = |word: u32, h: usize| single(if h == 0 { word << 16 } else { word & 0xffff_0000 });
    // The first warp's registers: 10 words a lane.
    let register = |lane: usize, r: usize| inputs[10 * lane + r];
    let a = |row: usize, k: usize| {
        let r = row / 8 + 2 * (k / 8);
        half(register(4 * (row % 8) + k % 8 / 2, r), k % 2)
    };
    let b = |k: usize, column: usize| half(register(4 * column + k % 8 / 2, 4 + k / 8), k % 2);
    for row in 0..16 {
        for column in 0..8 {
            let (lane, r) = (4 * (row % 8) + column / 2, column % 2 + 2 * (row / 8));
            let sum: f64 = (0..16).map(|k| a(row, k) * b(k, column)).sum();
            let expected = sum + single(register(lane, 6 + r));
            assert_eq!(single(found[4 * lane + r]), expected, "row {row}, column {column}");
        }
    }
}

/// Writes what the emulator gives as if a GPU had, one word changed by `change`.
fn write_recordings(folder: &Path, device: &str, change: impl Fn(&MicroKernel, &mut Vec<u32>)) {
    fs::create_dir_all(folder).unwrap();
    fs::write(
        folder.join("facts.json"),
        format!("{{\n  \"device\": \"{device}\"\n}}\n"),
    )
    .unwrap();
    for kernel in KERNELS {
        let mut results = run(kernel, &kernel.inputs(), 1);
        change(kernel, &mut results);
        fs::write(folder.join(kernel.name).with_extension("bin"), kernel.encode(&results)).unwrap();
    }
}

#[test]
fn the_comparison_tells_wrong_stale_missing_and_emulated_recordings() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recordings");
    fs::remove_dir_all(&folder).ok();
    write_recordings(&folder, "a GPU", |_, _| {});
    let all = Report {
        confirmed: KERNELS.len(),
        ..Report::default()
    };
    assert_eq!(check(&folder), Ok(all));

    // The sign of a number that is not small is more than any bound allows.
    write_recordings(&folder, "a GPU", |_, results| {
        let number = |w: &u32| single(*w).is_finite() && single(*w).abs() > 1e-3;
        let word = results.iter().rposition(number).unwrap_or(0);
        results[word] ^= 0x8000_0000;
    });
    let report = check(&folder).unwrap();
    assert_eq!((report.confirmed, report.wrong.len()), (0, KERNELS.len()), "{report:?}");

    let (stale, missing) = (KERNELS[0].name, KERNELS[1].name);
    write_recordings(&folder, "a GPU", |_, _| {});
    let path = folder.join(stale).with_extension("bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(folder.join(missing).with_extension("bin")).unwrap();
    let report = check(&folder).unwrap();
    assert_eq!((report.missing, report.wrong.len()), (vec![missing], 1));

    write_recordings(&folder, "emulator", |_, _| {});
    assert!(check(&folder).is_err());
}
