//! Buffers of typed elements, and slots as places in them.

use crate::Error;
use half::bf16;
use ir::kernel::{Kernel, Slot, SlotDecl};
use ir::scalar::DType;

/// Elements of one dtype.
#[derive(Clone, Debug, PartialEq)]
pub enum Buffer {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    Bf16(Vec<bf16>),
}

impl Buffer {
    pub fn zeros(dtype: DType, len: usize) -> Buffer {
        Buffer::from_f64(dtype, std::iter::repeat_n(0.0, len))
    }

    /// What freed or not yet written memory holds: NaN, and -1 in i32 (bytes of ones in all dtypes).
    pub fn poison(dtype: DType, len: usize) -> Buffer {
        match dtype {
            DType::F32 => Buffer::F32(vec![f32::from_bits(u32::MAX); len]),
            DType::F64 => Buffer::F64(vec![f64::from_bits(u64::MAX); len]),
            DType::I32 => Buffer::I32(vec![-1; len]),
            DType::Bf16 => Buffer::Bf16(vec![bf16::from_bits(u16::MAX); len]),
        }
    }

    /// Rounds to `dtype`.
    pub fn from_f64(dtype: DType, values: impl Iterator<Item = f64>) -> Buffer {
        match dtype {
            DType::F32 => Buffer::F32(values.map(|v| v as f32).collect()),
            DType::F64 => Buffer::F64(values.collect()),
            DType::I32 => Buffer::I32(values.map(|v| v as i32).collect()),
            DType::Bf16 => Buffer::Bf16(values.map(|v| bf16::from_f32(v as f32)).collect()),
        }
    }

    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len()).map(|i| self.get(i)).collect()
    }

    pub fn dtype(&self) -> DType {
        match self {
            Buffer::F32(_) => DType::F32,
            Buffer::F64(_) => DType::F64,
            Buffer::I32(_) => DType::I32,
            Buffer::Bf16(_) => DType::Bf16,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Buffer::F32(v) => v.len(),
            Buffer::F64(v) => v.len(),
            Buffer::I32(v) => v.len(),
            Buffer::Bf16(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i`; f64 holds every value of every dtype.
    pub fn get(&self, i: usize) -> f64 {
        match self {
            Buffer::F32(v) => v[i] as f64,
            Buffer::F64(v) => v[i],
            Buffer::I32(v) => v[i] as f64,
            Buffer::Bf16(v) => v[i].to_f64(),
        }
    }

    /// Writes element `i`, rounded to the dtype.
    pub fn set(&mut self, i: usize, value: f64) {
        match self {
            Buffer::F32(v) => v[i] = value as f32,
            Buffer::F64(v) => v[i] = value,
            Buffer::I32(v) => v[i] = value as i32,
            Buffer::Bf16(v) => v[i] = bf16::from_f32(value as f32),
        }
    }
}

/// Where a slot begins: a buffer and an element of it. The slot reaches to the end of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub buffer: usize,
    pub offset: usize,
}

/// The slots of one running kernel.
pub struct Slots<'a> {
    pub body: &'static str,
    pub decls: &'a [SlotDecl],
    buffers: &'a mut [Buffer],
    places: &'a [Place],
}

impl<'a> Slots<'a> {
    pub fn bind(kernel: &'a Kernel, buffers: &'a mut [Buffer], places: &'a [Place]) -> Result<Self, Error> {
        let body = kernel.body.kind();
        if places.len() != kernel.slots.len() {
            return Err(Error::Operands {
                body,
                expected: kernel.slots.len(),
                found: places.len(),
            });
        }
        for (slot, (decl, place)) in kernel.slots.iter().zip(places).enumerate() {
            let count = buffers.len();
            let buffer = buffers.get(place.buffer).ok_or(Error::NoBuffer {
                buffer: place.buffer,
                count,
            })?;
            if buffer.dtype() != decl.dtype {
                return Err(Error::DType {
                    body,
                    slot,
                    expected: decl.dtype.name(),
                    found: buffer.dtype().name(),
                });
            }
        }
        Ok(Slots {
            body,
            decls: &kernel.slots,
            buffers,
            places,
        })
    }

    /// Buffer and element of an element of a slot.
    fn locate(&self, slot: Slot, index: i64) -> Result<(usize, usize), Error> {
        let Place { buffer, offset } = self.places[slot];
        let len = self.buffers[buffer].len().saturating_sub(offset);
        match usize::try_from(index) {
            Ok(i) if i < len => Ok((buffer, offset + i)),
            _ => Err(Error::OutOfBounds {
                body: self.body,
                slot,
                index,
                len,
            }),
        }
    }

    pub fn load(&self, slot: Slot, index: i64) -> Result<f64, Error> {
        self.locate(slot, index).map(|(b, i)| self.buffers[b].get(i))
    }

    pub fn store(&mut self, slot: Slot, index: i64, value: f64) -> Result<(), Error> {
        let (b, i) = self.locate(slot, index)?;
        self.buffers[b].set(i, value);
        Ok(())
    }

    /// Adds to what is there.
    pub fn add(&mut self, slot: Slot, index: i64, value: f64) -> Result<(), Error> {
        let there = self.load(slot, index)?;
        let sum = crate::expr::binary(ir::scalar::Binary::Add, self.decls[slot].dtype, there, value);
        self.store(slot, index, sum)
    }

    /// The two words of a random seed.
    pub fn seed(&self, slot: Slot) -> Result<[u32; 2], Error> {
        Ok([self.load(slot, 0)? as i32 as u32, self.load(slot, 1)? as i32 as u32])
    }
}
