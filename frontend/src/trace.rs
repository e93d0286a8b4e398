//! Statements to tensor IR: runs a program's statements, blocks included, on values that are nodes of a graph.

use crate::bind::bind;
use crate::definitions::{Block, ParamDef};
use crate::diagnostic::{Diagnostic, Result, Span, Spanned};
use crate::expr::{Call, Expr, Fold, Infix, Kind, Statement, placeholders};
use crate::globals::{Globals, op_names};
use crate::limits;
use crate::lists;
use crate::params::Params;
use crate::value::{self, Value};
use ir::graph::{Graph, ValueId};
use ir::ops;
use ir::scalar::Binary;
use ir::types::Type;
use std::collections::BTreeMap;

/// Builds the graph of one program.
pub struct Tracer<'a, 'g> {
    pub globals: &'g Globals<'a>,
    pub params: &'g mut Params,
    pub graph: Graph,
    /// The body of a repeat under construction.
    pub body: Option<Body>,
    /// Calls under way, outermost first.
    calls: Vec<(Span, &'a str)>,
    /// Uses of random numbers so far.
    pub sites: u32,
    /// Expressions looked at so far.
    steps: usize,
    /// Ops in the bodies of repeats so far.
    pub bodies: usize,
}

pub struct Body {
    pub graph: Graph,
    pub count: i64,
    /// Parameters of one layer, in the order of their first use.
    pub params: Vec<(String, ValueId)>,
}

/// Names inside one call of a block.
pub struct Frame<'a> {
    names: BTreeMap<String, Value>,
    pub params: &'a [ParamDef],
    pub prefix: String,
}

impl<'a> Frame<'a> {
    pub fn of_program(names: BTreeMap<String, Value>) -> Frame<'a> {
        Frame {
            names,
            params: &[],
            prefix: String::new(),
        }
    }
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.names.get(name)
    }
    pub fn locals(&self) -> impl Iterator<Item = &str> {
        self.names
            .keys()
            .map(String::as_str)
            .chain(self.params.iter().map(|p| p.name.value.as_str()))
    }
}

impl<'a, 'g> Tracer<'a, 'g> {
    pub fn new(globals: &'g Globals<'a>, params: &'g mut Params) -> Tracer<'a, 'g> {
        Tracer {
            globals,
            params,
            graph: Graph::default(),
            body: None,
            calls: vec![],
            sites: 0,
            steps: 0,
            bodies: 0,
        }
    }

    /// The graph that nodes are added to now.
    pub fn current(&mut self) -> &mut Graph {
        match &mut self.body {
            Some(body) => &mut body.graph,
            None => &mut self.graph,
        }
    }

    /// Runs statements; an error says which calls led to it.
    pub fn run(&mut self, statements: &'a [Statement], frame: &mut Frame<'a>) -> Result<()> {
        statements.iter().try_for_each(|s| self.statement(s, frame))
    }

    fn statement(&mut self, s: &'a Statement, frame: &mut Frame<'a>) -> Result<()> {
        let (targets, of) = match s {
            Statement::Let { targets, value } => (targets, value),
            Statement::For { items, list, body } => {
                let all = self.eval(list, frame)?;
                for item in lists::bindings(items, all, list.span)? {
                    frame.names.extend(item);
                    self.run(body, frame)?;
                }
                return Ok(());
            }
        };
        let value = self.eval(of, frame)?;
        let values = match (value, targets.len()) {
            (Value::Tuple(all), n) if n == all.len() && n > 1 => all,
            (Value::Tuple(all), n) => {
                let message = format!("this gives {} values for {n} names", all.len());
                let label = format!(
                    "expected {} names: `(a, b, ...) = ...`, `_` where one is not wanted",
                    all.len()
                );
                return Err(Diagnostic::new(of.span, message, label));
            }
            (single, 1) => vec![single],
            (_, n) => {
                return Err(Diagnostic::new(
                    of.span,
                    format!("this gives one value for {n} names"),
                    "expected one name",
                ));
            }
        };
        for (target, value) in targets.iter().zip(values) {
            if target.value != "_" {
                frame.names.insert(target.value.clone(), value);
            }
        }
        Ok(())
    }

