//! What must hold of every program over kernels, whatever made it.

use crate::artifact::{Buffer, BufferKind, Launch, Operand, Port, Program, Step};
use crate::dim::numel;
use crate::kernel::{Access, Kernel, Slot};
use crate::kernel_verify;
use crate::scalar::DType;
use std::collections::BTreeSet;

/// Checks kernels, then that programs launch them with the buffers that they need, that nothing is read before it is written,
/// and that buffers live as long as they are used.
///
/// # Errors
/// The first thing that is not so.
pub fn verify(programs: &[Program], kernels: &[(String, Kernel)]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (name, kernel) in kernels {
        kernel_verify::verify(kernel).map_err(|e| format!("kernel `{name}`: {e}"))?;
        if !names.insert(name) {
            return Err(format!("two kernels are called `{name}`"));
        }
    }
    programs.iter().try_for_each(|p| {
        let checked = Verifier {
            program: p,
            kernels,
            written: BTreeSet::new(),
            step: 0,
        };
        checked.program().map_err(|e| format!("program `{}`: {e}", p.name))
    })
}

struct Verifier<'a> {
    program: &'a Program,
    kernels: &'a [(String, Kernel)],
    /// Planned buffers that an earlier step wrote.
    written: BTreeSet<usize>,
    /// The number of the step.
    step: usize,
}

impl<'a> Verifier<'a> {
    fn program(mut self) -> Result<(), String> {
        let p = self.program;
        if p.has_too_large_sizes() {
            return Err("a size is too large to be counted".into());
        }
        for (kind, ports) in [(BufferKind::Input, &p.inputs), (BufferKind::Output, &p.outputs)] {
            ports.iter().try_for_each(|port| self.port(port, kind))?;
        }
        if let Some(loss) = p.loss.as_ref().filter(|l| p.outputs.iter().all(|o| o.name != **l)) {
            return Err(format!("its loss `{loss}` is no output"));
        }
        self.steps(&p.prepare, true)?;
        self.steps(&p.steps, false)
    }

    fn port(&self, port: &Port, kind: BufferKind) -> Result<(), String> {
        let buffer = self.buffer(port.buffer)?;
        let fits = buffer.kind == kind && buffer.dtype == port.dtype && buffer.elements == numel(&port.shape);
        match fits {
            true => Ok(()),
            false => Err(format!("b{} is no place for `{}`", port.buffer, port.name)),
        }
    }

    fn buffer(&self, number: usize) -> Result<&'a Buffer, String> {
        let buffer = self.program.buffers.get(number);
        buffer.ok_or_else(|| format!("there is no b{number}"))
    }

    fn steps(&mut self, steps: &[Step], prepares: bool) -> Result<(), String> {
        for step in steps {
            match step {
                Step::Launch(l) => {
                    let name = self.kernels.get(l.kernel).map_or("?", |(name, _)| name);
                    let at = format!("step {}, `{name}`", self.step);
                    self.launch(l, prepares).map_err(|e| format!("{at}: {e}"))?;
                    self.step += 1;
                }
                Step::Loop { count, keep, body, .. } => {
                    let at = format!("step {}, a loop", self.step);
                    if *count < 1 {
                        return Err(format!("{at}: it runs {count} times"));
                    }
                    if let Some(keep) = keep {
                        self.read(keep, DType::F32).map_err(|e| format!("{at}: {e}"))?;
                    }
                    self.step += 1;
                    self.steps(body, prepares)?;
                }
            }
        }
        Ok(())
    }

    fn launch(&mut self, l: &Launch, prepares: bool) -> Result<(), String> {
        let (_, kernel) = self
            .kernels
            .get(l.kernel)
            .ok_or_else(|| format!("there is no kernel {}", l.kernel))?;
        if kernel.slots.len() != l.operands.len() {
            return Err(format!(
                "{} operands for {} slots",
                l.operands.len(),
                kernel.slots.len()
            ));
        }
        let pairs = || kernel.slots.iter().zip(&l.operands);
        for (number, (slot, operand)) in pairs().enumerate() {
            let reads = match slot.access {
                Access::Read => true,
                Access::Write => false,
                Access::Update => reads_first(kernel, number),
            };
            if reads {
                self.read(operand, slot.dtype)?;
            }
        }
        for (slot, operand) in pairs().filter(|(slot, _)| slot.access != Access::Read) {
            self.write(operand, slot.dtype, slot.access, prepares)?;
        }
        Ok(())
    }

    /// What reading and writing share.
    fn used(&self, o: &Operand, dtype: DType) -> Result<&'a Buffer, String> {
        let (buffer, n) = (self.buffer(o.buffer)?, o.buffer);
        if buffer.dtype != dtype {
            let (have, want) = (buffer.dtype.name(), dtype.name());
            return Err(format!("b{n} holds {have}, where {want} is needed"));
        }
        let (first, last) = buffer.live;
        if buffer.kind.is_planned() && !(first..=last).contains(&self.step) {
            return Err(format!("b{n} lives from step {first} to {last}"));
        }
        Ok(buffer)
    }

    fn read(&self, o: &Operand, dtype: DType) -> Result<(), String> {
        let buffer = self.used(o, dtype)?;
        match buffer.kind.is_planned() && !self.written.contains(&o.buffer) {
            true => Err(format!("b{} is read before anything is written to it", o.buffer)),
            false => Ok(()),
        }
    }

    fn write(&mut self, o: &Operand, dtype: DType, access: Access, prepares: bool) -> Result<(), String> {
        let (buffer, n) = (self.used(o, dtype)?, o.buffer);
        let wrong = match buffer.kind {
            BufferKind::Input => "an input is written",
            BufferKind::Params if access == Access::Write => "parameters are written, not updated",
            BufferKind::Prepared if !prepares => "what is prepared is written by another step",
            kind if prepares && kind != BufferKind::Prepared => "a step that prepares writes something else",
            _ => {
                self.written.insert(n);
                return Ok(());
            }
        };
        Err(format!("b{n}: {wrong}"))
    }
}

