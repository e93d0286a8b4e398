//! Loads and stores of global and shared memory.

use crate::arith::ty;
use crate::builder::{Builder, Scalar, Ty, V};
use crate::function::Function;
use ir::kernel::Slot;
use ir::scalar::DType;

impl<'c> Builder<'c> {
    /// The address `index` (i64) elements of a type further on.
    pub fn offset(&self, address: V<'c>, element: Ty, index: V<'c>) -> V<'c> {
        let dynamic = "array<i32: -2147483648>";
        let element = match element {
            Ty::I8 => "i8",
            Ty::I16 | Ty::Bf16 => "i16",
            Ty::I32 | Ty::F32 => "i32",
            Ty::I64 | Ty::F64 => "i64",
            t => panic!("addresses do not count in {t:?}"),
        };
        let attrs = [("rawConstantIndices", dynamic), ("elem_type", element)];
        self.op_with("llvm.getelementptr", &[address, index], address.ty, &attrs)
    }

    /// A scalar or vector from memory; its address is a multiple of `align` bytes.
    pub fn load(&self, ty: Ty, address: V<'c>, align: u32) -> V<'c> {
        let attrs = [("alignment", format!("{align} : i64")), ("ordering", "0 : i64".into())];
        let attrs: Vec<(&str, &str)> = attrs.iter().map(|(n, a)| (*n, a.as_str())).collect();
        self.op_with("llvm.load", &[address], ty, &attrs)
    }

    pub fn store(&self, address: V<'c>, value: V<'c>, align: u32) {
        let attrs = [("alignment", format!("{align} : i64")), ("ordering", "0 : i64".into())];
        let attrs: Vec<(&str, &str)> = attrs.iter().map(|(n, a)| (*n, a.as_str())).collect();
        self.effect("llvm.store", &[value, address], &attrs);
    }

    /// The f32 of bf16 bits.
    pub fn widen_bf16(&self, bits: V<'c>) -> V<'c> {
        self.bits(self.shl(self.widen(bits, Ty::I32), 16), Ty::F32)
    }

    /// f32 rounded to bf16 (nearest, ties to even), as bits.
    pub fn to_bf16(&self, v: V<'c>) -> V<'c> {
        self.bits(self.op("arith.truncf", &[v], Ty::Bf16), Ty::I16)
    }
}

/// How numbers of a dtype lie in memory.
pub fn stored(dtype: DType) -> Ty {
    if dtype == DType::Bf16 { Ty::I16 } else { ty(dtype) }
}

impl<'c> Function<'_, 'c> {
    /// Address of an element (i64) of a slot.
    pub fn at(&self, slot: Slot, element: V<'c>) -> V<'c> {
        self.offset(self.slot(slot), stored(self.slots[slot].dtype), element)
    }

    /// An element of a slot, as it is computed with.
    pub fn load_element(&self, slot: Slot, element: V<'c>) -> V<'c> {
        let (address, dtype) = (self.at(slot, element), self.slots[slot].dtype);
        let v = self.load(stored(dtype), address, dtype.bytes() as u32);
        if dtype == DType::Bf16 { self.widen_bf16(v) } else { v }
    }

    pub fn store_element(&self, slot: Slot, element: V<'c>, v: V<'c>) {
        let (address, dtype) = (self.at(slot, element), self.slots[slot].dtype);
        let v = if dtype == DType::Bf16 { self.to_bf16(v) } else { v };
        self.store(address, v, dtype.bytes() as u32);
    }

    /// `count` (2 or 4) consecutive elements from one whose address is a multiple of their bytes.
    pub fn load_elements(&self, slot: Slot, element: V<'c>, count: u32) -> Vec<V<'c>> {
        let (address, dtype) = (self.at(slot, element), self.slots[slot].dtype);
        let align = dtype.bytes() as u32 * count;
        if dtype == DType::Bf16 {
            let words = if count == 2 {
                vec![self.load(Ty::I32, address, align)]
            } else {
                self.elements(self.load(Ty::Vector(Scalar::I32, count / 2), address, align))
            };
            return (0..count)
                .map(|i| self.unpack_bf16(words[i as usize / 2], i % 2))
                .collect();
        }
        // The widest access is 16 bytes.
        let one = count.min(16 / dtype.bytes() as u32);
        (0..count / one)
            .flat_map(|i| {
                let address = self.offset(address, stored(dtype), self.i64((i * one) as i64));
                let v = self.load(Ty::Vector(ty(dtype).scalar(), one), address, align.min(16));
                self.elements(v)
            })
            .collect()
    }

    fn elements(&self, v: V<'c>) -> Vec<V<'c>> {
        let Ty::Vector(_, n) = v.ty else {
            panic!("{v:?} is a vector")
        };
        (0..n).map(|i| self.element(v, i)).collect()
    }

    /// The counterpart of [`Self::load_elements`].
    pub fn store_elements(&self, slot: Slot, element: V<'c>, values: &[V<'c>]) {
        let (address, dtype) = (self.at(slot, element), self.slots[slot].dtype);
        let align = dtype.bytes() as u32 * values.len() as u32;
        if dtype == DType::Bf16 {
            let words: Vec<V> = values.chunks(2).map(|p| self.pack_bf16(p[0], p[1])).collect();
            let v = if words.len() == 1 { words[0] } else { self.pack(&words) };
            return self.store(address, v, align);
        }
        let one = values.len().min(16 / dtype.bytes());
        for (i, part) in values.chunks(one).enumerate() {
            let address = self.offset(address, stored(dtype), self.i64((i * one) as i64));
            self.store(address, self.pack(part), align.min(16));
        }
    }
}