    pub fn eval(&mut self, e: &'a Expr, frame: &mut Frame<'a>) -> Result<Value> {
        self.steps += 1;
        if self.steps > limits::STEPS {
            return Err(self.expands(e.span, limits::STEPS, "expressions"));
        }
        match &e.kind {
            Kind::Int(v) => Ok(Value::Int(*v)),
            Kind::Float(v) => Ok(Value::Float(*v)),
            Kind::Text(t) => Ok(Value::Text(t.clone())),
            Kind::Name(n) => self.name(
                &Spanned {
                    value: n.clone(),
                    span: e.span,
                },
                frame,
            ),
            Kind::List(all) => Value::list(all.iter().map(|x| self.eval(x, frame)).collect::<Result<_>>()?, e.span),
            Kind::Negate(x) => match self.eval(x, frame)? {
                Value::Tensor(v) => self.push(
                    ops::UnaryOp {
                        function: ir::scalar::Unary::Neg,
                    }
                    .into(),
                    &[v],
                    e.span,
                ),
                number => value::arithmetic(Infix::Mul, &Value::Int(-1), &number, e.span),
            },
            Kind::Infix(op, a, b) => {
                let (x, y) = (self.eval(a, frame)?, self.eval(b, frame)?);
                if !matches!(x, Value::Tensor(_)) && !matches!(y, Value::Tensor(_)) {
                    return value::arithmetic(*op, &x, &y, e.span);
                }
                let function = match op {
                    Infix::Add => Binary::Add,
                    Infix::Sub => Binary::Sub,
                    Infix::Mul => Binary::Mul,
                    Infix::Div => Binary::Div,
                };
                let args = self.operands("arithmetic", &[x, y], &[a.span, b.span])?;
                self.push(ops::BinaryOp { function }.into(), &args, e.span)
            }
            Kind::Index(list, at) => {
                let (list, at) = (self.eval(list, frame)?, self.eval(at, frame)?);
                lists::index(&list, &at, e.span)
            }
            Kind::Fold(f) => self.fold(f, frame),
            Kind::Call(call) if lists::is_pick(call)? => {
                let by = self.eval(&call.args[0], frame)?;
                self.eval(lists::picked(call, &by)?, frame)
            }
            Kind::Call(call) => self.call(call, e.span, frame),
            Kind::Repeat { count, keep, call } => {
                let keep = keep.as_ref().map(|k| self.eval(k, frame)).transpose()?;
                self.repeat(count, keep, call, e.span, frame)
            }
        }
    }

    /// A fold in the frame of the statement, whose names it hides for as long as it lasts.
    fn fold(&mut self, f: &'a Fold, frame: &mut Frame<'a>) -> Result<Value> {
        let mut value = self.eval(&f.start, frame)?;
        let list = self.eval(&f.list, frame)?;
        let hidden = frame.names.clone();
        for item in lists::bindings(&f.items, list, f.list.span)? {
            frame.names.extend(item);
            frame.names.insert(f.name.value.clone(), value);
            value = self.eval(&f.step, frame)?;
        }
        frame.names = hidden;
        Ok(value)
    }

    fn name(&mut self, name: &Spanned<String>, frame: &Frame<'a>) -> Result<Value> {
        if let Some(v) = frame.get(&name.value) {
            return Ok(v.clone());
        }
        if let Some(p) = frame.params.iter().find(|p| p.name.value == name.value) {
            return self.param(p, frame);
        }
        self.globals
            .find(name)?
            .ok_or_else(|| self.globals.unknown(name, frame.locals()))
    }

