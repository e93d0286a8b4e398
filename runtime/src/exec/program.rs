//! What every machine does around a run: find the program, read sizes from its inputs, make its outputs, and the
//! numbers of the optimizer.

use crate::error::Error;
use crate::memory::require;
use crate::session::{AdamStep, Data, Tensor};
use ir::artifact::{Artifact, BufferKind, Operand, Port, Program, Step};
use ir::dim::{Atom, Dim, Env};
use ir::names::{RANGE_LEN, RANGE_START};
use ir::optimizer::Scalar;
use ir::scalar::DType;
use std::sync::Arc;

pub(crate) fn find<'a>(artifact: &'a Artifact, name: &str) -> Result<&'a Program, Error> {
    artifact
        .programs
        .iter()
        .find(|p| p.name == name)
        .ok_or_else(|| Error::program(name, "is not in this executable"))
}

/// Whether a launch of the program has an operand in an arena. Declared are arenas also where nothing uses them.
pub(crate) fn touches(program: &Program, kind: BufferKind) -> bool {
    fn any<'a>(mut steps: impl Iterator<Item = &'a Step>, of: &dyn Fn(&Operand) -> bool) -> bool {
        steps.any(|s| match s {
            Step::Launch(l) => l.operands.iter().any(of),
            Step::Loop { keep, body, .. } => keep.as_ref().is_some_and(of) || any(body.iter(), of),
        })
    }
    any(program.all_steps(), &|o| program.buffers[o.buffer].kind == kind)
}

/// The run-time sizes that the inputs' shapes give.
pub(crate) fn sizes(artifact: &Artifact, program: &Program, inputs: &[(&str, &Tensor)]) -> Result<Env, Error> {
    let mut env = artifact.run_env();
    let fail = |what: String| Err(Error::program(&program.name, what));
    let mut bound = vec![];
    for port in &program.inputs {
        let Some((_, t)) = inputs.iter().find(|(n, _)| *n == port.name) else {
            return fail(format!("has no value for its input `{}`", port.name));
        };
        if t.shape.len() != port.shape.len() {
            return fail(format!(
                "input `{}` must have shape {}, got {:?}",
                port.name,
                ir::types::shape_text(&port.shape),
                t.shape
            ));
        }
        bound.push((port, *t));
    }
    for (port, t) in &bound {
        for (d, n) in port.shape.iter().zip(&t.shape) {
            if let Some(s) = symbol(d) {
                let n = *n as i64;
                if *env.entry(s.clone()).or_insert(n) != n {
                    return fail(format!(
                        "input `{}` has {n} for size {s}, another input {}",
                        port.name, env[&s]
                    ));
                }
            }
        }
    }
    for (port, t) in &bound {
        for (d, n) in port.shape.iter().zip(&t.shape) {
            let want = d.eval(&env).map_err(|e| Error::program(&program.name, e.to_string()))?;
            if want != *n as i64 {
                let name = artifact
                    .dims
                    .iter()
                    .find(|(_, def)| def == d)
                    .map_or(d.to_string(), |(n, _)| n.clone());
                return fail(format!("input `{}` has {n} where its size {name} is {want}", port.name));
            }
        }
    }
    check_requirements(artifact, program, &env)?;
    Ok(env)
}

/// With sizes that fail these a kernel would leave its buffers.
fn check_requirements(artifact: &Artifact, program: &Program, env: &Env) -> Result<(), Error> {
    for r in &program.requires {
        let value = size_value(program, env, &r.value)?;
        if !(r.least..=r.most).contains(&value) {
            let named = artifact.dims.iter().find(|(_, def)| *def == r.value);
            let name = named.map_or_else(|| r.value.to_string(), |(name, def)| format!("{name} = {def}"));
            let given: Vec<String> = env.iter().map(|(name, n)| format!("{name} = {n}")).collect();
            let bound = if value < r.least {
                format!("at least {}", r.least)
            } else {
                format!("at most {}", r.most)
            };
            let what = format!(
                "{} is {value} ({name}) and must be {bound}, with {}; give longer or shorter clips",
                r.what,
                given.join(", ")
            );
            return Err(Error::program(&program.name, what));
        }
    }
    Ok(())
}

