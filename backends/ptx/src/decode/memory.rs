//! Loads, stores, atomics and asynchronous copies.

use super::{Decode, Decoder};
use crate::names::Register;
use crate::op::{Access, Atomic, AtomicOp, Copy, Op, Reg, Width};
use crate::syntax::{Operand, Space, type_bytes};

impl Decoder<'_> {
    pub(super) fn space(&self) -> Decode<Space> {
        let mut space = Space::Generic;
        for part in &self.parts {
            space = match *part {
                "global" => Space::Global,
                "const" => Space::Const,
                "shared" | "shared::cta" => Space::Shared,
                "local" => Space::Local,
                "param" | "param::entry" => Space::Param,
                "shared::cluster" | "param::func" => return Err(self.unsupported()),
                _ => continue,
            };
        }
        Ok(space)
    }

    /// The data registers of an access and their width.
    fn data(&mut self, operand: &Operand, load: bool) -> Decode<([Reg; 4], u8, Width)> {
        let parts = match operand {
            Operand::Vector(parts) => parts.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut regs = [0; 4];
        let mut width = None;
        if parts.len() > 4 {
            return Err(self.unsupported());
        }
        for (reg, part) in regs.iter_mut().zip(parts) {
            let wide = type_bytes(self.last()) == Some(8);
            let register = match part {
                Operand::Name(name) if name == "_" && load => {
                    return Err(self.unsupported());
                }
                Operand::Name(name) => self.names.register(name),
                _ => None,
            };
            let (now, found) = match register {
                Some(Register::Narrow(reg, width)) => (reg, width),
                Some(Register::Wide(reg)) => (reg, Width::B64),
                Some(Register::Predicate(_)) => return Err(self.wrong("predicates cannot be loaded or stored")),
                None if load => (self.to32(part)?, Width::B32),
                None if wide => (self.from64(part)?, Width::B64),
                None => (self.from32(part)?, width.unwrap_or(Width::B32)),
            };
            if width.is_some_and(|w| (w == Width::B64) != (found == Width::B64)) {
                return Err(self.wrong("registers of different widths"));
            }
            *reg = now;
            width = Some(found);
        }
        let width = width.ok_or_else(|| self.wrong("an operand is missing"))?;
        Ok((regs, parts.len() as u8, width))
    }

    fn access(&mut self, data: &Operand, address: &Operand, load: bool) -> Decode<Access> {
        const KNOWN: [&str; 22] = [
            "ld",
            "ldu",
            "st",
            "global",
            "const",
            "shared",
            "shared::cta",
            "local",
            "param",
            "param::entry",
            "v2",
            "v4",
            "nc",
            "volatile",
            "relaxed",
            "acquire",
            "release",
            "weak",
            "sys",
            "gpu",
            "cta",
            "ca",
        ];
        let (last, modifiers) = self.parts.split_last().ok_or_else(|| self.unsupported())?;
        let hint = |part: &&str| {
            KNOWN.contains(part)
                || ["cg", "cs", "cv", "lu", "wb", "wt"].contains(part)
                || part.starts_with("L1::")
                || part.starts_with("L2::")
        };
        if !modifiers.iter().all(hint) {
            return Err(self.unsupported());
        }
        let bytes = type_bytes(last).filter(|&b| b <= 8).ok_or_else(|| self.unsupported())? as u32;
        let signed = last.starts_with('s');
        let (regs, count, width) = self.data(data, load)?;
        let vector = if self.has("v4") {
            4
        } else if self.has("v2") {
            2
        } else {
            1
        };
        if count != vector {
            return Err(self.wrong("not as many registers as the vector type has"));
        }
        Ok(Access {
            space: self.space()?,
            bytes,
            signed,
            count,
            width,
            regs,
            address: self.address(address)?,
        })
    }

    pub(super) fn load(&mut self) -> Decode<()> {
        let access = self.access(self.operand(0)?, self.operand(1)?, true)?;
        self.push(Op::Load(access));
        Ok(())
    }

    pub(super) fn store(&mut self) -> Decode<()> {
        let access = self.access(self.operand(1)?, self.operand(0)?, false)?;
        if matches!(access.space, Space::Param | Space::Const) {
            return Err(self.unsupported());
        }
        self.push(Op::Store(access));
        Ok(())
    }

    pub(super) fn atomic(&mut self) -> Decode<()> {
        let returns = self.parts[0] == "atom";
        let ty = self.last();
        let wide = match ty {
            "b32" | "u32" | "s32" | "f32" => false,
            "b64" | "u64" | "s64" => true,
            _ => return Err(self.unsupported()),
        };
        let op = self.parts.iter().find_map(|part| {
            Some(match (*part, ty.as_bytes()[0]) {
                ("add", b'f') => AtomicOp::AddFloat,
                ("add", _) => AtomicOp::AddInt,
                ("min", b's') => AtomicOp::MinSigned,
                ("max", b's') => AtomicOp::MaxSigned,
                ("min", b'u') => AtomicOp::MinUnsigned,
                ("max", b'u') => AtomicOp::MaxUnsigned,
                ("and", _) => AtomicOp::And,
                ("or", _) => AtomicOp::Or,
                ("xor", _) => AtomicOp::Xor,
                ("exch", _) => AtomicOp::Exchange,
                ("cas", _) => AtomicOp::CompareSwap,
                ("inc", _) => AtomicOp::Increment,
                ("dec", _) => AtomicOp::Decrement,
                _ => return None,
            })
        });
        let op = op.ok_or_else(|| self.unsupported())?;
        let first = usize::from(returns);
        let to = match returns {
            false => None,
            true => match self.operand(0)? {
                Operand::Name(name) if name == "_" => None,
                to if wide => Some(self.to64(to)?),
                to => Some(self.to32(to)?),
            },
        };
        let address = self.address(self.operand(first)?)?;
        let value = self.atomic_value(first + 1, wide)?;
        let swap = if op == AtomicOp::CompareSwap {
            self.atomic_value(first + 2, wide)?
        } else {
            value
        };
        let space = self.space()?;
        self.push(Op::Atomic(Box::new(Atomic {
            op,
            space,
            wide,
            to,
            address,
            value,
            swap,
        })));
        Ok(())
    }

    fn atomic_value(&mut self, i: usize, wide: bool) -> Decode<Reg> {
        let operand = self.operand(i)?;
        if wide {
            self.from64(operand)
        } else {
            self.from32(operand)
        }
    }

    /// `cp.async` and its groups.
    pub(super) fn copy(&mut self) -> Decode<()> {
        let copy = match self.parts[1..] {
            ["async", "commit_group"] => Copy::Commit,
            ["async", "wait_group"] => match self.operand(0)? {
                Operand::Int(pending) => Copy::Wait {
                    pending: *pending as u32,
                },
                _ => return Err(self.unsupported()),
            },
            ["async", "wait_all"] => Copy::WaitAll,
            ["async", "ca" | "cg", "shared" | "shared::cta", "global", ..] => self.copy_start()?,
            _ => return Err(self.unsupported()),
        };
        self.push(Op::Copy(copy));
        Ok(())
    }

    fn copy_start(&mut self) -> Decode<Copy> {
        let hints = self.parts[5..].iter();
        if !hints
            .clone()
            .all(|part| part.starts_with("L2::") && *part != "L2::cache_hint")
        {
            return Err(self.unsupported());
        }
        let to = self.address(self.operand(0)?)?;
        let from = self.address(self.operand(1)?)?;
        let Operand::Int(bytes @ (4 | 8 | 16)) = self.operand(2)? else {
            return Err(self.wrong("an asynchronous copy moves 4, 8 or 16 bytes"));
        };
        if self.parts[2] == "cg" && *bytes != 16 {
            return Err(self.wrong("cp.async.cg moves 16 bytes"));
        }
        let (mut source, mut ignore) = (None, None);
        if let Some(operand) = self.ins.operands.get(3) {
            match operand {
                Operand::Name(name) if matches!(self.names.register(name), Some(Register::Predicate(_))) => {
                    ignore = Some(self.predicate_named(name)?);
                }
                operand => source = Some(self.from32(operand)?),
            }
        }
        Ok(Copy::Start {
            to,
            from,
            bytes: *bytes as u32,
            source,
            ignore,
        })
    }
}
