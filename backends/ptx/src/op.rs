//! Decoded instructions: dense register numbers, resolved targets, constants in registers of their own.

use crate::asynchronous::Async;
use crate::lanes::compare::{Compare, Test, Type32, Type64};
use crate::lanes::convert::{self, Float, Integer, Rounding};
use crate::lanes::{double, half, int32, int64, single};
use crate::syntax::Space;

/// A register's index within the file of its width: up to 32 bits, 64 bits, or predicates.
pub type Reg = u16;

/// The predicate that always holds.
pub const ALWAYS: Reg = 0;

/// An instruction.
#[derive(Debug)]
pub struct Instr {
    pub op: Op,
    /// Lanes take part where this predicate, flipped by `flip`, holds.
    pub guard: Reg,
    /// All ones for `@!p`.
    pub flip: u32,
    pub line: u32,
    /// Accumulators of `wgmma` that another instruction reads or writes.
    pub touches: Box<[Reg]>,
}

/// What an instruction does.
#[derive(Debug)]
pub enum Op {
    Lane(Lane),
    Predicate(Predicate),
    Load(Access),
    Store(Access),
    Atomic(Box<Atomic>),
    Warp(Warp),
    Matrix(Box<Matrix>),
    Copy(Copy),
    Async(Box<Async>),
    Control(Control),
    /// Fences and hints, which order nothing here that is not ordered already.
    Nothing,
}

/// A result from operands of the same lane: result register first.
#[derive(Clone, Copy, Debug)]
pub enum Lane {
    Int1(int32::Unary, [Reg; 2]),
    Int2(int32::Binary, [Reg; 3]),
    Int3(int32::Ternary, [Reg; 4]),
    InsertBits([Reg; 5]),
    InsertBitsLong([Reg; 5]),
    Lop3([Reg; 4], u8),
    Carry(Carry),
    Long1(int64::Unary, [Reg; 2]),
    Long2(int64::Binary, [Reg; 3]),
    Long3(int64::Ternary, [Reg; 4]),
    Count(int64::Count, [Reg; 2]),
    Shift(int64::Shift, [Reg; 3]),
    Widening(int64::Widening, [Reg; 3]),
    WideningAdd(int64::WideningAdd, [Reg; 4]),
    Extract(int64::Extract, [Reg; 4]),
    Single1(single::Unary, [Reg; 2]),
    Single2(single::Binary, [Reg; 3]),
    Single3(single::Ternary, [Reg; 4]),
    FusedSingle([Reg; 4]),
    Double1(double::Unary, [Reg; 2]),
    Double2(double::Binary, [Reg; 3]),
    FusedDouble([Reg; 4]),
    Half1(half::Unary, [Reg; 2]),
    Half2(half::Binary, [Reg; 3]),
    Half3(half::Ternary, [Reg; 4]),
    Narrow(convert::Narrow, [Reg; 2]),
    Widen(convert::Widen, [Reg; 2]),
    Shorten(convert::Shorten, [Reg; 2]),
    Wide(convert::Wide, [Reg; 2]),
    Pair(convert::Pair, [Reg; 3]),
    FloatToInt {
        from: Float,
        round: Rounding,
        to: Integer,
        regs: [Reg; 2],
    },
    IntToFloat {
        from: Integer,
        to: Float,
        regs: [Reg; 2],
    },
}

/// `add.cc`, `addc`, `sub.cc`, `subc`: sums and differences that leave and take a carry or borrow.
#[derive(Clone, Copy, Debug)]
pub struct Carry {
    pub wide: bool,
    pub subtract: bool,
    pub takes: bool,
    pub leaves: bool,
    pub regs: [Reg; 3],
}

/// How `setp` combines its comparison with a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    And,
    Or,
    Xor,
}

impl Combine {
    /// Of masks.
    pub fn apply(self, a: u32, b: u32) -> u32 {
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

/// The operand `c` of `setp.cmp.boolop`: predicate and flip mask. `And` with [`ALWAYS`] where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Combined {
    pub by: Combine,
    pub with: Reg,
    pub flip: u32,
}

/// Instructions on predicates.
#[derive(Clone, Copy, Debug)]
pub enum Predicate {
    Set32 {
        ty: Type32,
        by: Compare,
        to: Reg,
        other: Option<Reg>,
        a: Reg,
        b: Reg,
        combined: Combined,
    },
    Set64 {
        ty: Type64,
        by: Compare,
        to: Reg,
        other: Option<Reg>,
        a: Reg,
        b: Reg,
        combined: Combined,
    },
    /// `set`: all ones or 0, or 1.0f or 0, as `one` says.
    Value32 {
        ty: Type32,
        by: Compare,
        to: Reg,
        a: Reg,
        b: Reg,
        one: u32,
    },
    Test {
        test: Test,
        to: Reg,
        a: Reg,
    },
    Logic {
        by: Combine,
        to: Reg,
        a: Reg,
        b: Reg,
    },
    Not {
        to: Reg,
        a: Reg,
    },
    Select32 {
        to: Reg,
        a: Reg,
        b: Reg,
        by: Reg,
    },
    Select64 {
        to: Reg,
        a: Reg,
        b: Reg,
        by: Reg,
    },
}

/// An address: a register of 32 or 64 bits plus an offset.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub base: Reg,
    pub wide: bool,
    pub offset: i64,
}

