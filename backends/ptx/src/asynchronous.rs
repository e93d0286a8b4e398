//! Decoded instructions of sm_90 that work beside the threads: mbarriers, bulk copies of tensors, `wgmma`.

use crate::op::{Address, Reg};
use crate::syntax::Space;

/// One of them.
#[derive(Debug)]
pub enum Async {
    Barrier(Barrier),
    Load(TensorLoad),
    Multiply(Wgmma),
    /// `wgmma.fence`
    Fence,
    /// `wgmma.commit_group`
    Commit,
    /// `wgmma.wait_group`: until at most this many groups are under way.
    Wait {
        pending: u32,
    },
    /// `fence.proxy.async`, and what makes initialised mbarriers seen.
    Proxy,
    /// `setmaxnreg`: registers of a thread from now on.
    Registers {
        count: u32,
        more: bool,
    },
}

/// Where an mbarrier is: an address in shared memory or a generic one.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub address: Address,
    pub space: Space,
}

/// Instructions on an mbarrier.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    pub at: Place,
    pub action: Action,
}

/// What is done with it.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Init {
        count: Reg,
    },
    Invalidate,
    /// Expects bytes, then arrives `count` times (once without one); without `arrives` only expects.
    Arrive {
        state: Option<Reg>,
        count: Option<Reg>,
        bytes: Option<Reg>,
        arrives: bool,
    },
    /// Whether a phase is complete; `waits` if the thread may be held until it is.
    Wait {
        done: Reg,
        phase: Phase,
        waits: bool,
    },
}

/// Which phase is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    /// The current or last one, by its parity.
    Parity(Reg),
    /// The one that an arrival returned.
    State(Reg),
}

/// `cp.async.bulk.tensor` from global to shared memory.
#[derive(Clone, Copy, Debug)]
pub struct TensorLoad {
    pub to: Place,
    /// The tensor map.
    pub map: Address,
    pub coordinates: [Reg; 5],
    pub rank: u8,
    pub barrier: Place,
}

/// How a matrix lies in shared memory: elements neighbouring along k, or along m or n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    K,
    Mn,
}

/// `wgmma.mma_async` of 64 rows, `8 * columns` columns, k = 16.
#[derive(Debug)]
pub struct Wgmma {
    /// Registers of D: 4 for every 8 columns.
    pub d: Box<[Reg]>,
    pub half: Half,
    /// Matrix descriptors.
    pub a: Reg,
    pub b: Reg,
    pub a_major: Major,
    pub b_major: Major,
    /// D is added to where this predicate, flipped by `flip`, holds; else it starts from 0.
    pub add: Reg,
    pub flip: u32,
}

/// Type of multiplicands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Bf16,
    F16,
}
