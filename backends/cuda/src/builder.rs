//! MLIR under construction: typed values, operations by name, structured control flow.

use melior::Context;
use melior::ir::attribute::StringAttribute;
use melior::ir::operation::OperationBuilder;
use melior::ir::{Attribute, Block, BlockLike, Identifier, Location, Region, RegionLike, Type, Value, ValueLike};
use std::cell::RefCell;

/// The types that kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    I1,
    I8,
    I16,
    I32,
    I64,
    Bf16,
    F32,
    F64,
    /// An address in global memory.
    Global,
    /// An address in shared memory.
    Shared,
    /// An address anywhere: that of a parameter which is no number.
    Generic,
    /// Numbers of one of the types above.
    Vector(Scalar, u32),
    /// `n` values of one type, as intrinsics return them.
    Struct(Scalar, u32),
}

/// What vectors and structs hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    I32,
    Bf16,
    F32,
    F64,
}

impl Scalar {
    pub fn ty(self) -> Ty {
        match self {
            Scalar::I32 => Ty::I32,
            Scalar::Bf16 => Ty::Bf16,
            Scalar::F32 => Ty::F32,
            Scalar::F64 => Ty::F64,
        }
    }
}

impl Ty {
    pub fn is_float(self) -> bool {
        match self {
            Ty::F32 | Ty::F64 | Ty::Bf16 => true,
            Ty::Vector(s, _) | Ty::Struct(s, _) => s.ty().is_float(),
            _ => false,
        }
    }
    /// # Panics
    /// For addresses, structs and truth values, which are never stored.
    pub fn bytes(self) -> u32 {
        match self {
            Ty::I8 => 1,
            Ty::I16 | Ty::Bf16 => 2,
            Ty::I32 | Ty::F32 => 4,
            Ty::I64 | Ty::F64 => 8,
            Ty::Vector(s, n) => s.ty().bytes() * n,
            Ty::I1 | Ty::Global | Ty::Shared | Ty::Generic | Ty::Struct(..) => panic!("{self:?} has no size in memory"),
        }
    }
    /// The scalar that vectors of this type hold.
    pub fn scalar(self) -> Scalar {
        match self {
            Ty::I32 => Scalar::I32,
            Ty::Bf16 => Scalar::Bf16,
            Ty::F32 => Scalar::F32,
            Ty::F64 => Scalar::F64,
            Ty::Vector(s, _) | Ty::Struct(s, _) => s,
            _ => panic!("there are no vectors of {self:?}"),
        }
    }
    fn text(self) -> String {
        match self {
            Ty::I1 => "i1".into(),
            Ty::I8 => "i8".into(),
            Ty::I16 => "i16".into(),
            Ty::I32 => "i32".into(),
            Ty::I64 => "i64".into(),
            Ty::Bf16 => "bf16".into(),
            Ty::F32 => "f32".into(),
            Ty::F64 => "f64".into(),
            Ty::Global => "!llvm.ptr<1>".into(),
            Ty::Shared => "!llvm.ptr<3>".into(),
            Ty::Generic => "!llvm.ptr".into(),
            Ty::Vector(s, n) => format!("vector<{n}x{}>", s.ty().text()),
            Ty::Struct(s, n) => format!("!llvm.struct<({})>", vec![s.ty().text(); n as usize].join(", ")),
        }
    }
}

/// A value of the function under construction.
#[derive(Clone, Copy)]
pub struct V<'c> {
    value: Value<'c, 'c>,
    pub ty: Ty,
}

impl std::fmt::Debug for V<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:?}", self.ty)
    }
}

/// Appends operations to the innermost open block.
pub struct Builder<'c> {
    pub context: &'c Context,
    pub location: Location<'c>,
    blocks: RefCell<Vec<Block<'c>>>,
}

impl<'c> Builder<'c> {
    /// A builder whose outermost block is the body of a function.
    pub fn new(context: &'c Context) -> Builder<'c> {
        Builder {
            context,
            location: Location::unknown(context),
            blocks: RefCell::new(vec![Block::new(&[])]),
        }
    }

    /// The outermost block, once nothing is to be added.
    pub fn finish(self) -> Block<'c> {
        let mut blocks = self.blocks.into_inner();
        assert_eq!(
            blocks.len(),
            1,
            "every nested block is closed by the method that opened it"
        );
        blocks.remove(0)
    }

