//! Instructions on integers and bits.

use crate::cases::{Case, agree, integer};
use crate::common::*;
use w2vc_ptx::{Launch, Memory, Module};

fn bit_field(a: u32, pos: u32, len: u32) -> u32 {
    (0..(len & 255).min(32)).fold(0, |out, i| {
        let at = (pos & 255) + i;
        out | if at < 32 { (a >> at & 1) << i } else { 0 }
    })
}

fn signed_field(a: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 255, len & 255);
    if len == 0 {
        return 0;
    }
    (0..32).fold(0, |out, i| out | (a >> (pos + i.min(len - 1)).min(31) & 1) << i)
}

fn signed_field_of_64(a: u64, pos: u64, len: u64) -> u64 {
    let (pos, len) = (pos & 255, len & 255);
    if len == 0 {
        return 0;
    }
    (0..64).fold(0, |out, i| out | (a >> (pos + i.min(len - 1)).min(63) & 1) << i)
}

fn insert_field(a: u32, b: u32, pos: u32) -> u32 {
    (0..5).fold(b, |out, i| {
        let at = (pos & 255) + i;
        if at < 32 {
            (out & !(1 << at)) | (a >> i & 1) << at
        } else {
            out
        }
    })
}

#[test]
fn integers_of_32_bits() {
    let cases: &[Case<u32>] = &[
        ("add.s32 %d, %a, %b;", |a, b, _| a.wrapping_add(b)),
        ("sub.u32 %d, %a, 7;", |a, _, _| a.wrapping_sub(7)),
        ("mul.lo.s32 %d, %a, %b;", |a, b, _| a.wrapping_mul(b)),
        ("mul.hi.s32 %d, %a, %b;", |a, b, _| {
            ((a as i32 as i64 * b as i32 as i64) >> 32) as u32
        }),
        ("mul.hi.u32 %d, %a, %b;", |a, b, _| ((a as u64 * b as u64) >> 32) as u32),
        ("mad.lo.s32 %d, %a, %b, %c;", |a, b, c| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        ("div.u32 %d, %a, %b;", |a, b, _| a.checked_div(b).unwrap_or(!0)),
        ("div.s32 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                !0
            } else {
                (a as i32).wrapping_div(b as i32) as u32
            }
        }),
        ("rem.u32 %d, %a, %b;", |a, b, _| if b == 0 { u32::MAX } else { a % b }),
        ("rem.s32 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                u32::MAX
            } else {
                (a as i32).wrapping_rem(b as i32) as u32
            }
        }),
        ("min.s32 %d, %a, %b;", |a, b, _| (a as i32).min(b as i32) as u32),
        ("max.u32 %d, %a, %b;", |a, b, _| a.max(b)),
        ("abs.s32 %d, %a;", |a, _, _| (a as i32).wrapping_abs() as u32),
        ("neg.s32 %d, %a;", |a, _, _| a.wrapping_neg()),
        ("shl.b32 %d, %a, %b;", |a, b, _| a.checked_shl(b).unwrap_or(0)),
        ("shr.u32 %d, %a, %b;", |a, b, _| a.checked_shr(b).unwrap_or(0)),
        ("shr.s32 %d, %a, %b;", |a, b, _| (a as i32 as i64 >> b.min(63)) as u32),
        ("shf.l.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
            ((b as u64) << 32 | a as u64).rotate_left(c % 32).wrapping_shr(32) as u32
        }),
        ("shf.r.wrap.b32 %d, %a, %a, %c;", |a, _, c| a.rotate_right(c % 32)),
        ("bfe.u32 %d, %a, %b, %c;", bit_field),
        ("bfe.s32 %d, %a, %b, %c;", signed_field),
        ("bfi.b32 %d, %a, %b, %c, 5;", insert_field),
        ("prmt.b32 %d, %a, %b, 0x3654;", |a, b, _| {
            let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
            u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[3]])
        }),
        ("prmt.b32 %d, %a, 0, 0xBA98;", |a, _, _| {
            u32::from_le_bytes(a.to_le_bytes().map(|b| if b > 127 { 255 } else { 0 }))
        }),
        ("lop3.b32 %d, %a, %b, %c, 0xEA;", |a, b, c| (a & b) | c),
        ("lop3.b32 %d, %a, %b, %c, 0x96;", |a, b, c| a ^ b ^ c),
        ("popc.b32 %d, %a;", |a, _, _| a.count_ones()),
        ("clz.b32 %d, %a;", |a, _, _| a.leading_zeros()),
        ("brev.b32 %d, %a;", |a, _, _| a.reverse_bits()),
        ("bfind.u32 %d, %a;", |a, _, _| a.checked_ilog2().unwrap_or(!0)),
        (
            "{ .reg .b16 x, y; mov.b32 {x, y}, %a; mov.b32 %d, {y, x}; }",
            |a, _, _| a.rotate_left(16),
        ),
        ("cvt.s32.s8 %d, %a;", |a, _, _| a as i8 as u32),
        ("cvt.u16.u32 %rs1, %a; mul.wide.s16 %d, %rs1, -3;", |a, _, _| {
            (a as i16 as i32 * -3) as u32
        }),
        (
            "cvt.u16.u32 %rs1, %a; cvt.u16.u32 %rs2, %b; max.s16 %rs1, %rs1, %rs2; cvt.u32.u16 %d, %rs1;",
            |a, b, _| (a as i16).max(b as i16) as u16 as u32,
        ),
        ("setp.lt.s32 %p1, %a, %b; selp.b32 %d, 1, 2, %p1;", |a, b, _| {
            if (a as i32) < b as i32 { 1 } else { 2 }
        }),
        (
            "setp.hi.u32 %p1, %a, %b; setp.ne.or.b32 %p1|%p2, %a, %c, %p1; selp.b32 %d, 1, 0, %p1; @%p2 add.s32 %d, %d, 2;",
            |a, b, c| u32::from(a != c || a > b) + if a == c || a > b { 2 } else { 0 },
        ),
    ];
    agree(32, cases, integer(), |x| x as u32, |a, b| a == b);
}

