use super::ram::Ram;
use crate::bytes;
use crate::gpu::Device;
use crate::gpu::mirror::Mirror;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    HostSets(usize, f32),
    HostReads,
    DeviceSets(usize, f32),
    DeviceReads,
    Zero,
}

fn op() -> impl Strategy<Value = Op> {
    let value = || (0usize..8, -9i8..9).prop_map(|(i, x)| (i, x as f32));
    prop_oneof![
        value().prop_map(|(i, x)| Op::HostSets(i, x)),
        Just(Op::HostReads),
        value().prop_map(|(i, x)| Op::DeviceSets(i, x)),
        Just(Op::DeviceReads),
        Just(Op::Zero),
    ]
}

proptest! {
    #[test]
    fn both_sides_always_see_the_last_values(ops in prop::collection::vec(op(), 0..40)) {
        let mut ram = Ram::new(1 << 20);
        let (mut mirror, mut truth) = (Mirror::new(8), [0f32; 8]);
        let mut on_both = false;
        for op in ops {
            let log = (ram.log.borrow().uploads, ram.log.borrow().downloads);
            match op {
                Op::HostSets(i, x) => {
                    mirror.on_host(&mut ram).unwrap()[i] = x;
                    truth[i] = x;
                    on_both = false;
                }
                Op::HostReads => prop_assert_eq!(&mirror.on_host(&mut ram).unwrap()[..], &truth),
                Op::DeviceSets(i, x) => {
                    let at = mirror.on_device(&mut ram).unwrap();
                    ram.upload(at + 4 * i as u64, bytes::of(&[x])).unwrap();
                    mirror.written_by_device();
                    truth[i] = x;
                    on_both = true;
                }
                Op::DeviceReads => {
                    let at = mirror.on_device(&mut ram).unwrap();
                    let mut seen = [0f32; 8];
                    ram.download(at, bytes::of_mut(&mut seen)).unwrap();
                    prop_assert_eq!(seen, truth);
                    prop_assert!(!on_both || ram.log.borrow().uploads == log.0, "copied what was there");
                    on_both = true;
                }
                Op::Zero => {
                    mirror.zero(&mut ram).unwrap();
                    truth = [0.0; 8];
                    on_both = false;
                }
            }
            if let Op::HostReads = op {
                on_both = false;
            }
        }
    }
}
