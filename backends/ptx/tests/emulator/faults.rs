//! Every kind of fault: a program that makes it, and a twin that does not.

use crate::common::*;
use w2vc_ptx::{Error, FaultKind, Launch, LaunchError, Memory, Module, ParseError, RaceKind, Region, Space};

#[test]
fn global_accesses_stay_within_allocations() {
    let good = "st.global.b32 [%dst], %tid;";
    twins!(
        "st.global.b32 [%dst+132], %tid;",
        good,
        32,
        0,
        FaultKind::OutOfBounds {
            space: Space::Global,
            bytes: 4,
            write: true,
            ..
        }
    );
    twins!(
        "ld.global.b32 %r1, [%dst+-4];",
        "ld.global.b32 %r1, [%dst];",
        32,
        0,
        FaultKind::OutOfBounds {
            space: Space::Global,
            write: false,
            ..
        }
    );
    twins!(
        "ld.b32 %r1, [0];",
        "ld.b32 %r1, [%dst];",
        32,
        0,
        FaultKind::OutOfBounds {
            space: Space::Global,
            ..
        }
    );
    twins!(
        "st.global.b32 [%dst+2], %tid;",
        good,
        32,
        0,
        FaultKind::Misaligned {
            space: Space::Global,
            bytes: 4,
            ..
        }
    );
    // Aligned for its elements, not for the whole.
    twins!(
        "ld.global.v4.b32 {%r1,%r2,%r3,%r4}, [%out+8];",
        "ld.global.v4.b32 {%r1,%r2,%r3,%r4}, [%out+16];",
        32,
        0,
        FaultKind::Misaligned { bytes: 16, .. }
    );
}

#[test]
fn shared_local_and_parameter_accesses_are_checked() {
    let store = "mov.b32 %r1, 16; mul.lo.u32 %r1, %r1, %tid;";
    let space = |body: &str| format!("{store} {body}");
    twins!(
        &space("st.shared.b32 [%r1+16], %tid;"),
        &space("st.shared.b32 [%r1+4], %tid;"),
        4,
        64,
        FaultKind::OutOfBounds {
            space: Space::Shared,
            address: 64,
            ..
        }
    );
    twins!(
        &space("st.shared.b64 [%r1+4], %out;"),
        &space("st.shared.b64 [%r1+8], %out;"),
        4,
        64,
        FaultKind::Misaligned {
            space: Space::Shared,
            bytes: 8,
            ..
        }
    );
    let local = ".local .align 8 .b8 depot[8];";
    let run = |body| run_block(&kernel(local, body), 4, 0, 64);
    assert!(run("mov.b64 %rd1, depot; st.local.b32 [%rd1+4], %tid;").is_ok());
    let beyond = fault_kind(
        &kernel(local, "mov.b64 %rd1, depot; st.local.b32 [%rd1+8], %tid;"),
        4,
        0,
        64,
    );
    assert!(
        matches!(
            beyond,
            FaultKind::OutOfBounds {
                space: Space::Local,
                address: 8,
                ..
            }
        ),
        "{beyond}"
    );
    twins!(
        "ld.param.b32 %r1, [k_param_0+8];",
        "ld.param.b32 %r1, [k_param_0+4];",
        4,
        0,
        FaultKind::OutOfBounds {
            space: Space::Param,
            ..
        }
    );
}

#[test]
fn a_launch_touches_its_regions_alone() {
    let module = Module::parse(&kernel("", "ld.global.b32 %r1, [%out+16]; st.global.b32 [%dst], %r1;")).unwrap();
    let mut memory = Memory::new();
    let out = upload(&mut memory, &[0u32, 0, 0, 0, 7]);
    let params = Params::default().u64(out);
    let run = |regions: &[Region]| {
        let launch = Launch {
            regions: Some(regions),
            ..Launch::new("k", 1, 4, &params.0)
        };
        module.launch(&launch, &memory, 1)
    };
    let kind = |result: Result<_, Error>| match result {
        Err(Error::Fault(fault)) => fault.kind.clone(),
        other => panic!("expected a fault, got {other:?}"),
    };
    let input = Region {
        address: out + 16,
        bytes: 4,
        write: false,
    };
    let output = Region {
        address: out,
        bytes: 16,
        write: true,
    };
    assert!(run(&[input, output]).is_ok());
    assert!(matches!(
        kind(run(&[output])),
        FaultKind::OutOfBounds { write: false, .. }
    ));
    assert!(matches!(
        kind(run(&[input, Region { write: false, ..output }])),
        FaultKind::ReadOnly { .. }
    ));
    let short = Region { bytes: 12, ..output };
    assert!(matches!(
        kind(run(&[input, short])),
        FaultKind::OutOfBounds { write: true, .. }
    ));
    let stray = run(&[Region {
        address: out + 16,
        bytes: 8,
        write: true,
    }]);
    assert!(matches!(stray, Err(Error::Launch(LaunchError::Region { .. }))));
}

