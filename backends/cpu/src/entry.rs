//! One entry function being written: its operands and sizes.

use crate::{Error, Target};
use inkwell::attributes::AttributeLoc;
use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::types::BasicTypeEnum;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue, PointerValue};
use inkwell::{AddressSpace, IntPredicate};
use ir::dim::{Atom, Dim};
use ir::kernel::SlotDecl;
use ir::scalar::DType;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// A scalar or a vector.
pub type V<'c> = BasicValueEnum<'c>;

/// Why builder calls cannot fail: they only report an unset position or operands of different types, and every helper
/// below brings its operands to one type.
pub const BUILT: &str = "the builder is positioned and operand types agree";

/// What all functions of one LLVM module share.
pub struct Unit<'c> {
    pub ctx: &'c Context,
    pub module: Module<'c>,
    pub target: &'c Target,
    pub symbols: &'c [Arc<str>],
    /// The first size met that is not among `symbols`.
    pub unknown_size: RefCell<Option<String>>,
}

/// Functions and needs of one compiled kernel.
#[derive(Debug, Default)]
pub struct Emitted {
    /// Function names with their counts of items, in the order in which they run.
    pub entries: Vec<(String, Dim)>,
    /// The entry that is first and [prepares](ir::artifact::Entry::prepares) a slot, where there is one: the slot.
    pub prepares: Option<usize>,
    /// Bytes shared by all threads of a launch.
    pub workspace: Dim,
    /// Bytes of one thread.
    pub scratch: Dim,
    /// Floating-point operations that the kernel asks for and the code does without.
    pub saved: Dim,
}

/// A function under construction. Sizes and slot addresses are computed in a head block, which dominates everything.
pub struct Entry<'u, 'c> {
    pub unit: &'u Unit<'c>,
    pub ctx: &'c Context,
    pub b: Builder<'c>,
    head: Builder<'c>,
    head_block: BasicBlock<'c>,
    body_block: BasicBlock<'c>,
    pub function: FunctionValue<'c>,
    /// f32 lanes of a vector.
    pub lanes: u32,
    pub slots: Vec<SlotDecl>,
    addresses: Vec<PointerValue<'c>>,
    /// Items of work to do: `begin..end`, i64.
    pub begin: IntValue<'c>,
    pub end: IntValue<'c>,
    pub workspace: PointerValue<'c>,
    pub scratch: PointerValue<'c>,
    dims: RefCell<HashMap<Dim, IntValue<'c>>>,
    pub(crate) random_keys: RefCell<HashMap<(usize, u32), [IntValue<'c>; 2]>>,
    zero: RefCell<Option<PointerValue<'c>>>,
}

impl<'c> Unit<'c> {
    /// Starts an entry function of a kernel with these slots.
    pub fn entry(&self, name: &str, slots: &[SlotDecl]) -> Entry<'_, 'c> {
        let ctx = self.ctx;
        let (ptr, i64t) = (ctx.ptr_type(AddressSpace::default()), ctx.i64_type());
        let ty = ctx.void_type().fn_type(
            &[ptr.into(), ptr.into(), i64t.into(), i64t.into(), ptr.into(), ptr.into()],
            false,
        );
        let function = self.module.add_function(name, ty, Some(Linkage::External));
        let width = self.target.vector_bits.to_string();
        for (key, value) in [
            ("target-cpu", self.target.cpu.as_str()),
            ("target-features", self.target.features.as_str()),
            ("prefer-vector-width", width.as_str()),
            ("min-legal-vector-width", width.as_str()),
            // Nothing may become a call of memset or memcpy: the image has no library.
            ("no-builtins", ""),
        ] {
            function.add_attribute(AttributeLoc::Function, ctx.create_string_attribute(key, value));
        }
        let nounwind = inkwell::attributes::Attribute::get_named_enum_kind_id("nounwind");
        function.add_attribute(AttributeLoc::Function, ctx.create_enum_attribute(nounwind, 0));
        let head_block = ctx.append_basic_block(function, "head");
        let body_block = ctx.append_basic_block(function, "body");
        let (head, b) = (ctx.create_builder(), ctx.create_builder());
        head.position_at_end(head_block);
        b.position_at_end(body_block);
        let param = |i| function.get_nth_param(i).expect("the signature has six parameters");
        let table = param(0).into_pointer_value();
        let mut e = Entry {
            unit: self,
            ctx,
            b,
            head,
            head_block,
            body_block,
            function,
            lanes: self.target.step_lanes(),
            slots: slots.to_vec(),
            addresses: vec![],
            begin: param(2).into_int_value(),
            end: param(3).into_int_value(),
            workspace: param(4).into_pointer_value(),
            scratch: param(5).into_pointer_value(),
            dims: RefCell::default(),
            random_keys: RefCell::default(),
            zero: RefCell::default(),
        };
        e.addresses = (0..slots.len())
            .map(|i| {
                let at = e.gep(&e.head, ptr.into(), table, i64t.const_int(i as u64, false));
                e.head.build_load(ptr, at, "slot").expect(BUILT).into_pointer_value()
            })
            .collect();
        e
    }

