//! Sampled kernels stay inside their operands, and what they are declared not to write they leave alone.

use interp::{Buffer, Place, run};
use ir::kernel::Access;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn samples_run(seed: u32) {
        let s = ir::kernel_sample::any(seed);
        let mut buffers: Vec<Buffer> =
            s.operands.iter().map(|o| Buffer::from_f64(o.dtype, o.values.iter().copied())).collect();
        let before = buffers.clone();
        for (b, o) in buffers.iter().zip(&s.operands) {
            prop_assert_eq!(&b.to_f64(), &o.values, "values of the dtype");
        }
        let places: Vec<Place> = (0..buffers.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
        prop_assert_eq!(run(&s.kernel, &mut buffers, &places, &s.sizes), Ok(()), "{}", s.kernel);
        for (n, slot) in s.kernel.slots.iter().enumerate() {
            let values = buffers[n].to_f64();
            if slot.access == Access::Read {
                prop_assert_eq!(&values, &before[n].to_f64());
                continue;
            }
            // The log-sum-exp of nothing is the one infinity.
            prop_assert!(values.iter().all(|v| !v.is_nan() && *v < 1e6), "slot {} of {}", n, s.kernel);
        }

        // The same in one buffer per dtype, each operand at its offset.
        let mut together = [ir::scalar::DType::F32, ir::scalar::DType::F64, ir::scalar::DType::I32].map(|d| (d, vec![]));
        let mut places = vec![];
        for b in &before {
            let buffer = together.iter().position(|(d, _)| *d == b.dtype()).unwrap();
            places.push(Place { buffer, offset: together[buffer].1.len() });
            together[buffer].1.extend(b.to_f64());
        }
        let mut together = together.map(|(d, v)| Buffer::from_f64(d, v.into_iter()));
        run(&s.kernel, &mut together, &places, &s.sizes).unwrap();
        for (place, b) in places.iter().zip(&buffers) {
            let part = &together[place.buffer].to_f64()[place.offset..][..b.len()];
            prop_assert_eq!(part, &b.to_f64()[..]);
        }
    }
}
