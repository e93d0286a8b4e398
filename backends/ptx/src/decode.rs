//! Instructions as written to [`Op`]s.

mod asynchronous;
mod cooperate;
mod lanes;
mod memory;
mod predicates;

use crate::fault::ParseError;
use crate::names::{Names, Register, Special, Symbol};
use crate::op::{ALWAYS, Address, Control, Op, Reg, Width};
use crate::syntax::{Instruction, Operand};

type Decode<T> = Result<T, ParseError>;

/// Target of a branch before labels are known.
#[derive(Debug)]
pub enum Jump {
    To(String),
    Table(Reg, Vec<String>),
}

/// One decoded operation; a jump's targets are filled in later.
#[derive(Debug)]
pub enum Decoded {
    Op(Op),
    Jump(Jump),
}

/// An instruction decoded: guard, flip mask and operations, several where one does not suffice.
pub type Guarded = (Reg, u32, Vec<Decoded>);

/// Decodes one instruction of `kernel`; `text` is its line.
pub fn decode(kernel: &str, names: &mut Names, instruction: &Instruction, text: &str) -> Decode<Guarded> {
    let parts: Vec<&str> = instruction.opcode.split('.').collect();
    let narrow = parts
        .last()
        .is_some_and(|ty| matches!(*ty, "b16" | "u16" | "s16" | "f16" | "bf16" | "b8" | "u8" | "s8"));
    let mut decoder = Decoder {
        kernel,
        names,
        ins: instruction,
        text,
        parts,
        narrow,
        out: Vec::new(),
    };
    let (guard, flip) = match &instruction.guard {
        None => (ALWAYS, 0),
        Some((name, negated)) => (decoder.predicate_named(name)?, if *negated { u32::MAX } else { 0 }),
    };
    decoder.instruction()?;
    Ok((guard, flip, decoder.out))
}

struct Decoder<'a> {
    kernel: &'a str,
    names: &'a mut Names,
    ins: &'a Instruction,
    text: &'a str,
    parts: Vec<&'a str>,
    /// Immediates have 16 bits.
    narrow: bool,
    out: Vec<Decoded>,
}

impl<'a> Decoder<'a> {
    fn instruction(&mut self) -> Decode<()> {
        if self.lane_instruction()? {
            return Ok(());
        }
        match self.parts[0] {
            "mov" => self.mov(),
            "cvt" => self.cvt(),
            "cvta" => self.cvta(),
            "bfi" => self.bfi(),
            "lop3" => self.lop3(),
            "addc" | "subc" => self.carry(),
            "add" | "sub" if self.has("cc") => self.carry(),
            "setp" => self.setp(),
            "set" => self.set(),
            "selp" => self.selp(),
            "testp" => self.testp(),
            "and" | "or" | "xor" | "not" if self.last() == "pred" => self.logic(),
            "ld" | "ldu" => self.load(),
            "st" => self.store(),
            "atom" | "red" => self.atomic(),
            "cp" if self.has("bulk") => self.tensor_load(),
            "cp" => self.copy(),
            "mbarrier" => self.mbarrier(),
            "wgmma" => self.wgmma(),
            "setmaxnreg" => self.setmaxnreg(),
            "fence" => self.fence(),
            "shfl" => self.shuffle(),
            "vote" => self.vote(),
            "activemask" => self.activemask(),
            "redux" => self.redux(),
            "match" => self.match_any(),
            "elect" => self.elect(),
            "bar" | "barrier" => self.barrier(),
            "ldmatrix" | "stmatrix" => self.matrix_access(),
            "movmatrix" => self.transpose(),
            "mma" => self.mma(),
            "bra" => self.branch(),
            "brx" => self.branch_table(),
            "ret" | "exit" => self.control(Control::Exit),
            "trap" => self.control(Control::Trap),
            "membar" | "prefetch" | "prefetchu" | "applypriority" | "discard" | "nanosleep" | "griddepcontrol" => {
                self.push(Op::Nothing);
                Ok(())
            }
            _ => Err(self.unsupported()),
        }
    }

    fn push(&mut self, op: Op) {
        self.out.push(Decoded::Op(op));
    }

    fn control(&mut self, control: Control) -> Decode<()> {
        self.push(Op::Control(control));
        Ok(())
    }

