//! One entry made ready to run.

use crate::asynchronous::Async;
use crate::cfg::{NOWHERE, fill_meeting_points};
use crate::decode::{Decoded, Jump, decode};
use crate::fault::ParseError;
use crate::names::{Fixed, Names, Register, Symbol};
use crate::op::{Control, Instr, Op, Reg};
use crate::syntax::{Entry, Instruction, Operand, Param, Space, Statement, Variable};
use std::collections::{HashMap, HashSet};

/// A prepared kernel.
#[derive(Debug)]
pub struct Kernel {
    pub name: String,
    pub params: Vec<Param>,
    /// Offset of each parameter; then the size of all.
    pub param_offsets: Vec<usize>,
    pub code: Vec<Instr>,
    /// Predicates, 32-bit and 64-bit registers.
    pub counts: [usize; 3],
    pub fixed: Fixed,
    /// Bytes of shared memory before the dynamic part, of which the first `unused` are there to show what is not aligned.
    pub static_shared: u64,
    pub unused: u64,
    /// Bytes of local memory of a thread.
    pub local: u64,
    pub required_threads: Option<[u32; 3]>,
    pub max_threads: Option<[u32; 3]>,
    /// The narrowest access to shared memory in bytes: 1, 2 or 4.
    pub granule: u32,
    pub max_registers: Option<u32>,
    /// Whether it has mbarriers, bulk copies or `wgmma`.
    pub asynchronous: bool,
}

impl Kernel {
    /// Prepares an entry; `symbols` are the module's, `shared` its shared variables, `lines` its text.
    pub fn prepare(
        entry: &Entry,
        symbols: &HashMap<String, Symbol>,
        shared: &[Variable],
        lines: &[String],
    ) -> Result<Self, ParseError> {
        let mut names = Names::new(symbols.clone());
        let layout = Layout::new(entry, shared);
        names.symbols.extend(layout.symbols.iter().cloned());
        let param_offsets = param_offsets(&entry.params);
        for (param, &offset) in entry.params.iter().zip(&param_offsets) {
            let symbol = Symbol {
                space: Space::Param,
                address: offset as u64,
            };
            names.symbols.insert(param.name.clone(), symbol);
        }
        let code = assemble(entry, &mut names, lines)?;
        fits(entry, &names)?;
        Ok(Self {
            name: entry.name.clone(),
            params: entry.params.clone(),
            param_offsets,
            granule: granule(&code),
            asynchronous: code.iter().any(|instr| matches!(instr.op, Op::Async(_))),
            max_registers: entry.max_registers,
            code,
            counts: names.counts,
            fixed: names.fixed(),
            static_shared: layout.shared,
            unused: layout.unused,
            local: layout.local,
            required_threads: entry.required_threads,
            max_threads: entry.max_threads,
        })
    }

    /// Bytes of all parameters.
    pub fn param_bytes(&self) -> usize {
        self.param_offsets.last().copied().unwrap_or(0)
    }
}

fn param_offsets(params: &[Param]) -> Vec<usize> {
    let mut at: usize = 0;
    let mut out = Vec::new();
    for param in params {
        at = at.next_multiple_of(param.align as usize);
        out.push(at);
        at += param.bytes as usize;
    }
    out.push(at);
    out
}

/// Where a kernel's shared and local variables lie.
struct Layout {
    symbols: Vec<(String, Symbol)>,
    shared: u64,
    unused: u64,
    local: u64,
}

/// Alignment of the atoms that bulk copies and `wgmma` swizzle.
const ATOM: u64 = 1024;

/// Where shared memory begins. On a GPU it may begin at any place that its variables' alignment allows; where that matters it
/// begins here at one that allows no more.
fn shared_start(entry: &Entry, variables: &[&Variable]) -> u64 {
    let swizzles = |s: &Statement| match s {
        Statement::Instruction(i) => i.opcode.starts_with("cp.async.bulk") || i.opcode.starts_with("wgmma.mma"),
        _ => false,
    };
    let shared = variables.iter().filter(|v| v.space == Space::Shared);
    match shared.map(|v| v.align).max() {
        Some(align) if align < ATOM && entry.body.iter().any(swizzles) => align,
        _ => 0,
    }
}

