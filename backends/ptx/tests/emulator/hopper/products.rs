//! `wgmma`: layouts, what orders it with threads and copies, and a pipeline of all of them.

use super::common::*;
use crate::common::*;
use half::{bf16, f16};
use proptest::prelude::*;
use w2vc_ptx::{Error, FaultKind, Memory, RaceKind};

/// Inner size of the products here: four instructions' worth.
const K: usize = 64;
/// Where A and B lie in shared memory.
const A: usize = 1024;
const B: usize = A + 64 * K * 2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Major {
    K,
    Mn,
}

/// The byte of element (row, k) of an operand of `rows` rows, as CuTe's canonical layouts have it: atoms of 8 lines of 128
/// bytes; along k, atoms follow each other along rows; along rows, first along k, then along rows.
fn place(major: Major, row: usize, k: usize) -> usize {
    let (atom, line, column) = match major {
        Major::K => (row / 8, row % 8, k),
        Major::Mn => (row / 64 * (K / 8) + k / 8, k % 8, row % 64),
    };
    1024 * atom + 128 * line + 16 * ((column / 8) ^ line) + 2 * (column % 8)
}

/// The bytes of an operand, whose values `value` gives.
fn image(major: Major, rows: usize, value: impl Fn(usize, usize) -> u16) -> Vec<u8> {
    let mut bytes = vec![0; rows.next_multiple_of(64) * K * 2];
    for row in 0..rows {
        for k in 0..K {
            let at = place(major, row, k);
            bytes[at..at + 2].copy_from_slice(&value(row, k).to_le_bytes());
        }
    }
    bytes
}

/// A descriptor without its address, and the bytes from one step of 16 along k to the next.
fn descriptor(major: Major) -> (u64, usize) {
    let (leading, stride, step) = match major {
        Major::K => (0, 1024, 32),
        Major::Mn => (1024 * K / 8, 1024, 2048),
    };
    (1 << 62 | (stride as u64 >> 4) << 32 | (leading as u64 >> 4) << 16, step)
}

/// The instruction for step `k` with accumulators `%d0` and so on.
fn multiply(ty: &str, columns: usize, (a, b): (Major, Major), k: usize, add: bool) -> String {
    let d: Vec<String> = (0..columns / 2).map(|i| format!("%d{i}")).collect();
    let encoded = |major, at: usize| {
        let (bits, step) = descriptor(major);
        bits | (at + k * step) as u64 >> 4
    };
    let flag = |major| u32::from(major == Major::Mn);
    format!(
        "mov.b64 %rd10, {}; mov.b64 %rd11, {};\nwgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{ty}.{ty} {{{}}}, %rd10, %rd11, {}, 1, 1, {}, {};\n",
        encoded(a, A),
        encoded(b, B),
        d.join(", "),
        u32::from(add),
        flag(a),
        flag(b)
    )
}

/// Copies `bytes` bytes of the output's buffer to shared memory at `A`, for 128 threads.
fn fill(bytes: usize) -> String {
    format!(
        "shl.b32 %r1, %tid, 2;\nFILL: cvt.u64.u32 %rd1, %r1; add.s64 %rd1, %out, %rd1; ld.global.b32 %r2, [%rd1];\n\
         add.u32 %r3, %r1, {A}; st.shared.b32 [%r3], %r2; add.u32 %r1, %r1, 512; setp.lt.u32 %p1, %r1, {bytes}; @%p1 bra FILL;\n"
    )
}

/// Writes D of 64 rows to the output, row by row.
fn store(columns: usize) -> String {
    let mut text = format!(
        "shr.u32 %r1, %tid, 5; shl.b32 %r1, %r1, 4; bfe.u32 %r2, %tid, 2, 3; add.u32 %r1, %r1, %r2; and.b32 %r2, %tid, 3;\n\
         mul.lo.u32 %r1, %r1, {columns}; shl.b32 %r2, %r2, 1; add.u32 %r1, %r1, %r2; mul.wide.u32 %rd1, %r1, 4; add.s64 %rd1, %out, %rd1;\n"
    );
    for i in 0..columns / 2 {
        let (column, down) = (8 * (i / 4) + i % 2, i / 2 % 2);
        text += &format!("st.global.b32 [%rd1+{}], %d{i};\n", 4 * (8 * down * columns + column));
    }
    text
}

