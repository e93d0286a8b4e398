//! What can go wrong: reading a text, launching a kernel, running it.

use crate::syntax::Space;
use thiserror::Error;

/// A text that is no PTX, or holds something not covered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    #[error("line {line}: unexpected character `{character}`")]
    Character { line: u32, character: char },
    #[error("line {line}: expected {expected}, found {found}")]
    Expected { line: u32, expected: String, found: String },
    #[error("line {line}: functions and calls are not covered, only entries")]
    Function { line: u32 },
    #[error("kernel {kernel}, line {line}: unsupported instruction `{instruction}`")]
    Unsupported {
        kernel: String,
        line: u32,
        instruction: String,
    },
    #[error("kernel {kernel}, line {line}: `{name}` is not declared, in `{instruction}`")]
    Undeclared {
        kernel: String,
        line: u32,
        name: String,
        instruction: String,
    },
    #[error("kernel {kernel}, line {line}: {reason}, in `{instruction}`")]
    Operand {
        kernel: String,
        line: u32,
        reason: &'static str,
        instruction: String,
    },
    #[error("kernel {kernel}: {what}")]
    TooLarge { kernel: String, what: &'static str },
}

/// A launch that cannot start.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LaunchError {
    #[error("the module has no kernel {0}")]
    UnknownKernel(String),
    #[error("kernel {kernel} takes {expected} bytes of parameters, given {given}")]
    Params {
        kernel: String,
        expected: usize,
        given: usize,
    },
    #[error("kernel {kernel}: a block of {block:?} threads, {reason}")]
    Block {
        kernel: String,
        block: [u32; 3],
        reason: String,
    },
    #[error("kernel {kernel}: an empty grid {grid:?}")]
    Grid { kernel: String, grid: [u32; 3] },
    #[error("kernel {kernel}: {bytes} bytes of shared memory, at most {most} are there")]
    Shared { kernel: String, bytes: u64, most: u64 },
    #[error("kernel {kernel}: region {address:#x}+{bytes} lies in no allocation")]
    Region { kernel: String, address: u64, bytes: u64 },
}

/// A host access to memory that is not allocated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{bytes} bytes at {address:#x} are not within one allocation")]
pub struct MemoryError {
    pub address: u64,
    pub bytes: u64,
}

/// Which two accesses race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaceKind {
    /// A read of what another thread wrote with nothing in between.
    ReadAfterWrite,
    /// A write to what another thread read with nothing in between.
    WriteAfterRead,
    /// Writes of two threads, of different values.
    WriteAfterWrite,
}

/// What a thread did wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FaultKind {
    #[error("{} of {bytes} bytes at {space:?} address {address:#x}: out of bounds", if *write { "write" } else { "read" })]
    OutOfBounds {
        space: Space,
        address: u64,
        bytes: u64,
        write: bool,
    },
    #[error("access of {bytes} bytes at {space:?} address {address:#x}: misaligned")]
    Misaligned { space: Space, address: u64, bytes: u64 },
    #[error("write of {bytes} bytes at {address:#x}: this launch may only read there")]
    ReadOnly { address: u64, bytes: u64 },
    #[error("read of uninitialised shared memory at {address:#x}")]
    Uninitialised { address: u64 },
    #[error("access to shared memory at {address:#x}, destination of an asynchronous copy that was not waited for")]
    PendingCopy { address: u64 },
    #[error(
        "race on shared memory at {address:#x}, {kind:?}: thread {other} was there (line {line}), no barrier since"
    )]
    Race {
        address: u64,
        kind: RaceKind,
        /// Linear index of the other thread in the block.
        other: u32,
        /// Line of the other access, 0 if it was a read.
        line: u32,
    },
    #[error(
        "shared memory at {address:#x}, written by thread {other} (line {line}) with no fence.proxy.async since, is not there \
         for the asynchronous proxy"
    )]
    ProxyFence { address: u64, other: u32, line: u32 },
    #[error("no mbarrier was initialised at {address:#x}")]
    MbarrierUninitialised { address: u64 },
    #[error("mbarrier at {address:#x}: {what}")]
    MbarrierMisuse { address: u64, what: &'static str },
    #[error("deadlock: {0}")]
    Deadlock(String),
    #[error("needs a warpgroup, four warps from a multiple of four on")]
    NoWarpgroup,
    #[error("the kernel ended while this copy was under way")]
    CopyAtEnd,
    #[error("the tensor map {0}")]
    TensorMap(String),
    #[error("matrix descriptor {0:#018x}: {1}")]
    Descriptor(u64, &'static str),
    #[error("{0} is not the same in the whole warpgroup")]
    NotUniform(&'static str),
    #[error("a register that wgmma accumulates in, before wgmma.wait_group")]
    AccumulatorInFlight,
    #[error("wgmma.fence is missing, since its accumulators were last touched or at all")]
    WgmmaFence,
    #[error("setmaxnreg from {now} to {count} registers")]
    Registers { now: u32, count: u32 },
    #[error("barrier divergence: {0}")]
    BarrierDivergence(String),
    #[error("needs lanes {required:#010x} of the warp together, only {active:#010x} are there")]
    NotConverged { required: u32, active: u32 },
    #[error("reads lane {lane}, which takes no part")]
    InactiveLane { lane: u32 },
    #[error("`{0}` on this state space is not covered")]
    UnsupportedSpace(&'static str),
    #[error("the block ran {steps} instructions without an end")]
    StepLimit { steps: u64 },
    #[error("trap")]
    Trap,
}

/// A fault of a running kernel: who, where, what.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("kernel {kernel}, line {line} `{instruction}`, block {block:?}, thread {thread:?}: {kind}")]
pub struct Fault {
    pub kernel: String,
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// The instruction as the text has it.
    pub instruction: String,
    pub block: [u32; 3],
    pub thread: [u32; 3],
    pub kind: FaultKind,
}

/// Why a launch did not complete.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Fault(Box<Fault>),
}

/// A fault seen inside a warp, before block and text are known.
#[derive(Clone, Debug)]
pub(crate) struct Raised {
    /// Lane within the warp.
    pub lane: u32,
    pub kind: FaultKind,
}

/// Faults are rare, so their size must not burden the way of success.
pub(crate) type Run<T> = Result<T, Box<Raised>>;

pub(crate) fn raise<T>(lane: usize, kind: FaultKind) -> Run<T> {
    Err(Box::new(Raised {
        lane: lane as u32,
        kind,
    }))
}
