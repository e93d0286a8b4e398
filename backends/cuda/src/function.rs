//! One GPU function being written: its operands, sizes, shared memory and place in the grid.

use crate::Error;
use crate::builder::{Builder, Ty, V};
use crate::module::Family;
use ir::artifact::Grid;
use ir::dim::Dim;
use ir::kernel::{Slot, SlotDecl};
use ir::tensor_map::TensorMap;
use melior::Context;
use melior::ir::attribute::TypeAttribute;
use melior::ir::operation::OperationBuilder;
use melior::ir::r#type::FunctionType;
use melior::ir::{BlockLike, Identifier, Location, Operation, Region, RegionLike, Type};
use std::cell::{Cell, RefCell};
use std::ops::Deref;

/// Name of the dynamic shared memory of every module.
pub const SHARED: &str = "smem";

/// Most bytes of shared memory of a block: what GPUs of compute capability 8.0 have. Those of 8.6 and 8.9 have 99 KiB; the
/// runtime looks before it starts.
pub const SHARED_LIMIT: u32 = 163 * 1024;
/// The same of compute capability 9.0.
const HOPPER_LIMIT: u32 = 227 * 1024;

/// What a kernel is compiled with.
#[derive(Clone, Copy)]
pub struct Unit<'k> {
    /// For function names.
    pub symbol: &'k str,
    pub slots: &'k [SlotDecl],
    /// Bytes that every address a slot is ever bound to is a multiple of.
    pub alignment: &'k [u32],
    pub family: Family,
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
    maps: RefCell<Vec<TensorMap>>,
    /// Threads of a block beside those that [`Function::threads`] counts.
    helpers: Cell<u32>,
    /// Blocks that a processor is to hold at a time, where that bounds the registers of a thread.
    resident: Cell<Option<u32>>,
    limit: u32,
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
        let addresses = unit.slots.iter().map(|_| b.parameter(Ty::Global, 0)).collect();
        let workspace = b.parameter(Ty::Global, 0);
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
            maps: RefCell::default(),
            helpers: Cell::new(0),
            resident: Cell::new(None),
            limit: match unit.family {
                Family::Ampere => SHARED_LIMIT,
                Family::Hopper => HOPPER_LIMIT,
            },
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

    /// Gives blocks more threads, which are numbered after the others and do not count as theirs. A processor is to hold
    /// `resident` blocks at a time.
    pub fn with_helpers(&self, threads: u32, resident: u32) {
        self.helpers.set(threads);
        self.resident.set(Some(resident));
    }

    /// The address of a tensor map.
    pub fn map(&self, map: TensorMap) -> V<'c> {
        self.maps.borrow_mut().push(map);
        self.parameter(Ty::Generic, 0)
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
            // Maps come last.
            let v = self.parameter(Ty::I64, self.maps.borrow().len());
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

    /// `bytes` more of dynamic shared memory, at a multiple of `align` from the start (at most 128, with maps 1024).
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
        let (shared, limit) = (self.shared.get(), self.limit);
        if shared > limit {
            return Err(Error::Invalid(format!(
                "{shared} bytes of shared memory are more than the {limit} there are"
            )));
        }
        let threads = self.threads + self.helpers.get();
        let (maps, resident) = (self.maps.take(), self.resident.get());
        let operation = if maps.is_empty() {
            self.b.effect("gpu.return", &[], &[]);
            gpu_function(self.b, &self.name, threads)
        } else {
            self.b.effect("llvm.return", &[], &[]);
            mapped_function(self.b, &self.name, (threads, resident), maps.len())
        }?;
        let grid = Grid {
            function: self.name,
            blocks,
            threads,
            shared,
            sizes: self.sizes.into_inner().into_iter().map(|(d, _)| d).collect(),
            maps,
            schedule: self.schedule.into_inner(),
        };
        Ok(Finished { operation, grid })
    }
}

/// A body with the types of its parameters.
fn body(b: Builder<'_>) -> (Region<'_>, Vec<Type<'_>>) {
    let block = b.finish();
    let arguments = (0..block.argument_count())
        .map(|i| melior::ir::ValueLike::r#type(&block.argument(i).expect("counted")))
        .collect();
    let body = Region::new();
    body.append_block(block);
    (body, arguments)
}

fn gpu_function<'c>(b: Builder<'c>, name: &str, threads: u32) -> Result<Operation<'c>, Error> {
    let (context, location) = (b.context, b.location);
    let (body, arguments) = body(b);
    let ty: Type = FunctionType::new(context, &arguments, &[]).into();
    function_operation(
        context,
        ("gpu.func", location),
        (name, ty),
        body,
        &[
            ("gpu.kernel", "unit".into()),
            ("nvvm.reqntid", format!("array<i32: {threads}, 1, 1>")),
        ],
    )
}

/// A function whose last parameters are tensor maps. In the dialect gpu it could not have such.
fn mapped_function<'c>(
    b: Builder<'c>,
    name: &str,
    (threads, resident): (u32, Option<u32>),
    maps: usize,
) -> Result<Operation<'c>, Error> {
    let (context, location) = (b.context, b.location);
    let (body, arguments) = body(b);
    let texts: Vec<String> = arguments.iter().map(|t| t.to_string()).collect();
    let ty = format!("!llvm.func<void ({})>", texts.join(", "));
    let ty = Type::parse(context, &ty).ok_or_else(|| Error::Mlir(format!("`{ty}` is no type")))?;
    let numbers = arguments.len() - maps;
    let map = "{llvm.byval = !llvm.array<128 x i8>, llvm.align = 64 : i64, nvvm.grid_constant}";
    let attributes: Vec<&str> = (0..arguments.len())
        .map(|i| if i < numbers { "{}" } else { map })
        .collect();
    let mut attributes = vec![
        ("arg_attrs", format!("[{}]", attributes.join(", "))),
        ("linkage", "#llvm.linkage<external>".into()),
        ("nvvm.kernel", "unit".into()),
        ("nvvm.reqntid", format!("array<i32: {threads}, 1, 1>")),
    ];
    attributes.extend(resident.map(|n| ("nvvm.minctasm", format!("{n} : i32"))));
    function_operation(context, ("llvm.func", location), (name, ty), body, &attributes)
}

fn function_operation<'c>(
    context: &'c Context,
    (kind, location): (&str, Location<'c>),
    (name, ty): (&str, Type<'c>),
    body: Region<'c>,
    attributes: &[(&str, String)],
) -> Result<Operation<'c>, Error> {
    let id = |s: &str| Identifier::new(context, s);
    let parsed = |s: &str| melior::ir::Attribute::parse(context, s).expect("written here");
    let mut all = vec![
        (id("function_type"), TypeAttribute::new(ty).into()),
        (
            id("sym_name"),
            melior::ir::attribute::StringAttribute::new(context, name).into(),
        ),
    ];
    all.extend(attributes.iter().map(|(n, text)| (id(n), parsed(text))));
    OperationBuilder::new(kind, location)
        .add_attributes(&all)
        .add_regions([body])
        .build()
        .map_err(|e| Error::Mlir(e.to_string()))
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
