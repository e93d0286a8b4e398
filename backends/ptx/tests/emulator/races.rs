//! Order on shared memory: races, uninitialised reads, asynchronous copies. Each program that faults has a twin that does not.

use crate::common::*;
use w2vc_ptx::{Error, FaultKind, Launch, Memory, Module, RaceKind, Space};

#[test]
fn uninitialised_shared_memory_is_not_read() {
    let address = "shl.b32 %r1, %tid, 2;";
    let bad = format!("{address} ld.shared.b32 %r2, [%r1]; st.global.b32 [%dst], %r2;");
    let good = format!("{address} st.shared.b32 [%r1], %tid; ld.shared.b32 %r2, [%r1]; st.global.b32 [%dst], %r2;");
    let out = twins!(&bad, &good, 32, 128, FaultKind::Uninitialised { address: 0 });
    assert_eq!(out[..32], (0..32).collect::<Vec<_>>());
    // What one block wrote is not there for the next.
    let text = kernel(
        "",
        "mov.u32 %r1, %ctaid.x; setp.ne.b32 %p1, %r1, 0; @%p1 bra L; st.shared.b32 [0], %tid;\n\
        L: ld.shared.b32 %r2, [0];",
    );
    let module = Module::parse(&text).unwrap();
    let (params, memory) = (Params::default().u64(0), Memory::new());
    let launch = |blocks| {
        module.launch(
            &Launch {
                shared: 4,
                ..Launch::new("k", blocks, 1, &params.0)
            },
            &memory,
            1,
        )
    };
    assert!(launch(1).is_ok());
    match launch(2) {
        Err(Error::Fault(fault)) => {
            assert!(matches!(fault.kind, FaultKind::Uninitialised { address: 0 }));
            assert_eq!(
                (fault.block, fault.instruction.as_str()),
                ([1, 0, 0], "L: ld.shared.b32 %r2, [0]")
            );
        }
        other => panic!("{other:?}"),
    }
}

/// Thread `t` writes word `t`, then reads word `t + step` of `threads`.
fn exchange(between: &str, step: u32, threads: u32) -> String {
    format!(
        "shl.b32 %r1, %tid, 2; st.shared.b32 [%r1], %tid;\n{between}\n\
         add.u32 %r2, %tid, {step}; rem.u32 %r2, %r2, {threads}; shl.b32 %r2, %r2, 2;\n\
         ld.shared.b32 %r3, [%r2]; st.global.b32 [%dst], %r3;"
    )
}

#[test]
fn a_missing_barrier_between_writers_and_readers_is_a_race() {
    // Warp 1 reads what warp 0 wrote.
    let across = |between: &str| {
        format!(
            "setp.eq.u32 %p1, %tid, 3; @%p1 st.shared.b32 [0], %tid;\n{between}\n\
             setp.ge.u32 %p1, %tid, 32; @%p1 ld.shared.b32 %r2, [0];"
        )
    };
    let text = kernel("", &across(""));
    let store = text.lines().position(|line| line.contains("@%p1 st.shared")).unwrap() as u32 + 1;
    let kind = fault_kind(&text, 64, 64, 64);
    assert_eq!(
        kind,
        FaultKind::Race {
            address: 0,
            kind: RaceKind::ReadAfterWrite,
            other: 3,
            line: store
        }
    );
    run_block(&kernel("", &across("bar.sync 0;")), 64, 64, 64).unwrap();
    let out = run_block(&kernel("", &exchange("bar.sync 0;", 32, 64)), 64, 256, 64).unwrap();
    assert_eq!(out, (0..64).map(|t| (t + 32) % 64).collect::<Vec<u32>>());
    // Within a warp, only a warp barrier orders memory; a shuffle does not.
    let kind = fault_kind(&kernel("", &exchange("", 31, 32)), 32, 128, 64);
    assert!(
        matches!(
            kind,
            FaultKind::Race {
                kind: RaceKind::ReadAfterWrite,
                other: 31,
                ..
            }
        ),
        "{kind}"
    );
    let shuffled = exchange("shfl.sync.idx.b32 %r9, %tid, 0, 31, -1;", 31, 32);
    assert!(matches!(
        fault_kind(&kernel("", &shuffled), 32, 128, 64),
        FaultKind::Race { .. }
    ));
    run_block(&kernel("", &exchange("bar.warp.sync -1;", 31, 32)), 32, 128, 64).unwrap();
    // A warp barrier does not reach the other warp.
    let warps =
        "st.shared.b32 [0], 1;\nbar.warp.sync -1;\nld.shared.b32 %r1, [0]; bar.warp.sync -1; st.shared.b32 [0], %tid;";
    assert!(matches!(
        fault_kind(&kernel("", warps), 64, 64, 64),
        FaultKind::Race { .. }
    ));
}

