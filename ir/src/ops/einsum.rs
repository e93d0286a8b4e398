//! A sum of products over index letters, `bik,bjk->bij`: letters of both operands and not of the result are summed.
//! A letter stands at most once in an operand, and one that is in a single operand is in the result.

use super::{Doc, EvalCx, Example, Group, OpDef, Vjp, Work};
use crate::graph::{Graph, ValueId};
use crate::lower::Lower;
use crate::sample::{Rand, Sample, SampleArg};
use crate::tensor::Tensor;
use crate::tensor::unravel;
use crate::types::{Type, TypeError};
use crate::types::{arity, float, rank, same_dim, type_error};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Einsum {
    pub spec: String,
}

/// The letters of both operands and of the result.
fn letters(spec: &str) -> Option<[Vec<char>; 3]> {
    let (ab, out) = spec.split_once("->")?;
    let (a, b) = ab.split_once(',')?;
    Some([a, b, out].map(|s| s.chars().collect()))
}

impl Einsum {
    /// The letters of both operands and of the result of a well-formed spec.
    pub fn parse(spec: &str) -> Option<[Vec<char>; 3]> {
        letters(spec)
    }

    fn letters(&self) -> Result<[Vec<char>; 3], TypeError> {
        let all =
            letters(&self.spec).ok_or_else(|| TypeError(format!("`{}` is not of the form `ik,jk->ij`", self.spec)))?;
        let [a, b, out] = &all;
        for s in &all {
            if let Some(c) = s.iter().find(|c| s.iter().filter(|d| d == c).count() > 1) {
                return type_error(format!("letter `{c}` stands twice in a part of `{}`", self.spec));
            }
        }
        for c in a.iter().chain(b) {
            if a.contains(c) != b.contains(c) && !out.contains(c) {
                return type_error(format!(
                    "letter `{c}` of `{}` is in one operand only: sum it first",
                    self.spec
                ));
            }
        }
        match out.iter().find(|c| !a.contains(c) && !b.contains(c)) {
            Some(c) => type_error(format!(
                "letter `{c}` of the result is in no operand of `{}`",
                self.spec
            )),
            None => Ok(all),
        }
    }
}

impl OpDef for Einsum {
    const DOC: Doc = Doc {
        group: Group::Matrix,
        signature: "a, b -> one axis for each letter after the arrow",
        about: "Sum of products over index letters. Letters of both operands that the result lacks are summed. \
                Letters of one operand only must be in the result; no letter occurs twice in one part.",
        attributes: &[("spec", "text such as `'bik,bjk->bij'`")],
        example: Some(Example {
            inputs: &[("q", "f32[B, T, 16]"), ("k", "f32[B, T, 16]")],
            body: "y = einsum(q, k, spec: 'bik,bjk->bij')",
        }),
    };
    fn infer(&self, args: &[Type]) -> Result<Vec<Type>, TypeError> {
        let [ta, tb] = arity::<2>(args)?;
        let [a, b, out] = self.letters()?;
        float("operand 0", ta)?;
        if ta.dtype != tb.dtype {
            return type_error(format!("operands have different element types: {ta} and {tb}"));
        }
        rank("operand 0", ta, a.len())?;
        rank("operand 1", tb, b.len())?;
        let size = |c: &char| {
            let in_a = a.iter().position(|d| d == c).map(|i| &ta.shape[i]);
            let in_b = b.iter().position(|d| d == c).map(|i| &tb.shape[i]);
            if let (Some(x), Some(y)) = (in_a, in_b) {
                same_dim(&format!("`{c}` in `{}`", self.spec), x, y)?;
            }
            Ok(in_a.or(in_b).expect("letters are checked").clone())
        };
        for c in &a {
            size(c)?;
        }
        Ok(vec![ta.with_shape(
            out.iter().map(size).collect::<Result<Vec<_>, TypeError>>()?,
        )])
    }
    fn eval(&self, cx: &EvalCx, args: &[&Tensor]) -> Vec<Tensor> {
        let [a, b, out] = self.letters().expect("infer accepted the letters");
        let summed: Vec<char> = a.iter().filter(|c| !out.contains(c)).copied().collect();
        let extent = |c: &char| args[0].shape[a.iter().position(|d| d == c).expect("summed letters are in operand 0")];
        let k_shape: Vec<usize> = summed.iter().map(extent).collect();
        let total: usize = k_shape.iter().product();
        let mut k = vec![0; k_shape.len()];
        cx.build(|at| {
            let mut sum = 0.0;
            for i in 0..total {
                unravel(i, &k_shape, &mut k);
                let position = |c: &char| match out.iter().position(|d| d == c) {
                    Some(o) => at[o],
                    None => {
                        k[summed
                            .iter()
                            .position(|d| d == c)
                            .expect("a letter is in the result or summed")]
                    }
                };
                let ia: Vec<usize> = a.iter().map(position).collect();
                let ib: Vec<usize> = b.iter().map(position).collect();
                sum += args[0].at(&ia) * args[1].at(&ib);
            }
            sum
        })
    }
    fn vjp(&self, g: &mut Graph, at: &Vjp) -> Vec<Option<ValueId>> {
        let [a, b, out] = self
            .letters()
            .expect("infer accepted the letters")
            .map(|s| s.into_iter().collect::<String>());
        let da = g.einsum(&format!("{out},{b}->{a}"), at.grad(), at.args[1]);
        let db = g.einsum(&format!("{a},{out}->{b}"), at.args[0], at.grad());
        vec![Some(da), Some(db)]
    }
    fn lower(&self) -> Lower<'_> {
        Lower::Contract { spec: &self.spec }
    }
    fn work(&self, args: &[&Type], results: &[Type]) -> Work {
        let Some([letters, _, out]) = Einsum::parse(&self.spec) else {
            unreachable!("infer checked the letters")
        };
        let summed = letters.iter().zip(&args[0].shape).filter(|(c, _)| !out.contains(c));
        Work::products(&results[0], summed.map(|(_, d)| d.clone()).product())
    }
    fn sample(r: &mut Rand) -> Sample<Self> {
        let specs = [
            "ik,jk->ij",
            "ik,kj->ij",
            "ki,kj->ij",
            "bik,jk->bij",
            "bki,bkj->ij",
            "bthd,bshd->bhts",
            "bhts,bshd->bthd",
            "bmgv,gvd->bmgd",
        ];
        let spec = r.pick(&specs).to_string();
        let [a, b, _] = letters(&spec).expect("the specs above are well formed");
        let mut sizes = std::collections::BTreeMap::new();
        let mut arg = |s: Vec<char>, r: &mut Rand| {
            SampleArg::float(
                s.iter()
                    .map(|c| sizes.entry(*c).or_insert_with(|| r.size()).clone())
                    .collect(),
            )
        };
        let args = vec![arg(a, r), arg(b, r)];
        Sample::new(Einsum { spec }, args)
    }
}
