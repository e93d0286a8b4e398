//! A reader of pickles that runs nothing. A pickle is a program for a stack machine; of its instructions those are
//! understood that build plain values, and the few calls that files of torch consist of ([`super::globals`]).
//! Everything else is refused.
//!
//! Values lie in one list and refer to each other by number, so that neither reading nor dropping them recurses,
//! whatever a file says.

use super::globals::{self, Global};
use safetensors::Dtype;
use std::collections::HashMap;

/// Values that a pickle may build, on the stack and in memory: far above any model's, and within a gibibyte.
const MOST: usize = 1 << 22;

/// Arguments of a call and axes of a tensor, and bytes of a name: what is copied must be small, however often it is.
const MOST_ARGUMENTS: usize = 16;
const MOST_NAME: usize = 200;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    /// A name that no file of weights needs.
    #[error("its pickle refers to `{0}`, which weights do not need; nothing of it was executed")]
    Foreign(String),
    #[error("its pickle has {0}, at byte {1}")]
    Damaged(&'static str, usize),
    #[error("its pickle has an instruction that files of torch do not have ({0:#04x}), at byte {1}")]
    Instruction(u8, usize),
    #[error("its pickle builds more than {MOST} values")]
    TooLarge,
}

/// A value, or the number of one that is larger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    At(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    /// Bytes, and whole numbers beyond 64 bits.
    Bytes(Vec<u8>),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Global(Global),
    Storage(Storage),
    Tensor(Tensor),
    /// Something else, with its fields where it has been given any.
    Object(Value),
}

/// Where values lie.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub dtype: Dtype,
    /// Its name in the file.
    pub key: String,
    pub values: usize,
}

/// A view of a storage. All its values lie in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(super) storage: Storage,
    /// Of its first value.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl Tensor {
    pub(super) fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether its values lie in order without gaps.
    pub(super) fn contiguous(&self) -> bool {
        let mut step = 1;
        self.shape.iter().zip(&self.stride).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == step;
            step *= size;
            fits
        })
    }
}

/// What a pickle says.
#[derive(Debug)]
pub(crate) struct Pickle {
    nodes: Vec<Node>,
    pub root: Value,
    /// Bytes up to its end.
    pub len: usize,
}