#[test]
fn a_missing_barrier_between_readers_and_writers_is_a_race() {
    let program = |between: &str| {
        format!(
            "setp.eq.u32 %p1, %tid, 0; @%p1 st.shared.b32 [0], %tid; bar.sync 0; ld.shared.b32 %r1, [0];\n{between}\n\
             setp.eq.u32 %p1, %tid, 63; @%p1 st.shared.b32 [0], %tid;"
        )
    };
    twins!(
        &program(""),
        &program("bar.sync 0;"),
        64,
        64,
        FaultKind::Race {
            kind: RaceKind::WriteAfterRead,
            ..
        }
    );
}

#[test]
fn writers_of_different_values_race() {
    let alone = "setp.eq.u32 %p1, %tid, 0; @%p1 st.shared.b32 [0], %tid;";
    twins!(
        "st.shared.b32 [0], %tid;",
        alone,
        32,
        64,
        FaultKind::Race {
            kind: RaceKind::WriteAfterWrite,
            ..
        }
    );
    run_block(&kernel("", "st.shared.b32 [0], 5;"), 64, 64, 64).expect("all write the same");
    // Of two that write the same, the next writer must come after both.
    let third = |order: &str| {
        format!(
            "setp.lt.u32 %p1, %tid, 2; @%p1 st.shared.b32 [0], 5;\n{order}setp.eq.u32 %p2, %tid, 1; @%p2 st.shared.b32 [0], 6;"
        )
    };
    twins!(
        &third(""),
        &third("bar.warp.sync -1;"),
        32,
        64,
        FaultKind::Race {
            kind: RaceKind::WriteAfterWrite,
            other: 0,
            ..
        }
    );
    // Halves of one word belong to two threads.
    let halves = "shl.b32 %r1, %tid, 1; cvt.u16.u32 %rs1, %tid; st.shared.b16 [%r1], %rs1;";
    run_block(&kernel("", halves), 64, 128, 64).expect("halves do not overlap");
    run_block(
        &kernel("", "st.shared.b32 [0], 0; bar.sync 0; atom.shared.add.u32 %r1, [0], 1;"),
        64,
        64,
        64,
    )
    .expect("atomics do not race");
}

#[test]
fn asynchronous_copies_land_when_waited_for() {
    // Each thread copies 16 bytes, and reads what its neighbour copied.
    let program = |wait: &str| {
        format!(
            "shl.b32 %r1, %tid, 4; cvt.u64.u32 %rd1, %r1; add.s64 %rd1, %out, %rd1;\n\
             cp.async.cg.shared.global [%r1], [%rd1], 16;\ncp.async.commit_group;\n{wait}\n\
             xor.b32 %r1, %r1, 16; ld.shared.b32 %r2, [%r1]; st.global.b32 [%dst], %r2;"
        )
    };
    let done = program("cp.async.wait_group 0; bar.sync 0;");
    run_block(&kernel("", &done), 16, 256, 64).unwrap();
    let pending = |wait| fault_kind(&kernel("", &program(wait)), 16, 256, 64);
    assert!(matches!(pending(""), FaultKind::PendingCopy { .. }));
    assert!(matches!(pending("bar.sync 0;"), FaultKind::PendingCopy { .. }));
    assert!(matches!(
        pending("cp.async.wait_group 1; bar.sync 0;"),
        FaultKind::PendingCopy { .. }
    ));
    assert!(matches!(
        pending("cp.async.wait_group 0;"),
        FaultKind::Race {
            kind: RaceKind::ReadAfterWrite,
            ..
        }
    ));
    // Written again while others may still read.
    let again = format!("{done} xor.b32 %r1, %r1, 16; cp.async.cg.shared.global [%r1], [%rd1], 16;");
    let kind = fault_kind(&kernel("", &again), 16, 256, 64);
    assert!(
        matches!(
            kind,
            FaultKind::Race {
                kind: RaceKind::WriteAfterRead,
                ..
            }
        ),
        "{kind}"
    );
    twins!(
        "cp.async.ca.shared.global [0], [%out+2], 4;",
        "cp.async.ca.shared.global [0], [%out+4], 4;",
        1,
        16,
        FaultKind::Misaligned {
            space: Space::Global,
            ..
        }
    );
    twins!(
        "cp.async.cg.shared.global [0], [%out+256], 16;",
        "cp.async.cg.shared.global [0], [%out+256], 16, 0;",
        1,
        16,
        FaultKind::OutOfBounds {
            space: Space::Global,
            ..
        }
    );
}