/// Whether a kernel reads what is in a slot that it updates, before it writes there: it adds to it. Otherwise a later phase
/// reads what an earlier one wrote.
fn reads_first(kernel: &Kernel, slot: Slot) -> bool {
    let stores = kernel.body.stores();
    stores.is_empty() || stores.iter().any(|s| s.slot == slot && s.accumulate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program_text::parse;

    const GOOD: &str = r#"program "p"
  loss "y"
  input "x" f32[4] b0
  output "y" f32[4] b2
  b0 input f32[4]
  b1 temp f32[4] live 0 to 2
  b2 output f32[4]
  b3 params f32[12]
  b4 prepared f32[4] live 0 to 1
  prepare {
    copy_0 b3[0] b4[0]
  }
  steps {
    copy_0 b4[0] b1[0]
    loop 3 keep b0[0] {
      copy_0 b3[0; 4 per layer] b2[0]
    }
  }
kernel copy_0
  row [4]
    s0 read f32
    s1 write f32
    v0 = load s0[a0]
    columns
      s1[a0] = v0
"#;

    #[test]
    fn what_does_not_hold_is_named() {
        let check = |text: &str| {
            let all = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            verify(&all.programs, &all.kernels)
        };
        assert_eq!(check(GOOD), Ok(()));
        for (from, to, part) in [
            ("loss \"y\"", "loss \"z\"", "its loss `z`"),
            ("b2\n  b0", "b0\n  b0", "b0 is no place for `y`"),
            ("f32[4] b0\n", "f32[5] b0\n", "b0 is no place for `x`"),
            ("b4[0] b1[0]", "b4[0]", "step 1, `copy_0`: 1 operands for 2 slots"),
            ("b4[0] b1[0]", "b9[0] b1[0]", "there is no b9"),
            ("b4[0] b1[0]", "b1[0] b2[0]", "b1 is read before"),
            ("b4[0] b1[0]", "b3[0] b0[0]", "b0: an input is written"),
            ("b4[0] b1[0]", "b0[0] b3[0]", "b3: parameters are written"),
            ("b4[0] b1[0]", "b0[0] b4[0]", "b4: what is prepared"),
            ("b3[0] b4[0]", "b3[0] b1[0]", "b1: a step that prepares"),
            ("b1 temp f32", "b1 temp i32", "b1 holds i32, where f32"),
            (
                "live 0 to 2",
                "live 2 to 2",
                "step 1, `copy_0`: b1 lives from step 2 to 2",
            ),
            ("loop 3", "loop 0", "step 2, a loop: it runs 0 times"),
            ("keep b0", "keep b9", "step 2, a loop: there is no b9"),
            ("load s0[a0]", "load s0[a7]", "kernel `copy_0`:"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let found = check(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(found.contains(part), "{found}, not: {part}");
        }
    }
}
