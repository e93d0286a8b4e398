//! Vectors recorded on a GPU, if there are any: `tests/recorded/README.md` gives their format.

use crate::common::Params;
use ptx::{Launch, Memory, Module};
use std::path::Path;

fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
        .collect()
}

/// Runs `NAME THREADS SHARED TOLERANCE GPU`.
fn check(folder: &Path, line: &str) {
    let [name, threads, shared, tolerance, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("vectors.txt: `{line}` is no `NAME THREADS SHARED TOLERANCE GPU`");
    };
    let file =
        |end: &str| std::fs::read(folder.join(format!("{name}.{end}"))).unwrap_or_else(|e| panic!("{name}.{end}: {e}"));
    let module = Module::parse(&String::from_utf8(file("ptx")).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (input, expected) = (file("in"), file("out"));
    let mut memory = Memory::new();
    let buffer = memory.alloc(input.len() as u64);
    memory.write(buffer, &input).unwrap();
    let params = Params::default().u64(buffer);
    let kernel = module.kernels().next().unwrap().to_string();
    let launch = Launch::new(&kernel, 1, threads.parse().unwrap(), &params.0);
    module
        .launch(
            &Launch {
                shared: shared.parse().unwrap(),
                ..launch
            },
            &memory,
            1,
        )
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut found = vec![0; expected.len()];
    memory.read(buffer, &mut found).unwrap();
    let tolerance: f32 = tolerance.parse().unwrap();
    if tolerance == 0.0 {
        assert_eq!(found, expected, "{name}");
        return;
    }
    for (i, (found, expected)) in singles(&found).iter().zip(singles(&expected)).enumerate() {
        let near = (found - expected).abs() <= tolerance * expected.abs();
        assert!(
            near || found.to_bits() == expected.to_bits(),
            "{name}, word {i}: {found}, the GPU gave {expected}"
        );
    }
}

#[test]
fn recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let list = std::fs::read_to_string(folder.join("vectors.txt")).unwrap_or_default();
    let vectors: Vec<&str> = list.lines().filter(|line| !line.trim().is_empty()).collect();
    if vectors.is_empty() {
        println!("unconfirmed: no vectors recorded on a GPU are here");
    }
    vectors.iter().for_each(|line| check(&folder, line));
}
