//! Connectionist temporal classification: the forward-backward algorithm (Graves et al. 2006) in f64 logarithms, the
//! positions of the extended label sequence being the lanes of vectors.
//!
//! The extended sequence of L labels has S = 2L + 1 positions: blanks at even ones, labels between. Arrays over it have
//! two cells on the left and right of it, so that the recurrences need no special cases: before the first frame all
//! paths are in the cell left of position 0, after the last frame in the cell right of position S - 1.

use crate::Error;
use crate::entry::{Emitted, Entry, Unit, V};
use inkwell::values::{IntValue, PointerValue, VectorValue};
use inkwell::{FloatPredicate, IntPredicate};
use ir::dim::Dim;
use ir::kernel::{Ctc, Kernel};
use ir::scalar::DType::{F32, F64, I32};

/// Cells left of position 0 of an array over positions.
const LEFT: i64 = 2;

/// Writes the entry function of a CTC loss.
pub fn emit(unit: &Unit, name: &str, kernel: &Kernel, body: &Ctc) -> Result<Emitted, Error> {
    let e = unit.entry(name, &kernel.slots);
    // Cells of an array over positions, even so that f64 arrays stay aligned behind i32 ones.
    let row = body.labels.clone() * Dim::from(2) + Dim::from(8);
    let items = e.open_loop(e.begin, e.end, &[]);
    let utterance = Utterance::new(&e, body, items.index, &row);
    utterance.emit();
    e.close_loop(items, e.i64(1), &[]);
    e.finish();
    // ext (i32, in f64 cells), jump, after, posterior, and a row of alpha per frame and one before the first.
    let scratch = row * (body.time.clone() + Dim::from(5)) * Dim::from(8);
    Ok(Emitted {
        entries: vec![(name.into(), body.batch.clone())],
        scratch,
        ..Default::default()
    })
}

struct Utterance<'a, 'u, 'c> {
    e: &'a Entry<'u, 'c>,
    body: &'a Ctc,
    batch: IntValue<'c>,
    /// f32 [time, vocab]
    log_probs: PointerValue<'c>,
    grad: PointerValue<'c>,
    time: IntValue<'c>,
    vocab: IntValue<'c>,
    /// Frames of this utterance.
    frames: IntValue<'c>,
    /// Cells of an array over positions.
    row: IntValue<'c>,
    /// i32: the symbol at a position.
    ext: PointerValue<'c>,
    /// f64: 0 where a path may come from two positions before, else -inf.
    jump: PointerValue<'c>,
    /// f64: log-probability of what follows, from the next frame on, if that is at a position.
    after: PointerValue<'c>,
    /// f64: probability of being at a position.
    posterior: PointerValue<'c>,
    /// f64 rows: log-probability of the frames so far, ending at a position; row 0 is before the first frame.
    alpha: PointerValue<'c>,
}

impl<'a, 'u, 'c> Utterance<'a, 'u, 'c> {
    fn new(e: &'a Entry<'u, 'c>, body: &'a Ctc, batch: IntValue<'c>, row: &Dim) -> Self {
        let (time, vocab, row) = (e.dim(&body.time), e.dim(&body.vocab), e.dim(row));
        let frame = e.imul(batch, e.imul(time, vocab));
        let length = e.load(I32, e.at(I32, e.slot(body.lengths), batch));
        let length = e.resize(length, 64).into_int_value();
        let array = |n: i64| e.at(F64, e.scratch, e.iadd(e.imul(row, e.i64(n)), e.i64(LEFT)));
        Utterance {
            e,
            body,
            batch,
            log_probs: e.at(F32, e.slot(body.log_probs), frame),
            grad: e.at(F32, e.slot(body.grad), frame),
            time,
            vocab,
            frames: e.imax(e.imin(length, time), e.i64(0)),
            row,
            ext: array(0),
            jump: array(1),
            after: array(2),
            posterior: array(3),
            alpha: array(4),
        }
    }

    fn emit(&self) {
        let e = self.e;
        let zero = e.f32(0.0);
        let all = e.imul(self.time, self.vocab);
        e.for_vectors(e.i64(0), all, |i, mask| {
            e.store_vector(F32, e.at(F32, self.grad, i), zero, mask)
        });
        let positions = self.extend();
        let total = self.forward(positions);
        let impossible = e.fcmp(FloatPredicate::OEQ, total, self.infinity());
        let loss = e.select(impossible, zero, e.cast(e.fneg(total), F32));
        e.store(e.at(F32, e.slot(self.body.loss), self.batch), loss);
        let possible = e.fcmp(FloatPredicate::UNE, total, self.infinity()).into_int_value();
        e.when(possible, || self.backward(positions, total));
    }

