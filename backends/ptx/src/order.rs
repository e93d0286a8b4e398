//! What each warp knows of what others did: vector clocks.
//!
//! Each *agent* counts its own time: each warp, each warpgroup's `wgmma` (which reads shared memory on its own), and the
//! copies of each mbarrier. A warp knows up to which time of every other agent it is ordered after. Barriers join what their
//! warps know; an arrival at an mbarrier hands on what the arriving threads know, and a wait for a phase takes it up.
//!
//! Threads are told apart where they act alone: an arrival of one lane hands on what that lane did, and what its warp did
//! before its lanes last met; after a wait of some lanes the others know nothing until the lanes meet.

use crate::lanes::WARP;
use crate::race::Place;

/// Warps of a warpgroup.
pub const GROUP: usize = 4;
/// Mbarriers of a block with a clock of their own; further ones share the last.
const MBARRIERS: usize = 64;

/// Up to which time something is ordered after others.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// By agent.
    agents: Vec<u32>,
    /// By thread: more of single threads than of their warps.
    threads: Vec<u32>,
    /// By thread: up to when its writes are there for the asynchronous proxy.
    proxied: Vec<u32>,
}

impl Knowledge {
    fn new(agents: usize, threads: usize) -> Self {
        Self {
            agents: vec![0; agents],
            threads: vec![0; threads],
            proxied: vec![0; threads],
        }
    }

    /// Takes up what another knows.
    pub fn join(&mut self, other: &Self) {
        raise(&mut self.agents, &other.agents);
        raise(&mut self.threads, &other.threads);
        raise(&mut self.proxied, &other.proxied);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        for part in [&mut self.agents, &mut self.threads, &mut self.proxied] {
            part.fill(0);
        }
    }

    /// Learns that an agent has done everything up to a time.
    pub fn agent(&mut self, agent: usize, clock: u32) {
        self.agents[agent] = self.agents[agent].max(clock);
    }

    fn knows(&self, agent: usize, lane: u32, clock: u32) -> bool {
        let thread = agent * WARP + lane as usize;
        let alone = (lane as usize) < WARP && self.threads.get(thread).is_some_and(|&c| clock <= c);
        clock <= self.agents[agent] || alone
    }
}

fn raise(to: &mut [u32], from: &[u32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = (*to).max(*from));
}

/// The clocks of a block.
pub struct Order {
    warps: usize,
    groups: usize,
    /// Whether anything but barriers orders; else what is about single threads is left out.
    fine: bool,
    /// By agent. They do not restart with a block.
    clocks: Vec<u32>,
    /// By warp: its clock when its lanes last met.
    met: Vec<u32>,
    /// By warp.
    seen: Vec<Knowledge>,
    /// By warp: what lanes that waited alone know beyond their warp.
    alone: Vec<(u32, Knowledge)>,
}

impl Order {
    /// Of a block of `warps` warps; `fine` if its kernel has mbarriers or `wgmma`.
    pub fn new(warps: usize, fine: bool) -> Self {
        let groups = if fine { warps / GROUP } else { 0 };
        let agents = warps + groups + if fine { MBARRIERS } else { 0 };
        let threads = if fine { warps * WARP } else { 0 };
        Self {
            warps,
            groups,
            fine,
            clocks: vec![1; agents],
            met: vec![1; warps],
            seen: vec![Knowledge::new(agents, threads); warps],
            alone: vec![(0, Knowledge::new(agents, threads)); if fine { warps } else { 0 }],
        }
    }

    /// Knowledge of nothing.
    pub fn nothing(&self) -> Knowledge {
        Knowledge::new(self.clocks.len(), if self.fine { self.warps * WARP } else { 0 })
    }

    /// Warps and warpgroups: the agents that read shared memory.
    pub fn readers(&self) -> usize {
        self.warps + self.groups
    }

    /// Whether an agent is a warp, which writes through the generic proxy.
    pub fn is_warp(&self, agent: usize) -> bool {
        agent < self.warps
    }

    /// The agent of a warpgroup's `wgmma`.
    pub fn group(&self, warp: u32) -> usize {
        self.warps + warp as usize / GROUP
    }

    /// The agent of the `index`-th mbarrier's copies.
    pub fn mbarrier(&self, index: usize) -> usize {
        self.warps + self.groups + index.min(MBARRIERS - 1)
    }

    /// The first thread of an agent that has threads.
    pub fn thread(&self, agent: usize, lane: u32) -> Option<u32> {
        match agent {
            warp if warp < self.warps => Some(warp as u32 * WARP as u32 + lane.min(WARP as u32 - 1)),
            group if group < self.readers() => Some(((group - self.warps) * GROUP * WARP) as u32),
            _ => None,
        }
    }

    pub fn clock(&self, agent: usize) -> u32 {
        self.clocks[agent]
    }

    /// A warp's clock when its lanes last met.
    #[inline(always)]
    pub fn met(&self, warp: u32) -> u32 {
        self.met[warp as usize]
    }

    /// Lets an agent's time go on and returns the new time.
    pub fn advance(&mut self, agent: usize) -> u32 {
        self.clocks[agent] += 1;
        self.clocks[agent]
    }

    /// A new block: everything before is over.
    pub fn start_block(&mut self) {
        let clocks = self.clocks.clone();
        for seen in &mut self.seen {
            seen.agents.copy_from_slice(&clocks);
        }
        self.meet_all();
    }

    /// All warps of the block met.
    pub fn block_barrier(&mut self) {
        if self.fine {
            let all: Vec<usize> = (0..self.warps).collect();
            self.join(&all);
        } else {
            for seen in &mut self.seen {
                seen.agents.copy_from_slice(&self.clocks);
            }
        }
        self.meet_all();
    }

