//! Sums of rows into chosen places.

use crate::Error;
use crate::memory::Slots;
use ir::dim::Env;
use ir::kernel::Scatter;

pub fn run(s: &Scatter, memory: &mut Slots, sizes: &Env) -> Result<(), Error> {
    let (rows, count) = (s.rows.eval(sizes)?, s.count.eval(sizes)?);
    let (into, width) = (s.into.eval(sizes)?, s.width.eval(sizes)?);
    for r in 0..rows {
        for e in 0..into * width {
            memory.store(s.out, r * into * width + e, 0.0)?;
        }
        for j in 0..count {
            let target = memory.load(s.index, r * count + j)? as i64;
            if !(0..into).contains(&target) {
                continue;
            }
            for e in 0..width {
                let v = memory.load(s.from, (r * count + j) * width + e)?;
                memory.add(s.out, (r * into + target) * width + e, v)?;
            }
        }
    }
    Ok(())
}
