//! Sampled kernels as CPU code against the interpreter, which defines their meaning. Each runs whole and in pieces, which
//! must not change a bit, with NaN around every operand, which must neither be read into a result nor written over. Then
//! once more with a NaN among the operands, which must be seen where it goes.

use cpu::{Target, compile};
use interp::{Buffer, Place};
use ir::artifact::{Entry, KernelInfo};
use ir::dim::{Dim, Env};
use ir::kernel::Body;
use ir::kernel_sample::{self, Sample};
use ir::rounding::Rounding;
use proptest::prelude::*;
use std::sync::Arc;

/// Elements around each operand: odd, so that operands are aligned to their elements only.
const MARGIN: usize = 67;

type Function = unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64, *mut u8, *mut u8);

fn operands(sample: &Sample) -> Vec<Buffer> {
    sample
        .operands
        .iter()
        .map(|o| Buffer::from_f64(o.dtype, o.values.iter().copied()))
        .collect()
}

/// A buffer between two margins of NaN (of -1 in i32).
struct Fenced {
    buffer: Buffer,
    len: usize,
}

impl Fenced {
    fn new(inner: &Buffer) -> Fenced {
        let mut buffer = Buffer::poison(inner.dtype(), inner.len() + 2 * MARGIN);
        (0..inner.len()).for_each(|i| buffer.set(MARGIN + i, inner.get(i)));
        Fenced {
            buffer,
            len: inner.len(),
        }
    }

    fn address(&mut self) -> *mut u8 {
        match &mut self.buffer {
            Buffer::F32(v) => v[MARGIN..].as_mut_ptr().cast(),
            Buffer::F64(v) => v[MARGIN..].as_mut_ptr().cast(),
            Buffer::I32(v) => v[MARGIN..].as_mut_ptr().cast(),
            Buffer::Bf16(v) => v[MARGIN..].as_mut_ptr().cast(),
        }
    }

    /// The bits of all elements, margins included.
    fn bits(&self) -> Vec<u64> {
        match &self.buffer {
            Buffer::F32(v) => v.iter().map(|x| x.to_bits() as u64).collect(),
            Buffer::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
            Buffer::I32(v) => v.iter().map(|x| *x as u32 as u64).collect(),
            Buffer::Bf16(v) => v.iter().map(|x| x.to_bits() as u64).collect(),
        }
    }

    fn margins_are_whole(&self) -> bool {
        let poison = u64::MAX >> (64 - 8 * self.buffer.dtype().bytes());
        let bits = self.bits();
        bits[..MARGIN]
            .iter()
            .chain(&bits[MARGIN + self.len..])
            .all(|b| *b == poison)
    }

    fn values(&self) -> Vec<f64> {
        (0..self.len).map(|i| self.buffer.get(MARGIN + i)).collect()
    }
}

/// Memory of at least `bytes`, full of NaN and aligned to 64 bytes.
struct Room(Vec<[u8; 64]>);

impl Room {
    fn new(bytes: &Dim, sizes: &Env) -> Room {
        Room(vec![[0xff; 64]; bytes.eval(sizes).unwrap() as usize / 64 + 2])
    }

    fn address(&mut self) -> *mut u8 {
        let p: *mut u8 = self.0.as_mut_ptr().cast();
        p.wrapping_add(p.align_offset(64))
    }
}

/// Runs a kernel with the items of each entry in `pieces`, the last first.
fn run_cpu(code: &Code, sample: &Sample, pieces: i64) -> Vec<Fenced> {
    let mut slots: Vec<Fenced> = operands(sample).iter().map(Fenced::new).collect();
    let table = slots.iter_mut().map(Fenced::address).collect();
    run_entries(code, sample, pieces, &|_| &table);
    slots
}