    fn last(&self) -> &'a str {
        self.parts.last().copied().unwrap_or("")
    }

    fn has(&self, part: &str) -> bool {
        self.parts.contains(&part)
    }

    fn unsupported(&self) -> ParseError {
        ParseError::Unsupported {
            kernel: self.kernel.to_string(),
            line: self.ins.line,
            instruction: self.text.to_string(),
        }
    }

    fn wrong(&self, reason: &'static str) -> ParseError {
        let (kernel, instruction) = (self.kernel.to_string(), self.text.to_string());
        ParseError::Operand {
            kernel,
            line: self.ins.line,
            reason,
            instruction,
        }
    }

    fn undeclared(&self, name: &str) -> ParseError {
        ParseError::Undeclared {
            kernel: self.kernel.to_string(),
            line: self.ins.line,
            name: name.to_string(),
            instruction: self.text.to_string(),
        }
    }

    fn operand(&self, i: usize) -> Decode<&'a Operand> {
        self.ins
            .operands
            .get(i)
            .ok_or_else(|| self.wrong("an operand is missing"))
    }

    fn register(&self, operand: &Operand) -> Decode<Register> {
        match operand {
            Operand::Name(name) => self.names.register(name).ok_or_else(|| self.undeclared(name)),
            _ => Err(self.wrong("expected a register")),
        }
    }

    /// The 32-bit register an operand is written to.
    fn to32(&self, operand: &Operand) -> Decode<Reg> {
        match self.register(operand)? {
            Register::Narrow(reg, _) => Ok(reg),
            _ => Err(self.wrong("expected a register of up to 32 bits")),
        }
    }

    /// The 64-bit register an operand is written to.
    fn to64(&self, operand: &Operand) -> Decode<Reg> {
        match self.register(operand)? {
            Register::Wide(reg) => Ok(reg),
            _ => Err(self.wrong("expected a register of 64 bits")),
        }
    }

    fn predicate_named(&self, name: &str) -> Decode<Reg> {
        match self.names.register(name) {
            Some(Register::Predicate(reg)) => Ok(reg),
            Some(_) => Err(self.wrong("expected a predicate")),
            None => Err(self.undeclared(name)),
        }
    }

    /// The predicate an operand is written to.
    fn to_predicate(&self, operand: &Operand) -> Decode<Reg> {
        match operand {
            Operand::Name(name) => self.predicate_named(name),
            _ => Err(self.wrong("expected a predicate")),
        }
    }

    /// A predicate that is read, and its flip mask.
    fn predicate(&mut self, operand: &Operand) -> Decode<(Reg, u32)> {
        match operand {
            Operand::Name(name) => Ok((self.predicate_named(name)?, 0)),
            Operand::Not(name) => Ok((self.predicate_named(name)?, u32::MAX)),
            Operand::Int(value) => Ok((self.names.truth(*value != 0), 0)),
            _ => Err(self.wrong("expected a predicate")),
        }
    }

    /// The 32-bit register an operand is read from: its own, or one that holds the constant.
    fn from32(&mut self, operand: &Operand) -> Decode<Reg> {
        let value = match operand {
            Operand::Name(name) => {
                if let Some(register) = self.names.register(name) {
                    return match register {
                        Register::Narrow(reg, _) => Ok(reg),
                        _ => Err(self.wrong("expected a register of up to 32 bits")),
                    };
                }
                if let Some(special) = Special::named(name) {
                    return Ok(self.names.special(special));
                }
                if name == "WARP_SZ" {
                    32
                } else {
                    self.symbol(name)?.address as u32
                }
            }
            Operand::Int(value) => *value as u32,
            Operand::Single(bits) => *bits,
            Operand::Offset(name, offset) => self.symbol(name)?.address.wrapping_add(*offset as u64) as u32,
            _ => return Err(self.wrong("expected a register or constant of up to 32 bits")),
        };
        Ok(self.names.constant32(if self.narrow { value & 0xffff } else { value }))
    }

    /// The 64-bit register an operand is read from: its own, or one that holds the constant.
    fn from64(&mut self, operand: &Operand) -> Decode<Reg> {
        let value = match operand {
            Operand::Name(name) => match self.names.register(name) {
                Some(Register::Wide(reg)) => return Ok(reg),
                Some(_) => return Err(self.wrong("expected a register of 64 bits")),
                None => self.symbol(name)?.address,
            },
            Operand::Int(value) => *value as u64,
            Operand::Double(bits) => *bits,
            Operand::Offset(name, offset) => self.symbol(name)?.address.wrapping_add(*offset as u64),
            _ => return Err(self.wrong("expected a register or constant of 64 bits")),
        };
        Ok(self.names.constant64(value))
    }

    fn symbol(&self, name: &str) -> Decode<Symbol> {
        if name.starts_with('%') && !self.names.symbols.contains_key(name) {
            return Err(self.undeclared(name));
        }
        self.names
            .symbols
            .get(name)
            .copied()
            .ok_or_else(|| self.undeclared(name))
    }

    fn address(&mut self, operand: &Operand) -> Decode<Address> {
        let Operand::Address { base, offset } = operand else {
            return Err(self.wrong("expected an address"));
        };
        let Some(name) = base else {
            return Ok(Address {
                base: self.names.constant64(0),
                wide: true,
                offset: *offset,
            });
        };
        match self.names.register(name) {
            Some(Register::Narrow(base, Width::B32)) => Ok(Address {
                base,
                wide: false,
                offset: *offset,
            }),
            Some(Register::Wide(base)) => Ok(Address {
                base,
                wide: true,
                offset: *offset,
            }),
            Some(_) => Err(self.wrong("an address needs a register of 32 or 64 bits")),
            None => {
                let base = self.symbol(name)?.address;
                Ok(Address {
                    base: self.names.constant64(base),
                    wide: true,
                    offset: *offset,
                })
            }
        }
    }

    /// The parts of `{a, b}`, or the operand itself as one part.
    fn elements(&self, operand: &'a Operand) -> &'a [Operand] {
        match operand {
            Operand::Vector(parts) => parts,
            single => std::slice::from_ref(single),
        }
    }

    fn branch(&mut self) -> Decode<()> {
        let Operand::Name(label) = self.operand(0)? else {
            return Err(self.wrong("expected a label"));
        };
        self.out.push(Decoded::Jump(Jump::To(label.clone())));
        Ok(())
    }

    fn branch_table(&mut self) -> Decode<()> {
        let index = self.from32(self.operand(0)?)?;
        let Operand::Name(table) = self.operand(1)? else {
            return Err(self.wrong("expected a list of targets"));
        };
        let targets = self
            .names
            .tables
            .get(table)
            .cloned()
            .ok_or_else(|| self.undeclared(table))?;
        self.out.push(Decoded::Jump(Jump::Table(index, targets)));
        Ok(())
    }
}
