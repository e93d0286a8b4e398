//! Mbarriers: phases, what they order, what is wrong use, waits without end; `setmaxnreg`.

use super::common::*;
use w2vc_ptx::{FaultKind, RaceKind};

/// Thread 0 makes mbarriers at 0 and 8, which expect these arrivals.
fn init(full: u32, empty: u32) -> String {
    format!(
        "@%p15 mbarrier.init.shared::cta.b64 [0], {full};\n@%p15 mbarrier.init.shared::cta.b64 [8], {empty};\nbar.sync 0;\n"
    )
}

/// Warp 0 hands 4 values of its own to each thread of warp 1, which adds them; `full` and `empty` wait for the phases.
fn handover(full: &str, empty: &str, arrive: &str) -> String {
    format!(
        "{init}
        and.b32 %r1, %tid, 31; shl.b32 %r1, %r1, 2; add.u32 %r1, %r1, 128;
        setp.ge.u32 %p1, %tid, 32; mov.b32 %r2, 0; mov.b32 %r9, 0; @%p1 bra CONSUMER;
        PRODUCER: not.b32 %r3, %r2; and.b32 %r3, %r3, 1; {empty}
        mad.lo.u32 %r4, %tid, 10, %r2; st.shared.b32 [%r1], %r4;
        mbarrier.arrive.release.cta.shared::cta.b64 _, [0];
        add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 4; @%p2 bra PRODUCER; bra END;
        CONSUMER: and.b32 %r3, %r2, 1; {full}
        xor.b32 %r6, %r1, 4; ld.shared.b32 %r5, [%r6]; add.u32 %r9, %r9, %r5;
        {arrive}
        add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 4; @%p2 bra CONSUMER;
        END: st.global.b32 [%dst], %r9;",
        init = init(32, 32)
    )
}

#[test]
fn phases_hand_buffers_to_and_fro() {
    let (full, empty) = (wait("0", "%r3"), wait("8", "%r3"));
    let arrive = "mbarrier.arrive.shared.b64 %rd1, [8];";
    let out = run_plain(&handover(&full, &empty, arrive), 64).unwrap();
    let expected: Vec<u32> = (0..32u32).map(|t| 4 * 10 * (t ^ 1) + 6).collect();
    assert_eq!(out[32..64], expected);
    // A producer that does not wait runs ahead, and the consumer waits for a parity that is past.
    let ahead = kind_of(&handover(&full, "", arrive), 64);
    assert!(matches!(ahead, FaultKind::Deadlock(_)), "{ahead}");
    assert!(matches!(
        kind_of(&handover("", &empty, arrive), 64),
        FaultKind::Race {
            kind: RaceKind::ReadAfterWrite,
            ..
        }
    ));
    // Nobody arrives at `empty`.
    let FaultKind::Deadlock(what) = kind_of(&handover(&full, &empty, ""), 64) else {
        panic!("no deadlock")
    };
    assert!(
        what.contains("mbarrier 0x8 in phase 0 lacks 32 arrivals and 0 bytes"),
        "{what}"
    );
}

#[test]
fn one_lane_arrives_for_its_warp_once_the_lanes_have_met() {
    let program = |meet: &str| {
        let write = "setp.lt.u32 %p1, %tid, 32; shl.b32 %r1, %tid, 2; @%p1 st.shared.b32 [%r1+128], %tid;";
        let read = "setp.ge.u32 %p2, %tid, 32; @%p2 ld.shared.b32 %r2, [%r1];";
        let arrive = "@%p15 mbarrier.arrive.shared.b64 _, [0];";
        format!("{}{write}\n{meet}\n{arrive}\n{}\n{read}", init(1, 1), wait("0", "0"))
    };
    run_plain(&program("bar.warp.sync -1;"), 64).unwrap();
    match kind_of(&program(""), 64) {
        FaultKind::Race { other, .. } => assert_eq!(other, 1, "lane 0 handed on what it wrote itself"),
        other => panic!("{other}"),
    }
}

#[test]
fn one_lane_waits_for_its_warp_once_the_lanes_meet() {
    let program = |meet: &str| {
        let write = "@%p15 st.shared.b32 [128], 5; @%p15 mbarrier.arrive.shared.b64 _, [0];";
        let read = "setp.eq.u32 %p1, %tid, 33; @%p1 ld.shared.b32 %r2, [128];";
        let waits = "setp.ne.u32 %p2, %tid, 32; @%p2 bra OVER;";
        format!("{}{write}\n{waits}\n{}OVER: {meet}\n{read}", init(1, 1), wait("0", "0"))
    };
    run_plain(&program("bar.warp.sync -1;"), 64).unwrap();
    assert!(matches!(kind_of(&program(""), 64), FaultKind::Race { other: 0, .. }));
}

