//! Names of a kernel's text to dense numbers: registers, constants in registers, symbols, labels.

use crate::op::{ALWAYS, Reg, Width};
use crate::syntax::{Registers, Space};
use std::collections::HashMap;

/// A register and its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Predicate(Reg),
    /// `Width` is `B16` or `B32`.
    Narrow(Reg, Width),
    Wide(Reg),
}

/// A special register: fixed while a warp runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    ThreadId(u8),
    BlockSize(u8),
    BlockId(u8),
    GridSize(u8),
    LaneId,
    WarpId,
    WarpCount,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    DynamicShared,
    TotalShared,
}

impl Special {
    /// `%tid.x`, `%laneid`, ...
    pub fn named(name: &str) -> Option<Self> {
        let (base, axis) = match name.rsplit_once('.') {
            Some((base, "x")) => (base, 0),
            Some((base, "y")) => (base, 1),
            Some((base, "z")) => (base, 2),
            _ => (name, 3),
        };
        Some(match (base, axis) {
            ("%tid", 0..3) => Self::ThreadId(axis),
            ("%ntid", 0..3) => Self::BlockSize(axis),
            ("%ctaid", 0..3) => Self::BlockId(axis),
            ("%nctaid", 0..3) => Self::GridSize(axis),
            ("%laneid", 3) => Self::LaneId,
            ("%warpid", 3) => Self::WarpId,
            ("%nwarpid", 3) => Self::WarpCount,
            ("%lanemask_eq", 3) => Self::LaneMaskEq,
            ("%lanemask_le", 3) => Self::LaneMaskLe,
            ("%lanemask_lt", 3) => Self::LaneMaskLt,
            ("%lanemask_ge", 3) => Self::LaneMaskGe,
            ("%lanemask_gt", 3) => Self::LaneMaskGt,
            ("%dynamic_smem_size", 3) => Self::DynamicShared,
            ("%total_smem_size", 3) => Self::TotalShared,
            _ => return None,
        })
    }
}

/// Where a named variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub space: Space,
    pub address: u64,
}

/// The names of one kernel.
pub struct Names {
    scopes: Vec<HashMap<String, Register>>,
    pub symbols: HashMap<String, Symbol>,
    /// By scope and name: the same names may stand in several.
    labels: HashMap<(u32, String), u32>,
    /// The scopes that are open, outermost first, and how many there were.
    open: Vec<u32>,
    opened: u32,
    pub tables: HashMap<String, Vec<String>>,
    /// Registers handed out so far: predicates, 32-bit, 64-bit.
    pub counts: [usize; 3],
    constants32: HashMap<u32, Reg>,
    constants64: HashMap<u64, Reg>,
    specials: HashMap<Special, Reg>,
    never: Option<Reg>,
}

/// Registers that hold the same value from a warp's start to its end.
#[derive(Debug, Default)]
pub struct Fixed {
    pub constants32: Vec<(Reg, u32)>,
    pub constants64: Vec<(Reg, u64)>,
    pub specials: Vec<(Reg, Special)>,
}

impl Names {
    /// No names but the symbols of the module.
    pub fn new(symbols: HashMap<String, Symbol>) -> Self {
        Self {
            scopes: vec![HashMap::new()],
            symbols,
            labels: HashMap::new(),
            open: vec![0],
            opened: 0,
            tables: HashMap::new(),
            counts: [usize::from(ALWAYS) + 1, 0, 0],
            constants32: HashMap::new(),
            constants64: HashMap::new(),
            specials: HashMap::new(),
            never: None,
        }
    }

    /// Puts a label into the scope that is open.
    pub fn label(&mut self, name: &str, at: u32) {
        let scope = self.open.last().copied().unwrap_or(0);
        self.labels.insert((scope, name.to_string()), at);
    }

    /// The scopes that are open.
    pub fn scopes(&self) -> Vec<u32> {
        self.open.clone()
    }

    /// A label as seen from scopes.
    pub fn labelled(&self, name: &str, scopes: &[u32]) -> Option<u32> {
        let find = |scope: &u32| self.labels.get(&(*scope, name.to_string()));
        scopes.iter().rev().find_map(find).copied()
    }

    pub fn open(&mut self) {
        self.opened += 1;
        self.open.push(self.opened);
        self.scopes.push(HashMap::new());
    }

    pub fn close(&mut self) {
        self.open.pop();
        self.scopes.pop();
    }

    fn take(&mut self, file: usize) -> Reg {
        self.counts[file] += 1;
        // More than 65535 registers are refused behind the declaration that has them.
        (self.counts[file] - 1) as Reg
    }

    /// Declares registers; false if their type is not covered.
    pub fn declare(&mut self, registers: &Registers) -> bool {
        let names: Vec<String> = match registers.count {
            Some(count) => (0..count).map(|i| format!("{}{i}", registers.name)).collect(),
            None => vec![registers.name.clone()],
        };
        for name in names {
            let register = match registers.ty.as_str() {
                "pred" => Register::Predicate(self.take(0)),
                "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "f16" | "bf16" => {
                    Register::Narrow(self.take(1), Width::B16)
                }
                "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Register::Narrow(self.take(1), Width::B32),
                "b64" | "u64" | "s64" | "f64" => Register::Wide(self.take(2)),
                _ => return false,
            };
            if let Some(scope) = self.scopes.last_mut() {
                scope.insert(name, register);
            }
        }
        true
    }

    /// The register of a name.
    pub fn register(&self, name: &str) -> Option<Register> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).copied()
    }

    /// A 32-bit register that holds a constant.
    pub fn constant32(&mut self, value: u32) -> Reg {
        if let Some(&reg) = self.constants32.get(&value) {
            return reg;
        }
        let reg = self.take(1);
        self.constants32.insert(value, reg);
        reg
    }

    /// A 64-bit register that holds a constant.
    pub fn constant64(&mut self, value: u64) -> Reg {
        if let Some(&reg) = self.constants64.get(&value) {
            return reg;
        }
        let reg = self.take(2);
        self.constants64.insert(value, reg);
        reg
    }

    /// A 32-bit register that holds a special register.
    pub fn special(&mut self, special: Special) -> Reg {
        if let Some(&reg) = self.specials.get(&special) {
            return reg;
        }
        let reg = self.take(1);
        self.specials.insert(special, reg);
        reg
    }

    /// A predicate that never holds (predicates start as false, and nothing writes this one), or [`ALWAYS`].
    pub fn truth(&mut self, value: bool) -> Reg {
        if value {
            return ALWAYS;
        }
        if let Some(reg) = self.never {
            return reg;
        }
        let reg = self.take(0);
        self.never = Some(reg);
        reg
    }

    /// A 32-bit register for a value on its way within one instruction.
    pub fn scratch32(&mut self) -> Reg {
        self.take(1)
    }

    /// What is fixed, in order of registers.
    pub fn fixed(&self) -> Fixed {
        let mut fixed = Fixed {
            constants32: self.constants32.iter().map(|(&v, &r)| (r, v)).collect(),
            constants64: self.constants64.iter().map(|(&v, &r)| (r, v)).collect(),
            specials: self.specials.iter().map(|(&s, &r)| (r, s)).collect(),
        };
        fixed.constants32.sort_unstable();
        fixed.constants64.sort_unstable();
        fixed.specials.sort_unstable_by_key(|(r, _)| *r);
        fixed
    }
}