#[test]
fn freed_memory_is_gone() {
    let module = Module::parse(&kernel("", "st.global.b32 [%dst], %tid;")).unwrap();
    let mut memory = Memory::new();
    let out = memory.alloc(128);
    let params = Params::default().u64(out);
    assert!(module.launch(&Launch::new("k", 1, 32, &params.0), &memory, 1).is_ok());
    memory.free(out).unwrap();
    assert!(module.launch(&Launch::new("k", 1, 32, &params.0), &memory, 1).is_err());
    assert!(memory.free(out).is_err() && memory.read(out, &mut [0]).is_err());
}

#[test]
fn barriers_are_reached_by_all_or_none() {
    twins!(
        "setp.lt.u32 %p1, %tid, 40; @%p1 bar.sync 0;",
        "bar.sync 0;",
        64,
        0,
        FaultKind::BarrierDivergence(_)
    );
    twins!(
        "setp.ge.u32 %p1, %tid, 32; @%p1 ret; bar.sync 0;",
        "bar.sync 0; setp.ge.u32 %p1, %tid, 32; @%p1 ret;",
        64,
        0,
        FaultKind::BarrierDivergence(_)
    );
    let two = "setp.lt.u32 %p1, %tid, 32; @%p1 bra L; bar.sync 1; bra.uni M;\nL: bar.sync 2;\nM:";
    let same = "setp.lt.u32 %p1, %tid, 32; @%p1 bra L; bar.sync 1; bra.uni M;\nL: bar.sync 1;\nM:";
    twins!(two, same, 64, 0, FaultKind::BarrierDivergence(_));
    // Named barriers of a part of the block order that part.
    let part = "setp.ge.u32 %p1, %tid, 64; @%p1 ret; shl.b32 %r1, %tid, 2; st.shared.b32 [%r1], %tid; bar.sync 1, 64;\n\
        xor.b32 %r1, %r1, 128; ld.shared.b32 %r2, [%r1]; st.global.b32 [%dst], %r2;";
    let out = run_block(&kernel("", part), 96, 256, 64).unwrap();
    assert_eq!(out, (0..64).map(|t| t ^ 32).collect::<Vec<u32>>());
}

#[test]
fn warp_instructions_need_their_lanes() {
    twins!(
        "setp.lt.u32 %p1, %tid, 7; @%p1 shfl.sync.bfly.b32 %r1, %tid, 1, 31, -1;",
        "setp.lt.u32 %p1, %tid, 8; @%p1 shfl.sync.bfly.b32 %r1, %tid, 1, 31, 255;",
        32,
        0,
        FaultKind::NotConverged {
            required: u32::MAX,
            active: 0x7f
        }
    );
    twins!(
        "setp.lt.u32 %p1, %tid, 8; @%p1 shfl.sync.bfly.b32 %r1, %tid, 8, 31, 255;",
        "shfl.sync.bfly.b32 %r1, %tid, 8, 31, -1;",
        32,
        0,
        FaultKind::InactiveLane { lane: 8 }
    );
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%r1,%r2,%r3,%r4}, {%r5,%r6,%r7,%r8}, {%r9,%r10}, \
        {%r1,%r2,%r3,%r4};";
    twins!(
        &format!("setp.lt.u32 %p1, %tid, 16; @%p1 {mma}"),
        mma,
        32,
        0,
        FaultKind::NotConverged { active: 0xffff, .. }
    );
    let load = "shl.b32 %r1, %tid, 4; st.shared.v4.b32 [%r1], {%r1,%r1,%r1,%r1}; bar.warp.sync -1;";
    let matrix = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2,%r3,%r4,%r5}, [%r1];";
    twins!(
        &format!("{load} setp.ne.u32 %p1, %tid, 3; @%p1 {matrix}"),
        &format!("{load} {matrix}"),
        32,
        512,
        FaultKind::NotConverged { .. }
    );
    twins!(
        &format!("{load} add.u32 %r1, %r1, 8; {matrix}"),
        &format!("{load} {matrix}"),
        32,
        512,
        FaultKind::Misaligned { bytes: 16, .. }
    );
    twins!(
        &format!("shl.b32 %r1, %tid, 4; st.shared.v4.b32 [%r1], {{%r1,%r1,%r1,%r1}}; {matrix}"),
        &format!("{load} {matrix}"),
        32,
        512,
        FaultKind::Race {
            kind: RaceKind::ReadAfterWrite,
            ..
        }
    );
}

