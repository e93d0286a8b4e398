//! Single kernels against the values that the interpreter of kernel IR gives.

use super::guarded::Guarded;
use super::numbers::numbers;
use super::{Failure, Outcome, Worst, outcome};
use crate::gpu::{Device, KernelCode, Launch, MapArgument};
use ir::dim::{Dim, Env};
use ir::kernel_sample::Operand;
use ir::scalar::DType;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One kernel with everything it works on. Its code is that of the artifact's kernel with the same index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KernelCheck {
    pub name: String,
    pub sizes: Env,
    /// By slot.
    pub operands: Vec<Slot>,
}

/// What one slot is bound to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slot {
    pub dtype: DType,
    /// Bytes by which the address misses a multiple of 256.
    pub shift: usize,
    /// Contents before.
    pub before: Vec<u8>,
    /// Contents afterwards; `None` where the kernel only reads.
    pub after: Option<Vec<u8>>,
    /// As those of [`Operand`].
    pub tolerance: f64,
    pub tolerances: Vec<f32>,
}

/// Runs a kernel twice and compares every element with what is expected; both runs must give the same bits.
pub fn check(device: &mut dyn Device, kernel: usize, check: &KernelCheck) -> Outcome {
    let start = Instant::now();
    let result = run_twice(device, kernel, check);
    outcome(&check.name, start, result)
}

fn run_twice(device: &mut dyn Device, kernel: usize, check: &KernelCheck) -> Result<Worst, Failure> {
    let code = device.code().kernels[kernel].clone();
    let memory = Operands::new(device, &code, check)?;
    device.prepare(&[kernel])?;
    let first = memory.run(device, kernel, &code, check)?;
    let second = memory.run(device, kernel, &code, check)?;
    memory.free(device)?;
    let mut worst = (0.0, "equal".to_string());
    for (slot, ((own, first), second)) in check.operands.iter().zip(&first).zip(&second).enumerate() {
        let about = |what: String| Failure::Wrong(format!("slot {slot}: {what}"));
        if first != second {
            return Err(about("other bits when run again".into()));
        }
        let here = compare(own, first).map_err(about)?;
        if here.0 > worst.0 {
            worst = (here.0, format!("slot {slot}: {}", here.1));
        }
    }
    Ok(worst)
}

/// The operands of a check on a device.
struct Operands {
    slots: Vec<Guarded>,
    workspace: Guarded,
}

fn value(dim: &Dim, sizes: &Env) -> Result<i64, Failure> {
    dim.eval(sizes)
        .map_err(|e| Failure::Wrong(format!("the check is damaged: {e}")))
}

impl Operands {
    fn new(device: &mut dyn Device, code: &KernelCode, check: &KernelCheck) -> Result<Operands, Failure> {
        let slots = check
            .operands
            .iter()
            .map(|o| Guarded::new(device, o.before.len(), o.shift))
            .collect::<Result<_, _>>()?;
        let bytes = value(&code.workspace, &check.sizes)?.max(0) as usize;
        let workspace = Guarded::new(device, bytes, 0)?;
        Ok(Operands { slots, workspace })
    }

    fn free(self, device: &mut dyn Device) -> Result<(), Failure> {
        for guarded in self.slots.into_iter().chain([self.workspace]) {
            guarded.free(device)?;
        }
        Ok(())
    }

    /// Contents of all slots after one run.
    fn run(
        &self,
        device: &mut dyn Device,
        kernel: usize,
        code: &KernelCode,
        check: &KernelCheck,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        for (memory, operand) in self.slots.iter().zip(&check.operands) {
            memory.upload(device, &operand.before)?;
        }
        self.workspace.upload(device, &[])?;
        for launch in self.launches(kernel, code, check)? {
            device.launch(&launch)?;
        }
        device.synchronise()?;
        self.workspace.download(device, "the workspace")?;
        let read = |(i, m): (usize, &Guarded)| m.download(device, &format!("slot {i}"));
        self.slots.iter().enumerate().map(read).collect()
    }

    fn launches(&self, kernel: usize, code: &KernelCode, check: &KernelCheck) -> Result<Vec<Launch>, Failure> {
        let slots = self.slots.iter().zip(&check.operands);
        let mut regions: Vec<_> = slots.map(|(m, o)| m.region(o.after.is_some())).collect();
        regions.push(self.workspace.region(true));
        let addresses: Vec<u64> = regions.iter().map(|r| r.address).collect();
        let mut launches = vec![];
        for (grid, own) in code.grids.iter().enumerate() {
            let mut blocks = [0; 3];
            for (to, dim) in blocks.iter_mut().zip(&own.blocks) {
                *to = value(dim, &check.sizes)? as u32;
            }
            if blocks.contains(&0) {
                continue;
            }
            let mut params = addresses.clone();
            for size in &own.sizes {
                params.push(value(size, &check.sizes)? as u64);
            }
            launches.push(Launch {
                kernel,
                grid,
                blocks,
                threads: own.threads,
                shared: own.shared,
                params,
                maps: MapArgument::all(&own.maps, &addresses, &|d| value(d, &check.sizes))?,
                regions: regions.clone(),
            });
        }
        Ok(launches)
    }
}

