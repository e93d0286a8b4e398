//! A repeat becomes a loop over its body's steps.

use super::region::{Region, result_value};
use super::{Builder, Dest, LowerError, Place};
use crate::fuse::{Fused, root};
use ir::artifact::{BufferKind, Step};
use ir::dim::{Dim, numel};
use ir::graph::ValueId;
use ir::ops::Repeat;
use std::collections::BTreeMap;

pub fn emit(region: &Region, b: &mut Builder, v: ValueId, r: &Repeat) -> Result<Vec<Step>, LowerError> {
    let g = region.g;
    let args = g.node(v).args.clone();
    let mut steps = vec![];
    let mut places = BTreeMap::new();
    let mut dests: Vec<(ValueId, Dest)> = vec![];
    let mut back = vec![];
    for (i, input) in r.body.inputs.iter().enumerate() {
        let operand = region.place(root(g, args[i])).clone();
        let ty = r.body.ty(*input);
        if i < r.carries {
            let carry = carry_place(region, b, v, i);
            steps.push(region.copy(
                b,
                args[i],
                &Dest {
                    place: carry.clone(),
                    accumulate: false,
                },
            ));
            let out = r.body.outputs[i].1;
            if root(&r.body, out) != *input {
                let next = Place::whole(b.buffer(BufferKind::Temp, ty.dtype, numel(&ty.shape)));
                dests.push((
                    out,
                    Dest {
                        place: next.clone(),
                        accumulate: false,
                    },
                ));
                back.push((*input, next, carry.clone()));
            }
            places.insert(*input, carry);
        } else if i < r.carries + r.stacked {
            places.insert(
                *input,
                Place {
                    layer_stride: numel(&ty.shape),
                    ..operand
                },
            );
        } else {
            places.insert(*input, operand);
        }
    }
    for (i, (_, out)) in r.body.outputs.iter().enumerate().skip(r.carries) {
        let Some(result) = result_value(g, v, i) else { continue };
        let slice = numel(r.body.shape(*out));
        for dest in region.dests(result) {
            let place = Place {
                layer_stride: slice.clone(),
                ..dest.place
            };
            dests.push((*out, Dest { place, ..dest }));
        }
    }
    let mut body = Region::new(&r.body, &region.fused.bodies[&v], places).lower(b, dests)?;
    for (input, from, to) in back {
        body.push(hand_over(b, r, input, from, to));
    }
    let keep = r.keep.then(|| region.place(root(g, args[args.len() - 1])).operand());
    steps.push(Step::Loop {
        count: r.count,
        reverse: r.reverse,
        keep,
        body,
    });
    Ok(steps)
}

/// What a layer gives becomes what the next one takes.
fn hand_over(b: &mut Builder, r: &Repeat, input: ValueId, from: Place, to: Place) -> Step {
    let mut copy = ir::graph::Graph::default();
    let x = copy.input("carry", r.body.ty(input).clone());
    // Nothing is computed, so there are no groups.
    let fused = Fused::default();
    let region = Region::new(&copy, &fused, BTreeMap::from([(x, from)]));
    region.copy(
        b,
        x,
        &Dest {
            place: to,
            accumulate: false,
        },
    )
}

/// Where a carry lives: the place of the result if there is one.
fn carry_place(region: &Region, b: &mut Builder, v: ValueId, i: usize) -> Place {
    if let Some(p) = result_value(region.g, v, i).and_then(|r| region.places.get(&r)) {
        return p.clone();
    }
    let ty = &region.g.node(v).types[i];
    let buffer = b.buffer(BufferKind::Temp, ty.dtype, numel(&ty.shape));
    Place {
        buffer,
        offset: Dim::from(0),
        layer_stride: Dim::from(0),
    }
}