#[test]
fn endless_loops_and_traps_end() {
    twins!("L: bra.uni L;", "bra.uni L;\nL:", 32, 0, FaultKind::StepLimit { .. });
    twins!(
        "setp.eq.u32 %p1, %tid, 5; @%p1 trap;",
        "setp.eq.u32 %p1, %tid, 50; @%p1 trap;",
        32,
        0,
        FaultKind::Trap
    );
}

#[test]
fn a_fault_says_who_where_and_what() {
    let text = kernel(
        "",
        "setp.eq.u32 %p1, %tid, 37;\n  @%p1 st.global.b32   [%dst+4096], %tid; // beyond",
    );
    let fault = fault(&text, 64, 0, 64);
    assert_eq!(
        (fault.kernel.as_str(), fault.thread, fault.block),
        ("k", [37, 0, 0], [0; 3])
    );
    assert_eq!(fault.instruction, "@%p1 st.global.b32 [%dst+4096], %tid");
    let line = text.lines().nth(fault.line as usize - 1).unwrap();
    assert!(line.contains("// beyond"));
}

#[test]
fn what_is_not_covered_is_named_before_anything_runs() {
    let parse = |body: &str| Module::parse(&kernel("", body)).map(|_| ()).unwrap_err();
    match parse("tcgen05.fence;") {
        ParseError::Unsupported {
            kernel,
            line,
            instruction,
        } => {
            assert_eq!((kernel.as_str(), instruction.as_str()), ("k", "tcgen05.fence"));
            assert!(line > 10);
        }
        other => panic!("{other}"),
    }
    for body in [
        "wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.bf16.bf16 {%r1,%r2,%r3,%r4}, %rd1, %rd2, %r5, 0, 1, 1, 1, 0, 0;",
        "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd1, {%r1, %r2}], [%r3];",
        "setmaxnreg.inc.sync.aligned.u32 257;",
        "add.sat.s32 %r1, %r2, %r3;",
        "ld.global.v8.b32 {%r1}, [%out];",
        "mul.f32 %r1, %r2;",
        "add.s32 %r1, %rd1, 1;",
        "bra nowhere;",
        "mov.u32 %r1, %clock;",
        "call.uni f;",
    ] {
        parse(body);
    }
}

#[test]
fn launches_are_checked() {
    let module = Module::parse(&kernel("", "")).unwrap();
    let (memory, params) = (Memory::new(), Params::default().u64(0));
    let launch = Launch::new("k", 1, 32, &params.0);
    let error = |launch: Launch| match module.launch(&launch, &memory, 1) {
        Err(Error::Launch(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(module.launch(&launch, &memory, 1).is_ok());
    assert!(matches!(
        error(Launch {
            kernel: "other",
            ..launch
        }),
        LaunchError::UnknownKernel(_)
    ));
    assert!(matches!(
        error(Launch { params: &[], ..launch }),
        LaunchError::Params {
            expected: 8,
            given: 0,
            ..
        }
    ));
    assert!(matches!(
        error(Launch {
            block: [1025, 1, 1],
            ..launch
        }),
        LaunchError::Block { .. }
    ));
    assert!(matches!(
        error(Launch {
            grid: [1, 0, 1],
            ..launch
        }),
        LaunchError::Grid { .. }
    ));
    assert!(matches!(
        error(Launch {
            shared: 300 << 10,
            ..launch
        }),
        LaunchError::Shared { .. }
    ));
}

/// What takes the parser's stack or memory is refused by it.
#[test]
fn absurd_texts_are_refused() {
    let with = |body: &str| {
        format!(".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k() {{\n{body}\nret;\n}}\n")
    };
    let nested = format!("mov.b32 {} %r1;", "{".repeat(100_000));
    let pairs = format!("mov.b32 {}%r1;", "%r1|".repeat(100_000));
    let many = ".reg .b32 %r<65535>;\n".repeat(1000);
    for body in [".reg .b32 %r<4294967295>;", ".reg .b32 %r<-1>;", &nested, &pairs, &many] {
        assert!(Module::parse(&with(body)).is_err());
    }
}