    fn call(&mut self, call: &'a Call, span: Span, frame: &mut Frame<'a>) -> Result<Value> {
        let name = self.callee(call, frame)?;
        let mut args = vec![];
        for a in &call.args {
            args.push(self.eval(a, frame)?);
        }
        let mut named = vec![];
        for (key, e) in &call.named {
            named.push((key, self.eval(e, frame)?, e.span));
        }
        if let Some(block) = self.globals.block(&name) {
            let results = self.call_block(block, call, args, named, frame)?;
            return Ok(single_or_tuple(results));
        }
        if let Some(prefix) = &call.prefix {
            let message = format!("`{name}` is an op and has no parameters");
            return Err(Diagnostic::new(prefix.span, message, "expected no `as`"));
        }
        if name == "size" {
            return self.size(&args, call, span);
        }
        if lists::NAMES.contains(&name.as_str()) && !call.named.is_empty() {
            let message = format!("`{name}` has no attributes");
            return Err(Diagnostic::new(call.named[0].0.span, message, "expected values alone"));
        }
        if call.named.is_empty()
            && let Some(v) = value::function(&name, &args, span)
        {
            return v;
        }
        self.call_op(&name, call, &args, &named, span)
    }

    /// The op or block that a call means: a block may be given one under a name of its own.
    pub fn callee(&self, call: &Call, frame: &Frame<'a>) -> Result<String> {
        let name = &call.name.value;
        let given = match frame.get(name) {
            Some(v) => Some(v.clone()),
            // A constant may name one, too.
            None => self.globals.constant(name)?,
        };
        match given {
            Some(Value::Callable(to)) => return Ok(to),
            Some(v) => {
                let message = format!("`{name}` is {} here and cannot be called", v.what());
                return Err(Diagnostic::new(call.name.span, message, "expected an op or a block"));
            }
            None => {}
        }
        let of_lists = lists::NAMES.contains(&name.as_str());
        if name == "size" || of_lists || self.globals.block(name).is_some() || op_names().any(|n| n == name) {
            return Ok(name.clone());
        }
        let mut known: Vec<&str> = vec!["size", lists::PICK];
        known.extend(lists::NAMES);
        self.globals.block_names().for_each(|n| known.push(n));
        op_names().for_each(|n| known.push(n));
        let d = Diagnostic::new(
            call.name.span,
            format!("there is no op or block `{name}`"),
            "expected the name of an op or a block",
        );
        let given = frame.names.iter().filter(|(_, v)| matches!(v, Value::Callable(_)));
        given.for_each(|(n, _)| known.push(n));
        Err(d.suggest(name, known))
    }

    /// Runs a block's body in a frame of its own.
    fn call_block(
        &mut self,
        block: &'a Block,
        call: &'a Call,
        args: Vec<Value>,
        named: Vec<(&Spanned<String>, Value, Span)>,
        frame: &Frame<'a>,
    ) -> Result<Vec<Value>> {
        let prefix = self.prefix(call.prefix.as_ref(), frame, false)?;
        let names = bind(block, call, args, named)?;
        self.enter(block, call.name.span, names, prefix)
    }

