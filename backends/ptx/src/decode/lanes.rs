//! Arithmetic, moves and conversions.

use super::{Decode, Decoder};
use crate::lanes::convert::{self, Float, Integer, Rounding};
use crate::lanes::{double, half, int32, int64, single};
use crate::names::Register;
use crate::op::{Carry, Lane, Op, Reg, Width};
use crate::syntax::Operand;
use crate::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};

impl Decoder<'_> {
    /// Decodes the instruction if one of the tables has it.
    pub(super) fn lane_instruction(&mut self) -> Decode<bool> {
        let vector = |o: &Operand| matches!(o, Operand::Vector(_));
        if self.parts[0] == "mov" && self.ins.operands.iter().any(vector) {
            return Ok(false);
        }
        let name = self.ins.opcode.as_str();
        // The registers of an instruction, by width, from the result on.
        macro_rules! regs {
            ($to:ident $(, $from:ident)+) => {{
                let mut at = 0;
                [self.$to(self.operand(0)?)?, $({ at += 1; self.$from(self.operand(at)?)? }),+]
            }};
        }
        macro_rules! table {
            ($table:ty, $lane:ident, $($width:ident),+) => {
                if let Some(op) = <$table>::named(name) {
                    let regs = regs!($($width),+);
                    self.push(Op::Lane(Lane::$lane(op, regs)));
                    return Ok(true);
                }
            };
        }
        table!(int32::Unary, Int1, to32, from32);
        table!(int32::Binary, Int2, to32, from32, from32);
        table!(int32::Ternary, Int3, to32, from32, from32, from32);
        table!(int64::Unary, Long1, to64, from64);
        table!(int64::Binary, Long2, to64, from64, from64);
        table!(int64::Ternary, Long3, to64, from64, from64, from64);
        table!(int64::Count, Count, to32, from64);
        table!(int64::Shift, Shift, to64, from64, from32);
        table!(int64::Widening, Widening, to64, from32, from32);
        table!(int64::WideningAdd, WideningAdd, to64, from32, from32, from64);
        table!(int64::Extract, Extract, to64, from64, from32, from32);
        table!(single::Unary, Single1, to32, from32);
        table!(single::Binary, Single2, to32, from32, from32);
        table!(single::Ternary, Single3, to32, from32, from32, from32);
        table!(double::Unary, Double1, to64, from64);
        table!(double::Binary, Double2, to64, from64, from64);
        table!(half::Unary, Half1, to32, from32);
        table!(half::Binary, Half2, to32, from32, from32);
        table!(half::Ternary, Half3, to32, from32, from32, from32);
        table!(convert::Pair, Pair, to32, from32, from32);
        if self.parts[0] == "cvt" {
            table!(convert::Narrow, Narrow, to32, from32);
            table!(convert::Widen, Widen, to64, from32);
            table!(convert::Shorten, Shorten, to32, from64);
            table!(convert::Wide, Wide, to64, from64);
        }
        match name {
            "fma.rn.f32" | "mad.rn.f32" => {
                let regs = regs!(to32, from32, from32, from32);
                self.push(Op::Lane(Lane::FusedSingle(regs)));
            }
            "fma.rn.f64" | "mad.rn.f64" => {
                let regs = regs!(to64, from64, from64, from64);
                self.push(Op::Lane(Lane::FusedDouble(regs)));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `mov` of predicates, and packing and unpacking.
    pub(super) fn mov(&mut self) -> Decode<()> {
        let (to, from) = (self.operand(0)?, self.operand(1)?);
        match (to, from) {
            (Operand::Vector(parts), from) => self.unpack(parts, from),
            (to, Operand::Vector(parts)) => self.pack(to, parts),
            _ if self.last() == "pred" => self.move_predicate(to, from),
            _ => Err(self.unsupported()),
        }
    }

    fn lane(&mut self, lane: Lane) {
        self.push(Op::Lane(lane));
    }

    fn unpack(&mut self, parts: &[Operand], from: &Operand) -> Decode<()> {
        let unused = |part: &Operand| matches!(part, Operand::Name(name) if name == "_");
        match (self.last(), parts.len()) {
            ("b32", 2) => {
                let from = self.from32(from)?;
                self.unpack16(parts, from)
            }
            ("b64", 2) => {
                let from = self.from64(from)?;
                for (part, op) in parts.iter().zip([int64::Count::Low, int64::Count::High]) {
                    if !unused(part) {
                        let to = self.to32(part)?;
                        self.lane(Lane::Count(op, [to, from]));
                    }
                }
                Ok(())
            }
            ("b64", 4) => {
                let from = self.from64(from)?;
                for (pair, op) in parts.chunks(2).zip([int64::Count::Low, int64::Count::High]) {
                    let half = self.names.scratch32();
                    self.lane(Lane::Count(op, [half, from]));
                    self.unpack16(pair, half)?;
                }
                Ok(())
            }
            _ => Err(self.unsupported()),
        }
    }

    fn unpack16(&mut self, parts: &[Operand], from: Reg) -> Decode<()> {
        for (i, part) in parts.iter().enumerate() {
            if matches!(part, Operand::Name(name) if name == "_") {
                continue;
            }
            let to = self.to32(part)?;
            if i == 0 {
                self.lane(Lane::Narrow(convert::Narrow::Zext16, [to, from]));
            } else {
                let amount = self.names.constant32(16);
                self.lane(Lane::Int2(int32::Binary::ShiftRightUnsigned, [to, from, amount]));
            }
        }
        Ok(())
    }

    fn pack(&mut self, to: &Operand, parts: &[Operand]) -> Decode<()> {
        self.narrow = !(self.last() == "b64" && parts.len() == 2);
        let mut from = Vec::new();
        for part in parts {
            from.push(self.from32(part)?);
        }
        match (self.last(), from.as_slice()) {
            ("b32", &[lo, hi]) => {
                let to = self.to32(to)?;
                self.lane(Lane::Int2(int32::Binary::Pack16, [to, lo, hi]));
            }
            ("b64", &[lo, hi]) => {
                let to = self.to64(to)?;
                self.lane(Lane::Widening(int64::Widening::Pack, [to, lo, hi]));
            }
            ("b64", &[a, b, c, d]) => {
                let (to, lo, hi) = (self.to64(to)?, self.names.scratch32(), self.names.scratch32());
                self.lane(Lane::Int2(int32::Binary::Pack16, [lo, a, b]));
                self.lane(Lane::Int2(int32::Binary::Pack16, [hi, c, d]));
                self.lane(Lane::Widening(int64::Widening::Pack, [to, lo, hi]));
            }
            _ => return Err(self.unsupported()),
        }
        Ok(())
    }

    /// `cvt` between integers and between integers and floats; the rest is in tables.
    pub(super) fn cvt(&mut self) -> Decode<()> {
        let [.., to, from] = self.parts[..] else {
            return Err(self.unsupported());
        };
        let round = if self.parts.len() == 4 { self.parts[1] } else { "" };
        let plain = self.parts.len() == 3;
        match (
            Integer::named(to),
            Integer::named(from),
            Float::named(to),
            Float::named(from),
        ) {
            (Some(to), Some(from), ..) if plain => self.cvt_int(to, from),
            (Some(to), _, _, Some(from)) => {
                let round = Rounding::named(round).ok_or_else(|| self.unsupported())?;
                let regs = self.cvt_regs(to.bits == 64, from == Float::Double)?;
                self.lane(Lane::FloatToInt { from, round, to, regs });
                Ok(())
            }
            (_, Some(from), Some(to), _) if round == "rn" => {
                let regs = self.cvt_regs(to == Float::Double, from.bits == 64)?;
                self.lane(Lane::IntToFloat { from, to, regs });
                Ok(())
            }
            _ => Err(self.unsupported()),
        }
    }

    fn cvt_regs(&mut self, to_wide: bool, from_wide: bool) -> Decode<[Reg; 2]> {
        let (to, from) = (self.operand(0)?, self.operand(1)?);
        let to = if to_wide { self.to64(to)? } else { self.to32(to)? };
        let from = if from_wide {
            self.from64(from)?
        } else {
            self.from32(from)?
        };
        Ok([to, from])
    }

    /// Registers may be wider than the types, so their declared widths decide the signature.
    fn cvt_int(&mut self, to: Integer, from: Integer) -> Decode<()> {
        let (target, source) = (self.operand(0)?, self.operand(1)?);
        let target = self.register(target)?;
        let from_wide = match source {
            Operand::Name(name) => match self.names.register(name) {
                Some(register) => matches!(register, Register::Wide(_)),
                None => false,
            },
            _ => from.bits == 64,
        };
        let kept = if to.bits <= from.bits { to } else { from };
        let extension = kept.extension();
        match (target, from_wide) {
            (Register::Narrow(to, width), false) => {
                let from = self.from32(source)?;
                let name = match (extension.as_str(), width) {
                    ("sext8", Width::B16) => "sext8to16",
                    ("sext16", Width::B16) => "zext16",
                    ("zext32" | "sext32", _) => "move32",
                    (name, _) => name,
                };
                let op = convert::Narrow::named(name).ok_or_else(|| self.unsupported())?;
                self.lane(Lane::Narrow(op, [to, from]));
            }
            (Register::Narrow(to, width), true) => {
                let from = self.from64(source)?;
                let name = match (extension.as_str(), width) {
                    ("sext32", _) => "zext32",
                    ("sext16" | "zext32", Width::B16) => "zext16",
                    ("sext8", Width::B16) => return Err(self.unsupported()),
                    (name, _) => name,
                };
                let op = convert::Shorten::named(name).ok_or_else(|| self.unsupported())?;
                self.lane(Lane::Shorten(op, [to, from]));
            }
            (Register::Wide(to), false) => {
                let from = self.from32(source)?;
                let op = convert::Widen::named(&extension).ok_or_else(|| self.unsupported())?;
                self.lane(Lane::Widen(op, [to, from]));
            }
            (Register::Wide(to), true) => {
                let from = self.from64(source)?;
                let name = if kept.bits == 64 { "move64" } else { &extension };
                let op = convert::Wide::named(name).ok_or_else(|| self.unsupported())?;
                self.lane(Lane::Wide(op, [to, from]));
            }
            (Register::Predicate(_), _) => return Err(self.wrong("expected a register")),
        }
        Ok(())
    }

    /// `cvta`: a state space's window in the generic space is a fixed distance away.
    pub(super) fn cvta(&mut self) -> Decode<()> {
        let window = if self.has("shared") || self.has("shared::cta") || self.has("shared::cluster") {
            SHARED_WINDOW
        } else if self.has("local") {
            LOCAL_WINDOW
        } else if self.has("param") {
            PARAM_WINDOW
        } else if self.has("global") || self.has("const") {
            0
        } else {
            return Err(self.unsupported());
        };
        let (to, from) = (self.to64(self.operand(0)?)?, self.from64(self.operand(1)?)?);
        let distance = self
            .names
            .constant64(if self.has("to") { window.wrapping_neg() } else { window });
        self.lane(Lane::Long2(int64::Binary::Add, [to, from, distance]));
        Ok(())
    }

    pub(super) fn bfi(&mut self) -> Decode<()> {
        let wide = match self.last() {
            "b32" => false,
            "b64" => true,
            _ => return Err(self.unsupported()),
        };
        let to = self.operand(0)?;
        let mut regs = [if wide { self.to64(to)? } else { self.to32(to)? }; 5];
        for (i, reg) in regs.iter_mut().enumerate().skip(1) {
            let operand = self.operand(i)?;
            *reg = if wide && i < 3 {
                self.from64(operand)?
            } else {
                self.from32(operand)?
            };
        }
        self.lane(if wide {
            Lane::InsertBitsLong(regs)
        } else {
            Lane::InsertBits(regs)
        });
        Ok(())
    }

    /// `add.cc`, `addc`, `sub.cc`, `subc`.
    pub(super) fn carry(&mut self) -> Decode<()> {
        let wide = match self.last() {
            "u32" | "s32" => false,
            "u64" | "s64" => true,
            _ => return Err(self.unsupported()),
        };
        let (name, leaves) = (self.parts[0], self.parts[1] == "cc");
        if self.parts.len() != 2 + usize::from(leaves) {
            return Err(self.unsupported());
        }
        let (to, a, b) = (self.operand(0)?, self.operand(1)?, self.operand(2)?);
        let regs = match wide {
            true => [self.to64(to)?, self.from64(a)?, self.from64(b)?],
            false => [self.to32(to)?, self.from32(a)?, self.from32(b)?],
        };
        let (subtract, takes) = (name.starts_with("sub"), name.ends_with('c'));
        self.lane(Lane::Carry(Carry {
            wide,
            subtract,
            takes,
            leaves,
            regs,
        }));
        Ok(())
    }

    pub(super) fn lop3(&mut self) -> Decode<()> {
        if self.parts != ["lop3", "b32"] {
            return Err(self.unsupported());
        }
        let mut regs = [self.to32(self.operand(0)?)?; 4];
        for (i, reg) in regs.iter_mut().enumerate().skip(1) {
            *reg = self.from32(self.operand(i)?)?;
        }
        let Operand::Int(table) = self.operand(4)? else {
            return Err(self.wrong("expected a truth table"));
        };
        self.lane(Lane::Lop3(regs, *table as u8));
        Ok(())
    }
}