impl Layout {
    fn new(entry: &Entry, shared: &[Variable]) -> Self {
        let mut used = HashSet::new();
        for statement in &entry.body {
            if let Statement::Instruction(instruction) = statement {
                instruction
                    .operands
                    .iter()
                    .for_each(|operand| names_in(operand, &mut used));
            }
        }
        let own = entry.body.iter().filter_map(|statement| match statement {
            Statement::Variable(variable) => Some(variable),
            _ => None,
        });
        let variables: Vec<_> = shared
            .iter()
            .filter(|v| used.contains(v.name.as_str()))
            .chain(own)
            .collect();
        let unused = shared_start(entry, &variables);
        let mut layout = Self {
            symbols: vec![],
            shared: unused,
            unused,
            local: 0,
        };
        for variable in &variables {
            let end = match variable.space {
                Space::Shared => &mut layout.shared,
                Space::Local => &mut layout.local,
                _ => continue,
            };
            if let Some(bytes) = variable.bytes {
                let address = end.next_multiple_of(variable.align);
                *end = address + bytes;
                layout.symbols.push((
                    variable.name.clone(),
                    Symbol {
                        space: variable.space,
                        address,
                    },
                ));
            }
        }
        // All dynamic arrays begin where the static ones end.
        let dynamic: Vec<_> = variables
            .iter()
            .filter(|v| v.space == Space::Shared && v.bytes.is_none())
            .collect();
        if let Some(align) = dynamic.iter().map(|v| v.align).max() {
            layout.shared = layout.shared.next_multiple_of(align);
        }
        for variable in dynamic {
            let symbol = Symbol {
                space: Space::Shared,
                address: layout.shared,
            };
            layout.symbols.push((variable.name.clone(), symbol));
        }
        layout
    }
}

fn names_in<'a>(operand: &'a Operand, out: &mut HashSet<&'a str>) {
    match operand {
        Operand::Name(name) | Operand::Offset(name, _) | Operand::Address { base: Some(name), .. } => {
            out.insert(name);
        }
        Operand::Vector(parts) => parts.iter().for_each(|part| names_in(part, out)),
        Operand::Tensor { map, coordinates } => {
            names_in(map, out);
            coordinates.iter().for_each(|part| names_in(part, out));
        }
        Operand::Pair(a, b) => {
            names_in(a, out);
            names_in(b, out);
        }
        _ => {}
    }
}

/// Fails where more registers are declared than their numbers can tell apart.
fn fits(entry: &Entry, names: &Names) -> Result<(), ParseError> {
    if names.counts.iter().any(|&n| n > usize::from(u16::MAX)) {
        return Err(ParseError::TooLarge {
            kernel: entry.name.clone(),
            what: "more than 65535 registers",
        });
    }
    Ok(())
}

