//! What each value of a kernel depends on: backends compute a value where all of that is known.

use crate::dim::Dim;
use crate::kernel::{Coord, Index, Value};

/// What a value depends on, itself and through operands.
#[derive(Clone, Copy, Default)]
pub struct Needs {
    /// Bit per axis.
    pub axes: u64,
    /// Bit per reduction.
    pub reduced: u64,
    /// The accumulated product.
    pub acc: bool,
    /// Whether memory is read.
    pub loads: bool,
}

/// That of every value.
pub fn needs(values: &[Value]) -> Vec<Needs> {
    let mut needs: Vec<Needs> = Vec::with_capacity(values.len());
    for v in values {
        let mut n = Needs::default();
        for o in v.operands() {
            let o = needs[o];
            n = Needs {
                axes: n.axes | o.axes,
                reduced: n.reduced | o.reduced,
                acc: n.acc | o.acc,
                loads: n.loads | o.loads,
            };
        }
        match v {
            Value::Axis(a) => n.axes |= 1 << a,
            Value::Load { index, .. } | Value::Uniform { index, .. } => {
                for (_, c) in &index.terms {
                    if let Coord::Axis(a) = c {
                        n.axes |= 1 << a;
                    }
                }
                n.loads |= matches!(v, Value::Load { .. });
            }
            Value::Reduced(r) => n.reduced |= 1 << r,
            Value::Acc => n.acc = true,
            _ => {}
        }
        needs.push(n);
    }
    needs
}

/// Whether two columns may have one address in an index.
pub fn shares_elements(values: &[Value], column: usize, index: &Index) -> bool {
    let needs = needs(values);
    let mut stride = Dim::default();
    for (s, coord) in &index.terms {
        match coord {
            Coord::Axis(a) if *a == column => stride = stride + s.clone(),
            Coord::Value(v) if needs[*v].axes >> column & 1 == 1 => return true,
            _ => {}
        }
    }
    stride.is_zero()
}
