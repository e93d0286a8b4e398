//! Bulk copies of boxes of tensors: what lands where, and what goes wrong.

use super::common::*;
use crate::common::*;
use proptest::prelude::*;
use w2vc_ptx::{Error, FaultKind, Launch, Memory, Module, RaceKind, Region, Space, TensorMap};

/// Where the box begins in shared memory.
const AT: u32 = 1024;

/// Thread 0 makes an mbarrier for one arrival.
const INIT: &str =
    "@%p15 mbarrier.init.shared::cta.b64 [0], 1;\n@%p15 fence.mbarrier_init.release.cluster;\nbar.sync 0;\n";

fn load(coordinates: &[i32], at: u32) -> String {
    let list: Vec<String> = coordinates.iter().map(i32::to_string).collect();
    format!(
        "@%p15 cp.async.bulk.tensor.{}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [{at}], [%map0, {{{}}}], [0];\n",
        coordinates.len(),
        list.join(", ")
    )
}

fn expect(bytes: u64) -> String {
    format!("@%p15 mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [0], {bytes};\n")
}

/// Copies the words of the box to the output.
fn store(words: u64) -> String {
    format!(
        "mov.b32 %r1, %tid;\nCOPY: setp.ge.u32 %p1, %r1, {words}; @%p1 bra COPIED; shl.b32 %r2, %r1, 2; add.u32 %r2, %r2, {AT};\n\
         ld.shared.b32 %r3, [%r2]; mul.wide.u32 %rd1, %r1, 4; add.s64 %rd1, %out, %rd1; st.global.b32 [%rd1], %r3;\n\
         add.u32 %r1, %r1, 64; bra COPY;\nCOPIED:"
    )
}

