//! A program's definition to its graph.

use crate::definitions::ProgramDef;
use crate::diagnostic::{Diagnostic, Result, Spanned};
use crate::expr::{Statement, TypeExpr};
use crate::globals::Globals;
use crate::model::Program;
use crate::params::Params;
use crate::trace::{Frame, Tracer};
use crate::value::Value;
use ir::ops::Op;
use ir::scalar::DType;
use ir::task::matches;
use ir::types::{Type, TypeError};
use std::collections::BTreeMap;

/// A program with what it takes from the one it is like.
struct Resolved<'a> {
    inputs: &'a [(Spanned<String>, TypeExpr)],
    body: &'a [Statement],
    outputs: &'a [Spanned<String>],
    loss: Option<&'a Spanned<String>>,
    trains: &'a [Spanned<String>],
    frozen: &'a [Spanned<String>],
}

/// The first definition of a field along the chain of `like`.
fn resolve<'a>(globals: &Globals<'a>, def: &'a ProgramDef) -> Result<Resolved<'a>> {
    let mut chain = vec![def];
    while let Some(like) = &chain[chain.len() - 1].like {
        let all = &globals.defs.programs;
        let Some(next) = all.iter().find(|p| p.name.value == like.value) else {
            let d = Diagnostic::new(
                like.span,
                format!("there is no program `{}`", like.value),
                "expected a program",
            );
            return Err(d.suggest(&like.value, all.iter().map(|p| p.name.value.as_str())));
        };
        if chain.iter().any(|p| p.name.value == next.name.value) {
            let message = format!("the program `{}` is like itself", next.name.value);
            return Err(Diagnostic::new(
                like.span,
                message,
                "expected programs that do not lead back here",
            ));
        }
        chain.push(next);
    }
    fn first<'a, T>(chain: &[&'a ProgramDef], f: impl Fn(&'a ProgramDef) -> Option<&'a T>) -> Option<&'a T> {
        chain.iter().find_map(|p| f(p))
    }
    let missing = |field: &str| {
        let message = format!("the program `{}` has no `{field}`", def.name.value);
        Diagnostic::new(
            def.name.span,
            message,
            format!("expected `{field}: ...` in its brackets"),
        )
    };
    Ok(Resolved {
        inputs: first(&chain, |p| p.inputs.as_ref()).ok_or_else(|| missing("inputs"))?,
        body: first(&chain, |p| p.body.as_ref()).ok_or_else(|| missing("body"))?,
        outputs: first(&chain, |p| p.outputs.as_ref()).ok_or_else(|| missing("outputs"))?,
        loss: first(&chain, |p| p.loss.as_ref()),
        trains: first(&chain, |p| p.trains.as_ref()).map_or(&[], Vec::as_slice),
        frozen: first(&chain, |p| p.frozen.as_ref()).map_or(&[], Vec::as_slice),
    })
}

pub fn build<'a>(globals: &Globals<'a>, params: &mut Params, def: &'a ProgramDef) -> Result<Program> {
    let p = resolve(globals, def)?;
    let mut tracer = Tracer::new(globals, params);
    let mut names: BTreeMap<String, Value> = BTreeMap::new();
    for (name, ty) in p.inputs {
        let ty = input_type(globals, ty)?;
        names.insert(name.value.clone(), tracer.input(&name.value, ty));
    }
    let mut frame = Frame::of_program(names);
    tracer.run(p.body, &mut frame)?;
    let mut graph = tracer.graph;
    for out in p.outputs {
        let value = match frame.get(&out.value) {
            Some(Value::Tensor(v)) => *v,
            Some(other) => {
                let message = format!("the output `{}` is {}", out.value, other.what());
                return Err(Diagnostic::new(out.span, message, "expected a tensor"));
            }
            None => return Err(globals.unknown(out, frame.locals())),
        };
        graph.outputs.push((out.value.clone(), value));
    }
    if let Some(loss) = p.loss {
        let Some((_, v)) = graph.outputs.iter().find(|(n, _)| *n == loss.value) else {
            let d = Diagnostic::new(
                loss.span,
                format!("`{}` is no output", loss.value),
                "expected an output",
            );
            return Err(d.suggest(&loss.value, p.outputs.iter().map(|o| o.value.as_str())));
        };
        let ty = graph.ty(*v);
        if !ty.dtype.is_float() || ty.shape.iter().any(|d| !d.is_one()) {
            return Err(Diagnostic::new(
                loss.span,
                format!("the loss is {ty}"),
                "expected a single float",
            ));
        }
    }
    let graph = graph.prune();
    let trains = trained(&graph, p.trains, p.frozen)?;
    if let (None, Some(first)) = (p.loss, p.trains.first()) {
        let message = format!("the program `{}` trains but has no loss", def.name.value);
        return Err(Diagnostic::new(first.span, message, "expected `loss: \"...\"` as well"));
    }
    Ok(Program {
        name: def.name.value.clone(),
        graph,
        loss: p.loss.map(|l| l.value.clone()),
        trains,
    })
}

fn input_type(globals: &Globals, ty: &TypeExpr) -> Result<Type> {
    let Some(dtype) = DType::parse(&ty.dtype.value) else {
        let d = Diagnostic::new(
            ty.dtype.span,
            format!("there is no element type `{}`", ty.dtype.value),
            "expected f32, f64 or i32",
        );
        return Err(d.suggest(&ty.dtype.value, ["f32", "f64", "i32"]));
    };
    let shape = ty.shape.iter().map(|e| globals.dim(e)).collect::<Result<Vec<_>>>()?;
    let whole = Type::new(dtype, shape);
    match whole.check_axes() {
        Ok(()) => Ok(whole),
        Err(TypeError(text)) => {
            let span = ty
                .shape
                .iter()
                .map(|e| e.span)
                .reduce(|a, b| a.to(b))
                .unwrap_or(ty.dtype.span);
            Err(Diagnostic::new(
                span,
                globals.with_size_names(&text),
                "expected smaller sizes",
            ))
        }
    }
}

/// Parameters of the graph that one pattern of `trains` matches and none of `frozen`.
fn trained(graph: &ir::graph::Graph, trains: &[Spanned<String>], frozen: &[Spanned<String>]) -> Result<Vec<String>> {
    let params = graph.nodes.iter().filter_map(|n| match &n.op {
        Op::Param(p) => Some(p.name.as_str()),
        _ => None,
    });
    let params: Vec<&str> = params.collect();
    for pattern in trains.iter().chain(frozen) {
        if !params.iter().any(|p| matches(&[&pattern.value], p)) {
            let d = Diagnostic::new(
                pattern.span,
                format!("`{}` matches no parameter", pattern.value),
                "expected part of a name and `*`",
            );
            return Err(d.suggest(&pattern.value, params.iter().copied()));
        }
    }
    let any = |patterns: &[Spanned<String>], name: &str| patterns.iter().any(|p| matches(&[&p.value], name));
    Ok(params
        .iter()
        .filter(|p| any(trains, p) && !any(frozen, p))
        .map(|p| p.to_string())
        .collect())
}
