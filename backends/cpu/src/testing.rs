//! What tests of generated code share: mapping an image and running kernels on slots.

use crate::{Compiled, Target, compile};
use ir::dim::{Dim, Env};
use ir::kernel::Kernel;
use std::sync::Arc;

type Function = unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64, *mut u8, *mut u8);

/// Contents of a slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
}

impl Data {
    fn address(&mut self, offset: usize) -> *mut u8 {
        match self {
            Data::F32(v) => v[offset..].as_mut_ptr().cast(),
            Data::F64(v) => v[offset..].as_mut_ptr().cast(),
            Data::I32(v) => v[offset..].as_mut_ptr().cast(),
        }
    }
    pub fn f32(&self) -> &[f32] {
        if let Data::F32(v) = self {
            v
        } else {
            panic!("not f32: {self:?}")
        }
    }
    pub fn f64(&self) -> &[f64] {
        if let Data::F64(v) = self {
            v
        } else {
            panic!("not f64: {self:?}")
        }
    }
    pub fn i32(&self) -> &[i32] {
        if let Data::I32(v) = self {
            v
        } else {
            panic!("not i32: {self:?}")
        }
    }
}

/// One compiled kernel, mapped.
pub struct Program {
    compiled: Compiled,
    map: memmap2::Mmap,
    symbols: Vec<Arc<str>>,
}

pub fn d(s: &str) -> Dim {
    s.parse().unwrap_or_else(|e| panic!("{e}"))
}

impl Program {
    /// Compiles for this machine; `sizes` may use the given symbols and `layer`.
    pub fn new(kernel: &Kernel, symbols: &[&str]) -> Program {
        Program::for_vectors(kernel, symbols, None)
    }

    /// [`Program::new`] with vectors of so many bits, which the processor need not have: LLVM then divides them.
    pub fn for_vectors(kernel: &Kernel, symbols: &[&str], vector_bits: Option<u32>) -> Program {
        let host = Target::host().unwrap_or_else(|e| panic!("{e}"));
        let target = Target {
            vector_bits: vector_bits.unwrap_or(host.vector_bits),
            ..host
        };
        Program::for_target(kernel, symbols, &target)
    }

    pub fn for_target(kernel: &Kernel, symbols: &[&str], target: &Target) -> Program {
        let layer = (!symbols.contains(&"layer")).then_some("layer");
        let symbols: Vec<Arc<str>> = symbols.iter().copied().chain(layer).map(Arc::from).collect();
        let compiled = compile(&[("test".into(), kernel.clone())], &symbols, target).unwrap_or_else(|e| panic!("{e}"));
        let mut map = memmap2::MmapMut::map_anon(compiled.code.len()).expect("memory for the image");
        map.copy_from_slice(&compiled.code);
        Program {
            map: map.make_exec().expect("executable memory"),
            compiled,
            symbols,
        }
    }

    /// Runs the kernel with the items of every entry cut into `pieces`.
    pub fn run(&self, slots: &mut [Data], sizes: &[i64], pieces: i64) {
        self.run_at(slots, 0, sizes, pieces);
    }

    /// [`Program::run`] on slots that begin `offset` elements into their data.
    pub fn run_at(&self, slots: &mut [Data], offset: usize, sizes: &[i64], pieces: i64) {
        let mut sizes = sizes.to_vec();
        sizes.resize(self.symbols.len(), 3); // `layer`
        let env: Env = self.symbols.iter().cloned().zip(sizes.iter().copied()).collect();
        let info = &self.compiled.kernels[0];
        let bytes = |d: &Dim| vec![[0x7fu8; 64]; d.eval(&env).expect("known sizes") as usize / 64 + 2];
        let (mut workspace, mut scratch) = (bytes(&info.workspace), bytes(&info.scratch));
        let aligned = |v: &mut Vec<[u8; 64]>| {
            let p: *mut u8 = v.as_mut_ptr().cast();
            p.wrapping_add(p.align_offset(64))
        };
        let (workspace, scratch) = (aligned(&mut workspace), aligned(&mut scratch));
        let table: Vec<*mut u8> = slots.iter_mut().map(|s| s.address(offset)).collect();
        for entry in &info.entries {
            let items = entry.items.eval(&env).expect("known sizes");
            for p in 0..pieces {
                let (begin, end) = (items * p / pieces, items * (p + 1) / pieces);
                // SAFETY: the image was made for this processor, the function has this signature, and the test gives
                // slots, sizes, workspace and scratch as large as the kernel says.
                unsafe {
                    let f: Function = std::mem::transmute(self.map.as_ptr().add(entry.code));
                    f(table.as_ptr(), sizes.as_ptr(), begin, end, workspace, scratch);
                }
            }
        }
    }
}

/// Writes kernels tersely.
#[derive(Default)]
pub struct Body {
    pub values: Vec<ir::kernel::Value>,
}

use ir::kernel::{Access, Coord, Index, SlotDecl, Store, ValId, Value};
use ir::scalar::{Binary, DType, Unary};

impl Body {
    pub fn push(&mut self, v: Value) -> ValId {
        self.values.push(v);
        self.values.len() - 1
    }
    pub fn load(&mut self, slot: usize, index: Index) -> ValId {
        self.push(Value::Load {
            slot,
            index,
            guard: None,
        })
    }
    pub fn constant(&mut self, v: f64) -> ValId {
        self.push(Value::constant(DType::F32, v))
    }
    pub fn unary(&mut self, f: Unary, x: ValId) -> ValId {
        self.push(Value::Unary(f, x))
    }
    pub fn binary(&mut self, f: Binary, x: ValId, y: ValId) -> ValId {
        self.push(Value::Binary(f, x, y))
    }
}

/// An index over axes, one stride per axis.
pub fn strides(base: &str, strides: &[&str]) -> Index {
    Index {
        base: d(base),
        terms: strides
            .iter()
            .enumerate()
            .map(|(a, s)| (d(s), Coord::Axis(a)))
            .collect(),
    }
}

pub fn store(slot: usize, index: Index, value: ValId) -> Store {
    Store {
        slot,
        index,
        value,
        accumulate: false,
    }
}

/// Slots of these types that are read, then slots that are updated.
pub fn slots(read: &[DType], update: &[DType]) -> Vec<SlotDecl> {
    let decl = |access| move |dtype: &DType| SlotDecl { dtype: *dtype, access };
    read.iter()
        .map(decl(Access::Read))
        .chain(update.iter().map(decl(Access::Update)))
        .collect()
}

/// Reproducible numbers in [-1, 1).
pub fn noise(n: usize, seed: u32) -> Vec<f32> {
    (0..n)
        .map(|i| ir::rng::uniform([seed, 17], i as u32) * 2.0 - 1.0)
        .collect()
}
