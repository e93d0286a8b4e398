//! Parameters of all programs: one name is one parameter.

use crate::definitions::{InitDef, ParamDef};
use crate::diagnostic::{Diagnostic, Result, Span};
use crate::expr::Expr;
use crate::limits;
use crate::model::ParamDecl;
use crate::trace::{Frame, Tracer, join};
use crate::value::{Value, evaluate};
use ir::artifact::Init;
use ir::dim::{Dim, Env};
use ir::ops;
use ir::types::{MAX_AXIS, Type, TypeError, shape_text};
use std::collections::BTreeSet;

/// Declarations in the order of their first use, and where each was made.
#[derive(Default)]
pub struct Params {
    pub list: Vec<ParamDecl>,
    places: Vec<Span>,
    elements: i64,
}

impl Params {
    /// `run_sizes` at their defaults.
    fn declare(&mut self, new: ParamDecl, run_sizes: &Env, at: Span) -> Result<()> {
        let Some(i) = self.list.iter().position(|p| p.name == new.name) else {
            let more = new
                .shape
                .iter()
                .try_fold(new.count.unwrap_or(1), |n, d| n.checked_mul(d.eval(run_sizes).ok()?));
            self.elements = more.map_or(i64::MAX, |more| self.elements.saturating_add(more));
            if self.elements > limits::PARAM_ELEMENTS {
                let message = format!(
                    "all parameters together have more than {} elements",
                    limits::PARAM_ELEMENTS
                );
                return Err(Diagnostic::new(at, message, "expected fewer or smaller parameters"));
            }
            self.list.push(new);
            self.places.push(at);
            return Ok(());
        };
        let old = &self.list[i];
        if *old == new {
            return Ok(());
        }
        let what = |p: &ParamDecl| {
            let layers = p.count.map_or(String::new(), |n| format!(" of {n} layers"));
            format!("{}{layers}, {:?}", shape_text(&p.shape), p.init)
        };
        let message = format!("the parameter `{}` is declared in two ways", new.name);
        let d = Diagnostic::new(at, message, format!("here it is {}", what(&new)));
        let d = if self.places[i] == at {
            d
        } else {
            d.related(self.places[i], format!("there it is {}", what(old)))
        };
        Err(d.help("give one of the two calls another name after `as`"))
    }
}

