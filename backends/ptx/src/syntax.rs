//! What a PTX text says, before any meaning: functions, declarations, instructions with their operands.

/// State space of a declaration or an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Global memory.
    Global,
    /// Read-only module data.
    Const,
    /// Memory of one block.
    Shared,
    /// Memory of one thread.
    Local,
    /// Kernel parameters.
    Param,
    /// No space named: the address says which.
    Generic,
}

/// A named piece of memory.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    pub space: Space,
    /// Alignment in bytes.
    pub align: u64,
    /// Size in bytes; `None` for `name[]` (dynamic shared memory).
    pub bytes: Option<u64>,
    /// Initial bytes, zero-padded to `bytes`; empty if there are none.
    pub init: Vec<u8>,
}

/// One `.reg` declaration: `prefix<count>` or a single name.
#[derive(Clone, Debug)]
pub struct Registers {
    /// Type without the dot: `pred`, `b16`, `b32`, `f32`, `b64`, ...
    pub ty: String,
    pub name: String,
    /// `%r<7>` declares `%r0` to `%r6`.
    pub count: Option<u32>,
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, symbol, label or special register.
    Name(String),
    /// An integer.
    Int(i128),
    /// `0f...`: the bits of a single.
    Single(u32),
    /// `0d...`: the bits of a double.
    Double(u64),
    /// `[base]`, `[base+offset]`; `base` may be absent.
    Address { base: Option<String>, offset: i64 },
    /// `[map, {x, y, ...}]`: a place in a tensor.
    Tensor {
        map: Box<Operand>,
        coordinates: Vec<Operand>,
    },
    /// `{a, b, ...}`
    Vector(Vec<Operand>),
    /// `!p`
    Not(String),
    /// `p|q`: two results.
    Pair(Box<Operand>, Box<Operand>),
    /// `symbol+offset` outside brackets.
    Offset(String, i64),
}

/// An instruction as written.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// 1-based line of the opcode.
    pub line: u32,
    /// `@p` or `@!p`: the name and whether it is negated.
    pub guard: Option<(String, bool)>,
    /// For example `ld.global.v4.b32`.
    pub opcode: String,
    pub operands: Vec<Operand>,
}

/// What stands in a function's body.
#[derive(Clone, Debug)]
pub enum Statement {
    Registers(Registers),
    Variable(Variable),
    Label(String),
    /// A list of targets for `brx.idx`.
    Targets(String, Vec<String>),
    Instruction(Instruction),
    /// `{`: names declared from here on end with the matching `Close`.
    Open,
    Close,
}

/// A parameter of an entry.
#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Alignment in bytes.
    pub align: u64,
}

/// One `.entry`.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub params: Vec<Param>,
    /// Threads of a block as `.reqntid` demands.
    pub required_threads: Option<[u32; 3]>,
    /// Most threads of a block as `.maxntid` allows.
    pub max_threads: Option<[u32; 3]>,
    /// Most registers of a thread as `.maxnreg` says.
    pub max_registers: Option<u32>,
    pub body: Vec<Statement>,
}

/// A whole text.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// For example `sm_80`.
    pub target: String,
    pub variables: Vec<Variable>,
    pub entries: Vec<Entry>,
}

/// Size in bytes of a PTX type named without its dot.
pub fn type_bytes(ty: &str) -> Option<u64> {
    Some(match ty {
        "pred" | "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}