/// What is between threads' writes and products.
const ORDER: &str = "fence.proxy.async.shared::cta; bar.sync 0;\n";
const FENCE: &str = "wgmma.fence.sync.aligned;\n";
const COMMIT: &str = "wgmma.commit_group.sync.aligned;\n";
const WAIT: &str = "wgmma.wait_group.sync.aligned 0;\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn products_are_right_in_every_layout(
        columns in (1usize..=32).prop_map(|n| 8 * n),
        majors in prop::sample::select(vec![(Major::K, Major::K), (Major::K, Major::Mn), (Major::Mn, Major::K), (Major::Mn, Major::Mn)]),
        half in any::<bool>(),
        start in prop::option::of(-3i32..4),
        seed in any::<u32>(),
    ) {
        let number = |i: usize| ((i as u32).wrapping_mul(2654435761).wrapping_add(seed) >> 27) as f32 - 16.0;
        let (a, b) = (|m, k| number(97 * m + k), |n, k| number(31 * n + 7 * k + 5));
        let bits = |x: f32| if half { f16::from_f32(x).to_bits() } else { bf16::from_f32(x).to_bits() };
        let ty = if half { "f16" } else { "bf16" };
        let mut bytes = image(majors.0, 64, |m, k| bits(a(m, k)));
        bytes.extend(image(majors.1, columns, |n, k| bits(b(n, k))));
        let steps = (0..4).map(|k| multiply(ty, columns, majors, k, k > 0 || start.is_some()));
        let sets = (0..columns / 2).map(|i| format!("mov.f32 %d{i}, 0f{:08x};\n", (start.unwrap_or(9) as f32).to_bits()));
        let body = [fill(bytes.len()), sets.collect(), ORDER.into(), FENCE.into(), steps.collect(), COMMIT.into(), WAIT.into(), store(columns)];
        let mut memory = Memory::new();
        let words = bytes.len() / 4;
        let text = program(0, &body.concat());
        // The output's buffer holds the operands first.
        let module = w2vc_ptx::Module::parse(&text).unwrap();
        let input: Vec<u32> = bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        let out = upload(&mut memory, &[input, vec![0; (64 * columns).saturating_sub(words)]].concat());
        let params = Params::default().u64(out);
        let launch = w2vc_ptx::Launch { shared: 100 << 10, ..w2vc_ptx::Launch::new("k", 1, 128, &params.0) };
        module.launch(&launch, &memory, 1).unwrap_or_else(|e| panic!("{e}"));
        let found: Vec<f32> = download(&memory, out, 64 * columns);
        for (i, found) in found.into_iter().enumerate() {
            let (m, n) = (i / columns, i % columns);
            let sum: f32 = (0..K).map(|k| a(m, k) * b(n, k)).sum();
            prop_assert_eq!(found, sum + start.unwrap_or(0) as f32, "row {}, column {}", m, n);
        }
    }
}

/// One product of 8 columns of zeros, with parts of what it needs.
fn body(order: &str, fence: &str, commit: &str, wait: &str, after: &str) -> String {
    let bytes = B - A + 64 * K * 2;
    let product = multiply("bf16", 8, (Major::K, Major::K), 0, false);
    [&fill(bytes), order, fence, &product, commit, wait, after].concat()
}

fn outcome(body: &str, threads: u32) -> Result<Vec<u32>, Error> {
    run(&program(0, body), threads, 32 << 10, 8 << 10, &[], &mut Memory::new())
}