impl<'a> Tracer<'a, '_> {
    /// The tensor of a block's parameter: all of it, or one layer's inside a repeat.
    pub fn param(&mut self, p: &'a ParamDef, frame: &Frame<'a>) -> Result<Value> {
        let name = join(&frame.prefix, &p.name.value);
        let count = self.body.as_ref().map(|b| b.count);
        if count.is_some() && !name.contains("{i}") {
            let message = format!("every layer would have the same parameter `{name}`");
            return Err(Diagnostic::new(
                p.name.span,
                message,
                "expected `{i}` in the names of a repeat's parameters",
            )
            .help("write `repeat(count) block(...) as name.{i}`"));
        }
        if name.len() > limits::NAME {
            let message = format!("the name of a parameter is longer than {} bytes", limits::NAME);
            return Err(Diagnostic::new(p.name.span, message, "expected a shorter name"));
        }
        let mut shape = vec![];
        for e in &p.shape {
            shape.push(self.param_size(&name, self.number(e, frame)?.as_dim(e.span)?, e.span)?);
        }
        let init = self.init(p, &shape, frame)?;
        let decl = ParamDecl {
            name: name.clone(),
            shape: shape.clone(),
            count,
            init,
        };
        let sizes = self.globals.run_sizes()?;
        let env = sizes.into_iter().map(|s| (s.name, s.value)).collect();
        self.params.declare(decl, &env, p.name.span)?;
        let ty = Type::f32(shape);
        ty.check_axes()
            .map_err(|TypeError(text)| Diagnostic::new(p.name.span, text, "expected a smaller parameter"))?;
        let Some(body) = &mut self.body else {
            return self.push(ops::Param { name, ty }.into(), &[], p.name.span);
        };
        if let Some((_, v)) = body.params.iter().find(|(n, _)| *n == name) {
            return Ok(Value::Tensor(*v));
        }
        let v = body.graph.input(&name, ty);
        body.params.push((name, v));
        Ok(Value::Tensor(v))
    }

    /// A parameter has the same size in every program: one known when compiling, or when a run begins.
    fn param_size(&self, param: &str, size: Dim, span: Span) -> Result<Dim> {
        let message = format!("a size of `{param}` is {size}");
        match size.as_const() {
            Some(n) if n < 1 => return Err(Diagnostic::new(span, message, "expected at least 1")),
            Some(n) if n > MAX_AXIS => {
                return Err(Diagnostic::new(span, message, format!("expected at most {MAX_AXIS}")));
            }
            Some(_) => return Ok(size),
            None => {}
        }
        let mut symbols = BTreeSet::new();
        size.symbols(&mut symbols);
        let chosen = |s: &std::sync::Arc<str>| self.globals.defs.run_sizes.iter().any(|r| r.name.value == **s);
        match symbols.iter().find(|s| !chosen(s)) {
            None => Ok(size),
            Some(_) => Err(Diagnostic::new(
                span,
                message,
                "expected a size made of constants and run sizes",
            )),
        }
    }

    /// A number or size where tensors make no sense.
    fn number(&self, e: &Expr, frame: &Frame<'a>) -> Result<Value> {
        evaluate(e, &mut |n| match frame.get(&n.value) {
            Some(v) => Ok(v.clone()),
            None => self
                .globals
                .find(n)?
                .ok_or_else(|| self.globals.unknown(n, frame.locals())),
        })
    }

    fn init(&self, p: &ParamDef, shape: &[Dim], frame: &Frame<'a>) -> Result<Init> {
        let number = |e: &Expr| match self.number(e, frame)?.as_number(e.span)? {
            n if n.is_finite() => Ok(n),
            n => Err(Diagnostic::new(
                e.span,
                format!("a parameter cannot start from {n}"),
                "expected a finite number",
            )),
        };
        let axes = |wanted: &str| {
            let message = format!("`{}` has too few axes for this start", p.name.value);
            Diagnostic::new(p.name.span, message, wanted)
        };
        // As frameworks count: axis 0 is what comes out, axis 1 what goes in, the others are taps of both.
        let fan_in = || match shape {
            [_, of @ ..] if !of.is_empty() => {
                let known: Option<Vec<i64>> = of.iter().map(Dim::as_const).collect();
                known
                    .map(|of| of.iter().map(|d| *d as f64).product::<f64>())
                    .ok_or_else(|| axes("expected constants in all axes but the first"))
            }
            _ => Err(axes("expected at least two axes")),
        };
        let uniform = |bound: f64| Init::Uniform {
            low: -bound,
            high: bound,
        };
        Ok(match &p.init {
            InitDef::Zeros => Init::Zeros,
            InitDef::Ones => Init::Ones,
            InitDef::Normal(std) => Init::Normal { std: number(std)? },
            InitDef::Uniform(low, high) => match (number(low)?, number(high)?) {
                (a, b) if a <= b => Init::Uniform { low: a, high: b },
                (a, b) => {
                    let message = format!("the lower bound {a} is above the upper one {b}");
                    return Err(Diagnostic::new(
                        low.span.to(high.span),
                        message,
                        "expected the lower bound first",
                    ));
                }
            },
            InitDef::KaimingNormal => Init::Normal {
                std: (2.0 / fan_in()?).sqrt(),
            },
            InitDef::XavierUniform if shape.len() < 2 => return Err(axes("expected at least two axes")),
            InitDef::XavierUniform => Init::XavierUniform,
            InitDef::FanIn(n) => match number(n)? {
                fan if fan > 0.0 => uniform(1.0 / fan.sqrt()),
                fan => {
                    return Err(Diagnostic::new(
                        n.span,
                        format!("a fan-in of {fan}"),
                        "expected more than 0",
                    ));
                }
            },
            InitDef::NormOf(other, axis) => {
                let Some(of) = frame.params.iter().find(|q| q.name.value == other.value) else {
                    let d = Diagnostic::new(
                        other.span,
                        format!("the block has no parameter `{}`", other.value),
                        "expected a parameter",
                    );
                    return Err(d.suggest(&other.value, frame.params.iter().map(|q| q.name.value.as_str())));
                };
                if *axis >= of.shape.len() {
                    let message = format!("`{}` has no axis {axis}", other.value);
                    return Err(Diagnostic::new(
                        other.span,
                        message,
                        format!("expected 0 to {}", of.shape.len() - 1),
                    ));
                }
                Init::NormOf {
                    param: join(&frame.prefix, &other.value),
                    axis: *axis,
                }
            }
        })
    }
}