#[test]
fn integers_of_64_bits() {
    let cases: &[Case<u64>] = &[
        ("add.s64 %d, %a, %b;", |a, b, _| a.wrapping_add(b)),
        ("mul.lo.s64 %d, %a, %b;", |a, b, _| a.wrapping_mul(b)),
        ("mul.hi.u64 %d, %a, %b;", |a, b, _| {
            ((a as u128 * b as u128) >> 64) as u64
        }),
        ("mul.hi.s64 %d, %a, %b;", |a, b, _| {
            ((a as i64 as i128 * b as i64 as i128) >> 64) as u64
        }),
        ("mad.lo.s64 %d, %a, %b, %c;", |a, b, c| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        ("div.s64 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                !0
            } else {
                (a as i64).wrapping_div(b as i64) as u64
            }
        }),
        ("rem.u64 %d, %a, %b;", |a, b, _| if b == 0 { u64::MAX } else { a % b }),
        ("cvt.u32.u64 %r1, %b; shl.b64 %d, %a, %r1;", |a, b, _| {
            a.checked_shl(b as u32).unwrap_or(0)
        }),
        ("cvt.u32.u64 %r1, %b; shr.s64 %d, %a, %r1;", |a, b, _| {
            ((a as i64) >> (b as u32).min(63)) as u64
        }),
        (
            "cvt.u32.u64 %r1, %a; cvt.u32.u64 %r2, %b; mul.wide.s32 %d, %r1, %r2;",
            |a, b, _| (a as i32 as i64 * b as i32 as i64) as u64,
        ),
        ("cvt.u32.u64 %r1, %a; mad.wide.u32 %d, %r1, 9, %b;", |a, b, _| {
            (a as u32 as u64 * 9).wrapping_add(b)
        }),
        ("mov.b64 {%r1, %r2}, %a; mov.b64 %d, {%r2, %r1};", |a, _, _| {
            a.rotate_left(32)
        }),
        (
            "mov.b64 {%rs1, %rs2, %rs3, %rs4}, %a; mov.b64 %d, {%rs4, %rs1, %rs2, %rs3};",
            |a, _, _| a.rotate_left(16),
        ),
        (
            "popc.b64 %r1, %a; clz.b64 %r2, %b; mov.b64 %d, {%r1, %r2};",
            |a, b, _| a.count_ones() as u64 | (b.leading_zeros() as u64) << 32,
        ),
        ("cvt.u32.u64 %r1, %a; cvt.s64.s32 %d, %r1;", |a, _, _| a as i32 as u64),
        ("cvt.u16.u64 %rs1, %a; cvt.s64.s16 %d, %rs1;", |a, _, _| a as i16 as u64),
        (
            "cvt.u16.u64 %rs1, %a; cvt.s16.s8 %rs1, %rs1; cvt.u64.u16 %d, %rs1;",
            |a, _, _| a as i8 as u16 as u64,
        ),
        ("add.cc.s64 %rd1, %a, %b; addc.s64 %d, %c, 5;", |a, b, c| {
            c.wrapping_add(5).wrapping_add(u64::from(a.checked_add(b).is_none()))
        }),
        ("bfi.b64 %d, %a, %b, 32, 32;", |a, b, _| (a << 32) | (b & 0xffff_ffff)),
        ("bfi.b64 %d, %a, %b, 7, 5;", |a, b, _| (b & !(31 << 7)) | (a & 31) << 7),
        ("cvt.rn.f64.s64 %d, %a;", |a, _, _| (a as i64 as f64).to_bits()),
        ("cvt.rn.f32.u64 %r1, %a; cvt.u64.u32 %d, %r1;", |a, _, _| {
            (a as f32).to_bits() as u64
        }),
        ("setp.le.s64 %p1, %a, %b; selp.b64 %d, %b, %c, %p1;", |a, b, c| {
            if a as i64 <= b as i64 { b } else { c }
        }),
        ("cvt.u32.u64 %r1, %b; bfe.u64 %d, %a, %r1, 9;", |a, b, _| {
            a.checked_shr(b as u32 & 255).unwrap_or(0) & 511
        }),
        (
            "cvt.u32.u64 %r1, %b; cvt.u32.u64 %r2, %c; bfe.s64 %d, %a, %r1, %r2;",
            signed_field_of_64,
        ),
    ];
    agree(64, cases, integer(), |x| x, |a, b| a == b);
}

