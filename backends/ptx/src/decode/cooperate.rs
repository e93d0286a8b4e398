//! Instructions among the threads of a warp or block, and on matrix fragments.

use super::{Decode, Decoder};
use crate::op::{Control, Matrix, Op, Redux, Reg, Shape, Shuffle, Vote, Warp};
use crate::syntax::{Operand, Space};

impl Decoder<'_> {
    fn warp(&mut self, op: Warp) -> Decode<()> {
        self.push(Op::Warp(op));
        Ok(())
    }

    fn read32(&mut self, i: usize) -> Decode<Reg> {
        let operand = self.operand(i)?;
        self.from32(operand)
    }

    pub(super) fn shuffle(&mut self) -> Decode<()> {
        let ["shfl", "sync", mode, "b32"] = self.parts[..] else {
            return Err(self.unsupported());
        };
        let mode = match mode {
            "up" => Shuffle::Up,
            "down" => Shuffle::Down,
            "bfly" => Shuffle::Butterfly,
            "idx" => Shuffle::Index,
            _ => return Err(self.unsupported()),
        };
        let (to, valid) = match self.operand(0)? {
            Operand::Pair(to, valid) => (self.to32(to)?, Some(self.to_predicate(valid)?)),
            to => (self.to32(to)?, None),
        };
        let (a, b, c, members) = (self.read32(1)?, self.read32(2)?, self.read32(3)?, self.read32(4)?);
        self.warp(Warp::Shuffle {
            mode,
            to,
            valid,
            a,
            b,
            c,
            members,
        })
    }

    pub(super) fn vote(&mut self) -> Decode<()> {
        let ["vote", "sync", mode, _] = self.parts[..] else {
            return Err(self.unsupported());
        };
        let (a, flip) = self.predicate(self.operand(1)?)?;
        let members = self.read32(2)?;
        if mode == "ballot" {
            let to = self.to32(self.operand(0)?)?;
            return self.warp(Warp::Ballot { to, a, flip, members });
        }
        let mode = match mode {
            "all" => Vote::All,
            "any" => Vote::Any,
            "uni" => Vote::Uniform,
            _ => return Err(self.unsupported()),
        };
        let to = self.to_predicate(self.operand(0)?)?;
        self.warp(Warp::Vote {
            mode,
            to,
            a,
            flip,
            members,
        })
    }

    pub(super) fn activemask(&mut self) -> Decode<()> {
        let to = self.to32(self.operand(0)?)?;
        self.warp(Warp::ActiveMask { to })
    }

    pub(super) fn redux(&mut self) -> Decode<()> {
        let ["redux", "sync", op, ty] = self.parts[..] else {
            return Err(self.unsupported());
        };
        let op = match (op, ty) {
            ("add", "u32" | "s32") => Redux::Add,
            ("min", "u32") => Redux::MinUnsigned,
            ("max", "u32") => Redux::MaxUnsigned,
            ("min", "s32") => Redux::MinSigned,
            ("max", "s32") => Redux::MaxSigned,
            ("and", "b32") => Redux::And,
            ("or", "b32") => Redux::Or,
            ("xor", "b32") => Redux::Xor,
            _ => return Err(self.unsupported()),
        };
        let to = self.to32(self.operand(0)?)?;
        let (a, members) = (self.read32(1)?, self.read32(2)?);
        self.warp(Warp::Redux { op, to, a, members })
    }

    pub(super) fn match_any(&mut self) -> Decode<()> {
        let ["match", "any", "sync", ty] = self.parts[..] else {
            return Err(self.unsupported());
        };
        let to = self.to32(self.operand(0)?)?;
        let wide = ty == "b64";
        let a = if wide {
            self.from64(self.operand(1)?)?
        } else {
            self.read32(1)?
        };
        let members = self.read32(2)?;
        self.warp(Warp::MatchAny { to, a, wide, members })
    }

    pub(super) fn elect(&mut self) -> Decode<()> {
        let Operand::Pair(to, leader) = self.operand(0)? else {
            return Err(self.unsupported());
        };
        let to = match &**to {
            Operand::Name(name) if name == "_" => None,
            to => Some(self.to32(to)?),
        };
        let leader = self.to_predicate(leader)?;
        let members = self.read32(1)?;
        self.warp(Warp::Elect { to, leader, members })
    }

    pub(super) fn barrier(&mut self) -> Decode<()> {
        let known = ["bar", "barrier", "cta", "sync", "aligned", "warp"];
        if !self.parts.iter().all(|part| known.contains(part)) {
            return Err(self.unsupported());
        }
        let id = self.read32(0)?;
        if self.has("warp") {
            return self.warp(Warp::Sync { members: id });
        }
        let count = if self.ins.operands.len() > 1 {
            Some(self.read32(1)?)
        } else {
            None
        };
        self.control(Control::Barrier { id, count })
    }

    fn registers<const N: usize>(&mut self, i: usize, write: bool) -> Decode<([Reg; N], u8)> {
        let parts = self.elements(self.operand(i)?);
        if parts.len() > N {
            return Err(self.wrong("too many registers"));
        }
        let mut regs = [0; N];
        for (reg, part) in regs.iter_mut().zip(parts) {
            *reg = if write { self.to32(part)? } else { self.from32(part)? };
        }
        Ok((regs, parts.len() as u8))
    }

    fn matrix(&mut self, op: Matrix) -> Decode<()> {
        self.push(Op::Matrix(Box::new(op)));
        Ok(())
    }

    pub(super) fn matrix_access(&mut self) -> Decode<()> {
        let known = [
            "ldmatrix", "stmatrix", "sync", "aligned", "m8n8", "x1", "x2", "x4", "trans", "b16",
        ];
        let spaces = ["shared", "shared::cta"];
        if !self
            .parts
            .iter()
            .all(|part| known.contains(part) || spaces.contains(part))
        {
            return Err(self.unsupported());
        }
        let load = self.parts[0] == "ldmatrix";
        let (data, address) = if load { (0, 1) } else { (1, 0) };
        let (regs, count) = self.registers::<4>(data, load)?;
        let expected = if self.has("x4") {
            4
        } else if self.has("x2") {
            2
        } else {
            1
        };
        if count != expected {
            return Err(self.wrong("not one register for each matrix"));
        }
        let address = self.address(self.operand(address)?)?;
        let (transposed, space) = (self.has("trans"), self.space()?);
        if !matches!(space, Space::Shared | Space::Generic) {
            return Err(self.unsupported());
        }
        self.matrix(match load {
            true => Matrix::Load {
                count,
                transposed,
                regs,
                address,
                space,
            },
            false => Matrix::Store {
                count,
                transposed,
                regs,
                address,
                space,
            },
        })
    }

    pub(super) fn transpose(&mut self) -> Decode<()> {
        if self.parts != ["movmatrix", "sync", "aligned", "m8n8", "trans", "b16"] {
            return Err(self.unsupported());
        }
        let to = self.to32(self.operand(0)?)?;
        let a = self.read32(1)?;
        self.matrix(Matrix::Transpose { to, a })
    }

    pub(super) fn mma(&mut self) -> Decode<()> {
        let [
            "mma",
            "sync",
            "aligned",
            size,
            "row",
            "col",
            "f32",
            a_type,
            b_type,
            "f32",
        ] = self.parts[..]
        else {
            return Err(self.unsupported());
        };
        let (shape, a_count, b_count) = match (size, a_type) {
            ("m16n8k16", "bf16") => (Shape::Bf16K16, 4, 2),
            ("m16n8k16", "f16") => (Shape::F16K16, 4, 2),
            ("m16n8k8", "bf16") => (Shape::Bf16K8, 2, 1),
            ("m16n8k8", "f16") => (Shape::F16K8, 2, 1),
            ("m16n8k8", "tf32") => (Shape::Tf32K8, 4, 2),
            ("m16n8k4", "tf32") => (Shape::Tf32K4, 2, 1),
            _ => return Err(self.unsupported()),
        };
        let ((d, ds), (a, given)) = (self.registers(0, true)?, self.registers(1, false)?);
        let ((b, bs), (c, cs)) = (self.registers(2, false)?, self.registers(3, false)?);
        if a_type != b_type || (ds, given, bs, cs) != (4, a_count, b_count, 4) {
            return Err(self.wrong("fragments do not fit the shape"));
        }
        self.matrix(Matrix::Multiply { shape, d, a, b, c })
    }
}