    /// Declares an intrinsic overloaded on `types`.
    pub fn intrinsic(&self, name: &str, types: &[BasicTypeEnum<'c>]) -> FunctionValue<'c> {
        inkwell::intrinsics::Intrinsic::find(name)
            .and_then(|i| i.get_declaration(&self.module, types))
            .unwrap_or_else(|| panic!("LLVM 22 has the intrinsic {name}"))
    }
}

impl<'u, 'c> Entry<'u, 'c> {
    /// The value of a dim, i64, computed once at function entry.
    pub fn dim(&self, d: &Dim) -> IntValue<'c> {
        if let Some(v) = self.dims.borrow().get(d) {
            return *v;
        }
        let i64t = self.ctx.i64_type();
        let mut total = i64t.const_zero();
        for (c, factors) in d.terms() {
            let mut v = i64t.const_int(c as u64, true);
            for a in factors {
                let f = match a {
                    Atom::Sym(s) => self.symbol(s),
                    Atom::Div(n, by) => {
                        let n = self.dim(n);
                        self.floor_div_head(n, *by)
                    }
                };
                v = self.head.build_int_mul(v, f, "").expect(BUILT);
            }
            total = self.head.build_int_add(total, v, "").expect(BUILT);
        }
        self.dims.borrow_mut().insert(d.clone(), total);
        total
    }

    fn floor_div_head(&self, n: IntValue<'c>, by: i64) -> IntValue<'c> {
        let i64t = self.ctx.i64_type();
        let by = i64t.const_int(by as u64, true);
        let q = self.head.build_int_signed_div(n, by, "").expect(BUILT);
        let r = self.head.build_int_signed_rem(n, by, "").expect(BUILT);
        let below = self
            .head
            .build_int_compare(IntPredicate::SLT, r, i64t.const_zero(), "")
            .expect(BUILT);
        let one = self.head.build_int_s_extend(below, i64t, "").expect(BUILT);
        self.head.build_int_add(q, one, "").expect(BUILT)
    }

    /// The run-time value of a size, i64.
    pub fn symbol(&self, name: &str) -> IntValue<'c> {
        let i64t = self.ctx.i64_type();
        let Some(at) = self.unit.symbols.iter().position(|s| s.as_ref() == name) else {
            self.unit
                .unknown_size
                .borrow_mut()
                .get_or_insert_with(|| name.to_string());
            return i64t.const_zero();
        };
        let key = Dim::sym(name);
        if let Some(v) = self.dims.borrow().get(&key) {
            return *v;
        }
        let sizes = self
            .function
            .get_nth_param(1)
            .expect("the signature has six parameters")
            .into_pointer_value();
        let at = self.gep(&self.head, i64t.into(), sizes, i64t.const_int(at as u64, false));
        let v = self.head.build_load(i64t, at, name).expect(BUILT).into_int_value();
        self.dims.borrow_mut().insert(key, v);
        v
    }

    /// Runs `f` with the builder in the head block: for work done once per call.
    pub fn in_head<T>(&self, f: impl FnOnce() -> T) -> T {
        let here = self.b.get_insert_block().expect("the builder is positioned");
        self.b.position_at_end(self.head_block);
        let out = f();
        self.b.position_at_end(here);
        out
    }

    /// Address of element 0 of a slot.
    pub fn slot(&self, slot: usize) -> PointerValue<'c> {
        self.addresses[slot]
    }

    /// Address of element `index` (i64) of an array of `dtype` at `base`.
    pub fn at(&self, dtype: DType, base: PointerValue<'c>, index: IntValue<'c>) -> PointerValue<'c> {
        self.gep(&self.b, self.ty(dtype), base, index)
    }

    /// Address `bytes` (i64) after `base`.
    pub fn byte_at(&self, base: PointerValue<'c>, bytes: IntValue<'c>) -> PointerValue<'c> {
        self.gep(&self.b, self.ctx.i8_type().into(), base, bytes)
    }

    fn gep(
        &self,
        b: &Builder<'c>,
        ty: BasicTypeEnum<'c>,
        base: PointerValue<'c>,
        index: IntValue<'c>,
    ) -> PointerValue<'c> {
        // SAFETY: one i64 index into an array of a sized type is a well-formed instruction. Nothing is executed here.
        unsafe { b.build_gep(ty, base, &[index], "") }.expect(BUILT)
    }

    /// Eight zero bytes on the stack: where loads that must not happen read from.
    pub fn zero_cell(&self) -> PointerValue<'c> {
        *self.zero.borrow_mut().get_or_insert_with(|| {
            let i64t = self.ctx.i64_type();
            let cell = self.head.build_alloca(i64t, "zero").expect(BUILT);
            self.head.build_store(cell, i64t.const_zero()).expect(BUILT);
            cell
        })
    }

    /// Ends the function.
    pub fn finish(self) {
        self.b.build_return(None).expect(BUILT);
        self.head.build_unconditional_branch(self.body_block).expect(BUILT);
    }
}

/// The error for what a kernel of this name has no code for.
pub fn unsupported<T>(kernel: &str, what: impl Into<String>) -> Result<T, Error> {
    Err(Error::Unsupported {
        kernel: kernel.into(),
        what: what.into(),
    })
}