/// Runs a kernel whose entries find their operands where `tables` says.
fn run_entries<'a>(
    Code { map, info }: &Code,
    sample: &Sample,
    pieces: i64,
    tables: &dyn Fn(&Entry) -> &'a Vec<*mut u8>,
) {
    let sizes: Vec<i64> = sample.sizes.values().copied().collect();
    let mut workspace = Room::new(&info.workspace, &sample.sizes);
    for entry in &info.entries {
        let items = entry.items.eval(&sample.sizes).unwrap();
        for p in (0..pieces).rev() {
            let mut scratch = Room::new(&info.scratch, &sample.sizes);
            let (begin, end) = (items * p / pieces, items * (p + 1) / pieces);
            // SAFETY: the code is made for this machine and mapped executable; the entry has this signature; slots,
            // workspace and scratch are as large as the kernel asks, and the interpreter found no access outside.
            unsafe {
                let f: Function = std::mem::transmute(map.as_ptr().add(entry.code));
                f(
                    tables(entry).as_ptr(),
                    sizes.as_ptr(),
                    begin,
                    end,
                    workspace.address(),
                    scratch.address(),
                );
            }
        }
    }
}

/// Where an entry prepares an operand: as [`run_cpu`], but that entry sees nothing else, and the others do not see it.
fn run_cpu_apart(code: &Code, sample: &Sample) -> Option<Vec<Fenced>> {
    let prepared = code.info.entries.iter().find_map(|e| e.prepares)?;
    let mut slots: Vec<Fenced> = operands(sample).iter().map(Fenced::new).collect();
    let poison = |b: &Buffer| Fenced::new(&Buffer::poison(b.dtype(), b.len()));
    let mut poisoned: Vec<Fenced> = operands(sample).iter().map(poison).collect();
    let (mut rest, mut own): (Vec<_>, Vec<_>) = (
        slots.iter_mut().map(Fenced::address).collect(),
        poisoned.iter_mut().map(Fenced::address).collect(),
    );
    std::mem::swap(&mut rest[prepared], &mut own[prepared]);
    run_entries(code, sample, 1, &|e| if e.prepares.is_some() { &own } else { &rest });
    Some(slots)
}

/// A kernel compiled for this machine and mapped.
struct Code {
    map: memmap2::Mmap,
    info: KernelInfo,
}

impl Code {
    fn new(sample: &Sample) -> Result<Code, TestCaseError> {
        Code::for_target(sample, &Target::host().unwrap())
    }

    fn for_target(sample: &Sample, target: &Target) -> Result<Code, TestCaseError> {
        let symbols: Vec<Arc<str>> = sample.sizes.keys().cloned().collect();
        let compiled = compile(&[("sample".into(), sample.kernel.clone())], &symbols, target)
            .map_err(|e| TestCaseError::fail(format!("{e}\n{}", sample.kernel)))?;
        let mut map = memmap2::MmapMut::map_anon(compiled.code.len()).unwrap();
        map.copy_from_slice(&compiled.code);
        Ok(Code {
            map: map.make_exec().unwrap(),
            info: compiled.kernels[0].clone(),
        })
    }
}

/// The interpreter's results against those of the code.
fn compare(code: &Code, sample: &Sample) -> Result<(), TestCaseError> {
    let mut want = operands(sample);
    let places: Vec<Place> = (0..want.len()).map(|buffer| Place { buffer, offset: 0 }).collect();
    interp::run(&sample.kernel, &mut want, &places, &sample.sizes).unwrap();
    let whole = run_cpu(code, sample, 1);
    let pieces = run_cpu(code, sample, 3);
    let apart = run_cpu_apart(code, sample);

    for (slot, got) in whole.iter().enumerate() {
        let about = || format!("slot {slot} with {:?} of\n{}", sample.sizes, sample.kernel);
        prop_assert!(got.margins_are_whole(), "written beside {}", about());
        prop_assert!(got.bits() == pieces[slot].bits(), "other bits in pieces: {}", about());
        let same = apart.as_ref().is_none_or(|apart| got.bits() == apart[slot].bits());
        prop_assert!(same, "other bits where an operand is prepared apart: {}", about());
        let operand = &sample.operands[slot];
        for (i, (g, w)) in got.values().iter().zip(want[slot].to_f64()).enumerate() {
            prop_assert!(
                operand.agrees(i, *g, w),
                "element {i} is {g}, not {w} (within {:e}), in {}",
                operand.tolerance,
                about()
            );
        }
    }
    Ok(())
}

