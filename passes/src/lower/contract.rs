//! Contractions: index letters become batch, row, column and summed axes of a matrix multiplication with strides.

use super::kernel::KernelBuilder;
use super::region::Region;
use super::{Builder, LowerError};
use crate::fuse::{Space, coordinates_in, strided};
use ir::artifact::Step;
use ir::dim::Dim;
use ir::graph::ValueId;
use ir::kernel::{Body, Contract, Index, Strided, Value};
use ir::lower::Lower;
use ir::ops::Einsum;
use ir::rounding::Rounding;
use ir::scalar::DType;

/// A summed axis: size and stride in each operand.
#[derive(Clone, PartialEq)]
struct Summed {
    size: Dim,
    a: Dim,
    b: Dim,
}

/// An operand with a stride per letter.
struct Side {
    v: ValueId,
    letters: Vec<char>,
    base: Dim,
    strides: Vec<Dim>,
}

impl Side {
    /// 0 for letters it does not have: the operand is the same along them.
    fn stride(&self, c: char) -> Dim {
        self.letters
            .iter()
            .position(|l| *l == c)
            .map_or(Dim::from(0), |i| self.strides[i].clone())
    }
    fn has(&self, c: char) -> bool {
        self.letters.contains(&c)
    }
}

pub fn emit(
    region: &Region,
    b: &mut Builder,
    group: usize,
    c: ValueId,
    members: &[ValueId],
) -> Result<Vec<Step>, LowerError> {
    let g = region.g;
    let node = g.node(c);
    let Lower::Contract { spec } = node.op.lower() else {
        unreachable!("the group's space says so")
    };
    let unsupported = |why: &str| LowerError::Unsupported {
        op: format!("einsum {spec}"),
        types: format!("{:?}", node.args.iter().map(|a| g.ty(*a)).collect::<Vec<_>>()),
        why: why.into(),
    };
    if node.types[0].dtype != DType::F32 {
        return Err(unsupported("products are in f32"));
    }
    let [la, lb, lo] = Einsum::parse(spec).ok_or_else(|| unsupported("the letters do not parse"))?;
    let in_memory: Vec<bool> = (0..g.nodes.len())
        .map(|i| region.places.contains_key(&ValueId(i)))
        .collect();
    let side = |v: ValueId, letters: Vec<char>| {
        let view = strided(g, &in_memory, v).ok_or_else(|| unsupported("an operand is no strided view of memory"))?;
        Ok(Side {
            v: view.of,
            letters,
            base: view.base,
            strides: view.strides,
        })
    };
    let (mut sa, mut sb) = (side(node.args[0], la)?, side(node.args[1], lb)?);
    // The last letter of the result should run along columns, which belong to b.
    if lo.last().is_some_and(|l| sa.has(*l) && !sb.has(*l)) {
        std::mem::swap(&mut sa, &mut sb);
    }
    let size = |l: char| g.shape(c)[lo.iter().position(|x| *x == l).expect("a letter of the result")].clone();
    let m = lo.iter().rev().copied().find(|l| sa.has(*l) && !sb.has(*l));
    let n = lo.iter().rev().copied().find(|l| sb.has(*l) && !sa.has(*l));
    let batch: Vec<char> = lo.iter().copied().filter(|l| Some(*l) != m && Some(*l) != n).collect();
    let (outer, inner) = summed(spec, g.shape(node.args[0]), &sa, &sb)
        .ok_or_else(|| unsupported("more than two summed axes that do not lie together"))?;
    let stride = |s: &Side, l: Option<char>| l.map_or(Dim::from(0), |l| s.stride(l));
    let extent = |l: Option<char>| l.map_or(Dim::from(1), &size);

    let mut k = KernelBuilder::new(region, Some(group));
    let operand = |k: &mut KernelBuilder, s: &Side, free: Option<char>, outer: &Dim, inner: &Dim| Strided {
        slot: k.read(s.v),
        base: s.base.clone(),
        batch: batch.iter().map(|l| s.stride(*l)).collect(),
        k_outer: outer.clone(),
        free: stride(s, free),
        k: inner.clone(),
    };
    let a = operand(&mut k, &sa, m, &outer.a, &inner.a);
    let bb = operand(&mut k, &sb, n, &outer.b, &inner.b);

    // Axes of the kernel are batch.., m, n; positions in the result follow its letters.
    let axis = |l: &char| match batch.iter().position(|x| x == l) {
        Some(i) => Index::axis(i),
        None if Some(*l) == m => Index::axis(batch.len()),
        None => Index::axis(batch.len() + 1),
    };
    let result_at: Vec<Index> = lo.iter().map(axis).collect();
    k.known.insert(c, Value::Acc);
    let mut store = vec![];
    for v in members {
        if region.dests(*v).is_empty() {
            continue;
        }
        let own = coordinates_in(g, &Space::Contract(c), *v).expect("members have a place in their group's space");
        let at: Vec<Index> = own.iter().map(|i| rename(i, &result_at)).collect();
        let value = k.element(*v, &at);
        store.extend(k.stores(*v, &at, value));
    }
    let (batch, m, n) = (batch.iter().map(|l| size(*l)).collect(), extent(m), extent(n));
    let (k_outer, depth) = (outer.size, inner.size);
    let body = |values| {
        Body::Contract(Contract {
            batch,
            m,
            n,
            k_outer,
            k: depth,
            a,
            b: bb,
            round: Rounding::F32,
            values,
            store,
        })
    };
    Ok(vec![k.launch(b, "contract", body)])
}

/// Coordinates over the result's axes, rewritten over the kernel's.
fn rename(at: &Index, axes: &[Index]) -> Index {
    let zero = Index {
        base: at.base.clone(),
        terms: vec![],
    };
    at.terms.iter().fold(zero, |acc, (s, coord)| match coord {
        ir::kernel::Coord::Axis(i) => acc.plus(&axes[*i].clone().scaled(s)),
        ir::kernel::Coord::Value(_) => unreachable!("positions of members are affine in the axes"),
    })
}

/// The summed axes as an outer and an inner one.
fn summed(spec: &str, a_shape: &[Dim], sa: &Side, sb: &Side) -> Option<(Summed, Summed)> {
    let [la, _, lo] = Einsum::parse(spec)?;
    let mut all: Vec<Summed> = vec![];
    for (i, l) in la.iter().enumerate().filter(|(_, l)| !lo.contains(l)) {
        if a_shape[i].is_one() {
            continue;
        }
        let next = Summed {
            size: a_shape[i].clone(),
            a: sa.stride(*l),
            b: sb.stride(*l),
        };
        match all.last_mut() {
            // The axis before steps over the whole of this one in both operands: together they are one axis.
            Some(p) if p.a == next.a.clone() * next.size.clone() && p.b == next.b.clone() * next.size.clone() => {
                *p = Summed {
                    size: p.size.clone() * next.size.clone(),
                    ..next
                };
            }
            _ => all.push(next),
        }
    }
    let one = Summed {
        size: Dim::from(1),
        a: Dim::from(0),
        b: Dim::from(0),
    };
    match &all[..] {
        [] => Some((one.clone(), one)),
        [k] => Some((one, k.clone())),
        [o, k] => Some((o.clone(), k.clone())),
        _ => None,
    }
}
