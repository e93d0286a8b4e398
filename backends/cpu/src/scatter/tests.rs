use crate::testing::*;
use ir::kernel::{Body, Kernel, Scatter};
use ir::scalar::DType;

fn check(width: &str, widths: &[usize]) {
    let body = Scatter {
        rows: d("R"),
        count: d("C"),
        into: d("I"),
        width: d(width),
        from: 0,
        index: 1,
        out: 2,
    };
    let kernel = Kernel {
        slots: slots(&[DType::F32, DType::I32], &[DType::F32]),
        body: Body::Scatter(body),
    };
    let program = Program::new(&kernel, &["R", "C", "I", "W"]);
    for &w in widths {
        let (r, c, i) = (3usize, 11usize, 9usize);
        let from = noise(r * c * w, 1);
        let index: Vec<i32> = (0..r * c)
            .map(|j| match j {
                3 => i as i32,
                4 => i32::MAX,
                5 => i32::MIN,
                _ => (j as i32 * 5) % 7 - 1,
            })
            .collect();
        let mut want = vec![0f32; r * i * w];
        for (j, &to) in index.iter().enumerate().filter(|(_, to)| (0..i as i32).contains(*to)) {
            for k in 0..w {
                want[(j / c * i + to as usize) * w + k] += from[j * w + k];
            }
        }
        let mut data = [Data::F32(from), Data::I32(index), Data::F32(vec![9.0; r * i * w])];
        program.run(&mut data, &[r as i64, c as i64, i as i64, w as i64], 2);
        // The same additions in the same order: the same bits.
        assert_eq!(data[2].f32(), want, "width {w}");
    }
}

#[test]
fn collisions_add_up_in_order() {
    check("W", &[1, 7, 8, 9, 17, 127, 300]);
    check("1", &[1]);
}