fn kind(body: &str, threads: u32) -> FaultKind {
    match outcome(body, threads) {
        Err(Error::Fault(fault)) => fault.kind,
        Ok(_) => panic!("expected a fault\n{body}"),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn products_follow_their_fences() {
    let use_it = "st.global.b32 [%dst], %d3;";
    outcome(&body(ORDER, FENCE, COMMIT, WAIT, use_it), 128).unwrap();
    let unfenced = |text: &str| {
        let found = kind(text, 128);
        assert!(matches!(found, FaultKind::WgmmaFence), "{found}");
    };
    unfenced(&body(ORDER, "", COMMIT, WAIT, use_it));
    unfenced(&body(
        ORDER,
        "wgmma.fence.sync.aligned; mov.b32 %d1, 0;",
        COMMIT,
        WAIT,
        use_it,
    ));
    // The same accumulators again, after they were read.
    let again = multiply("bf16", 8, (Major::K, Major::K), 1, true);
    let twice = |between: &str| {
        body(
            ORDER,
            FENCE,
            COMMIT,
            WAIT,
            &format!("{use_it}{between}{again}{COMMIT}{WAIT}"),
        )
    };
    outcome(&twice(FENCE), 128).unwrap();
    unfenced(&twice(""));
    let proxy = |order: &str| kind(&body(order, FENCE, COMMIT, WAIT, use_it), 128);
    assert!(matches!(proxy("bar.sync 0;"), FaultKind::ProxyFence { .. }));
    assert!(matches!(
        proxy("fence.proxy.async;"),
        FaultKind::Race {
            kind: RaceKind::ReadAfterWrite,
            ..
        }
    ));
}

#[test]
fn accumulators_are_left_alone_until_they_are_waited_for() {
    let in_flight = |text: &str| {
        let found = kind(text, 128);
        assert!(matches!(found, FaultKind::AccumulatorInFlight), "{found}");
    };
    let (reads, writes) = ("st.global.b32 [%dst], %d3;", "mov.b32 %d0, 0;");
    in_flight(&body(ORDER, FENCE, COMMIT, "", reads));
    in_flight(&body(ORDER, FENCE, COMMIT, "", writes));
    // What was not committed is not waited for, nor is the last group.
    in_flight(&body(ORDER, FENCE, "", WAIT, reads));
    in_flight(&body(ORDER, FENCE, COMMIT, "wgmma.wait_group.sync.aligned 1;", reads));
    // Another product in the same registers follows in order, one of another shape does not.
    let next = |columns: usize| multiply("bf16", columns, (Major::K, Major::K), 1, true) + COMMIT + WAIT + reads;
    outcome(&body(ORDER, FENCE, COMMIT, "", &next(8)), 128).unwrap();
    in_flight(&body(
        ORDER,
        "mov.b32 %d4, 0; mov.b32 %d5, 0; mov.b32 %d6, 0; mov.b32 %d7, 0; wgmma.fence.sync.aligned;",
        COMMIT,
        "",
        &next(16),
    ));
}

#[test]
fn what_a_product_reads_stays_until_it_is_waited_for() {
    let write = format!("@%p15 st.shared.b32 [{A}], 1;");
    let overwritten = |text: &str, threads: u32| {
        let found = kind(text, threads);
        assert!(
            matches!(found, FaultKind::Race { kind: RaceKind::WriteAfterRead, address, .. } if address == A as u64),
            "{found}"
        );
    };
    outcome(&body(ORDER, FENCE, COMMIT, WAIT, &write), 128).unwrap();
    overwritten(&body(ORDER, FENCE, COMMIT, "", &format!("{write}{WAIT}")), 128);
    // Barriers do not wait for products.
    overwritten(
        &body(
            ORDER,
            FENCE,
            COMMIT,
            "",
            &format!("bar.sync 0; bar.sync 0; {write}{WAIT}"),
        ),
        128,
    );
    // A second warpgroup does not know that the first one has waited.
    let two = |order: &str| {
        format!(
            "{}{ORDER}setp.ge.u32 %p2, %tid, 128; @%p2 bra OTHERS;\n{FENCE}{}{COMMIT}{WAIT}OTHERS: {order}\n\
             setp.eq.u32 %p3, %tid, 128; @%p3 st.shared.b32 [{A}], 1;",
            fill(B - A + 64 * K * 2),
            multiply("bf16", 8, (Major::K, Major::K), 0, false)
        )
    };
    outcome(&two("bar.sync 0;"), 256).unwrap();
    let found = kind(&two(""), 256);
    assert!(matches!(found, FaultKind::Race { other: 128, .. }), "{found}");
}

#[test]
fn a_warpgroup_multiplies_together() {
    let plain = body(ORDER, FENCE, COMMIT, WAIT, "");
    assert!(matches!(kind(&plain, 96), FaultKind::NoWarpgroup));
    let three = plain.replace(FENCE, &format!("setp.ge.u32 %p2, %tid, 96; @%p2 bra END;\n{FENCE}")) + "END:";
    assert!(matches!(kind(&three, 128), FaultKind::Deadlock(_)));
    let some = plain.replace("wgmma.mma_async", "@%p15 wgmma.mma_async");
    assert!(matches!(kind(&some, 128), FaultKind::NotConverged { .. }));
    let differs = plain.replace(
        "wgmma.mma_async",
        "cvt.u64.u32 %rd12, %tid; add.s64 %rd11, %rd11, %rd12; wgmma.mma_async",
    );
    assert!(matches!(kind(&differs, 128), FaultKind::NotUniform(_)));
    let plain_layout = plain.replace(
        &(1u64 << 62 | 64 << 32 | A as u64 >> 4).to_string(),
        &(A as u64 >> 4).to_string(),
    );
    assert!(matches!(kind(&plain_layout, 128), FaultKind::Descriptor(..)));
    let beyond = plain.replace(
        &(1u64 << 62 | 64 << 32 | B as u64 >> 4).to_string(),
        &(1u64 << 62 | 64 << 32 | 0x3fff).to_string(),
    );
    assert!(matches!(kind(&beyond, 128), FaultKind::OutOfBounds { .. }));
}

/// Stages of the pipeline, and how often each is filled.
const STAGES: usize = 2;
const ROUNDS: usize = 3;

/// A warpgroup that multiplies 64 x 64 tiles that a fifth warp loads; `parts` may leave something out.
fn pipeline(parts: [&str; 4]) -> String {
    let [full, empty, wait_group, arrive] = parts;
    let stage_bytes = 2 * 64 * K * 2;
    let advance = format!(
        "add.u32 %r20, %r20, 1; setp.eq.u32 %p2, %r20, {STAGES}; @%p2 mov.b32 %r20, 0; @%p2 xor.b32 %r21, %r21, 1;\n\
         add.u32 %r22, %r22, 1; setp.lt.u32 %p3, %r22, {};",
        STAGES * ROUNDS
    );
    let d: Vec<String> = (0..32).map(|i| format!("%d{i}")).collect();
    let d = d.join(", ");
    let steps: String = (0..4)
        .map(|k| {
            format!(
                "add.s64 %rd12, %rd10, {0}; add.s64 %rd13, %rd11, {0};\n\
                 wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {{{d}}}, %rd12, %rd13, 1, 1, 1, 0, 0;\n",
                2 * k
            )
        })
        .collect();
    let zeros: String = (0..32).map(|i| format!("mov.b32 %d{i}, 0;\n")).collect();
    let inits: String = (0..STAGES)
        .map(|s| {
            format!(
                "@%p15 mbarrier.init.shared.b64 [{}], 1; @%p15 mbarrier.init.shared.b64 [{}], 4;\n",
                8 * s,
                64 + 8 * s
            )
        })
        .collect();
    format!(
        "{inits}@%p15 fence.mbarrier_init.release.cluster;\nbar.sync 0;
        mov.b32 %r20, 0; mov.b32 %r21, 0; mov.b32 %r22, 0;
        setp.ge.u32 %p1, %tid, 128; @%p1 bra PRODUCER;
        {zeros}
        CONSUMER: shl.b32 %r23, %r20, 3; add.u32 %r24, %r23, 64; {full}
        mul.lo.u32 %r25, %r20, {stage_bytes}; add.u32 %r25, %r25, {A}; shr.u32 %r25, %r25, 4; cvt.u64.u32 %rd10, %r25;
        or.b64 %rd10, %rd10, {bits}; add.s64 %rd11, %rd10, {b_from};
        {FENCE}{steps}{COMMIT}{wait_group}
        and.b32 %r26, %tid, 31; setp.eq.u32 %p4, %r26, 0; {arrive}
        {advance} @%p3 bra CONSUMER;
        {WAIT}{store}
        bra END;
        PRODUCER: setp.ne.u32 %p5, %tid, 128; @%p5 bra END;
        LOAD: shl.b32 %r23, %r20, 3; add.u32 %r24, %r23, 64; xor.b32 %r27, %r21, 1; {empty}
        mul.lo.u32 %r25, %r20, {stage_bytes}; add.u32 %r25, %r25, {A}; add.u32 %r28, %r25, {half_stage}; shl.b32 %r29, %r22, 6;
        mbarrier.arrive.expect_tx.shared.b64 %rd20, [%r23], {stage_bytes};
        cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r25], [%map0, {{%r29, 0}}], [%r23];
        cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r28], [%map1, {{%r29, 0}}], [%r23];
        {advance} @%p3 bra LOAD;
        END:",
        bits = descriptor(Major::K).0,
        b_from = 64 * K * 2 / 16,
        half_stage = 64 * K * 2,
        store = store(64),
    )
}