    /// What the names of a call's parameters begin with. `{name}` stands for a number or a word of that name; in a repeat,
    /// `{i}` for the number of a layer.
    pub fn prefix(&self, own: Option<&Spanned<String>>, frame: &Frame<'a>, repeat: bool) -> Result<String> {
        let Some(own) = own else {
            return Ok(frame.prefix.clone());
        };
        let mut text = own.value.clone();
        for name in placeholders(&own.value) {
            if name == "i" && repeat {
                continue;
            }
            let found = match frame.get(name) {
                Some(v) => Some(v.clone()),
                None => self.globals.constant(name)?,
            };
            let part = match found {
                Some(Value::Int(n)) => n.to_string(),
                Some(Value::Text(t)) => t,
                Some(other) => {
                    let message = format!("`{name}` is {}", other.what());
                    return Err(Diagnostic::new(own.span, message, "expected a whole number or a word"));
                }
                None if name == "i" => {
                    let label = "expected `repeat(count)` before this call, or a loop over `i` around it";
                    return Err(Diagnostic::new(own.span, "`{i}` is the number of a layer", label));
                }
                None => {
                    let name = Spanned {
                        value: name.to_string(),
                        span: own.span,
                    };
                    return Err(self.globals.unknown(&name, frame.locals()));
                }
            };
            text = text.replace(&format!("{{{name}}}"), &part);
        }
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '{' | '}');
        if let Some(c) = text.chars().find(|c| !inside(*c)) {
            let message = format!("the name of a parameter cannot have {c:?} in it");
            return Err(Diagnostic::new(
                own.span,
                message,
                "expected letters, digits, `_` and `.`",
            ));
        }
        // An empty word leaves no dot behind.
        let parts = text.split('.').filter(|p| !p.is_empty());
        Ok(parts.fold(frame.prefix.clone(), |name, part| join(&name, part)))
    }

    /// Runs a block whose names are bound; gives what it returns.
    pub fn enter(
        &mut self,
        block: &'a Block,
        at: Span,
        names: BTreeMap<String, Value>,
        prefix: String,
    ) -> Result<Vec<Value>> {
        let name = block.name.value.as_str();
        if self.calls.len() == limits::CALLS {
            let message = format!("more than {} blocks call each other", limits::CALLS);
            return Err(Diagnostic::new(at, message, "expected fewer blocks within each other"));
        }
        if prefix.len() > limits::NAME {
            let message = format!("the names of parameters would be longer than {} bytes", limits::NAME);
            return Err(Diagnostic::new(at, message, "expected shorter names after `as`"));
        }
        if self.calls.iter().any(|(_, n)| *n == name) {
            let d = Diagnostic::new(
                at,
                format!("the block `{name}` calls itself"),
                "expected blocks that do not lead back here",
            );
            return Err(self.with_calls(d));
        }
        self.calls.push((at, name));
        let mut frame = Frame {
            names,
            params: &block.params,
            prefix,
        };
        let run = self.run(&block.body, &mut frame).and_then(|()| {
            let result = |r: &'a Spanned<String>| match self.name(r, &frame)? {
                result @ (Value::Tensor(_) | Value::None) => Ok(result),
                other => {
                    let message = format!("a block returns tensors, and `{}` is {}", r.value, other.what());
                    Err(Diagnostic::new(r.span, message, "expected a tensor"))
                }
            };
            block.returns.iter().map(result).collect::<Result<Vec<_>>>()
        });
        let run = run.map_err(|d| if d.related.is_empty() { self.with_calls(d) } else { d });
        self.calls.pop();
        run
    }

    /// A program that becomes too large when its blocks are written out.
    pub fn expands(&self, at: Span, limit: usize, what: &str) -> Diagnostic {
        let message = format!("the program has more than {limit} {what}, with its blocks written out");
        let d = Diagnostic::new(at, message, format!("expected at most {limit}"));
        d.help("`repeat(count) block(...) as name.{i}` has the same layer many times and counts once")
    }

    fn with_calls(&self, d: Diagnostic) -> Diagnostic {
        self.calls.iter().rev().fold(d, |d, (span, name)| {
            d.related(*span, format!("in this call of `{name}`"))
        })
    }

    pub fn input(&mut self, name: &str, ty: Type) -> Value {
        Value::Tensor(self.graph.input(name, ty))
    }
}

pub fn single_or_tuple(mut results: Vec<Value>) -> Value {
    match results.len() {
        1 => results.remove(0),
        _ => Value::Tuple(results),
    }
}

/// Joins name parts with a dot.
pub fn join(a: &str, b: &str) -> String {
    match (a, b) {
        ("", b) => b.into(),
        (a, "") => a.into(),
        (a, b) => format!("{a}.{b}"),
    }
}