/// The width of the registers of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 16 bits, kept in a 32-bit register with a zero upper half.
    B16,
    B32,
    B64,
}

/// A load or store of `count` elements.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub space: Space,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub bytes: u32,
    /// Whether loads extend the sign.
    pub signed: bool,
    /// 1, 2 or 4.
    pub count: u8,
    pub width: Width,
    pub regs: [Reg; 4],
    pub address: Address,
}

/// What an atomic makes of the old value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    AddInt,
    AddFloat,
    MinUnsigned,
    MaxUnsigned,
    MinSigned,
    MaxSigned,
    And,
    Or,
    Xor,
    Exchange,
    CompareSwap,
    Increment,
    Decrement,
}

/// `atom` and `red`.
#[derive(Clone, Copy, Debug)]
pub struct Atomic {
    pub op: AtomicOp,
    pub space: Space,
    /// Whether the registers and the value have 64 bits; else 32.
    pub wide: bool,
    /// `None` for `red`.
    pub to: Option<Reg>,
    pub address: Address,
    pub value: Reg,
    /// The new value of a compare-and-swap.
    pub swap: Reg,
}

/// `shfl` modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `vote` modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    All,
    Any,
    Uniform,
}

/// `redux` operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redux {
    Add,
    MinUnsigned,
    MaxUnsigned,
    MinSigned,
    MaxSigned,
    And,
    Or,
    Xor,
}

/// Instructions among the lanes of a warp; `members` is the register with the mask of lanes.
#[derive(Clone, Copy, Debug)]
pub enum Warp {
    Shuffle {
        mode: Shuffle,
        to: Reg,
        valid: Option<Reg>,
        a: Reg,
        b: Reg,
        c: Reg,
        members: Reg,
    },
    Vote {
        mode: Vote,
        to: Reg,
        a: Reg,
        flip: u32,
        members: Reg,
    },
    Ballot {
        to: Reg,
        a: Reg,
        flip: u32,
        members: Reg,
    },
    ActiveMask {
        to: Reg,
    },
    Redux {
        op: Redux,
        to: Reg,
        a: Reg,
        members: Reg,
    },
    MatchAny {
        to: Reg,
        a: Reg,
        wide: bool,
        members: Reg,
    },
    Elect {
        to: Option<Reg>,
        leader: Reg,
        members: Reg,
    },
    Sync {
        members: Reg,
    },
}

/// The multiplicands of an `mma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Bf16K16,
    F16K16,
    Bf16K8,
    F16K8,
    Tf32K8,
    Tf32K4,
}

/// Instructions on matrix fragments.
#[derive(Clone, Copy, Debug)]
pub enum Matrix {
    /// `ldmatrix`: `count` 8x8 matrices of 16-bit elements.
    Load {
        count: u8,
        transposed: bool,
        regs: [Reg; 4],
        address: Address,
        space: Space,
    },
    /// `stmatrix`.
    Store {
        count: u8,
        transposed: bool,
        regs: [Reg; 4],
        address: Address,
        space: Space,
    },
    /// `movmatrix`: transposes one 8x8 matrix.
    Transpose { to: Reg, a: Reg },
    /// `mma`: D = A B + C, all of 16 rows and 8 columns.
    Multiply {
        shape: Shape,
        d: [Reg; 4],
        a: [Reg; 4],
        b: [Reg; 2],
        c: [Reg; 4],
    },
}

/// Asynchronous copies.
#[derive(Clone, Copy, Debug)]
pub enum Copy {
    /// `cp.async`: `bytes` (4, 8 or 16) to shared memory, of which the first `source` (a register) come from global
    /// memory and the rest are zero.
    Start {
        to: Address,
        from: Address,
        bytes: u32,
        source: Option<Reg>,
        ignore: Option<Reg>,
    },
    Commit,
    /// Waits until at most this many groups are under way.
    Wait {
        pending: u32,
    },
    WaitAll,
}

/// Where a warp goes next.
#[derive(Debug)]
pub enum Control {
    /// To `target`; lanes that diverge meet again at `meet`.
    Branch {
        target: u32,
        meet: u32,
    },
    /// To `targets[index]`.
    Table {
        index: Reg,
        targets: Box<[u32]>,
        meet: u32,
    },
    /// `bar.sync`: `count` threads, all if `None`.
    Barrier {
        id: Reg,
        count: Option<Reg>,
    },
    Exit,
    Trap,
}