/// Extents, a box and where it begins.
fn boxes() -> impl Strategy<Value = (Vec<u64>, Vec<u32>, Vec<i32>)> {
    let inner = (1u64..12).prop_map(|n| 8 * n);
    let rows = prop_oneof![Just(8u32), Just(16), Just(24), Just(64)];
    // Boxes of whole lines of 128 bytes.
    let second = (1u64..20, prop_oneof![Just(8u32), Just(16)]);
    let outer = (second, prop::collection::vec((1u64..5, 1u32..5), 0..4));
    let outer = outer.prop_map(|(second, rest)| [vec![second], rest].concat());
    (inner, rows, outer).prop_flat_map(|(inner, row, outer)| {
        let extents: Vec<u64> = std::iter::once(inner).chain(outer.iter().map(|o| o.0)).collect();
        let tile: Vec<u32> = std::iter::once(row).chain(outer.iter().map(|o| o.1)).collect();
        let begin = extents
            .iter()
            .zip(&tile)
            .map(|(e, t)| -(*t as i32)..=*e as i32)
            .collect::<Vec<_>>();
        (Just(extents), Just(tile), begin)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn boxes_land_swizzled_with_zeros_beyond_the_tensor((extents, tile, begin) in boxes()) {
        let elements: u64 = extents.iter().product();
        let mut memory = Memory::new();
        let at = upload16(&mut memory, &(0..elements).map(|i| i as u16 + 1).collect::<Vec<_>>());
        let map = map(at, &extents, &tile);
        let bytes = 2 * tile.iter().map(|n| u64::from(*n)).product::<u64>();
        prop_assume!(bytes <= 64 << 10);
        let words = bytes / 4;
        let body = format!("{INIT}{}{}{}{}", expect(bytes), load(&begin, AT), wait("0", "0"), store(words));
        let found = run(&program(1, &body), 64, 200 << 10, words as usize, &[map], &mut memory);
        let found = found.unwrap_or_else(|e| panic!("{e}"));
        let half = |i: u64| found[i as usize / 2] >> (16 * (i % 2)) & 0xffff;
        for i in 0..bytes / 2 {
            let (mut rest, mut element, mut stride, mut inside) = (i, 0, 1, true);
            for axis in 0..extents.len() {
                let (size, extent) = (u64::from(tile[axis]), extents[axis] as i64);
                let place = i64::from(begin[axis]) + (rest % size) as i64;
                rest /= size;
                inside &= (0..extent).contains(&place);
                element += place.wrapping_mul(stride);
                stride *= extent;
            }
            let expected = if inside { (element as u32 + 1) & 0xffff } else { 0 };
            // Lines of 128 bytes, in each of which chunks of 16 change places.
            let (line, chunk, rest) = (i / 64, i / 8 % 8, i % 8);
            prop_assert_eq!(half(64 * line + 8 * (chunk ^ (line % 8)) + rest), expected, "element {}", i);
        }
    }
}

/// A tensor of 64 x 32 and a box of 64 x 8 (1024 bytes).
fn fault_with(body: &str, change: impl Fn(&mut TensorMap)) -> FaultKind {
    match outcome(body, change) {
        Err(Error::Fault(fault)) => fault.kind,
        Ok(_) => panic!("expected a fault\n{body}"),
        Err(other) => panic!("{other}"),
    }
}

fn outcome(body: &str, change: impl Fn(&mut TensorMap)) -> Result<Vec<u32>, Error> {
    let mut memory = Memory::new();
    let at = upload16(&mut memory, &[7; 64 * 32]);
    let mut map = map(at, &[64, 32], &[64, 8]);
    change(&mut map);
    run(&program(1, body), 64, 8192, 64, &[map], &mut memory)
}

#[test]
fn a_copy_is_there_once_its_phase_is_complete() {
    let (expect, load, wait) = (expect(1024), load(&[0, 0], AT), wait("0", "0"));
    let read = format!("ld.shared.b32 %r1, [{AT}];");
    outcome(&format!("{INIT}{expect}{load}{wait}{read}"), |_| {}).unwrap();
    let kind = |body: &str| fault_with(body, |_| {});
    let pending = |kind: FaultKind| assert!(matches!(kind, FaultKind::PendingCopy { .. }), "{kind}");
    pending(kind(&format!("{INIT}{expect}{load}{read}{wait}")));
    pending(kind(&format!("{INIT}{expect}{load}bar.sync 0; {read}{wait}")));
    pending(kind(&format!("{INIT}{expect}{load}st.shared.b32 [{AT}], 1; {wait}")));
    // Only warp 0 waits, with nothing that hands on what it knows.
    let alone = |who: &str, order: &str| {
        format!("{INIT}{expect}{load}{who} @%p1 bra OVER;\n{wait}OVER: {order} setp.eq.u32 %p2, %tid, 33; @%p2 {read}")
    };
    let first = "setp.ge.u32 %p1, %tid, 32;";
    pending(kind(&alone(first, "")));
    outcome(&alone(first, "bar.sync 0;"), |_| {}).unwrap();
    // Only one lane of the warp waits.
    let one = "setp.ne.u32 %p1, %tid, 32;";
    let found = kind(&alone(one, ""));
    let race = RaceKind::ReadAfterWrite;
    assert!(
        matches!(found, FaultKind::Race { kind, other: 0, .. } if kind == race),
        "{found}"
    );
    outcome(&alone(one, "bar.warp.sync -1;"), |_| {}).unwrap();
    // The phase lacks bytes, or has too many.
    for bytes in [1016, 1032] {
        let body = format!("{INIT}{}{load}{wait}", super::tensors::expect(bytes));
        assert!(matches!(kind(&body), FaultKind::Deadlock(_)));
    }
    assert!(matches!(kind(&format!("{INIT}{expect}{load}")), FaultKind::CopyAtEnd));
}

#[test]
fn copies_take_their_turn_with_threads() {
    let (expect, load, wait) = (expect(1024), load(&[0, 0], AT), wait("0", "0"));
    let kind = |body: &str| fault_with(body, |_| {});
    // Threads wrote what is copied over.
    let write = format!("setp.eq.u32 %p1, %tid, 40; @%p1 st.shared.b32 [{AT}], 1;\n");
    let written = |order: &str| format!("{INIT}{write}{order}{expect}{load}{wait}");
    outcome(&written("fence.proxy.async; bar.sync 0;"), |_| {}).unwrap();
    outcome(&written("bar.sync 0; fence.proxy.async.shared::cta;"), |_| {}).unwrap();
    assert!(matches!(
        kind(&written("bar.sync 0;")),
        FaultKind::ProxyFence { other: 40, .. }
    ));
    // Warp 1 writes while the copy that warp 0 ordered is under way.
    let found = kind(&written("fence.proxy.async;"));
    assert!(matches!(found, FaultKind::PendingCopy { .. }), "{found}");
    // Another thread may still read what the copy before brought.
    let again = |order: &str| {
        format!(
            "{INIT}{expect}{load}{wait}setp.eq.u32 %p1, %tid, 20; @%p1 ld.shared.b32 %r1, [{AT}];\n{order}{expect}{load}{}",
            super::common::wait("0", "1")
        )
    };
    outcome(&again("bar.sync 0;"), |_| {}).unwrap();
    let found = kind(&again(""));
    assert!(
        matches!(
            found,
            FaultKind::Race {
                kind: RaceKind::WriteAfterRead,
                other: 20,
                ..
            }
        ),
        "{found}"
    );
    // The mbarrier itself is written by a thread.
    let plain = "@%p15 mbarrier.init.shared::cta.b64 [0], 1;\nbar.sync 0;\n";
    assert!(matches!(
        kind(&format!("{plain}{expect}{load}{wait}")),
        FaultKind::ProxyFence { .. }
    ));
}

#[test]
fn copies_stay_within_bounds() {
    let body =
        |coordinates: &[i32], at: u32| format!("{INIT}{}{}{}", expect(1024), load(coordinates, at), wait("0", "0"));
    let plain = body(&[0, 0], AT);
    // Rows beyond what was allocated, although within the map.
    let found = fault_with(&body(&[0, 32], AT), |map| map.extents[1] = 40);
    assert!(
        matches!(
            found,
            FaultKind::OutOfBounds {
                space: Space::Global,
                write: false,
                ..
            }
        ),
        "{found}"
    );
    let found = fault_with(&body(&[0, 0], 8192 - 512), |_| {});
    assert!(
        matches!(
            found,
            FaultKind::OutOfBounds {
                space: Space::Shared,
                write: true,
                ..
            }
        ),
        "{found}"
    );
    let found = fault_with(&body(&[0, 0], AT + 64), |_| {});
    assert!(
        matches!(
            found,
            FaultKind::Misaligned {
                space: Space::Shared,
                bytes: 128,
                ..
            }
        ),
        "{found}"
    );
    let found = fault_with(&body(&[0, 0, 0], AT), |_| {});
    assert!(matches!(found, FaultKind::TensorMap(_)), "{found}");
    for (from, to) in [("[%map0,", "[%map0+64,"), ("[%map0,", "[%map0+16,")] {
        let found = fault_with(&plain.replace(from, to), |_| {});
        assert!(matches!(found, FaultKind::TensorMap(_)), "{found}");
    }
    // Alignment is what was declared, not what comes about.
    let by_name = |align: u32| {
        let text = program(1, &plain.replace("[1024]", "[dyn+1024]").replace("[0]", "[dyn]"));
        text.replace(".align 1024 .b8 dyn", &format!(".align {align} .b8 dyn"))
    };
    let launched = |text: &str| {
        let mut memory = Memory::new();
        let at = upload16(&mut memory, &[7; 64 * 32]);
        run(text, 64, 8192, 64, &[map(at, &[64, 32], &[64, 8])], &mut memory)
    };
    launched(&by_name(128)).unwrap();
    let Err(Error::Fault(fault)) = launched(&by_name(64)) else {
        panic!("no fault")
    };
    assert!(
        matches!(fault.kind, FaultKind::Misaligned { bytes: 128, .. }),
        "{fault}"
    );
    // A launch's regions hold for copies too.
    let module = Module::parse(&program(1, &plain)).unwrap();
    let mut memory = Memory::new();
    let at = upload16(&mut memory, &[7; 64 * 32]);
    let params = Params::default().u64(0).map(&map(at, &[64, 32], &[64, 8]));
    let launch = |bytes| {
        let regions = [Region {
            address: at,
            bytes,
            write: false,
        }];
        let launch = Launch {
            shared: 8192,
            regions: Some(&regions),
            ..Launch::new("k", 1, 64, &params.0)
        };
        module.launch(&launch, &memory, 1)
    };
    launch(1024).unwrap();
    assert!(matches!(launch(1023), Err(Error::Fault(_))));
}
