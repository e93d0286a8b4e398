//! Mbarriers, bulk copies of tensors, `wgmma` and their fences.

use super::{Decode, Decoder};
use crate::asynchronous::{Action, Async, Barrier, Half, Major, Phase, Place, TensorLoad, Wgmma};
use crate::names::Register;
use crate::op::{Op, Reg};
use crate::syntax::{Operand, Space};

/// Most columns of a `wgmma`.
const COLUMNS: usize = 256;

impl Decoder<'_> {
    fn asynchronous(&mut self, op: Async) -> Decode<()> {
        self.push(Op::Async(Box::new(op)));
        Ok(())
    }

    /// Whether all parts from `first` on are among `known`.
    fn only(&self, first: usize, known: &[&str]) -> Decode<()> {
        match self.parts[first..].iter().all(|part| known.contains(part)) {
            true => Ok(()),
            false => Err(self.unsupported()),
        }
    }

    fn place(&mut self, i: usize) -> Decode<Place> {
        let address = self.address(self.operand(i)?)?;
        let shared = ["shared", "shared::cta", "shared::cluster"];
        // A name leads into shared memory, whether the instruction says so or not.
        let space = match self.operand(i)? {
            Operand::Address { base: Some(name), .. } if self.names.register(name).is_none() => Space::Shared,
            _ if shared.iter().any(|space| self.has(space)) => Space::Shared,
            _ => Space::Generic,
        };
        Ok(Place { address, space })
    }

    fn count(&mut self, i: usize) -> Decode<Reg> {
        let operand = self.operand(i)?;
        self.from32(operand)
    }

    pub(super) fn mbarrier(&mut self) -> Decode<()> {
        let spaces = ["shared", "shared::cta", "b64"];
        let order = ["release", "acquire", "relaxed", "cta", "cluster"];
        let known: Vec<&str> = spaces.into_iter().chain(order).collect();
        let (at, action) = match self.parts[1..] {
            ["init", ..] => {
                self.only(2, &spaces)?;
                (self.place(0)?, Action::Init { count: self.count(1)? })
            }
            ["inval", ..] => {
                self.only(2, &spaces)?;
                (self.place(0)?, Action::Invalidate)
            }
            ["expect_tx", ..] => {
                self.only(2, &known)?;
                let bytes = Some(self.count(1)?);
                let action = Action::Arrive {
                    state: None,
                    count: None,
                    bytes,
                    arrives: false,
                };
                (self.place(0)?, action)
            }
            ["arrive", ..] => self.arrive(&known)?,
            [way @ ("try_wait" | "test_wait"), ..] => {
                let parity = self.parts.get(2) == Some(&"parity");
                self.only(2 + usize::from(parity), &known)?;
                let done = self.to_predicate(self.operand(0)?)?;
                let phase = match parity {
                    true => Phase::Parity(self.count(2)?),
                    false => {
                        let state = self.operand(2)?;
                        Phase::State(self.from64(state)?)
                    }
                };
                let waits = way == "try_wait";
                (self.place(1)?, Action::Wait { done, phase, waits })
            }
            _ => return Err(self.unsupported()),
        };
        self.asynchronous(Async::Barrier(Barrier { at, action }))
    }

    fn arrive(&mut self, known: &[&str]) -> Decode<(Place, Action)> {
        let expects = self.parts.get(2) == Some(&"expect_tx");
        self.only(2 + usize::from(expects), known)?;
        let state = match self.operand(0)? {
            Operand::Name(name) if name == "_" => None,
            state => Some(self.to64(state)?),
        };
        let last = match self.ins.operands.len() {
            3 => Some(self.count(2)?),
            _ => None,
        };
        if expects && last.is_none() {
            return Err(self.wrong("the bytes to expect are missing"));
        }
        let (count, bytes) = if expects { (None, last) } else { (last, None) };
        let action = Action::Arrive {
            state,
            count,
            bytes,
            arrives: true,
        };
        Ok((self.place(1)?, action))
    }

    /// `cp.async.bulk.tensor` to shared memory.
    pub(super) fn tensor_load(&mut self) -> Decode<()> {
        let [
            "cp",
            "async",
            "bulk",
            "tensor",
            axes,
            "shared::cluster" | "shared::cta",
            "global",
            rest @ ..,
        ] = &self.parts[..]
        else {
            return Err(self.unsupported());
        };
        let known = ["tile", "mbarrier::complete_tx::bytes", "L2::cache_hint"];
        if !rest.contains(&known[1]) || !rest.iter().all(|part| known.contains(part)) {
            return Err(self.unsupported());
        }
        let rank = match *axes {
            "1d" => 1,
            "2d" => 2,
            "3d" => 3,
            "4d" => 4,
            "5d" => 5,
            _ => return Err(self.unsupported()),
        };
        let Operand::Tensor {
            map,
            coordinates: given,
        } = self.operand(1)?
        else {
            return Err(self.wrong("expected a tensor map and coordinates"));
        };
        if given.len() != usize::from(rank) {
            return Err(self.wrong("not one coordinate for each axis"));
        }
        let map = self.address(map)?;
        let mut coordinates = [0; 5];
        for (to, coordinate) in coordinates.iter_mut().zip(given) {
            *to = self.from32(coordinate)?;
        }
        let (to, barrier) = (self.place(0)?, self.place(2)?);
        self.asynchronous(Async::Load(TensorLoad {
            to,
            map,
            coordinates,
            rank,
            barrier,
        }))
    }

    /// `fence.proxy.async` and the fence behind `mbarrier.init`; other fences order nothing here that is not ordered already.
    pub(super) fn fence(&mut self) -> Decode<()> {
        match self.parts[..] {
            ["fence", "proxy", "async"]
            | ["fence", "proxy", "async", "shared::cta" | "shared::cluster"]
            | ["fence", "mbarrier_init", "release", "cluster"] => self.asynchronous(Async::Proxy),
            ["fence", "proxy", "async", "global"] | ["fence", "proxy", "alias"] => {
                self.push(Op::Nothing);
                Ok(())
            }
            ["fence", "proxy" | "mbarrier_init", ..] => Err(self.unsupported()),
            _ => {
                self.push(Op::Nothing);
                Ok(())
            }
        }
    }

    pub(super) fn setmaxnreg(&mut self) -> Decode<()> {
        let ["setmaxnreg", way @ ("inc" | "dec"), "sync", "aligned", "u32"] = self.parts[..] else {
            return Err(self.unsupported());
        };
        match self.operand(0)? {
            Operand::Int(count @ 24..=256) if count % 8 == 0 => {
                let (count, more) = (*count as u32, way == "inc");
                self.asynchronous(Async::Registers { count, more })
            }
            _ => Err(self.wrong("setmaxnreg takes multiples of 8 from 24 to 256")),
        }
    }

    pub(super) fn wgmma(&mut self) -> Decode<()> {
        match self.parts[1..] {
            ["fence", "sync", "aligned"] => self.asynchronous(Async::Fence),
            ["commit_group", "sync", "aligned"] => self.asynchronous(Async::Commit),
            ["wait_group", "sync", "aligned"] => match self.operand(0)? {
                Operand::Int(pending @ 0..=7) => {
                    let pending = *pending as u32;
                    self.asynchronous(Async::Wait { pending })
                }
                _ => Err(self.wrong("wgmma.wait_group takes 0 to 7")),
            },
            ["mma_async", "sync", "aligned", size, "f32", a, b] if a == b => self.multiply(size, a),
            _ => Err(self.unsupported()),
        }
    }

    fn multiply(&mut self, size: &str, ty: &str) -> Decode<()> {
        let half = match ty {
            "bf16" => Half::Bf16,
            "f16" => Half::F16,
            _ => return Err(self.unsupported()),
        };
        let columns = size.strip_prefix("m64n").and_then(|size| size.strip_suffix("k16"));
        let columns: usize = columns
            .and_then(|n| n.parse().ok())
            .filter(|n| *n > 0 && n % 8 == 0 && *n <= COLUMNS)
            .ok_or_else(|| self.unsupported())?;
        let parts = self.elements(self.operand(0)?);
        if parts.len() != columns / 2 {
            return Err(self.wrong("not 4 registers for every 8 columns"));
        }
        let d = parts
            .iter()
            .map(|part| self.to32(part))
            .collect::<Decode<Box<[Reg]>>>()?;
        let (a, b) = (self.operand(1)?, self.operand(2)?);
        let in_registers = |operand: &Operand| matches!(operand, Operand::Name(name) if matches!(self.names.register(name), Some(Register::Wide(_))));
        if !in_registers(a) || !in_registers(b) {
            // A in registers is a vector.
            return Err(self.unsupported());
        }
        let (a, b) = (self.from64(a)?, self.from64(b)?);
        let (add, flip) = self.predicate(self.operand(3)?)?;
        let flag = |i: usize| match self.operand(i) {
            Ok(Operand::Int(value)) => Some(*value),
            _ => None,
        };
        if (flag(4), flag(5)) != (Some(1), Some(1)) {
            return Err(self.unsupported());
        }
        let major = |i: usize| match flag(i) {
            Some(0) => Ok(Major::K),
            Some(1) => Ok(Major::Mn),
            _ => Err(self.unsupported()),
        };
        let (a_major, b_major) = (major(6)?, major(7)?);
        self.asynchronous(Async::Multiply(Wgmma {
            d,
            half,
            a,
            b,
            a_major,
            b_major,
            add,
            flip,
        }))
    }
}