impl Pickle {
    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::At(i) => self.nodes.get(i),
            _ => None,
        }
    }

    pub(crate) fn text(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn tensor(&self, value: Value) -> Option<&Tensor> {
        match self.node(value)? {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Keys and values of a dictionary, or of an object's fields.
    pub(crate) fn entries(&self, value: Value) -> &[(Value, Value)] {
        match self.node(value) {
            Some(Node::Dict(entries)) => entries,
            Some(Node::Object(fields)) => match self.node(*fields) {
                Some(Node::Dict(entries)) => entries,
                _ => &[],
            },
            _ => &[],
        }
    }

    pub(crate) fn items(&self, value: Value) -> &[Value] {
        match self.node(value) {
            Some(Node::Tuple(items) | Node::List(items)) => items,
            _ => &[],
        }
    }

    /// What a dictionary, or an object's fields, have under a name.
    pub(crate) fn get(&self, of: Value, name: &str) -> Option<Value> {
        let entry = self.entries(of).iter().find(|(key, _)| self.text(*key) == Some(name));
        entry.map(|(_, value)| *value)
    }
}

/// Reads the pickle that `bytes` begins with.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle, Fault> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
        nodes: vec![],
    };
    let root = machine.run()?;
    Ok(Pickle {
        nodes: machine.nodes,
        root,
        len: machine.at,
    })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    nodes: Vec<Node>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value, Fault> {
        loop {
            let start = self.at;
            let [code] = self.fixed()?;
            match code {
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.marked()?),
                b'2' => {
                    let top = self.top()?;
                    self.push(top)?;
                }
                // Its version, and how it is cut into frames: neither changes what follows.
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => self.number(code)?,
                b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.text(code)?,
                b')' | b't' | 0x85..=0x87 => self.tuple(code)?,
                b']' | b'l' | b'a' | b'e' | b'}' | b'd' | b's' | b'u' | 0x8f | 0x90 | 0x91 => self.collect(code)?,
                b'q' | b'r' | 0x94 => self.keep(code)?,
                b'h' | b'j' => self.recall(code)?,
                b'c' | 0x93 => self.global(code)?,
                b'R' | 0x81 | 0x92 | b'b' | b'Q' => self.call(code)?,
                other => return Err(Fault::Instruction(other, start)),
            }
            if self.marks.len() > MOST {
                return Err(Fault::TooLarge);
            }
        }
    }

    fn damaged<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault::Damaged(what, self.at))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return self.damaged("an end too early");
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.take(N)?.try_into().expect("so many bytes were taken"))
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|b| *b == b'\n') else {
            return self.damaged("a name without an end");
        };
        let line = self.take(end + 1)?;
        match std::str::from_utf8(&line[..end]) {
            Ok(line) => Ok(line),
            Err(_) => self.damaged("a name that is not UTF-8"),
        }
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        if self.stack.len() >= MOST {
            return Err(Fault::TooLarge);
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), Fault> {
        if self.nodes.len() >= MOST {
            return Err(Fault::TooLarge);
        }
        self.nodes.push(node);
        self.push(Value::At(self.nodes.len() - 1))
    }

    /// What is above the last mark may be popped, and nothing below it.
    fn pop(&mut self) -> Result<Value, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => Ok(self.stack.pop().expect("the stack is higher than its floor")),
            false => self.damaged("an instruction for a value that is not there"),
        }
    }

    fn top(&mut self) -> Result<Value, Fault> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn marked(&mut self) -> Result<Vec<Value>, Fault> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => self.damaged("an instruction for a mark that is not there"),
        }
    }

    fn node_mut(&mut self, value: Value) -> Result<&mut Node, Fault> {
        let at = self.at;
        match value {
            Value::At(i) => Ok(&mut self.nodes[i]),
            _ => Err(Fault::Damaged("a number where a collection belongs", at)),
        }
    }

    fn number(&mut self, code: u8) -> Result<(), Fault> {
        let value = match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i32::from_le_bytes(self.fixed()?).into()),
            b'K' => Value::Int(self.fixed::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.fixed()?).into()),
            b'G' => Value::Float(f64::from_be_bytes(self.fixed()?)),
            code => {
                let len = match code {
                    0x8a => self.fixed::<1>()?[0] as usize,
                    _ => u32::from_le_bytes(self.fixed()?) as usize,
                };
                let bytes = self.take(len)?;
                if len > 8 {
                    return self.push_node(Node::Bytes(bytes.to_vec()));
                }
                // Two's complement, as many bytes as it takes.
                let fill = if bytes.last().is_some_and(|b| *b >= 0x80) {
                    0xff
                } else {
                    0
                };
                let mut wide = [fill; 8];
                wide[..len].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
        };
        self.push(value)
    }

    fn text(&mut self, code: u8) -> Result<(), Fault> {
        let len = match code {
            0x8c | b'U' | b'C' => self.fixed::<1>()?[0] as u64,
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.fixed()?).into(),
            _ => u64::from_le_bytes(self.fixed()?),
        };
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        // Strings of Python 2 may be anything.
        let is_text = matches!(code, b'X' | 0x8c | 0x8d | b'U' | b'T');
        match std::str::from_utf8(bytes) {
            Ok(text) if is_text => self.push_node(Node::Text(text.into())),
            Err(_) if matches!(code, b'X' | 0x8c | 0x8d) => self.damaged("a text that is not UTF-8"),
            _ => self.push_node(Node::Bytes(bytes.to_vec())),
        }
    }

    fn tuple(&mut self, code: u8) -> Result<(), Fault> {
        let items = match code {
            b')' => vec![],
            b't' => self.marked()?,
            code => {
                let mut items = vec![];
                for _ in 0x84..code {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
        };
        self.push_node(Node::Tuple(items))
    }

    fn collect(&mut self, code: u8) -> Result<(), Fault> {
        match code {
            b']' | 0x8f => return self.push_node(Node::List(vec![])),
            b'}' => return self.push_node(Node::Dict(vec![])),
            b'l' | 0x91 => {
                let items = self.marked()?;
                return self.push_node(Node::List(items));
            }
            b'd' => {
                let items = self.marked()?;
                let entries = self.pairs(items)?;
                return self.push_node(Node::Dict(entries));
            }
            _ => {}
        }
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.marked()?,
        };
        let is_dict = matches!(code, b's' | b'u');
        let pairs = if is_dict { self.pairs(items.clone())? } else { vec![] };
        let target = self.top()?;
        let at = self.at;
        match self.node_mut(target)? {
            Node::List(list) if !is_dict => list.extend(items),
            Node::Dict(entries) if is_dict => entries.extend(pairs),
            // A collection of a class of its own.
            Node::Object(_) => {}
            _ => return Err(Fault::Damaged("items for something that holds none", at)),
        }
        Ok(())
    }

    fn pairs(&self, items: Vec<Value>) -> Result<Vec<(Value, Value)>, Fault> {
        match items.len() % 2 {
            0 => Ok(items.chunks(2).map(|pair| (pair[0], pair[1])).collect()),
            _ => self.damaged("a key without a value"),
        }
    }

    fn keep(&mut self, code: u8) -> Result<(), Fault> {
        let place = match code {
            b'q' => self.fixed::<1>()?[0].into(),
            b'r' => u32::from_le_bytes(self.fixed()?).into(),
            _ => self.memo.len() as u64,
        };
        let top = self.top()?;
        if self.memo.len() >= MOST {
            return Err(Fault::TooLarge);
        }
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<(), Fault> {
        let place: u64 = match code {
            b'h' => self.fixed::<1>()?[0].into(),
            _ => u32::from_le_bytes(self.fixed()?).into(),
        };
        match self.memo.get(&place) {
            Some(value) => self.push(*value),
            None => self.damaged("a reference to nothing"),
        }
    }

    fn global(&mut self, code: u8) -> Result<(), Fault> {
        let (module, name) = match code {
            b'c' => (self.line()?.to_string(), self.line()?.to_string()),
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                (self.string(module)?, self.string(name)?)
            }
        };
        let short = module.len() + name.len() <= MOST_NAME;
        match globals::find(&module, &name).filter(|_| short) {
            Some(global) => self.push_node(Node::Global(global)),
            None => Err(Fault::Foreign(shown(&module, &name))),
        }
    }

    fn string(&self, value: Value) -> Result<String, Fault> {
        match value {
            Value::At(i) => match &self.nodes[i] {
                Node::Text(text) => Ok(text.clone()),
                _ => self.damaged("something else where a text belongs"),
            },
            _ => self.damaged("a number where a text belongs"),
        }
    }

    fn call(&mut self, code: u8) -> Result<(), Fault> {
        match code {
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push_node(Node::Storage(storage))
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                if let Node::Object(fields) = self.node_mut(target)? {
                    *fields = state;
                }
                Ok(())
            }
            code => {
                if code == 0x92 {
                    self.pop()?;
                }
                let arguments = self.pop()?;
                let callee = self.pop()?;
                self.apply(callee, arguments)
            }
        }
    }

    /// What a call of a known name means; nothing is called.
    fn apply(&mut self, callee: Value, arguments: Value) -> Result<(), Fault> {
        let arguments = match arguments {
            Value::At(i) => match &self.nodes[i] {
                Node::Tuple(items) => items[..items.len().min(MOST_ARGUMENTS)].to_vec(),
                _ => return self.damaged("a call without a tuple of arguments"),
            },
            _ => return self.damaged("a call without a tuple of arguments"),
        };
        let callee = match callee {
            Value::At(i) => &self.nodes[i],
            _ => return self.damaged("a call of a number"),
        };
        let node = match callee {
            Node::Global(Global::Tensor) => Node::Tensor(self.view(&arguments)?),
            Node::Global(Global::Wrapper) => return self.push(arguments.first().copied().unwrap_or(Value::None)),
            Node::Global(Global::Dict) => Node::Dict(vec![]),
            Node::Global(Global::Other) => Node::Object(Value::None),
            _ => return self.damaged("a call of something that cannot be called"),
        };
        self.push_node(node)
    }

    /// `('storage', type, key, place, values)`, and in older files what part of another storage it is.
    fn storage(&self, id: Value) -> Result<Storage, Fault> {
        let Value::At(i) = id else {
            return self.damaged("a storage without a name");
        };
        let Node::Tuple(parts) = &self.nodes[i] else {
            return self.damaged("a storage without a name");
        };
        let node = |i: usize| match parts.get(i) {
            Some(Value::At(n)) => Some(&self.nodes[*n]),
            _ => None,
        };
        let part_of_another = parts.get(5).is_some_and(|v| *v != Value::None);
        match (node(0), node(1), node(2), parts.get(4)) {
            (
                Some(Node::Text(kind)),
                Some(Node::Global(Global::Storage(dtype))),
                Some(Node::Text(key)),
                Some(Value::Int(n)),
            ) if kind == "storage" && *n >= 0 && !part_of_another && key.len() <= MOST_NAME => Ok(Storage {
                dtype: *dtype,
                key: key.clone(),
                values: *n as usize,
            }),
            _ => self.damaged("a storage of a form that is not known"),
        }
    }

    /// `(storage, offset, shape, strides, ...)`.
    fn view(&self, arguments: &[Value]) -> Result<Tensor, Fault> {
        let node = |i: usize| match arguments.get(i) {
            Some(Value::At(n)) => Some(&self.nodes[*n]),
            _ => None,
        };
        let sizes = |i: usize| match node(i) {
            Some(Node::Tuple(items)) if items.len() <= MOST_ARGUMENTS => items
                .iter()
                .map(|v| match v {
                    Value::Int(n) => usize::try_from(*n).ok(),
                    _ => None,
                })
                .collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        let (Some(Node::Storage(storage)), Some(Value::Int(offset)), Some(shape), Some(stride)) =
            (node(0), arguments.get(1), sizes(2), sizes(3))
        else {
            return self.damaged("a tensor of a form that is not known");
        };
        let offset = usize::try_from(*offset).ok().filter(|_| shape.len() == stride.len());
        // The last value must lie in the storage, and no value may stand for many.
        let fits = |offset: usize| {
            let count = shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size))?;
            let steps = shape.iter().zip(&stride).try_fold(0usize, |sum, (size, step)| {
                sum.checked_add(size.saturating_sub(1).checked_mul(*step)?)
            })?;
            let last = offset.checked_add(steps)?;
            (count <= storage.values && (count == 0 || last < storage.values)).then_some(offset)
        };
        match offset.and_then(fits) {
            Some(offset) => Ok(Tensor {
                storage: storage.clone(),
                offset,
                shape,
                stride,
            }),
            None => self.damaged("a tensor that does not fit in its storage"),
        }
    }
}

/// A name for a message: one line of printable characters.
fn shown(module: &str, name: &str) -> String {
    let all = format!("{module}.{name}");
    all.chars()
        .take(80)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

impl Pickle {
    /// Every storage it names, with the type of its values.
    pub(super) fn storages(&self) -> impl Iterator<Item = (&str, Dtype)> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some((storage.key.as_str(), storage.dtype)),
            _ => None,
        })
    }
}