fn check(draw: fn(u32) -> Sample, seed: u32) -> Result<(), TestCaseError> {
    let sample = draw(seed);
    let code = Code::new(&sample)?;
    compare(&code, &sample)?;
    kernel_sample::with_nan(&sample, seed).map_or(Ok(()), |sample| compare(&code, &sample))
}

/// With operands in bf16, by the instructions that this processor has for it, and by converting.
fn check_narrowed(draw: fn(u32) -> Sample, seed: u32) -> Result<(), TestCaseError> {
    let sample = kernel_sample::narrowed(draw(seed), seed);
    if is_mixed(&sample) {
        return Ok(());
    }
    let host = Target::host().unwrap();
    for target in [host.only_for(true, false), host] {
        let code = Code::for_target(&sample, &target)?;
        compare(&code, &sample)?;
        kernel_sample::with_nan(&sample, seed).map_or(Ok(()), |sample| compare(&code, &sample))?;
    }
    Ok(())
}

/// A product in f32 with one operand in bf16: no pass makes one, and the backend says that it has no code for it.
fn is_mixed(sample: &Sample) -> bool {
    let Body::Contract(k) = &sample.kernel.body else {
        return false;
    };
    let [a, b] = [&k.a, &k.b].map(|operand| sample.kernel.slots[operand.slot].dtype);
    k.round == Rounding::F32 && a != b
}

/// Products whose right operand has a fixed size: packing it is an entry that does without all else.
#[test]
fn fixed_operands_are_prepared_apart() {
    let fixed = |sample: &Sample| {
        let Body::Contract(k) = &sample.kernel.body else {
            return false;
        };
        let sizes = [&k.n, &k.k_outer, &k.k, &k.b.base, &k.b.k_outer, &k.b.free, &k.b.k];
        sizes
            .into_iter()
            .chain(&k.batch)
            .chain(&k.b.batch)
            .all(|d| d.as_const().is_some())
    };
    let samples = (0..).map(kernel_sample::contract).filter(fixed).take(24);
    let mut apart = 0;
    for sample in samples {
        let code = Code::new(&sample).unwrap();
        compare(&code, &sample).unwrap();
        apart += code.info.entries.iter().filter(|e| e.prepares.is_some()).count();
    }
    // Some epilogues read the operand too.
    assert!(apart > 12, "{apart} of 24");
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 64,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn row(seed: u32) {
        check(kernel_sample::row, seed)?;
    }

    #[test]
    fn column(seed: u32) {
        check(kernel_sample::column, seed)?;
    }

    #[test]
    fn scatter(seed: u32) {
        check(kernel_sample::scatter, seed)?;
    }
}

// These take a tenth of a second and more to compile.
proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn contract(seed: u32) {
        check(kernel_sample::contract, seed)?;
    }

    #[test]
    fn contract_bytes(seed: u32) {
        check(kernel_sample::contract_bytes, seed)?;
    }

    #[test]
    fn attention(seed: u32) {
        check(kernel_sample::attention, seed)?;
    }

    #[test]
    fn attention_grad(seed: u32) {
        check(kernel_sample::attention_grad, seed)?;
    }

    #[test]
    fn ctc(seed: u32) {
        check(kernel_sample::ctc, seed)?;
    }

    #[test]
    fn narrowed_contract(seed: u32) {
        check_narrowed(kernel_sample::contract, seed)?;
    }

    #[test]
    fn narrowed_attention(seed: u32) {
        check_narrowed(kernel_sample::attention, seed)?;
    }

    #[test]
    fn narrowed_attention_grad(seed: u32) {
        check_narrowed(kernel_sample::attention_grad, seed)?;
    }

    #[test]
    fn narrowed_maps(seed: u32) {
        let draw = [kernel_sample::row, kernel_sample::column, kernel_sample::scatter][seed as usize % 3];
        check_narrowed(draw, seed)?;
    }
}
