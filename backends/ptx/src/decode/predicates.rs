//! Comparisons, predicates and selection.

use super::{Decode, Decoder};
use crate::lanes::compare::{Compare, Test, Type32, Type64};
use crate::op::{ALWAYS, Combine, Combined, Op, Predicate, Reg};
use crate::syntax::Operand;

fn combine(part: &str) -> Option<Combine> {
    Some(match part {
        "and" => Combine::And,
        "or" => Combine::Or,
        "xor" => Combine::Xor,
        _ => return None,
    })
}

impl Decoder<'_> {
    fn predicate_op(&mut self, op: Predicate) -> Decode<()> {
        self.push(Op::Predicate(op));
        Ok(())
    }

    fn result_predicates(&self, operand: &Operand) -> Decode<(Reg, Option<Reg>)> {
        match operand {
            Operand::Pair(p, q) => Ok((self.to_predicate(p)?, Some(self.to_predicate(q)?))),
            p => Ok((self.to_predicate(p)?, None)),
        }
    }

    pub(super) fn setp(&mut self) -> Decode<()> {
        let (to, other) = self.result_predicates(self.operand(0)?)?;
        let by = Compare::named(self.parts[1]).ok_or_else(|| self.unsupported())?;
        let mut combined = Combined {
            by: Combine::And,
            with: ALWAYS,
            flip: 0,
        };
        match self.parts.len() {
            3 => {}
            4 => {
                let by = combine(self.parts[2]).ok_or_else(|| self.unsupported())?;
                let (with, flip) = self.predicate(self.operand(3)?)?;
                combined = Combined { by, with, flip };
            }
            _ => return Err(self.unsupported()),
        }
        if let Some(ty) = Type32::named(self.last()) {
            let (a, b) = (self.from32(self.operand(1)?)?, self.from32(self.operand(2)?)?);
            return self.predicate_op(Predicate::Set32 {
                ty,
                by,
                to,
                other,
                a,
                b,
                combined,
            });
        }
        let ty = Type64::named(self.last()).ok_or_else(|| self.unsupported())?;
        let (a, b) = (self.from64(self.operand(1)?)?, self.from64(self.operand(2)?)?);
        self.predicate_op(Predicate::Set64 {
            ty,
            by,
            to,
            other,
            a,
            b,
            combined,
        })
    }

    pub(super) fn set(&mut self) -> Decode<()> {
        let [_, by, to_ty, ty] = self.parts[..] else {
            return Err(self.unsupported());
        };
        let by = Compare::named(by).ok_or_else(|| self.unsupported())?;
        let ty = Type32::named(ty).ok_or_else(|| self.unsupported())?;
        let one = match to_ty {
            "u32" | "s32" | "b32" => u32::MAX,
            "f32" => 1.0f32.to_bits(),
            _ => return Err(self.unsupported()),
        };
        let to = self.to32(self.operand(0)?)?;
        let (a, b) = (self.from32(self.operand(1)?)?, self.from32(self.operand(2)?)?);
        self.predicate_op(Predicate::Value32 { ty, by, to, a, b, one })
    }

    pub(super) fn selp(&mut self) -> Decode<()> {
        let (by, flip) = self.predicate(self.operand(3)?)?;
        if flip != 0 {
            return Err(self.unsupported());
        }
        let (to, a, b) = (self.operand(0)?, self.operand(1)?, self.operand(2)?);
        match self.last() {
            "b16" | "u16" | "s16" | "f16" | "bf16" | "b32" | "u32" | "s32" | "f32" => {
                let op = Predicate::Select32 {
                    to: self.to32(to)?,
                    a: self.from32(a)?,
                    b: self.from32(b)?,
                    by,
                };
                self.predicate_op(op)
            }
            "b64" | "u64" | "s64" | "f64" => {
                let op = Predicate::Select64 {
                    to: self.to64(to)?,
                    a: self.from64(a)?,
                    b: self.from64(b)?,
                    by,
                };
                self.predicate_op(op)
            }
            _ => Err(self.unsupported()),
        }
    }

    pub(super) fn testp(&mut self) -> Decode<()> {
        let ["testp", test, "f32"] = self.parts[..] else {
            return Err(self.unsupported());
        };
        let test = Test::named(test).ok_or_else(|| self.unsupported())?;
        let (to, a) = (self.to_predicate(self.operand(0)?)?, self.from32(self.operand(1)?)?);
        self.predicate_op(Predicate::Test { test, to, a })
    }

    pub(super) fn logic(&mut self) -> Decode<()> {
        let to = self.to_predicate(self.operand(0)?)?;
        let (a, _) = self.predicate(self.operand(1)?)?;
        let Some(by) = combine(self.parts[0]) else {
            return self.predicate_op(Predicate::Not { to, a });
        };
        let (b, _) = self.predicate(self.operand(2)?)?;
        self.predicate_op(Predicate::Logic { by, to, a, b })
    }

    pub(super) fn move_predicate(&mut self, to: &Operand, from: &Operand) -> Decode<()> {
        let to = self.to_predicate(to)?;
        let (a, _) = self.predicate(from)?;
        self.predicate_op(Predicate::Logic {
            by: Combine::And,
            to,
            a,
            b: ALWAYS,
        })
    }
}