    fn meet_all(&mut self) {
        let warps = self.warps;
        self.clocks[..warps].iter_mut().for_each(|c| *c += 1);
        self.met.copy_from_slice(&self.clocks[..warps]);
    }

    /// The warps of a mask met.
    pub fn partial_barrier(&mut self, warps: u32) {
        let members: Vec<usize> = (0..self.warps).filter(|w| warps >> w & 1 == 1).collect();
        self.join(&members);
        for &w in &members {
            self.clocks[w] += 1;
            self.met[w] = self.clocks[w];
        }
    }

    fn join(&mut self, members: &[usize]) {
        let mut joined = self.nothing();
        for &w in members {
            self.gather(w);
            joined.join(&self.seen[w]);
            joined.agent(w, self.clocks[w]);
        }
        for &w in members {
            self.seen[w].clone_from(&joined);
        }
    }

    /// What some lanes know becomes known to their warp.
    fn gather(&mut self, warp: usize) {
        if let Some((lanes, alone)) = self.alone.get_mut(warp).filter(|(lanes, _)| *lanes != 0) {
            self.seen[warp].join(alone);
            *lanes = 0;
            alone.clear();
        }
    }

    /// The lanes of a warp met.
    pub fn warp_barrier(&mut self, warp: u32) {
        let warp = warp as usize;
        self.gather(warp);
        self.clocks[warp] += 1;
        self.met[warp] = self.clocks[warp];
    }

    /// Whether what an agent (of a warp, a lane) did at a time is ordered before `who`'s present.
    pub fn ordered(&self, agent: usize, lane: u32, clock: u32, who: Place) -> bool {
        let warp = who.warp as usize;
        if agent == warp {
            return clock < self.met[warp];
        }
        self.seen[warp].knows(agent, lane, clock) || self.alone_of(who).is_some_and(|k| k.knows(agent, lane, clock))
    }

    /// Whether a write of a warp's lane is there for the asynchronous proxy, as far as `who` knows.
    pub fn proxied(&self, warp: usize, lane: u32, clock: u32, who: Place) -> bool {
        let thread = warp * WARP + lane as usize;
        let reaches = |k: &Knowledge| clock <= k.proxied[thread];
        reaches(&self.seen[who.warp as usize]) || self.alone_of(who).is_some_and(reaches)
    }

    /// What a lane knows beyond its warp.
    fn alone_of(&self, who: Place) -> Option<&Knowledge> {
        let (lanes, alone) = self.alone.get(who.warp as usize)?;
        ((who.lane as usize) < WARP && lanes >> who.lane & 1 == 1).then_some(alone)
    }

    /// The lanes `mask` of a warp hand on what they did and know; `all` if these are all that run.
    pub fn release(&mut self, warp: u32, mask: u32, all: bool, to: &mut Knowledge) {
        let warp = warp as usize;
        let clock = self.clocks[warp];
        to.join(&self.seen[warp]);
        if let Some((_, alone)) = self.alone.get(warp).filter(|(lanes, _)| lanes & mask != 0) {
            to.join(alone);
        }
        to.agent(warp, if all { clock } else { self.met[warp] - 1 });
        for lane in (0..WARP).filter(|lane| mask >> lane & 1 == 1) {
            to.threads[warp * WARP + lane] = clock;
        }
        self.clocks[warp] += 1;
    }

    /// The lanes `mask` of a warp take up what was handed on; `all` if these are all that run.
    pub fn acquire(&mut self, warp: u32, mask: u32, all: bool, from: &Knowledge) {
        if all {
            self.seen[warp as usize].join(from);
        } else {
            let (lanes, alone) = &mut self.alone[warp as usize];
            *lanes |= mask;
            alone.join(from);
        }
    }

    /// A warp learns that an agent has done everything up to a time.
    pub fn done(&mut self, warp: u32, agent: usize, clock: u32) {
        self.seen[warp as usize].agent(agent, clock);
    }

    /// Up to which time of an agent a warp is ordered after.
    pub fn known(&self, warp: usize, agent: usize) -> u32 {
        self.seen[warp].agents[agent]
    }

    /// `fence.proxy.async` of the lanes `mask`: what they wrote, and what they are ordered after, is there for the
    /// asynchronous proxy.
    pub fn fence_proxy(&mut self, warp: u32, mask: u32) {
        let own = warp as usize;
        let alone = self.alone.get(own).filter(|(lanes, _)| lanes & mask != 0);
        if let Some((_, alone)) = alone {
            // Of the other lanes this says too much until they meet; they have not waited, so they race anyway.
            let alone = alone.clone();
            raise(&mut self.seen[own].proxied, &alone.proxied);
            self.proxy_seen(own, &alone);
        }
        let seen = self.seen[own].clone();
        self.proxy_seen(own, &seen);
        for lane in 0..WARP {
            let mine = mask >> lane & 1 == 1;
            let clock = if mine { self.clocks[own] } else { self.met[own] - 1 };
            let to = &mut self.seen[own].proxied[own * WARP + lane];
            *to = (*to).max(clock);
        }
        self.clocks[own] += 1;
    }

    fn proxy_seen(&mut self, own: usize, known: &Knowledge) {
        for (thread, to) in self.seen[own].proxied.iter_mut().enumerate() {
            let warp = thread / WARP;
            if warp != own {
                *to = (*to).max(known.agents[warp]).max(known.threads[thread]);
            }
        }
    }
}