#[test]
fn a_pipeline_is_clean_and_each_part_of_it_needed() {
    let depth = 64 * STAGES * ROUNDS;
    let number = |i: usize| (i * 29 % 23) as f32 - 11.0;
    let (a, b) = (
        |m: usize, k: usize| number(depth * m + k),
        |n: usize, k: usize| number(3 * depth * n + 5 * k),
    );
    let go = |parts: [&str; 4]| {
        let mut memory = Memory::new();
        let values = |f: &dyn Fn(usize, usize) -> f32| -> Vec<u16> {
            (0..64 * depth)
                .map(|i| bf16::from_f32(f(i / depth, i % depth)).to_bits())
                .collect()
        };
        let maps = [&a as &dyn Fn(usize, usize) -> f32, &b].map(|f| {
            let at = upload16(&mut memory, &values(f));
            map(at, &[depth as u64, 64], &[64, 64])
        });
        run(
            &program(2, &pipeline(parts)),
            160,
            40 << 10,
            64 * 64,
            &maps,
            &mut memory,
        )
    };
    let (full, empty) = (wait("%r23", "%r21"), wait("%r24", "%r27"));
    let (wait, arrive) = (WAIT, "@%p4 mbarrier.arrive.shared.b64 %rd20, [%r24];");
    let found = go([&full, &empty, wait, arrive]).unwrap_or_else(|e| panic!("{e}"));
    for (i, bits) in found.into_iter().enumerate() {
        let (m, n) = (i / 64, i % 64);
        let sum: f32 = (0..depth).map(|k| a(m, k) * b(n, k)).sum();
        assert_eq!(f32::from_bits(bits), sum, "row {m}, column {n}");
    }
    let kind = |parts: [&str; 4]| match go(parts) {
        Err(Error::Fault(fault)) => fault.kind,
        other => panic!("{other:?}"),
    };
    let kinds = [
        kind(["", &empty, wait, arrive]),
        kind([&full, "", wait, arrive]),
        kind([&full, &empty, "", arrive]),
        kind([&full, &empty, wait, ""]),
    ];
    // The consumer sees nothing, or what is on its way.
    assert!(
        matches!(
            kinds[0],
            FaultKind::Uninitialised { .. } | FaultKind::PendingCopy { .. }
        ),
        "{}",
        kinds[0]
    );
    // The producer goes over what is still on its way, or being read.
    assert!(
        matches!(
            kinds[1],
            FaultKind::MbarrierMisuse {
                what: "more arrivals than its phase expects",
                ..
            }
        ),
        "{}",
        kinds[1]
    );
    // The stage is handed back while products read it.
    assert!(
        matches!(
            kinds[2],
            FaultKind::Race {
                kind: RaceKind::WriteAfterRead,
                ..
            }
        ),
        "{}",
        kinds[2]
    );
    assert!(matches!(kinds[3], FaultKind::Deadlock(_)), "{}", kinds[3]);
}