    pub fn ty(&self, ty: Ty) -> Type<'c> {
        Type::parse(self.context, &ty.text()).unwrap_or_else(|| panic!("MLIR knows the type {}", ty.text()))
    }

    /// # Panics
    /// If the text is no attribute: attributes come from code, never from a user.
    pub fn attribute(&self, text: &str) -> Attribute<'c> {
        Attribute::parse(self.context, text).unwrap_or_else(|| panic!("`{text}` is an attribute"))
    }

    pub fn string(&self, text: &str) -> Attribute<'c> {
        StringAttribute::new(self.context, text).into()
    }

    fn wrap(value: Value<'c, '_>, ty: Ty) -> V<'c> {
        // SAFETY: operations and block arguments live in blocks that the builder, then the module, owns; no `V` is used
        // after either, and nothing is erased while building.
        let value = unsafe { Value::from_raw(value.to_raw()) };
        V { value, ty }
    }

    /// A parameter of the function, in front of the `before` last of those there are.
    pub fn parameter(&self, ty: Ty, before: usize) -> V<'c> {
        let blocks = self.blocks.borrow();
        let at = blocks[0].argument_count() - before;
        Self::wrap(blocks[0].insert_argument(at, self.ty(ty), self.location), ty)
    }

    fn build(
        &self,
        name: &str,
        operands: &[V<'c>],
        results: &[Ty],
        attributes: &[(&str, Attribute<'c>)],
        regions: Vec<Region<'c>>,
    ) -> Vec<V<'c>> {
        let operands: Vec<Value> = operands.iter().map(|v| v.value).collect();
        let types: Vec<Type> = results.iter().map(|t| self.ty(*t)).collect();
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(n, a)| (Identifier::new(self.context, n), *a))
            .collect();
        let operation = OperationBuilder::new(name, self.location)
            .add_operands(&operands)
            .add_results(&types)
            .add_attributes(&attributes)
            .add_regions_vec(regions)
            .build()
            .unwrap_or_else(|e| panic!("{name} is built from operands that fit: {e}"));
        let blocks = self.blocks.borrow();
        let block = blocks.last().expect("the outermost block stays until the end");
        let operation = block.append_operation(operation);
        results
            .iter()
            .enumerate()
            .map(|(i, ty)| Self::wrap(operation.result(i).expect("it has these results").into(), *ty))
            .collect()
    }

    /// An operation with any number of results.
    pub fn operation(
        &self,
        name: &str,
        operands: &[V<'c>],
        results: &[Ty],
        attrs: &[(&str, Attribute<'c>)],
    ) -> Vec<V<'c>> {
        self.build(name, operands, results, attrs, vec![])
    }

    /// An operation with one result.
    pub fn op(&self, name: &str, operands: &[V<'c>], result: Ty) -> V<'c> {
        self.operation(name, operands, &[result], &[])[0]
    }

    /// An operation with attributes and one result.
    pub fn op_with(&self, name: &str, operands: &[V<'c>], result: Ty, attrs: &[(&str, &str)]) -> V<'c> {
        let attrs: Vec<_> = attrs.iter().map(|(n, a)| (*n, self.attribute(a))).collect();
        self.operation(name, operands, &[result], &attrs)[0]
    }

    /// An operation without a result.
    pub fn effect(&self, name: &str, operands: &[V<'c>], attrs: &[(&str, &str)]) {
        let attrs: Vec<_> = attrs.iter().map(|(n, a)| (*n, self.attribute(a))).collect();
        self.operation(name, operands, &[], &attrs);
    }

    /// Instructions of PTX as they are written, in which `$i` stands for the i-th of the result's registers and the operands
    /// taken together; `constraints` say what kind of register each is. They count as touching all of memory.
    pub fn asm(&self, text: &str, constraints: &str, operands: &[V<'c>], result: Option<Ty>) -> Option<V<'c>> {
        let attrs = [
            ("asm_string", self.string(text)),
            ("constraints", self.string(&format!("{constraints},~{{memory}}"))),
            ("has_side_effects", self.attribute("unit")),
        ];
        let results = self.operation("llvm.inline_asm", operands, result.as_slice(), &attrs);
        results.first().copied()
    }

    /// Fills a block of its own; returns it with what `fill` returned.
    fn nested<T>(&self, arguments: &[Ty], fill: impl FnOnce(&[V<'c>]) -> T) -> (Region<'c>, T) {
        let types: Vec<_> = arguments.iter().map(|t| (self.ty(*t), self.location)).collect();
        let block = Block::new(&types);
        let values: Vec<V> = arguments
            .iter()
            .enumerate()
            .map(|(i, t)| Self::wrap(block.argument(i).expect("it has these arguments").into(), *t))
            .collect();
        self.blocks.borrow_mut().push(block);
        let out = fill(&values);
        let block = self.blocks.borrow_mut().pop().expect("pushed above");
        let region = Region::new();
        region.append_block(block);
        (region, out)
    }

    fn types(values: &[V<'c>]) -> Vec<Ty> {
        values.iter().map(|v| v.ty).collect()
    }

    /// `for i in from..to` by `step` (i32 or i64, all alike), carrying values; returns the last ones.
    pub fn for_carried(
        &self,
        (from, to, step): (V<'c>, V<'c>, V<'c>),
        carried: &[V<'c>],
        body: impl FnOnce(V<'c>, &[V<'c>]) -> Vec<V<'c>>,
    ) -> Vec<V<'c>> {
        let types = Self::types(carried);
        let arguments: Vec<Ty> = std::iter::once(from.ty).chain(types.iter().copied()).collect();
        let (region, ()) = self.nested(&arguments, |a| {
            let next = body(a[0], &a[1..]);
            assert_eq!(Self::types(&next), types, "a loop carries values of the same types");
            self.operation("scf.yield", &next, &[], &[]);
        });
        let operands: Vec<V> = [from, to, step].into_iter().chain(carried.iter().copied()).collect();
        self.build("scf.for", &operands, &types, &[], vec![region])
    }

    /// `for i in from..to` by `step`.
    pub fn for_each(&self, range: (V<'c>, V<'c>, V<'c>), body: impl FnOnce(V<'c>)) {
        self.for_carried(range, &[], |i, _| {
            body(i);
            vec![]
        });
    }

    /// Both branches give values of the same types.
    pub fn if_else(
        &self,
        condition: V<'c>,
        then: impl FnOnce() -> Vec<V<'c>>,
        other: impl FnOnce() -> Vec<V<'c>>,
    ) -> Vec<V<'c>> {
        let branch = |fill: &mut dyn FnMut() -> Vec<V<'c>>| {
            self.nested(&[], |_| {
                let out = fill();
                self.operation("scf.yield", &out, &[], &[]);
                Self::types(&out)
            })
        };
        let (mut then, mut other) = (Some(then), Some(other));
        let (a, types) = branch(&mut || then.take().expect("a branch is filled once")());
        let (b, same) = branch(&mut || other.take().expect("a branch is filled once")());
        assert_eq!(types, same, "branches give values of the same types");
        self.build("scf.if", &[condition], &types, &[], vec![a, b])
    }

    pub fn when(&self, condition: V<'c>, then: impl FnOnce()) {
        self.if_else(
            condition,
            || {
                then();
                vec![]
            },
            Vec::new,
        );
    }

    /// Repeats `body` while what it returns first is true, carrying the rest; `body` runs at least once.
    pub fn repeat_while(&self, carried: &[V<'c>], body: impl FnOnce(&[V<'c>]) -> (V<'c>, Vec<V<'c>>)) -> Vec<V<'c>> {
        let types = Self::types(carried);
        let (before, ()) = self.nested(&types, |a| {
            let (more, next) = body(a);
            assert_eq!(Self::types(&next), types, "a loop carries values of the same types");
            let operands: Vec<V> = std::iter::once(more).chain(next).collect();
            self.operation("scf.condition", &operands, &[], &[]);
        });
        let (after, ()) = self.nested(&types, |a| {
            self.operation("scf.yield", a, &[], &[]);
        });
        self.build("scf.while", carried, &types, &[], vec![before, after])
    }
}