    /// log(0)
    fn infinity(&self) -> V<'c> {
        self.e.constant(F64, f64::NEG_INFINITY)
    }

    fn set(&self, array: PointerValue<'c>, at: IntValue<'c>, v: V<'c>) {
        self.e.store(self.e.at(F64, array, at), v);
    }

    /// Writes the extended sequence; gives its length.
    fn extend(&self) -> IntValue<'c> {
        let e = self.e;
        let (zero, one, two) = (e.i64(0), e.i64(1), e.i64(2));
        let labels = e.dim(&self.body.labels);
        let ids = e.at(I32, e.slot(self.body.label_ids), e.imul(self.batch, labels));
        let l = e.open_loop(zero, labels, &[zero.into(), e.i32(-1)]);
        let (count, last) = (l.carried[0], l.carried[1]);
        let label = e.load(I32, e.at(I32, ids, l.index));
        // From 1 to below the vocabulary; as an unsigned number, what is below 1 lies beyond all others.
        let from_one = e.isub(e.resize(label, 64).into_int_value(), one);
        let most = e.isub(self.vocab, one);
        let real = e.icmp(IntPredicate::ULT, from_one.into(), most.into());
        // Padding is written as a blank; the next label, or the end, takes its place.
        let symbol = e.select(real, label, e.i32(0));
        let even = e.imul(count.into_int_value(), two);
        let odd = e.iadd(even, one);
        e.store(e.at(I32, self.ext, even), e.i32(0));
        e.store(e.at(I32, self.ext, odd), symbol);
        self.set(self.jump, even, self.infinity());
        // A repeated label needs the blank between.
        let repeated = e.icmp(IntPredicate::EQ, label, last);
        self.set(
            self.jump,
            odd,
            e.select(repeated, self.infinity(), e.constant(F64, 0.0)),
        );
        let next = e.add(count, e.resize(e.truth(real), 64));
        let last = e.select(real, label, last);
        let count = e.close_loop(l, one, &[next, last])[0].into_int_value();
        let end = e.imul(count, two);
        let positions = e.iadd(end, one);
        e.store(e.at(I32, self.ext, end), e.i32(0));
        self.set(self.jump, end, self.infinity());
        self.set(self.jump, positions, e.constant(F64, 0.0));
        self.set(self.jump, e.iadd(positions, one), self.infinity());
        positions
    }

    /// A vector of log-probabilities of the symbols at positions from `at` on.
    fn emissions(&self, frame: IntValue<'c>, at: IntValue<'c>, mask: VectorValue<'c>) -> V<'c> {
        let e = self.e;
        let symbols = e.resize(e.load_vector(I32, e.at(I32, self.ext, at), Some(mask)), 64);
        let base = e.at(F32, self.log_probs, e.imul(frame, self.vocab));
        e.cast(e.gather(F32, base, symbols, Some(mask)), F64)
    }

    /// log(exp(x) + exp(y) + exp(z))
    fn log_add(&self, x: V<'c>, y: V<'c>, z: V<'c>) -> V<'c> {
        let e = self.e;
        let max = e.fmax(e.fmax(x, y), z);
        // Where all are -inf, the differences must not be NaN.
        let none = e.fcmp(FloatPredicate::OEQ, max, self.infinity());
        let max = e.select(none, e.constant(F64, 0.0), max);
        let term = |v| e.exp(e.fsub(v, max));
        e.fadd(max, e.log(e.fadd(e.fadd(term(x), term(y)), term(z))))
    }

    /// Opens a loop over vectors of positions, all with a mask.
    fn over(&self, positions: IntValue<'c>, body: impl Fn(IntValue<'c>, VectorValue<'c>)) {
        let e = self.e;
        let l = e.open_loop(e.i64(0), positions, &[]);
        body(l.index, e.lane_mask(l.index, positions));
        e.close_loop(l, e.i64(e.lanes as i64), &[]);
    }

    fn shifted(&self, array: PointerValue<'c>, at: IntValue<'c>, by: i64, mask: VectorValue<'c>) -> V<'c> {
        let e = self.e;
        e.load_vector(F64, e.at(F64, array, e.iadd(at, e.i64(by))), Some(mask))
    }

    fn put(&self, array: PointerValue<'c>, at: IntValue<'c>, v: V<'c>, mask: VectorValue<'c>) {
        self.e.store_vector(F64, self.e.at(F64, array, at), v, Some(mask));
    }

    fn alpha_row(&self, frame: IntValue<'c>) -> PointerValue<'c> {
        self.e.at(F64, self.alpha, self.e.imul(frame, self.row))
    }

    /// Fills the rows of alpha; gives the log-probability of the labels.
    fn forward(&self, positions: IntValue<'c>) -> V<'c> {
        let e = self.e;
        let never = self.infinity();
        self.over(positions, |at, mask| self.put(self.alpha, at, never, mask));
        self.set(self.alpha, e.i64(-2), never);
        self.set(self.alpha, e.i64(-1), e.constant(F64, 0.0));
        let l = e.open_loop(e.i64(0), self.frames, &[]);
        let before = self.alpha_row(l.index);
        let here = self.alpha_row(e.iadd(l.index, e.i64(1)));
        self.set(here, e.i64(-2), never);
        self.set(here, e.i64(-1), never);
        self.over(positions, |at, mask| {
            let [stay, step, jump] = [0, -1, -2].map(|by| self.shifted(before, at, by, mask));
            let jump = e.fadd(jump, self.shifted(self.jump, at, 0, mask));
            let reach = self.log_add(stay, step, jump);
            self.put(here, at, e.fadd(reach, self.emissions(l.index, at, mask)), mask);
        });
        e.close_loop(l, e.i64(1), &[]);
        let last = self.alpha_row(self.frames);
        let end = |by| e.load(F64, e.at(F64, last, e.isub(positions, e.i64(by))));
        self.log_add(end(1), end(2), never)
    }

    /// Writes minus the posterior of every symbol and frame.
    fn backward(&self, positions: IntValue<'c>, total: V<'c>) {
        let e = self.e;
        let never = self.infinity();
        self.over(positions, |at, mask| self.put(self.after, at, never, mask));
        self.set(self.after, positions, e.constant(F64, 0.0));
        self.set(self.after, e.iadd(positions, e.i64(1)), never);
        let l = e.open_loop(e.i64(0), self.frames, &[]);
        let frame = e.isub(e.isub(self.frames, e.i64(1)), l.index);
        let alpha = self.alpha_row(e.iadd(frame, e.i64(1)));
        // In place: a vector reads only positions from its own first one on.
        self.over(positions, |at, mask| {
            let [stay, step, jump] = [0, 1, 2].map(|by| self.shifted(self.after, at, by, mask));
            let jump = e.fadd(jump, self.shifted(self.jump, at, 2, mask));
            let beta = self.log_add(stay, step, jump);
            let path = e.fadd(self.shifted(alpha, at, 0, mask), beta);
            self.put(self.posterior, at, e.exp(e.fsub(path, total)), mask);
            self.put(self.after, at, e.fadd(beta, self.emissions(frame, at, mask)), mask);
        });
        self.set(self.after, positions, never);
        self.gather_posterior(frame, positions);
        e.close_loop(l, e.i64(1), &[]);
    }

    /// Sums the posterior of one frame by symbol. A symbol may occur many times: labels one after the other.
    fn gather_posterior(&self, frame: IntValue<'c>, positions: IntValue<'c>) {
        let e = self.e;
        let grad = e.at(F32, self.grad, e.imul(frame, self.vocab));
        let posterior = |at| e.load(F64, e.at(F64, self.posterior, at));
        let end = e.isub(positions, e.i64(1));
        let l = e.open_loop(e.i64(0), end, &[posterior(end)]);
        let blank = e.fadd(l.carried[0], posterior(l.index));
        let label = e.iadd(l.index, e.i64(1));
        let symbol = e.resize(e.load(I32, e.at(I32, self.ext, label)), 64).into_int_value();
        let cell = e.at(F32, grad, symbol);
        e.store(cell, e.fsub(e.load(F32, cell), e.cast(posterior(label), F32)));
        let blank = e.close_loop(l, e.i64(2), &[blank])[0];
        let blank = e.cast(e.fneg(blank), F32);
        e.store(grad, e.fadd(e.load(F32, grad), blank));
    }
}

#[cfg(test)]
mod tests;
