include!("/tmp/h3_samples_inc.rs");

fn hand(text: &str, sizes: &[(&str, i64)], special: bool) -> Sample {
    let kernel = ir::kernel_text::parse(text).unwrap();
    ir::kernel_verify::verify(&kernel).unwrap();
    let mut env: Env = sizes.iter().map(|(n, v)| ((*n).into(), *v)).collect();
    env.insert("layer".into(), 3);
    let mut x = 12345u32;
    let operands = kernel.slots.iter().map(|s| {
        let values: Vec<f64> = (0..40000).map(|_| {
            x = x.wrapping_mul(1664525).wrapping_add(1013904223);
            let r = (x >> 16) as f64;
            match s.dtype {
                ir::scalar::DType::I32 => (r % 5.0).floor(),
                _ if special && r % 37.0 == 0.0 => f64::NAN,
                _ if special && r % 5.0 == 1.0 => f64::NEG_INFINITY,
                _ => (r % 17.0 - 8.0) / 8.0,
            }
        }).collect();
        kernel_sample::Operand { dtype: s.dtype, values, tolerance: 1e-5, tolerances: vec![] }
    }).collect();
    Sample { kernel, sizes: env, operands }
}

#[test]
fn hand_kernels() {
    let mut bad = vec![];
    for (text, sizes) in [
        ("row [3, 70]\n  s0 read f32\n  s1 write f32\n  s2 update f32\n  s3 read i32\n  s4 update f32\n  v0 = load s0[70*a0 + a1]\n  v1 = load s3[70*a0 + a1]\n  columns\n    s1[a0] = v0\n    s2[a0] += v0\n    s4[5*a0 + v1] += v0\n", vec![]),
        ("row [T, N]\n  s0 read f32\n  s1 write f32\n  s2 update f32\n  v0 = load s0[N*a0 + a1]\n  v1 = r0\n  columns\n    r0 = sum v0\n    s2[a0] += v0\n  row\n    s1[a0] = v1\n", vec![("T", 5), ("N", 300)]),
        ("row [T, N]\n  s0 read f32\n  s1 write i32\n  s2 write f32\n  s3 read i32\n  s4 write i32\n  v0 = load s0[N*a0 + a1]\n  v1 = r0\n  v2 = r1\n  v3 = load s3[a0 + a1]\n  v4 = r2\n  v5 = r3\n  columns\n    r0 = argmax v0\n    r1 = max v0\n    r2 = argmax v3\n    r3 = sum v3\n  row\n    s1[a0] = v1\n    s2[a0] = v2\n    s4[a0] = v4\n    s4[T + a0] = v5\n", vec![("T", 5), ("N", 777)]),
        ("row [T, 24]\n  s0 read f32\n  s1 write i32\n  s2 write f32\n  v0 = load s0[24*a0 + a1]\n  v1 = r0\n  v2 = r1\n  columns\n    r0 = argmax v0\n    r1 = max v0\n  row\n    s1[a0] = v1\n    s2[a0] = v2\n", vec![("T", 77)]),
        ("row [T, 1001]\n  s0 read f32\n  s1 write i32\n  s2 write f32\n  v0 = load s0[24*a0 + a1]\n  v1 = r0\n  v2 = r1\n  v3 = neg v0\n  columns\n    r0 = argmax v0\n    r1 = max v0\n  columns\n    s2[1001*a0 + a1] = v3\n  row\n    s1[a0] = v1\n", vec![("T", 7)]),
        // Across threads from phase to phase.
        ("row [T, 300]\n  s0 read f32\n  s1 write f32\n  s2 write f32\n  v0 = load s0[300*a0 + a1]\n  v1 = load s1[299 + 300*a0 + -1*a1]\n  v2 = add v0, v1\n  columns\n    s1[300*a0 + a1] = v0\n  columns\n    s2[300*a0 + a1] = v2\n", vec![("T", 7)]),
        ("row [T, N]\n  s0 read f32\n  s1 write f32\n  s2 write f32\n  v0 = load s0[N*a0 + a1]\n  v1 = load s1[(N - 1) + N*a0 + -1*a1]\n  v2 = add v0, v1\n  columns\n    s1[N*a0 + a1] = v0\n  columns\n    s2[N*a0 + a1] = v2\n", vec![("T", 7), ("N", 400)]),
        ("row [T, 12]\n  s0 read f32\n  s1 write f32\n  s2 update f32\n  v0 = load s0[12*a0 + a1]\n  v1 = load s1[11 + 12*a0 + -1*a1]\n  v2 = add v0, v1\n  v3 = load s2[12*a0 + a1]\n  v4 = mul v3, v2\n  v5 = r0\n  v6 = mul v4, v5\n  columns\n    r0 = sum v0\n    s1[12*a0 + a1] = v0\n  columns\n    s2[12*a0 + a1] = v4\n  columns\n    s2[12*a0 + a1] = v6\n", vec![("T", 45)]),
        ("row [T - 1, N]\n  s0 read f32\n  s1 write f32\n  v0 = load s0[N*a0 + a1]\n  v1 = r0\n  columns\n    r0 = sum v0\n  row\n    s1[a0] = v1\n", vec![("T", 1), ("N", 5)]),
        ("row [T, N]\n  s0 read f32\n  s1 write f32\n  v0 = load s0[N*a0 + a1]\n  v1 = r0\n  columns\n    r0 = sum v0\n  row\n    s1[a0] = v1\n", vec![("T", 4), ("N", 0)]),
        ("column outer [2], reduced [700, 3], columns 5\n  s0 read f32\n  s1 write f32\n  s2 write f32\n  s3 read i32\n  s4 write i32\n  v0 = load s0[10500*a0 + 15*a1 + 5*a2 + a3]\n  v1 = r0\n  v2 = r1\n  v3 = load s3[15*a1 + 5*a2 + a3]\n  v4 = r2\n  reduce\n    r0 = sum v0\n    r1 = max v0\n    r2 = sum v3\n  store\n    s1[5*a0 + a3] = v1\n    s2[5*a0 + a3] = v2\n    s4[5*a0 + a3] = v4\n", vec![]),
        ("column outer [], reduced [B, T], columns 48\n  s0 read f32\n  s1 update f32\n  v0 = load s0[48*T*a0 + 48*a1 + a2]\n  v1 = r0\n  reduce\n    r0 = sum v0\n  store\n    s1[a2] += v1\n", vec![("B", 3), ("T", 200)]),
        ("column outer [B], reduced [T], columns 12\n  s0 read f32\n  s1 update f32\n  s2 write f32\n  v0 = load s0[12*T*a0 + 12*a1 + a2]\n  v1 = r0\n  reduce\n    r0 = max v0\n  store\n    s1[a0] += v1\n    s2[a0] = v1\n", vec![("B", 3), ("T", 20)]),
        ("column outer [B], reduced [9], columns 12\n  s0 read f32\n  s1 update f32\n  s2 write f32\n  v0 = load s0[108*a0 + 12*a1 + a2]\n  v1 = r0\n  reduce\n    r0 = sum v0\n  store\n    s1[a0] += v1\n    s2[a0] = v1\n", vec![("B", 300)]),
    ] {
        for special in [false, true] {
            for aligned in [false, true] {
                if let Err(e) = check(&hand(text, &sizes, special), aligned) {
                    bad.push(format!("special {special}: {e}").lines().take(22).collect::<Vec<_>>().join("\n"));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n----\n"));
}

proptest! {
    #![proptest_config(cases(400))]
    #[test]
    fn many(seed: u32, aligned: bool) {
        let s = match seed % 8 { 0 | 1 | 2 => kernel_sample::row(seed), 3|4 => kernel_sample::column(seed), 5 => kernel_sample::scatter(seed), 6 => kernel_sample::ctc(seed), _ => kernel_sample::narrowed(kernel_sample::row(seed), seed) };
        check(&s, aligned)?;
    }
}

#[test]
fn big_ctc() {
    let text = "ctc batch B, time T, vocab 33, labels L\n  s0 read f32\n  s1 read i32\n  s2 read i32\n  s3 write f32\n  s4 write f32\n  log_probs = s0\n  lengths = s1\n  labels = s2\n  loss = s3\n  grad = s4\n";
    let mut s = hand(text, &[("B", 3), ("T", 300), ("L", 140)], false);
    let mut x = 99u32;
    let mut r = |n: u32| { x = x.wrapping_mul(1664525).wrapping_add(1013904223); (x >> 16) % n };
    s.operands[0].values = (0..3 * 300 * 33).map(|_| -(r(64) as f64) / 8.0 - 0.125).collect();
    s.operands[1].values = vec![300.0, 290.0, 100.0];
    s.operands[2].values = (0..3 * 140).map(|i| if i > 140 && i < 280 && i % 140 > 100 { -1.0 } else { 1.0 + r(32) as f64 }).collect();
    s.operands[3].values = vec![0.0; 3];
    s.operands[4].values = vec![0.0; 3 * 300 * 33];
    s.operands[3].tolerance = 1e-4;
    s.operands[4].tolerance = 2e-5;
    check(&s, true).unwrap();
    s.operands[0].values[5000] = f64::NAN;
    check(&s, true).unwrap();
    let text = "scatter rows B, count T, into 7, width N\n  s0 read f32\n  s1 read i32\n  s2 write f32\n  from = s0\n  index = s1\n  out = s2\n";
    for n in [1, 20, 600] {
        check(&hand(text, &[("B", 2), ("T", 300), ("N", n)], false).clip(2 * 300 * n as usize), true).unwrap();
    }
}

trait Clip { fn clip(self, n: usize) -> Self; }
impl Clip for Sample {
    fn clip(mut self, n: usize) -> Self {
        self.operands[0].values = (0..n).map(|i| ((i * 7) % 13) as f64 / 8.0).collect();
        self
    }
}
