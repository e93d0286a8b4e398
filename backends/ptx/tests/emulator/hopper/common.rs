//! Programs for the tests of sm_90.

use crate::common::*;
use w2vc_ptx::{Error, Fault, FaultKind, Launch, Memory, Module, TensorMap};

/// A tensor of 16-bit elements in rows that follow each other; the box is `tile`.
pub fn map(address: u64, extents: &[u64], tile: &[u32]) -> TensorMap {
    let stride = |n: usize| 2 * extents[..n].iter().product::<u64>();
    TensorMap {
        address,
        bytes_per_element: 2,
        extents: extents.to_vec(),
        strides: (1..extents.len()).map(stride).collect(),
        tile: tile.to_vec(),
    }
}

/// A kernel `k(out, map...)`: `%out` holds the first parameter, `%map0` and so on the addresses of the maps, `%tid` the
/// thread's index, `%dst` the address of the thread's word of the output; dynamic shared memory begins at 0.
pub fn program(maps: usize, body: &str) -> String {
    let params: String = (0..maps).map(|i| format!(", .param .align 64 .b8 m{i}[128]")).collect();
    let loads: String = (0..maps)
        .map(|i| format!("mov.b64 %map{i}, m{i}; cvta.param.u64 %map{i}, %map{i};\n"))
        .collect();
    format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 dyn[];\n\
         .visible .entry k(.param .u64 out{params})\n{{\n\
         .reg .pred %p<16>;\n.reg .b16 %rs<8>;\n.reg .b32 %r<64>;\n.reg .b32 %d<256>;\n.reg .b64 %rd<32>;\n.reg .b64 %map<4>;\n\
         .reg .b32 %tid;\n.reg .b64 %out;\n.reg .b64 %dst;\n\
         ld.param.u64 %out, [out];\nmov.u32 %tid, %tid.x;\n{loads}\
         mul.wide.u32 %dst, %tid, 4;\nadd.s64 %dst, %out, %dst;\nsetp.eq.u32 %p15, %tid, 0;\n{body}\nret;\n}}\n"
    )
}

/// Runs one block of such a kernel; its output of `words` words starts as zeros.
pub fn run(
    text: &str,
    threads: u32,
    shared: u32,
    words: usize,
    maps: &[TensorMap],
    memory: &mut Memory,
) -> Result<Vec<u32>, Error> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let out = upload(memory, &vec![0u32; words]);
    let params = maps
        .iter()
        .fold(Params::default().u64(out), |params, map| params.map(map));
    let launch = Launch {
        shared,
        step_limit: 1 << 18,
        ..Launch::new("k", 1, threads, &params.0)
    };
    module.launch(&launch, memory, 1)?;
    Ok(download(memory, out, words))
}

/// Runs one without maps.
pub fn run_plain(body: &str, threads: u32) -> Result<Vec<u32>, Error> {
    run(&program(0, body), threads, 4096, 1024, &[], &mut Memory::new())
}

/// Its fault.
pub fn fault_of(body: &str, threads: u32) -> Box<Fault> {
    match run_plain(body, threads) {
        Err(Error::Fault(fault)) => fault,
        other => panic!("expected a fault, got {other:?}\n{body}"),
    }
}

/// The kind of its fault.
pub fn kind_of(body: &str, threads: u32) -> FaultKind {
    fault_of(body, threads).kind
}

/// Waits until the phase of the given parity of the mbarrier at `at` is complete. Labels are local to the braces.
pub fn wait(at: &str, parity: &str) -> String {
    format!(
        "{{ .reg .pred P1;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 P1, [{at}], {parity};\n@P1 bra DONE; bra AGAIN;\nDONE: }}\n"
    )
}