/// The size's name, where it is nothing but a name.
pub(crate) fn symbol(d: &Dim) -> Option<Arc<str>> {
    let terms: Vec<_> = d.terms().collect();
    match &terms[..] {
        [(1, [Atom::Sym(s)])] => Some(s.clone()),
        _ => None,
    }
}

/// Sizes of a program over `len` elements of the arenas from `start` on.
pub(crate) fn range_sizes((start, len): (usize, usize)) -> Env {
    Env::from([(RANGE_START.into(), start as i64), (RANGE_LEN.into(), len as i64)])
}

/// Contiguous ranges of the arena that a program trains, as (start, length).
pub(crate) fn ranges(artifact: &Artifact, program: &str) -> Result<Vec<(usize, usize)>, Error> {
    let mut spans: Vec<(usize, usize)> = find(artifact, program)?
        .trains
        .iter()
        .map(|i| &artifact.params[*i])
        .map(|p| (p.offset, p.len()))
        .collect();
    spans.sort();
    let mut out: Vec<(usize, usize)> = vec![];
    for (start, len) in spans {
        match out.last_mut() {
            Some((s, l)) if *s + *l == start => *l += len,
            _ => out.push((start, len)),
        }
    }
    Ok(out)
}

/// The input of [`Update::Adam`](ir::optimizer::Update::Adam).
pub(crate) fn adam_scalars(a: &AdamStep) -> Tensor {
    let (b1, b2, t) = (a.beta1 as f64, a.beta2 as f64, a.step as i32);
    let scalars = Scalar::ALL.map(|scalar| match scalar {
        Scalar::Scale => a.scale as f64,
        Scalar::Beta1 => b1,
        Scalar::Rest1 => 1.0 - b1,
        Scalar::Beta2 => b2,
        Scalar::Rest2 => 1.0 - b2,
        Scalar::Eps => a.eps as f64,
        Scalar::Decay => a.lr as f64 * a.weight_decay as f64,
        Scalar::Step => a.lr as f64 * (1.0 - b2.powi(t)).sqrt() / (1.0 - b1.powi(t)),
    });
    Tensor::f32(&[scalars.len()], scalars.map(|x| x as f32).to_vec())
}

/// Elements of an output that are had without asking.
const SMALL: usize = 1 << 22;

/// An output's name and zeros of its shape.
pub(crate) fn output(program: &Program, port: &Port, env: &Env) -> Result<(String, Tensor), Error> {
    let size = |d: &Dim| {
        d.eval(env)
            .map(|n| n.max(0) as usize)
            .map_err(|e| Error::program(&program.name, e.to_string()))
    };
    let shape = port.shape.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let what = format!("the output `{}` of program `{}`", port.name, program.name);
    let n = shape
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(*d))
        .unwrap_or(usize::MAX);
    // What is small is not worth a look at the system's files.
    if n > SMALL {
        require(n.saturating_mul(4), &what, "give smaller batches or shorter clips")?;
    }
    let data = match port.dtype {
        DType::F32 => Data::F32(vec![0.0; n]),
        DType::I32 => Data::I32(vec![0; n]),
        DType::F64 | DType::Bf16 => {
            return Err(Error::program(
                &program.name,
                format!("output `{}` is {}; cast it to f32", port.name, port.dtype.name()),
            ));
        }
    };
    Ok((port.name.clone(), Tensor { shape, data }))
}

/// The values of an input port, in the dtype it wants.
pub(crate) fn input<'a>(program: &Program, port: &Port, inputs: &[(&str, &'a Tensor)]) -> Result<&'a Data, Error> {
    let t = inputs.iter().find(|(n, _)| *n == port.name).map(|(_, t)| *t);
    match (t.map(|t| &t.data), port.dtype) {
        (Some(data @ Data::F32(_)), DType::F32) | (Some(data @ Data::I32(_)), DType::I32) => Ok(data),
        _ => Err(Error::program(
            &program.name,
            format!("input `{}` must be {}", port.name, port.dtype.name()),
        )),
    }
}

/// The value of a size in a run of the program.
pub(crate) fn size_value(program: &Program, env: &Env, d: &Dim) -> Result<i64, Error> {
    d.eval(env).map_err(|e| Error::program(&program.name, e.to_string()))
}