fn compare(slot: &Slot, got: &[u8]) -> Result<Worst, String> {
    let Some(after) = &slot.after else {
        return match got == slot.before {
            true => Ok((0.0, String::new())),
            false => Err("was written to, and is only read".into()),
        };
    };
    let allowed = Operand {
        dtype: slot.dtype,
        values: vec![],
        tolerance: slot.tolerance,
        tolerances: slot.tolerances.iter().map(|t| *t as f64).collect(),
    };
    let mut worst = (0.0, String::new());
    for (i, (g, w)) in numbers(slot.dtype, got)
        .into_iter()
        .zip(numbers(slot.dtype, after))
        .enumerate()
    {
        let tolerance = allowed.tolerances.get(i).copied().unwrap_or(slot.tolerance);
        let text = || format!("element {i} is {g:e}, expected {w:e}, tolerance {tolerance:.1e}");
        if !allowed.agrees(i, g, w) {
            return Err(text());
        }
        // bf16 may be off by its own rounding beside.
        let own = if slot.dtype == DType::Bf16 {
            2f64.powi(-8) * (g.abs() + w.abs())
        } else {
            0.0
        };
        let share = (g - w).abs() / (tolerance + own);
        if share > worst.0 {
            worst = (share, format!("{} (at {:.0} %)", text(), 100.0 * share));
        }
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Code, Emulator, KernelCode};
    use ir::artifact::Grid;

    /// y[i + beside] = x[i] + 1 for two elements.
    fn ptx(beside: usize) -> String {
        let at = 4 * beside;
        format!(
            ".version 7.0\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u64 k_0, .param .u64 k_1, .param .u64 k_2)\n{{\n\
             .reg .b32 %r<2>;\n.reg .b64 %rd<6>;\n.reg .f32 %f<3>;\n\
             ld.param.u64 %rd1, [k_0];\nld.param.u64 %rd2, [k_1];\nmov.u32 %r1, %tid.x;\n\
             mul.wide.u32 %rd3, %r1, 4;\nadd.s64 %rd4, %rd1, %rd3;\nadd.s64 %rd5, %rd2, %rd3;\n\
             ld.global.f32 %f1, [%rd4];\nadd.f32 %f2, %f1, 0f3F800000;\nst.global.f32 [%rd5+{at}], %f2;\nret;\n}}\n"
        )
    }

    fn grid() -> Grid {
        Grid {
            function: "k".into(),
            blocks: [1.into(), 1.into(), 1.into()],
            threads: 2,
            shared: 0,
            sizes: vec![],
            maps: vec![],
            schedule: String::new(),
        }
    }

    fn outcome_of(beside: usize, expected: [f32; 2], tolerances: Vec<f32>) -> Outcome {
        let bytes = |v: [f32; 2]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let slot = |shift, before, after| Slot {
            dtype: DType::F32,
            shift,
            before,
            after,
            tolerance: 0.0,
            tolerances: tolerances.clone(),
        };
        let (x, y) = (bytes([1.0, 2.0]), bytes([0.0, 0.0]));
        let checked = KernelCheck {
            name: "sum".into(),
            sizes: Env::new(),
            operands: vec![slot(4, x, None), slot(0, y, Some(bytes(expected)))],
        };
        let kernels = vec![KernelCode {
            name: "k".into(),
            ptx: ptx(beside),
            grids: vec![grid()],
            workspace: 0.into(),
        }];
        let arch = "sm_80".into();
        check(&mut Emulator::new(Code { arch, kernels }, 1), 0, &checked)
    }

    #[test]
    fn values_must_be_those_expected() {
        let right = outcome_of(0, [2.0, 3.0], vec![]);
        assert!(right.passed && right.worst == 0.0, "{right:?}");
        let near = outcome_of(0, [2.0, 3.5], vec![0.0, 1.0]);
        assert!(near.passed && near.worst == 0.5, "{near:?}");
        let wrong = outcome_of(0, [2.0, 3.5], vec![1.0, 0.25]);
        assert!(!wrong.passed && wrong.detail.contains("slot 1: element 1"), "{wrong:?}");
    }

    #[test]
    fn nothing_may_be_written_beside_an_operand() {
        let beside = outcome_of(1, [2.0, 3.0], vec![]);
        assert!(!beside.passed && beside.device_failed, "{beside:?}");
    }
}
