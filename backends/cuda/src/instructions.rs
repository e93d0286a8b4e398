//! Instructions of matrix products: tensor cores, matrix loads, asynchronous copies.

use crate::builder::{Builder, Scalar, Ty, V};

impl<'c> Builder<'c> {
    /// Four 8x8 matrices of bf16 from shared memory, of each the two elements that the layout of `mma` gives this lane, in an
    /// i32. Lane `8 m + r` gives the address of row `r` of matrix `m`, a multiple of 16 bytes.
    pub fn load_matrices(&self, address: V<'c>, transposed: bool) -> [V<'c>; 4] {
        let layout = if transposed {
            "#nvvm.mma_layout<col>"
        } else {
            "#nvvm.mma_layout<row>"
        };
        let attrs = [
            ("eltType", "#nvvm.ld_st_matrix_elt_type<b16>"),
            ("layout", layout),
            ("num", "4 : i32"),
            ("shape", "#nvvm.ld_st_matrix_shape<m = 8, n = 8>"),
        ];
        let words = self.op_with("nvvm.ldmatrix", &[address], Ty::Struct(Scalar::I32, 4), &attrs);
        [0, 1, 2, 3].map(|i| self.field(words, i))
    }

    /// `acc + a b` of a 16x16 and a 16x8 matrix of bf16, in f32.
    pub fn multiply_matrices(&self, a: [V<'c>; 4], b: [V<'c>; 2], acc: [V<'c>; 4]) -> [V<'c>; 4] {
        let operands: Vec<V> = a.into_iter().chain(b).chain(acc).collect();
        let attrs = [
            ("layoutA", "#nvvm.mma_layout<row>"),
            ("layoutB", "#nvvm.mma_layout<col>"),
            ("multiplicandAPtxType", "#nvvm.mma_type<bf16>"),
            ("multiplicandBPtxType", "#nvvm.mma_type<bf16>"),
            ("operandSegmentSizes", "array<i32: 4, 2, 4>"),
            ("shape", "#nvvm.shape<m = 16, n = 8, k = 16>"),
        ];
        let sums = self.op_with("nvvm.mma.sync", &operands, Ty::Struct(Scalar::F32, 4), &attrs);
        [0, 1, 2, 3].map(|i| self.field(sums, i))
    }

    /// Begins to copy `count` (i32, 0 or 16) bytes from global to shared memory; up to 16 the rest becomes 0. Both addresses
    /// are multiples of 16 bytes.
    pub fn copy_chunk(&self, to: V<'c>, from: V<'c>, count: V<'c>) {
        let attrs = [("modifier", "#nvvm<load_cache_modifier cg>"), ("size", "16 : i32")];
        self.effect("nvvm.cp.async.shared.global", &[to, from, count], &attrs);
    }

    /// Ends a group of copies.
    pub fn commit_copies(&self) {
        self.effect("nvvm.cp.async.commit.group", &[], &[]);
    }

    /// Waits until at most the `pending` latest groups of copies of this thread are under way.
    pub fn await_copies(&self, pending: u32) {
        self.effect("nvvm.cp.async.wait.group", &[], &[("n", &format!("{pending} : i32"))]);
    }
}