#[test]
fn arrivals_count_and_states_name_phases() {
    let text = format!(
        "{}
        setp.lt.u32 %p1, %tid, 32;
        @%p1 mbarrier.arrive.shared::cta.b64 %rd1, [0], 2;
        @%p1 mbarrier.test_wait.shared::cta.b64 %p2, [0], %rd1; selp.b32 %r1, 1, 0, %p2;
        @!%p1 bra OVER;
        AGAIN: mbarrier.try_wait.shared::cta.b64 %p3, [0], %rd1; @!%p3 bra AGAIN;
        mbarrier.test_wait.parity.shared::cta.b64 %p4, [0], 0; selp.b32 %r2, 2, 0, %p4; add.u32 %r1, %r1, %r2;
        OVER: @!%p1 mbarrier.arrive.shared::cta.b64 _, [0];
        st.global.b32 [%dst], %r1;",
        init(96, 1)
    );
    let out = run_plain(&text, 64).unwrap();
    // Not complete when first asked, then complete.
    assert_eq!(out[..33], [vec![2; 32], vec![0]].concat());
}

#[test]
fn wrong_use_of_mbarriers_is_told() {
    let misuse = |body: &str, expected: &str| match kind_of(body, 64) {
        FaultKind::MbarrierMisuse { what, .. } => assert!(what.contains(expected), "{what}"),
        other => panic!("{other}\n{body}"),
    };
    let ready = init(1, 1);
    misuse("@%p15 mbarrier.init.shared.b64 [0], 0;", "1 to 2^20 - 1");
    misuse(&format!("{ready}@%p15 mbarrier.init.shared.b64 [0], 1;"), "already");
    misuse(
        &format!("{ready}@%p15 mbarrier.arrive.shared.b64 _, [0], 2;"),
        "more arrivals",
    );
    misuse(&format!("{ready}@%p15 st.shared.b32 [12], 5;"), "ordinary access");
    misuse(&format!("{ready}@%p15 ld.shared.b32 %r1, [0];"), "ordinary access");
    misuse(
        &format!(
            "{ready}@%p15 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [0], 1048575;\n@%p15 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [0], 1;"
        ),
        "2^20 bytes",
    );
    for body in ["mbarrier.arrive.shared.b64 _, [0];", &wait("0", "0")] {
        let kind = kind_of(&format!("@%p15 {body}").replace("@%p15 {", "{"), 32);
        assert!(
            matches!(kind, FaultKind::MbarrierUninitialised { address: 0 }),
            "{kind}"
        );
    }
    let gone = format!("{ready}@%p15 mbarrier.inval.shared.b64 [0]; @%p15 mbarrier.arrive.shared.b64 _, [0];");
    assert!(matches!(
        kind_of(&gone, 32),
        FaultKind::MbarrierUninitialised { address: 0 }
    ));
    let aligned = "@%p15 mbarrier.init.shared.b64 [4], 1;";
    assert!(matches!(kind_of(aligned, 32), FaultKind::Misaligned { bytes: 8, .. }));
    // The other warp does not know that there is one.
    let unordered =
        "@%p15 mbarrier.init.shared.b64 [0], 1; setp.eq.u32 %p1, %tid, 32; @%p1 mbarrier.arrive.shared.b64 _, [0];";
    assert!(matches!(kind_of(unordered, 64), FaultKind::Race { other: 0, .. }));
    // Its bytes may be used again.
    let again = format!("{ready}@%p15 mbarrier.inval.shared.b64 [0]; @%p15 st.shared.b32 [0], 5;");
    run_plain(&again, 32).unwrap();
}

#[test]
fn a_wait_without_end_says_who_waits_where() {
    let text = format!("{}@!%p15 bra OVER;\n{}OVER: bar.sync 0;", init(1, 1), wait("0", "0"));
    let fault = fault_of(&text, 64);
    assert_eq!((fault.kernel.as_str(), fault.thread), ("k", [0, 0, 0]));
    assert!(
        fault.instruction.starts_with("AGAIN: mbarrier.try_wait"),
        "{}",
        fault.instruction
    );
    let FaultKind::Deadlock(what) = &fault.kind else {
        panic!("{fault}")
    };
    let line = fault.line;
    assert!(
        what.contains(&format!("warp 0 waits in line {line}, warp 1 waits in line ")),
        "{what}"
    );
    assert!(
        what.contains("mbarrier 0x0 in phase 0 lacks 1 arrivals and 0 bytes"),
        "{what}"
    );
}

#[test]
fn registers_are_handed_from_warpgroup_to_warpgroup() {
    // 384 threads have 168 each: 40 and twice 232 are as many.
    let program = |less: u32, more: u32| {
        format!(
            "setp.lt.u32 %p1, %tid, 128; @%p1 bra LESS; setmaxnreg.inc.sync.aligned.u32 {more}; bra END;\n\
             LESS: setmaxnreg.dec.sync.aligned.u32 {less};\nEND:"
        )
    };
    run_plain(&program(40, 232), 384).unwrap();
    assert!(matches!(kind_of(&program(40, 240), 384), FaultKind::Deadlock(_)));
    assert!(matches!(
        kind_of(&program(176, 232), 384),
        FaultKind::Registers { now: 168, count: 176 }
    ));
    let alone = "setmaxnreg.dec.sync.aligned.u32 24;";
    assert!(matches!(kind_of(alone, 64), FaultKind::NoWarpgroup));
    assert!(matches!(
        kind_of(&format!("@%p15 {alone}"), 128),
        FaultKind::NotConverged { .. }
    ));
    let three = format!("setp.ge.u32 %p1, %tid, 96; @%p1 bra END; {alone} END:");
    assert!(matches!(kind_of(&three, 128), FaultKind::Deadlock(_)));
}
