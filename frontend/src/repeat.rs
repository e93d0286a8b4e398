//! `repeat(count, keep: flags) block(x, ...) as name.{i}`: the block once, as the body of a repeat.

use crate::bind::bind;
use crate::diagnostic::{Diagnostic, Result, Span};
use crate::expr::{Call, Expr};
use crate::limits;
use crate::trace::{Body, Frame, Tracer};
use crate::value::Value;
use ir::dim::Dim;
use ir::graph::{Graph, ValueId};
use ir::ops;
use ir::types::Type;
use std::sync::Arc;

impl<'a> Tracer<'a, '_> {
    /// The first arguments, as many as the block returns values, are handed from layer to layer; the other tensors are
    /// the same for every layer.
    pub fn repeat(
        &mut self,
        count: &'a Expr,
        keep: Option<Value>,
        call: &'a Call,
        span: Span,
        frame: &mut Frame<'a>,
    ) -> Result<Value> {
        if self.body.is_some() {
            return Err(Diagnostic::new(
                span,
                "a repeat inside a repeat",
                "expected one level of repetition",
            ));
        }
        let layers = self.eval(count, frame)?.as_int(count.span)?;
        if layers < 1 {
            return Err(Diagnostic::new(
                count.span,
                format!("{layers} layers"),
                "expected at least 1",
            ));
        }
        if layers > limits::LAYERS {
            let message = format!("{layers} layers");
            return Err(Diagnostic::new(
                count.span,
                message,
                format!("expected at most {}", limits::LAYERS),
            ));
        }
        let name = self.callee(call, frame)?;
        let Some(block) = self.globals.block(&name) else {
            let d = Diagnostic::new(
                call.name.span,
                format!("`{name}` is no block"),
                "expected a block to repeat",
            );
            return Err(d.suggest(&name, self.globals.block_names()));
        };
        let mut body = Body {
            graph: Graph::default(),
            count: layers,
            params: vec![],
        };
        let (mut outer, mut inner, mut args) = (vec![], vec![], vec![]);
        for (i, e) in call.args.iter().enumerate() {
            args.push(match self.eval(e, frame)? {
                Value::Tensor(v) => {
                    let ty = self.graph.ty(v).clone();
                    let input = body.graph.input(&format!("arg{i}"), ty);
                    outer.push(v);
                    inner.push(input);
                    Value::Tensor(input)
                }
                other => other,
            });
        }
        let mut named = vec![];
        for (key, e) in &call.named {
            let v = self.eval(e, frame)?;
            if matches!(v, Value::Tensor(_)) {
                return Err(
                    Diagnostic::new(e.span, "a tensor as an attribute", "expected a number").help("tensors come first")
                );
            }
            named.push((key, v, e.span));
        }
        let carries = block.returns.len();
        if args
            .iter()
            .take(carries)
            .filter(|a| matches!(a, Value::Tensor(_)))
            .count()
            < carries
        {
            let label = "expected a tensor first for every value that the block returns";
            return Err(Diagnostic::new(
                call.name.span,
                format!("`{name}` hands on {carries} values"),
                label,
            ));
        }
        let names = bind(block, call, args, named)?;
        let prefix = self.prefix(call.prefix.as_ref(), frame, true)?;
        self.body = Some(body);
        let run = self.enter(block, call.name.span, names, prefix);
        let body = self.body.take().expect("set above, and only a repeat takes it");
        let tensor = |v: Value| match v {
            Value::Tensor(v) => Ok(v),
            other => {
                let message = format!("a layer hands on {}", other.what());
                Err(Diagnostic::new(
                    call.name.span,
                    message,
                    "expected a block that returns tensors",
                ))
            }
        };
        let results = run?.into_iter().map(tensor).collect::<Result<Vec<_>>>()?;
        self.bodies += body.graph.nodes.len();
        for (i, v) in results.iter().enumerate() {
            let (enters, leaves) = (body.graph.ty(inner[i]), body.graph.ty(*v));
            if enters != leaves {
                let message = format!("a layer takes {enters} and gives {leaves}");
                let label = "expected a block whose results have the types of its first arguments";
                return Err(Diagnostic::new(call.name.span, message, label));
            }
        }
        let keep = match keep {
            None | Some(Value::None) => None,
            Some(Value::Tensor(v)) => Some(v),
            Some(other) => {
                return Err(Diagnostic::new(
                    span,
                    format!("`keep` cannot be {}", other.what()),
                    "expected a tensor f32[count]",
                ));
            }
        };
        self.finish_repeat(body, results, (outer, inner), keep, span)
    }

    fn finish_repeat(
        &mut self,
        body: Body,
        results: Vec<ValueId>,
        (outer, inner): (Vec<ValueId>, Vec<ValueId>),
        keep: Option<ValueId>,
        span: Span,
    ) -> Result<Value> {
        let Body {
            graph: mut g,
            count,
            params,
        } = body;
        let carries = results.len();
        g.outputs = results
            .iter()
            .enumerate()
            .map(|(i, v)| (format!("carry{i}"), *v))
            .collect();
        let uses = g.use_counts();
        let used: Vec<usize> = (carries..inner.len()).filter(|i| uses[inner[*i].0] > 0).collect();
        let stacked = params.iter().map(|(_, v)| *v);
        g.inputs = inner[..carries]
            .iter()
            .copied()
            .chain(stacked)
            .chain(used.iter().map(|i| inner[*i]))
            .collect();
        let mut args = outer[..carries].to_vec();
        for (name, v) in &params {
            let shape = std::iter::once(Dim::from(count))
                .chain(g.shape(*v).iter().cloned())
                .collect::<Vec<_>>();
            let whole = ops::Param {
                name: name.clone(),
                ty: Type::f32(shape),
            };
            match self.push(whole.into(), &[], span)? {
                Value::Tensor(v) => args.push(v),
                _ => unreachable!("a parameter is one tensor"),
            }
        }
        args.extend(used.iter().map(|i| outer[*i]));
        args.extend(keep);
        let op = ops::Repeat {
            count,
            carries,
            stacked: params.len(),
            keep: keep.is_some(),
            reverse: false,
            body: Arc::new(g.prune()),
        };
        self.push(op.into(), &args, span)
    }
}
