//! Threads working together: shuffles, votes, divergence, barriers, asynchronous copies, atomics, address spaces.

use crate::common::*;
use proptest::prelude::*;
use w2vc_ptx::{Launch, Memory, Module};

/// CUDA's `__shfl_*_sync` with a width, as its programming guide describes it.
fn shuffled(mode: &str, lane: u32, b: u32, width: u32) -> u32 {
    let base = lane / width * width;
    match mode {
        "idx" => base + b % width,
        "up" => {
            if lane - base >= b {
                lane - b
            } else {
                lane
            }
        }
        "down" => {
            if lane + b < base + width {
                lane + b
            } else {
                lane
            }
        }
        _ => {
            if (lane ^ b) < base + width {
                lane ^ b
            } else {
                lane
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shuffles_within_segments(mode in prop_oneof!["idx", "up", "down", "bfly"], b in 0u32..32, log in 0u32..6) {
        let width = 1 << log;
        let clamp = if mode == "up" { 0 } else { 31 };
        let c = (32 - width) << 8 | clamp;
        let body = format!("mul.lo.u32 %r1, %tid, 3; shfl.sync.{mode}.b32 %r2, %r1, {b}, {c}, -1; st.global.b32 [%dst], %r2;");
        let out = run_block(&kernel("", &body), 32, 0, 32).unwrap();
        let expected: Vec<u32> = (0..32).map(|lane| 3 * shuffled(&mode, lane, b, width)).collect();
        prop_assert_eq!(out, expected);
    }

    /// Lanes leave nested loops and branches at different times; each must come to what it would alone.
    #[test]
    fn divergence_is_invisible(seed in any::<u32>(), threads in 1u32..65) {
        let body = format!(
            "mul.lo.u32 %r1, %tid, 0x9E3779B1; xor.b32 %r1, %r1, {seed}; shr.u32 %r2, %r1, 27; mov.b32 %r3, 0;\n\
             OUTER: setp.eq.u32 %p1, %r2, 0; @%p1 bra DONE;\n\
             and.b32 %r4, %r1, 7; setp.eq.u32 %p2, %r4, 3; @%p2 bra SKIP;\n\
             INNER: setp.eq.u32 %p3, %r4, 0; @%p3 bra AFTER; mad.lo.u32 %r3, %r3, 5, %r4; add.u32 %r4, %r4, -1;\n\
             setp.eq.u32 %p4, %r3, 77; @%p4 bra DONE; bra.uni INNER;\n\
             SKIP: add.u32 %r3, %r3, 1000; and.b32 %r5, %r1, 64; setp.ne.u32 %p5, %r5, 0; @%p5 bra DONE;\n\
             AFTER: mul.lo.u32 %r1, %r1, 0x85EBCA6B; shr.u32 %r6, %r1, 13; xor.b32 %r1, %r1, %r6; add.u32 %r2, %r2, -1;\n\
             bra.uni OUTER;\nDONE: activemask.b32 %r7; st.global.v2.b32 [%dst], {{%r3, %r7}};"
        ).replace("[%dst]", "[%rd9]").replace("DONE: ", "DONE: mul.wide.u32 %rd9, %tid, 8; add.s64 %rd9, %out, %rd9; ");
        let out = run_block(&kernel("", &body), threads, 0, 130).unwrap();
        for t in 0..threads {
            let mut r1 = t.wrapping_mul(0x9E37_79B1) ^ seed;
            let (mut r2, mut r3) = (r1 >> 27, 0u32);
            'outer: while r2 != 0 {
                let mut r4 = r1 & 7;
                if r4 == 3 {
                    r3 += 1000;
                    if r1 & 64 != 0 { break; }
                } else {
                    while r4 != 0 {
                        r3 = r3.wrapping_mul(5).wrapping_add(r4);
                        r4 -= 1;
                        if r3 == 77 { break 'outer; }
                    }
                }
                r1 = r1.wrapping_mul(0x85EB_CA6B);
                r1 ^= r1 >> 13;
                r2 -= 1;
            }
            prop_assert_eq!(out[2 * t as usize], r3, "thread {}", t);
            // All lanes of the warp have met again.
            let lanes = (threads - t / 32 * 32).min(32);
            prop_assert_eq!(out[2 * t as usize + 1], (!0u32) >> (32 - lanes));
        }
    }
}

#[test]
fn shuffles_say_what_was_in_range() {
    let body = "shfl.sync.down.b32 %r1|%p1, %tid, 5, 31, -1; selp.b32 %r2, 1, 0, %p1; st.global.b32 [%dst], %r2;";
    let out = run_block(&kernel("", body), 32, 0, 32).unwrap();
    assert_eq!(out, (0..32).map(|lane| u32::from(lane + 5 < 32)).collect::<Vec<_>>());
}

#[test]
fn votes_and_reductions() {
    let store = |at: u32, reg: &str| format!("st.global.b32 [%dst+{}], {reg};\n", 128 * at);
    let body = "setp.lt.u32 %p1, %tid, 5; vote.sync.ballot.b32 %r1, %p1, -1; vote.sync.any.pred %p2, %p1, -1;\n\
        vote.sync.all.pred %p3, %p1, -1; vote.sync.uni.pred %p4, !%p1, -1; selp.b32 %r2, 1, 0, %p2; \n\
        selp.b32 %r3, 1, 0, %p3; selp.b32 %r4, 1, 0, %p4; redux.sync.add.s32 %r5, %tid, -1; \n\
        sub.u32 %r6, 7, %tid; redux.sync.min.s32 %r6, %r6, -1; shr.u32 %r7, %tid, 3; match.any.sync.b32 %r7, %r7, -1;\n\
        elect.sync %r8|%p5, -1; selp.b32 %r8, %r8, 9, %p5;\n"
        .to_string();
    let body = (1..9).fold(body, |body, i| body + &store(i - 1, &format!("%r{i}")));
    let out = run_block(&kernel("", &body), 32, 0, 256).unwrap();
    for lane in 0..32 {
        let found: Vec<u32> = (0..8).map(|i| out[32 * i + lane]).collect();
        let matching = 0xff << (lane / 8 * 8);
        let elected = if lane == 0 { 0 } else { 9 };
        assert_eq!(found, [31, 1, 0, 0, 496, -24i32 as u32, matching, elected], "{lane}");
    }
}

#[test]
fn special_registers_and_grids() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_param_0)\n.reqntid 4, 3, 2\n{\n\
        .reg .b32 %r<32>;\n.reg .b64 %rd<4>;\n\
        mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z; mad.lo.u32 %r4, %r3, 3, %r2; mad.lo.u32 %r4, %r4, 4, %r1;\n\
        mov.u32 %r5, %ctaid.x; mov.u32 %r6, %ctaid.y; mov.u32 %r7, %ctaid.z; mov.u32 %r8, %nctaid.y; mov.u32 %r9, %nctaid.x;\n\
        mad.lo.u32 %r10, %r7, %r8, %r6; mad.lo.u32 %r10, %r10, %r9, %r5; mov.u32 %r11, %ntid.z; mad.lo.u32 %r12, %r10, 24, %r4;\n\
        mov.u32 %r13, %laneid; sub.u32 %r13, %r13, %r4; mad.lo.u32 %r14, %r10, 100, %r4; add.u32 %r14, %r14, %r13; \n\
        add.u32 %r14, %r14, %r11; ld.param.u64 %rd1, [k_param_0]; mul.wide.u32 %rd2, %r12, 4; add.s64 %rd1, %rd1, %rd2;\n\
        st.global.b32 [%rd1], %r14; ret;\n}\n";
    let module = Module::parse(text).unwrap();
    let mut memory = Memory::poisoned();
    let out = memory.alloc(24 * 30 * 4);
    let params = Params::default().u64(out);
    let launch = Launch {
        grid: [5, 3, 2],
        block: [4, 3, 2],
        ..Launch::new("k", 1, 1, &params.0)
    };
    let stats = module.launch(&launch, &memory, 3).unwrap();
    assert_eq!(stats.blocks, 30);
    let expected: Vec<u32> = (0..720).map(|i| i / 24 * 100 + i % 24 + 2).collect();
    assert_eq!(download::<u32>(&memory, out, 720), expected);
    assert!(
        module
            .launch(
                &Launch {
                    block: [24, 1, 1],
                    ..launch
                },
                &memory,
                1
            )
            .is_err()
    );
}

#[test]
fn tables_of_branches_and_data() {
    let text = kernel("", "and.b32 %r1, %tid, 3;\nbrx.idx %r1, L_brx;\nA: mov.b32 %r2, 10; bra.uni E;\nB: mov.b32 %r2, 20; bra.uni E;\n\
        C: mov.b32 %r2, 30;\nE: mul.wide.u32 %rd1, %r1, 2; mov.b64 %rd2, table; cvta.global.u64 %rd2, %rd2; add.s64 %rd1, %rd1, %rd2;\n\
        ld.u16 %rs1, [%rd1]; cvt.u32.u16 %r3, %rs1; add.u32 %r2, %r2, %r3; activemask.b32 %r4; and.b32 %r4, %r4, 1;\n\
        add.u32 %r2, %r2, %r4; st.global.b32 [%dst], %r2;")
        .replace(".extern", ".global .align 2 .b16 table[4] = {100, 200, 300, 400};\n.extern")
        .replace("and.b32 %r1, %tid, 3;", "and.b32 %r1, %tid, 3;\nL_brx: .branchtargets A, B, C, B;");
    let out = run_block(&text, 32, 0, 32).unwrap();
    assert_eq!(out, (0..32).map(|t| [111, 221, 331, 421][t % 4]).collect::<Vec<u32>>());
}

#[test]
fn static_shared_memory_lies_before_dynamic() {
    let text = kernel(
        ".shared .align 8 .b8 first[24];\n.shared .align 4 .b8 second[4];",
        "mov.b64 %rd1, first; mov.b64 %rd2, second;\n\
        mov.b64 %rd3, dyn; mov.b32 %r1, dyn; st.shared.b32 [second], 7; st.shared.b32 [dyn+4], 9; cvta.shared.u64 %rd4, %rd3; \n\
        ld.b32 %r2, [%rd4+4]; cvta.to.shared.u64 %rd5, %rd4; cvt.u32.u64 %r3, %rd5; ld.shared.b32 %r4, [%rd2]; \n\
        cvt.u32.u64 %r5, %rd2; st.global.v4.b32 [%out], {%r1, %r2, %r3, %r4}; st.global.b32 [%out+16], %r5;",
    );
    assert_eq!(run_block(&text, 1, 8, 5).unwrap(), [32, 9, 32, 7, 24]);
}

/// A pipeline of two buffers: while one tile is summed the next is on its way; the last copy is cut short and zero-filled.
#[test]
fn asynchronous_copies_fill_two_buffers_in_turn() {
    let tiles = 5;
    let body = format!(
        "shl.b32 %r1, %tid, 4; mov.b64 %rd1, dyn; cvt.u64.u32 %rd2, %r1; add.s64 %rd3, %out, %rd2;\n\
         cp.async.cg.shared.global [%r1], [%rd3+512], 16;\ncp.async.commit_group;\nmov.b32 %r2, 0; mov.b32 %r3, 0;\n\
         LOOP: add.u32 %r4, %r2, 1; setp.ge.u32 %p1, %r4, {tiles}; @%p1 bra LAST;\n\
         and.b32 %r5, %r4, 1; shl.b32 %r5, %r5, 9; add.u32 %r5, %r5, %r1; mul.wide.u32 %rd4, %r4, 512; add.s64 %rd4, %rd3, %rd4;\n\
         setp.eq.u32 %p2, %r4, {last}; selp.b32 %r6, 6, 16, %p2; cp.async.ca.shared.global.L2::128B [%r5], [%rd4+512], 16, %r6;\n\
         LAST: cp.async.commit_group;\ncp.async.wait_group 1;\nbar.sync 0;\n\
         and.b32 %r7, %r2, 1; shl.b32 %r7, %r7, 9; xor.b32 %r8, %r1, 496; add.u32 %r7, %r7, %r8;\n\
         ld.shared.v4.b32 {{%r9, %r10, %r11, %r12}}, [%r7]; mad.lo.u32 %r3, %r3, 3, %r9; add.u32 %r3, %r3, %r10; \n\
         add.u32 %r3, %r3, %r11; add.u32 %r3, %r3, %r12; bar.sync 0;\n\
         add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, {tiles}; @%p3 bra LOOP;\n\
         st.global.b32 [%dst], %r3;",
        last = tiles - 1
    );
    let module = Module::parse(&kernel("", &body)).unwrap();
    let mut memory = Memory::new();
    let data: Vec<u32> = (0..128 * (tiles + 1))
        .map(|i: u32| i.wrapping_mul(2654435761) >> 8)
        .collect();
    let out = upload(&mut memory, &data);
    let params = Params::default().u64(out);
    module
        .launch(
            &Launch {
                shared: 1024,
                ..Launch::new("k", 1, 32, &params.0)
            },
            &memory,
            1,
        )
        .unwrap_or_else(|e| panic!("{e}"));
    for (t, &x) in download::<u32>(&memory, out, 32).iter().enumerate() {
        let mut expected = 0u32;
        for tile in 1..=tiles as usize {
            let mut row = data[128 * tile + 4 * (31 - t)..][..4].to_vec();
            if tile == tiles as usize {
                row = vec![row[0], row[1] & 0xffff, 0, 0];
            }
            expected = expected
                .wrapping_mul(3)
                .wrapping_add(row.iter().fold(0, |a: u32, b| a.wrapping_add(*b)));
        }
        assert_eq!(x, expected, "{t}");
    }
}

#[test]
fn atomics_count_and_hand_out() {
    let text = kernel(
        "",
        "atom.global.add.u32 %r1, [%out], 1; red.global.max.s32 [%out+4], %tid; \n\
        atom.global.cas.b32 %r2, [%out+8], 0, 5; red.global.add.f32 [%out+12], 0f3F000000; atom.global.add.u64 %rd1, [%out+16], 3;\n\
        atom.global.inc.u32 %r3, [%out+24], 6; st.shared.b32 [0], 0; bar.sync 0; atom.shared.add.u32 %r4, [0], 2; bar.sync 0; \n\
        ld.shared.b32 %r5, [0]; st.global.b32 [%out+28], %r5; atom.global.exch.b32 %r6, [%out+32], 11;",
    );
    let module = Module::parse(&text).unwrap();
    let mut memory = Memory::new();
    let out = upload(&mut memory, &[0u32; 9]);
    let params = Params::default().u64(out);
    module
        .launch(
            &Launch {
                shared: 4,
                ..Launch::new("k", 10, 64, &params.0)
            },
            &memory,
            4,
        )
        .unwrap_or_else(|e| panic!("{e}"));
    let expected = [640, 63, 5, 320f32.to_bits(), 1920, 0, 640 % 7, 128, 11];
    assert_eq!(download::<u32>(&memory, out, 9), expected);
}