#[test]
fn narrow_loads_and_stores() {
    let body = "cvt.u64.u32 %rd1, %tid; add.s64 %rd1, %out, %rd1; \n\
        ld.global.s8 %r1, [%rd1]; ld.global.u8 %rs1, [%rd1]; cvt.u32.u16 %r2, %rs1; \n\
        shl.b64 %rd2, %rd1, 0; ld.global.s8 %rd3, [%rd1]; cvt.u32.u64 %r3, %rd3; shr.u64 %rd3, %rd3, 32; \n\
        cvt.u32.u64 %r4, %rd3; mul.wide.u32 %rd4, %tid, 16; add.s64 %rd4, %out, %rd4; \n\
        st.global.v4.b32 [%rd4+32], {%r1, %r2, %r3, %r4}; st.global.b8 [%rd1+600], %r1; \n\
        mul.wide.u32 %rd5, %tid, 2; add.s64 %rd5, %out, %rd5; st.global.b16 [%rd5+640], %r1; \n\
        ld.global.nc.b16 %r6, [%rd5+640]; ld.global.s16 %r7, [%rd5+640]; \n\
        mul.wide.u32 %rd6, %tid, 8; add.s64 %rd6, %out, %rd6; st.global.v2.b32 [%rd6+768], {%r6, %r7}; \n\
        mov.b64 %rd7, {%r1, %r2}; st.global.b64 [%rd6+1024], %rd7;";
    let module = Module::parse(&kernel("", body)).unwrap();
    let mut memory = Memory::new();
    let out = memory.alloc(1280);
    let bytes: Vec<u8> = (0..32).map(|i| (i * 37 + 5) as u8).collect();
    memory.write(out, &bytes).unwrap();
    let params = Params::default().u64(out);
    module.launch(&Launch::new("k", 1, 32, &params.0), &memory, 1).unwrap();
    for (i, &byte) in bytes.iter().enumerate() {
        let signed = byte as i8 as i32 as u32;
        let sign = if byte > 127 { u32::MAX } else { 0 };
        let words = |at: u64, n| download::<u32>(&memory, out + at + 4 * (n * i) as u64, n);
        assert_eq!(words(32, 4), [signed, byte.into(), signed, sign], "{i}");
        assert_eq!(words(768, 2), [signed & 0xffff, signed], "{i}");
        assert_eq!(words(1024, 2), [signed, byte.into()], "{i}");
        let mut one = [0];
        memory.read(out + 600 + i as u64, &mut one).unwrap();
        assert_eq!(one[0], byte, "{i}");
    }
}
