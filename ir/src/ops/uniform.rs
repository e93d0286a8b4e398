//! Uniform random numbers in [0, 1) from a seed (i32 [2]), a site and the layer of an enclosing repeat.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::kernel::Index;
use crate::lower::Lower;
use crate::rng;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::types::{Type, TypeError};
use crate::types::{arity, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uniform {
    /// Tells the uses of one seed apart.
    pub site: u32,
    pub shape: Vec<Dim>,
}

impl OpDef for Uniform {
    const DOC: Doc = Doc {
        group: Group::Source,
        signature: "seed i32[2] -> f32[shape]",
        about: "Uniform random numbers in [0, 1): a function of seed, site, layer and index, so the backward pass \
                draws the same numbers again.",
        attributes: &[
            ("shape", "list of sizes"),
            (
                "site",
                "tells the uses of one seed apart; filled in when it is left out",
            ),
        ],
        example: Some(Example {
            inputs: &[("seed", "i32[2]")],
            body: "y = uniform(seed, shape: [B, T])",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [seed] = arity::<1>(args)?;
        if *seed != Type::i32([Dim::from(2)]) {
            return type_error(format!("the seed must be i32[2], got {seed}"));
        }
        Ok(vec![Type::f32(self.shape.clone())])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let layer = cx.env.get("layer").copied().unwrap_or(0) as u32;
        let seed = [args[0].data[0] as i32 as u32, args[0].data[1] as i32 as u32];
        let keys = rng::keys(seed, self.site, layer);
        let mut i = 0u32;
        cx.build(|_| {
            let u = rng::uniform(keys, i);
            i = i.wrapping_add(1);
            u as f64
        })
    }
    fn vjp(&self, _: &mut Graph, _: &Vjp) -> Vec<Option<ValueId>> {
        vec![None]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Element(Box::new(|p, at| {
            let strides = Type::f32(self.shape.clone()).strides();
            p.uniform(0, self.site, Index::linear(at, &strides))
        }))
    }
    const HAS_SITE: bool = true;
    fn work(&self, _: &[&Type], _: &[Type]) -> Work {
        Work::Element(15.0)
    }
    fn is_cheap(&self) -> bool {
        true
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let seed = SampleArg::int(vec![Dim::from(2)], -1000, 1000);
        Sample::new(
            Uniform {
                site: r.int(0, 50) as u32,
                shape: r.shape(2),
            },
            vec![seed],
        )
    }
}
