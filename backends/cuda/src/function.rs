//! One GPU function being written: its operands, sizes, shared memory and place in the grid.

use crate::Error;
use crate::builder::{Builder, Ty, V};
use ir::artifact::Grid;
use ir::dim::Dim;
use ir::kernel::{Slot, SlotDecl};
use melior::Context;
use melior::ir::attribute::TypeAttribute;
use melior::ir::operation::OperationBuilder;
use melior::ir::r#type::FunctionType;
use melior::ir::{BlockLike, Identifier, Operation, Region, RegionLike, Type};
use std::cell::{Cell, RefCell};
use std::ops::Deref;

/// Name of the dynamic shared memory of every module.
pub const SHARED: &str = "smem";

/// Most bytes of shared memory of a block: what GPUs of compute capability 8.0 have. Those of 8.6 and 8.9 have 99 KiB; the
/// runtime looks before it starts.
pub const SHARED_LIMIT: u32 = 163 * 1024;

/// What a kernel is compiled with.
#[derive(Clone, Copy)]
pub struct Unit<'k> {
    /// For function names.
    pub symbol: &'k str,
    pub slots: &'k [SlotDecl],
    /// Bytes that every address a slot is ever bound to is a multiple of.
    pub alignment: &'k [u32],
}

/// A function under construction: a [`Builder`] with operands.
pub struct Function<'k, 'c> {
    b: Builder<'c>,
    pub slots: &'k [SlotDecl],
    alignment: &'k [u32],
    name: String,
    threads: u32,
    addresses: Vec<V<'c>>,
    pub workspace: V<'c>,
    sizes: RefCell<Vec<(Dim, V<'c>)>>,
    shared: Cell<u32>,
    schedule: RefCell<String>,
    shared_base: V<'c>,
    pub(crate) random_keys: RefCell<Vec<SiteKeys<'c>>>,
}

/// The slot of a seed, a site, and the keys of the two.
type SiteKeys<'c> = ((Slot, u32), [V<'c>; 2]);

impl<'c> Deref for Function<'_, 'c> {
    type Target = Builder<'c>;
    fn deref(&self) -> &Builder<'c> {
        &self.b
    }
}

impl<'k, 'c> Function<'k, 'c> {
    /// Starts the `n`-th function of a kernel, with blocks of `threads` threads.
    pub fn new(context: &'c Context, unit: &Unit<'k>, n: usize, threads: u32) -> Function<'k, 'c> {
        let b = Builder::new(context);
        let addresses = unit.slots.iter().map(|_| b.parameter(Ty::Global)).collect();
        let workspace = b.parameter(Ty::Global);
        let shared_base = b.op_with(
            "llvm.mlir.addressof",
            &[],
            Ty::Shared,
            &[("global_name", &format!("@{SHARED}"))],
        );
        Function {
            b,
            slots: unit.slots,
            alignment: unit.alignment,
            name: format!("{}_{n}", unit.symbol),
            threads,
            addresses,
            workspace,
            sizes: RefCell::default(),
            shared: Cell::new(0),
            schedule: RefCell::default(),
            shared_base,
            random_keys: RefCell::default(),
        }
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Says how the work is cut into blocks, for `explain`.
    pub fn scheduled(&self, text: impl ToString) {
        self.schedule.replace(text.to_string());
    }

    /// The value of a dim, i64. Those that are not constant are parameters, worked out before the launch.
    pub fn dim(&self, d: &Dim) -> V<'c> {
        if let Some(n) = d.as_const() {
            return self.i64(n);
        }
        let known = self.sizes.borrow().iter().find(|(k, _)| k == d).map(|(_, v)| *v);
        known.unwrap_or_else(|| {
            let v = self.parameter(Ty::I64);
            self.sizes.borrow_mut().push((d.clone(), v));
            v
        })
    }

    /// The same as i32.
    pub fn dim32(&self, d: &Dim) -> V<'c> {
        match d.as_const() {
            Some(n) => self.i32(n as i32),
            None => self.resize(self.dim(d), Ty::I32),
        }
    }

    /// Address of element 0 of a slot.
    pub fn slot(&self, slot: Slot) -> V<'c> {
        self.addresses[slot]
    }

    /// Bytes that the slot's address is a multiple of.
    pub fn alignment(&self, slot: Slot) -> u32 {
        self.alignment[slot]
    }

    /// `bytes` more of dynamic shared memory, at a multiple of `align` from the start (at most 128).
    pub fn shared(&self, bytes: u32, align: u32) -> V<'c> {
        let at = self.shared.get().next_multiple_of(align);
        self.shared.set(at + bytes);
        self.offset(self.shared_base, Ty::I8, self.i64(at as i64))
    }

    /// The coordinates (i64) of a row-major position in a space.
    pub fn unravel(&self, at: V<'c>, extents: &[Dim]) -> Vec<V<'c>> {
        let mut rest = at;
        let mut out: Vec<V> = (extents.iter().enumerate().rev())
            .map(|(i, extent)| {
                let own = rest;
                if i == 0 {
                    return own;
                }
                let extent = self.dim(extent);
                rest = self.udiv(own, extent);
                self.urem(own, extent)
            })
            .collect();
        out.reverse();
        out
    }

    /// Closes the function; it is launched with this many blocks.
    pub fn finish(self, blocks: [Dim; 3]) -> Result<Finished<'c>, Error> {
        self.b.effect("gpu.return", &[], &[]);
        let shared = self.shared.get();
        if shared > SHARED_LIMIT {
            return Err(Error::Invalid(format!(
                "{shared} bytes of shared memory are more than the {SHARED_LIMIT} there are"
            )));
        }
        let (context, location, threads, name) = (self.b.context, self.b.location, self.threads, self.name);
        let block = self.b.finish();
        let arguments: Vec<Type> = (0..block.argument_count())
            .map(|i| melior::ir::ValueLike::r#type(&block.argument(i).expect("counted")))
            .collect();
        let ty: Type = FunctionType::new(context, &arguments, &[]).into();
        let body = Region::new();
        body.append_block(block);
        let id = |s: &str| Identifier::new(context, s);
        let attribute = |s: &str| melior::ir::Attribute::parse(context, s).expect("written here");
        let operation = OperationBuilder::new("gpu.func", location)
            .add_attributes(&[
                (id("function_type"), TypeAttribute::new(ty).into()),
                (
                    id("sym_name"),
                    melior::ir::attribute::StringAttribute::new(context, &name).into(),
                ),
                (id("gpu.kernel"), attribute("unit")),
                (id("nvvm.reqntid"), attribute(&format!("array<i32: {threads}, 1, 1>"))),
            ])
            .add_regions([body])
            .build()
            .map_err(|e| Error::Mlir(e.to_string()))?;
        let grid = Grid {
            function: name,
            blocks,
            threads,
            shared,
            sizes: self.sizes.into_inner().into_iter().map(|(d, _)| d).collect(),
            schedule: self.schedule.into_inner(),
        };
        Ok(Finished { operation, grid })
    }
}

/// A whole function with what the runtime has to know to launch it.
pub struct Finished<'c> {
    pub operation: Operation<'c>,
    pub grid: Grid,
}

/// Whether every value of a dim is a multiple of `n`: all its coefficients are.
pub fn divisible(d: &Dim, n: i64) -> bool {
    d.terms().all(|(c, _)| c % n == 0)
}

/// ceil(d / n).
pub fn blocks_of(d: &Dim, n: i64) -> Dim {
    (d.clone() + Dim::from(n - 1)).floor_div(n)
}