/// Decodes a body and resolves its jumps.
fn assemble(entry: &Entry, names: &mut Names, lines: &[String]) -> Result<Vec<Instr>, ParseError> {
    for statement in &entry.body {
        if let Statement::Targets(name, targets) = statement {
            names.tables.insert(name.clone(), targets.clone());
        }
    }
    let multiplies = |s: &Statement| matches!(s, Statement::Instruction(i) if i.opcode.starts_with("wgmma.mma"));
    let multiplies = entry.body.iter().any(multiplies);
    let mut code = Vec::new();
    let mut jumps = Vec::new();
    for statement in &entry.body {
        match statement {
            Statement::Registers(registers) => {
                if !names.declare(registers) {
                    let what = "a register type that is not covered";
                    return Err(ParseError::TooLarge {
                        kernel: entry.name.clone(),
                        what,
                    });
                }
                fits(entry, names)?;
            }
            Statement::Label(label) => {
                names.label(label, code.len() as u32);
            }
            Statement::Open => names.open(),
            Statement::Close => names.close(),
            Statement::Variable(_) | Statement::Targets(..) => {}
            Statement::Instruction(instruction) => {
                let text = instruction_text(lines, instruction.line);
                let (guard, flip, decoded) = decode(&entry.name, names, instruction, &text)?;
                let touches = if multiplies {
                    registers_of(instruction, names)
                } else {
                    [].into()
                };
                for one in decoded {
                    let op = match one {
                        Decoded::Op(op) => op,
                        Decoded::Jump(jump) => {
                            jumps.push((code.len(), jump, instruction, names.scopes()));
                            Op::Nothing
                        }
                    };
                    code.push(Instr {
                        op,
                        guard,
                        flip,
                        line: instruction.line,
                        touches: touches.clone(),
                    });
                }
            }
        }
    }
    // A label may stand at the very end.
    code.push(Instr {
        op: Op::Control(Control::Exit),
        guard: crate::op::ALWAYS,
        flip: 0,
        line: 0,
        touches: [].into(),
    });
    for (at, jump, instruction, scopes) in jumps {
        let find = |label: &String| target((names, &scopes), entry, instruction, lines, label);
        code[at].op = Op::Control(match jump {
            Jump::To(label) => Control::Branch {
                target: find(&label)?,
                meet: NOWHERE,
            },
            Jump::Table(index, labels) => {
                let targets = labels.iter().map(find).collect::<Result<_, _>>()?;
                Control::Table {
                    index,
                    targets,
                    meet: NOWHERE,
                }
            }
        });
    }
    fill_meeting_points(&mut code);
    keep_accumulators(&mut code);
    Ok(code)
}

fn target(
    (names, scopes): (&Names, &[u32]),
    entry: &Entry,
    instruction: &Instruction,
    lines: &[String],
    label: &str,
) -> Result<u32, ParseError> {
    names.labelled(label, scopes).ok_or_else(|| ParseError::Undeclared {
        kernel: entry.name.clone(),
        line: instruction.line,
        name: label.to_string(),
        instruction: instruction_text(lines, instruction.line),
    })
}

/// The registers of up to 32 bits that an instruction names.
fn registers_of(instruction: &Instruction, names: &Names) -> Box<[Reg]> {
    let mut found = HashSet::new();
    instruction.operands.iter().for_each(|o| names_in(o, &mut found));
    let narrow = |name: &&str| match names.register(name) {
        Some(Register::Narrow(reg, _)) => Some(reg),
        _ => None,
    };
    let mut regs: Vec<Reg> = found.iter().filter_map(narrow).collect();
    regs.sort_unstable();
    regs.into()
}

/// Of the registers that instructions touch, keeps those that `wgmma` accumulates in, and none of `wgmma` itself.
fn keep_accumulators(code: &mut [Instr]) {
    let mut accumulators = HashSet::new();
    for instr in code.iter() {
        if let Op::Async(op) = &instr.op
            && let Async::Multiply(multiply) = &**op
        {
            accumulators.extend(multiply.d.iter().copied());
        }
    }
    for instr in code {
        instr.touches = match &instr.op {
            Op::Async(_) => [].into(),
            _ => instr
                .touches
                .iter()
                .copied()
                .filter(|reg| accumulators.contains(reg))
                .collect(),
        };
    }
}

/// An instruction as the text has it, from its line to its semicolon.
pub fn instruction_text(lines: &[String], line: u32) -> String {
    let Some(from) = (line as usize).checked_sub(1).filter(|&from| from < lines.len()) else {
        return "the end of the kernel".to_string();
    };
    let mut out = String::new();
    for text in &lines[from..] {
        let code = text.split("//").next().unwrap_or("");
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&code);
        if code.contains(';') {
            break;
        }
    }
    out.trim_end_matches(';').to_string()
}

fn granule(code: &[Instr]) -> u32 {
    let mut granule = 4;
    for instr in code {
        if let Op::Load(access) | Op::Store(access) = &instr.op
            && matches!(access.space, Space::Shared | Space::Generic)
        {
            granule = granule.min(access.bytes);
        }
    }
    granule
}
