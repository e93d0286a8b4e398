use super::*;
use crate::kernel_text;

const GOOD: &str = "\
row [B, 8]
  s0 read f32
  s1 write f32
  s2 read i32
  v0 = load s0[8*a0 + a1]
  v1 = r0
  v2 = mul v0, v1
  v3 = load s2[a0]
  v4 = load s1[8*a0 + a1] if v3
  columns
    r0 = sum v0
  columns
    s1[8*a0 + a1] = v2
  columns
    s1[8*a0 + a1] = v4
";

#[test]
fn mistakes_are_told() {
    let verified = |text: &str| verify(&kernel_text::parse(text).unwrap());
    assert_eq!(verified(GOOD), Ok(()));
    for (from, to, told) in [
        ("row [B, 8]", "row []", "a row kernel needs at least one axis"),
        ("load s2[a0]", "load s3[a0]", "v3: there is no slot 3; the kernel has 3"),
        ("mul v0, v1", "mul v0, v4", "v2: v4 does not come before its user"),
        ("load s2[a0]", "load s2[a2]", "v3: there is no axis 2; the kernel has 2"),
        ("v1 = r0", "v1 = r1", "v1: there is no reduction 1; the kernel has 1"),
        (
            "mul v0, v1",
            "floor_div v0, v1",
            "v0, used by v2, is f32, where i32 is needed",
        ),
        ("if v3", "if v0", "v0, used by v4, is f32, where i32 is needed"),
        (
            "s2 read i32",
            "s2 read f32",
            "v3, used by v4, is f32, where i32 is needed",
        ),
        (
            "s0 read f32",
            "s0 read f64",
            "store 0: slot 1 is f32, where f64 is needed",
        ),
        ("mul v0, v1", "i32 0.5", "v2: 0.5 is no i32"),
        (
            "if v3",
            "if v3\n  v5 = add v3, v0",
            "operands have different dtypes, i32 and f32",
        ),
        (
            "sum v0",
            "sum v0\n    s1[8*a0 + a1] = v2",
            "phase 0 uses reduction 0 before",
        ),
        (
            "sum v0",
            "sum v0\n    s1[8*a0 + a1] = v4",
            "phase 0, v4 reads slot 1, which is declared written",
        ),
        ("mul v0, v1", "acc", "phase 1 uses the accumulated product"),
        (
            "s1 write f32",
            "s1 read f32",
            "phase 1, store 0 writes slot 1, which is declared read",
        ),
        ("a1] = v4", "a1] += v4", "phase 2, store 0 adds to slot 1"),
        (
            "s1[8*a0 + a1] = v2",
            "s1[v0] = v2",
            "phase 1, store 0: index v0 is f32, where i32 is needed",
        ),
        (
            "columns\n    s1[8*a0 + a1] = v2",
            "row\n    s1[8*a0] = v2",
            "phase 1 uses axis 1 through v0",
        ),
        (
            "columns\n    s1[8*a0 + a1] = v2",
            "row\n    s1[a1] = v1",
            "phase 1, store 0 writes along axis 1",
        ),
        (
            "s2 read i32",
            "s2 update i32\n  s3 write i32",
            "slot 3 is declared written, but nothing writes it",
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let e = verified(&text).expect_err(&text).to_string();
        assert!(e.contains(told), "{e}, not {told}:\n{text}");
    }
}

#[test]
fn bf16_is_only_how_numbers_lie_in_memory() {
    let verified = |text: &str| verify(&kernel_text::parse(text).unwrap());
    let narrow = GOOD
        .replace("s0 read f32", "s0 read bf16")
        .replace("s1 write f32", "s1 update bf16");
    assert_eq!(verified(&narrow), Ok(()));
    let product = "contract batch [], m 2, n 3, k_outer 1, k 4, round bf16\n  s0 read f32\n  s1 read bf16\n  \
                       s2 write bf16\n  a = s0[4*i + p]\n  b = s1[4*j + p]\n  v0 = acc\n  store\n    s2[3*a0 + a1] = v0\n";
    assert_eq!(verified(product), Ok(()));
    let heads = "attention batch 1, time 2, heads 1, head_dim 4, scale 0.5\n  s0 read bf16\n  s1 read bf16\n  \
                     s2 read i32\n  s3 write bf16\n  s4 write f32\n  q = s0[4*t]\n  k = s1[4*t]\n  v = s1[4*t]\n  \
                     lengths = s2\n  out = s3[4*t]\n  lse = s4\n";
    assert_eq!(verified(heads), Ok(()));
    for (good, from, to, told) in [
        (&narrow[..], "mul v0, v1", "cast bf16 v0", "v2 is bf16, which is a way"),
        (&narrow, "mul v0, v1", "bf16 1.0", "v2 is bf16, which is a way"),
        (
            &narrow,
            "a1] = v4",
            "a1] += v4",
            "phase 2, store 0 adds to slot 1, which holds bf16",
        ),
        (
            &narrow,
            "a1] = v4",
            "a1] = v3",
            "store 0: slot 1 is bf16, where i32 is needed",
        ),
        (
            product,
            "round bf16",
            "round int8 255 x 128 by 256",
            "operands of a product cannot be rounded to int8 255 x 128 by 256",
        ),
        (
            product,
            "s1 read bf16",
            "s1 read i32",
            "operand b: slot 1 is i32, where f32 or bf16 is needed",
        ),
        (
            heads,
            "s1 read bf16",
            "s1 read f32",
            "the keys: slot 1 is f32, where bf16 is needed",
        ),
        (
            heads,
            "s4 write f32",
            "s4 write bf16",
            "the log-sum-exp: slot 4 is bf16, where f32 is needed",
        ),
    ] {
        let text = good.replacen(from, to, 1);
        let e = verified(&text).expect_err(&text).to_string();
        assert!(e.contains(told), "{e}, not {told}:\n{text}");
    }
}

#[test]
fn reduced_axes_stay_inside_a_column_kernel() {
    let text = "column outer [2], reduced [3], columns 4\n  s0 update f32\n  v0 = load s0[12*a0 + 4*a1 + a2]\n  reduce\n    \
                    r0 = max v0\n  store\n    s0[4*a0 + a2] = v0\n";
    let told = verify(&kernel_text::parse(text).unwrap());
    assert_eq!(
        told,
        Err(VerifyError::AxisOutOfScope {
            at: "the epilogue".into(),
            axis: 1,
            value: 0
        })
    );
}
