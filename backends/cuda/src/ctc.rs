//! Connectionist temporal classification: the forward-backward algorithm (Graves et al. 2006), a block per utterance, its
//! threads along the positions of the path. A path of L labels has 2L + 1 positions: blanks at even ones, labels between.
//!
//! Log-probabilities are f64; the difference that a sum of probabilities makes to the largest of them is worked out in f32.
//! Posteriors of all frames and positions stay in the workspace, where a second function adds them up by symbol.

use crate::Error;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Finished, Function, Unit};
use crate::module::Emitted;
use ir::dim::Dim;
use ir::kernel::Ctc;
use ir::scalar::DType;
use melior::Context;

/// Threads of a block: along the positions, and along the vocabulary.
const THREADS: u32 = 256;
const SYMBOLS: u32 = 32;

pub fn emit<'c>(context: &'c Context, unit: &Unit, k: &Ctc) -> Result<Emitted<'c>, Error> {
    let layout = Layout::new(k);
    Ok(Emitted {
        functions: vec![paths(context, unit, k, &layout)?, gradient(context, unit, k, &layout)?],
        workspace: layout.bytes(),
    })
}

/// The workspace: for every utterance rows of f64 over positions, the sum over all paths, and its labels.
struct Layout {
    batch: Dim,
    /// Cells of a row.
    positions: Dim,
    /// Rows of an utterance: one per frame, then two that hold what follows a frame.
    rows: Dim,
    /// Cells (i32) for the labels that are no padding.
    labels: Dim,
}

impl Layout {
    fn new(k: &Ctc) -> Layout {
        Layout {
            batch: k.batch.clone(),
            positions: k.labels.clone() * Dim::from(2) + Dim::from(1),
            rows: k.time.clone() + Dim::from(2),
            labels: k.labels.clone(),
        }
    }

    /// Cells of f64 of one utterance.
    fn cells(&self) -> Dim {
        self.rows.clone() * self.positions.clone()
    }

    /// Bytes before the sums, before the label counts, before the labels.
    fn totals(&self) -> Dim {
        self.batch.clone() * self.cells() * Dim::from(8)
    }
    fn counts(&self) -> Dim {
        self.totals() + self.batch.clone() * Dim::from(8)
    }
    fn symbols(&self) -> Dim {
        self.counts() + self.batch.clone() * Dim::from(4)
    }
    fn bytes(&self) -> Dim {
        self.symbols() + self.batch.clone() * self.labels.clone() * Dim::from(4)
    }
}

/// One utterance in one function.
struct Utterance<'a, 'k, 'c> {
    f: &'a Function<'k, 'c>,
    k: &'a Ctc,
    batch: V<'c>,
    /// i64: frames that count.
    frames: V<'c>,
    /// f64 rows over positions.
    rows: V<'c>,
    positions: V<'c>,
    /// f64: log-probability of all paths.
    total: V<'c>,
    /// i32: how many labels, and which.
    count: V<'c>,
    labels: V<'c>,
}

impl<'a, 'k, 'c> Utterance<'a, 'k, 'c> {
    fn new(f: &'a Function<'k, 'c>, k: &'a Ctc, layout: &Layout, batch: V<'c>) -> Self {
        let part = |start: &Dim| f.offset(f.workspace, Ty::I8, f.dim(start));
        let own = |start: V<'c>, ty: Ty, cells: &Dim| f.offset(start, ty, f.mul(batch, f.dim(cells)));
        let length = f.resize(f.load_element(k.lengths, batch), Ty::I64);
        Utterance {
            f,
            k,
            batch,
            frames: f.most(f.least(length, f.dim(&k.time)), f.i64(0)),
            rows: own(f.workspace, Ty::F64, &layout.cells()),
            positions: f.dim(&layout.positions),
            total: f.offset(part(&layout.totals()), Ty::F64, batch),
            count: f.offset(part(&layout.counts()), Ty::I32, batch),
            labels: own(part(&layout.symbols()), Ty::I32, &layout.labels),
        }
    }

    fn never(&self) -> V<'c> {
        self.f.f64(f64::NEG_INFINITY)
    }

    /// The cell of a position in a row.
    fn cell(&self, row: V<'c>, position: V<'c>) -> V<'c> {
        let f = self.f;
        f.offset(self.rows, Ty::F64, f.add(f.mul(row, self.positions), position))
    }

    /// A cell, or log(0) where the position is below 0 or not below `end`.
    fn read(&self, row: V<'c>, position: V<'c>, end: V<'c>) -> V<'c> {
        let f = self.f;
        let there = f.and(f.cmp(Cmp::Ge, position, f.i64(0)), f.cmp(Cmp::Lt, position, end));
        f.if_else(
            there,
            || vec![f.load(Ty::F64, self.cell(row, position), 8)],
            || vec![self.never()],
        )[0]
    }

    /// The symbol (i64) at a position that exists.
    fn symbol(&self, position: V<'c>) -> V<'c> {
        let f = self.f;
        let odd = f.cmp(Cmp::Ne, f.and(position, f.i64(1)), f.i64(0));
        let label = || {
            let at = f.offset(self.labels, Ty::I32, f.lshr(position, 1));
            vec![f.resize(f.load(Ty::I32, at, 4), Ty::I64)]
        };
        f.if_else(odd, label, || vec![f.i64(0)])[0]
    }

    /// Whether a path may come to a position from two before: both are different labels. False beyond the path's ends.
    fn may_skip(&self, position: V<'c>, end: V<'c>) -> V<'c> {
        let f = self.f;
        let inside = f.and(f.cmp(Cmp::Ge, position, f.i64(2)), f.cmp(Cmp::Lt, position, end));
        let differ = || {
            let (here, before) = (self.symbol(position), self.symbol(f.sub(position, f.i64(2))));
            vec![f.and(f.cmp(Cmp::Ne, here, f.i64(0)), f.cmp(Cmp::Ne, here, before))]
        };
        f.if_else(inside, differ, || vec![f.truth(false)])[0]
    }

    /// Log-probability (f64) of the symbol at a position in a frame.
    fn emission(&self, frame: V<'c>, symbol: V<'c>) -> V<'c> {
        let f = self.f;
        let frame = f.add(f.mul(self.batch, f.dim(&self.k.time)), frame);
        let at = f.add(f.mul(frame, f.dim(&self.k.vocab)), symbol);
        f.cast(f.load_element(self.k.log_probs, at), DType::F64)
    }

    /// log(exp(a) + exp(b) + exp(c))
    fn log_add(&self, a: V<'c>, b: V<'c>, c: V<'c>) -> V<'c> {
        let f = self.f;
        // NaN is not lost.
        let most = f.max(f.max(a, b), c);
        let share = |v: V<'c>| f.exp(f.cast(f.sub(v, most), DType::F32));
        let sum = f.add(f.add(share(a), share(b)), share(c));
        let log = f.add(most, f.cast(f.log(sum), DType::F64));
        f.select(f.cmp(Cmp::Eq, most, self.never()), most, log)
    }

    /// Calls `body` for the positions of this thread below `end`.
    fn positions(&self, end: V<'c>, body: impl FnOnce(V<'c>)) {
        let f = self.f;
        f.for_each((f.widen(f.thread(), Ty::I64), end, f.i64(THREADS as i64)), body);
    }
}

/// The function that writes losses, sums over all paths, and posteriors in place of the rows of frames.
fn paths<'c>(context: &'c Context, unit: &Unit, k: &Ctc, layout: &Layout) -> Result<Finished<'c>, Error> {
    let f = Function::new(context, unit, 0, THREADS);
    f.scheduled("a block per utterance, threads over states");
    let u = Utterance::new(&f, k, layout, f.widen(f.block(0), Ty::I64));
    let first = f.cmp(Cmp::Eq, f.thread(), f.i32(0));
    f.when(first, || collect_labels(&u));
    f.barrier();
    let count = f.resize(f.load(Ty::I32, u.count, 4), Ty::I64);
    let end = f.add(f.add(count, count), f.i64(1));

    f.for_each((f.i64(0), u.frames, f.i64(1)), |frame| {
        let start = f.cmp(Cmp::Eq, frame, f.i64(0));
        let before = f.sub(frame, f.i64(1));
        u.positions(end, |s| {
            let emission = u.emission(frame, u.symbol(s));
            let begin = || {
                let possible = f.cmp(Cmp::Le, s, f.i64(1));
                vec![f.select(possible, f.f64(0.0), u.never())]
            };
            let go_on = || {
                let [stay, step, skip] = [0, 1, 2].map(|by| u.read(before, f.sub(s, f.i64(by)), end));
                let skip = f.select(u.may_skip(s, end), skip, u.never());
                vec![u.log_add(stay, step, skip)]
            };
            let arrived = f.if_else(start, begin, go_on)[0];
            f.store(u.cell(frame, s), f.add(arrived, emission), 8);
        });
        f.barrier();
    });

    // Every thread works out the sum over the last two positions.
    let last = f.sub(u.frames, f.i64(1));
    let some = f.cmp(Cmp::Gt, u.frames, f.i64(0));
    let ends = || {
        let [a, b] = [1, 2].map(|by| u.read(last, f.sub(end, f.i64(by)), end));
        vec![u.log_add(a, b, u.never())]
    };
    // No frames emit no labels with certainty.
    let nothing = || vec![f.select(f.cmp(Cmp::Eq, count, f.i64(0)), f.f64(0.0), u.never())];
    let total = f.if_else(some, ends, nothing)[0];
    let impossible = f.cmp(Cmp::Eq, total, u.never());
    f.when(first, || {
        let loss = f.cast(f.select(impossible, f.f64(0.0), f.neg(total)), DType::F32);
        f.store_element(k.loss, u.batch, loss);
        f.store(u.total, total, 8);
    });
    // All have read the last row before it is written over.
    f.barrier();
    // Of a loss that is NaN there is no gradient.
    f.when(f.cmp(Cmp::Gt, total, u.never()), || backward(&u, end, total));
    f.finish([k.batch.clone(), Dim::from(1), Dim::from(1)])
}

/// Copies the labels that are no padding, and counts them; work of one thread.
fn collect_labels(u: &Utterance) {
    let (f, k) = (u.f, u.k);
    let labels = f.dim(&k.labels);
    let from = f.mul(u.batch, labels);
    let count = f.for_carried((f.i64(0), labels, f.i64(1)), &[f.i64(0)], |i, count| {
        let label = f.load_element(k.label_ids, f.add(from, i));
        let real = f.and(
            f.cmp(Cmp::Ge, label, f.i32(1)),
            f.cmp(Cmp::Lt, label, f.dim32(&k.vocab)),
        );
        f.when(real, || f.store(f.offset(u.labels, Ty::I32, count[0]), label, 4));
        vec![f.add(count[0], f.widen(real, Ty::I64))]
    });
    f.store(u.count, f.resize(count[0], Ty::I32), 4);
}

/// From the last frame to the first: log-probabilities of what follows, and with them posteriors.
fn backward<'c>(u: &Utterance<'_, '_, 'c>, end: V<'c>, total: V<'c>) {
    let (f, time) = (u.f, u.f.dim(&u.k.time));
    f.for_each((f.i64(0), u.frames, f.i64(1)), |back| {
        let frame = f.sub(f.sub(u.frames, f.i64(1)), back);
        let is_last = f.cmp(Cmp::Eq, back, f.i64(0));
        // What the two rows after those of frames hold by turns: what follows a frame from a position on, that frame included.
        let turn = f.and(back, f.i64(1));
        let (row, next) = (f.add(time, turn), f.add(time, f.xor(turn, f.i64(1))));
        u.positions(end, |s| {
            let finish = || {
                let possible = f.cmp(Cmp::Ge, f.add(s, f.i64(2)), end);
                vec![f.select(possible, f.f64(0.0), u.never())]
            };
            let go_on = || {
                let [stay, step, skip] = [0, 1, 2].map(|by| u.read(next, f.add(s, f.i64(by)), end));
                let skip = f.select(u.may_skip(f.add(s, f.i64(2)), end), skip, u.never());
                vec![u.log_add(stay, step, skip)]
            };
            let after = f.if_else(is_last, finish, go_on)[0];
            let cell = u.cell(frame, s);
            let path = f.sub(f.add(f.load(Ty::F64, cell, 8), after), total);
            let posterior = f.exp(f.cast(path, DType::F32));
            f.store(cell, f.cast(posterior, DType::F64), 8);
            f.store(u.cell(row, s), f.add(after, u.emission(frame, u.symbol(s))), 8);
        });
        f.barrier();
    });
}

/// The function that sums posteriors by symbol: a block per frame, a thread per symbol.
fn gradient<'c>(context: &'c Context, unit: &Unit, k: &Ctc, layout: &Layout) -> Result<Finished<'c>, Error> {
    let f = Function::new(context, unit, 1, SYMBOLS);
    f.scheduled("sums posteriors by symbol");
    let block = f.widen(f.block(0), Ty::I64);
    let time = f.dim(&k.time);
    let (batch, frame) = (f.udiv(block, time), f.urem(block, time));
    let u = Utterance::new(&f, k, layout, batch);
    let possible = f.cmp(Cmp::Gt, f.load(Ty::F64, u.total, 8), u.never());
    let counts = f.and(f.cmp(Cmp::Lt, frame, u.frames), possible);
    let end = f.select(counts, f.resize(f.load(Ty::I32, u.count, 4), Ty::I64), f.i64(0));
    let symbols = (f.widen(f.thread(), Ty::I64), f.dim(&k.vocab), f.i64(SYMBOLS as i64));
    let posterior = |s: V<'c>| f.cast(f.load(Ty::F64, u.cell(frame, s), 8), DType::F32);
    f.for_each(symbols, |symbol| {
        let is_blank = f.cmp(Cmp::Eq, symbol, f.i64(0));
        // A label with the blank before it.
        let sum = f.for_carried((f.i64(0), end, f.i64(1)), &[f.f32(0.0)], |label, sum| {
            let at = f.add(label, label);
            let (blank, own) = (posterior(at), posterior(f.add(at, f.i64(1))));
            let named = f.resize(f.load(Ty::I32, f.offset(u.labels, Ty::I32, label), 4), Ty::I64);
            let share = |hit, v| f.select(hit, v, f.f32(0.0));
            let sum = f.add(sum[0], share(is_blank, blank));
            vec![f.add(sum, share(f.cmp(Cmp::Eq, named, symbol), own))]
        })[0];
        let last = || vec![f.add(sum, posterior(f.add(end, end)))];
        let sum = f.if_else(f.and(counts, is_blank), last, || vec![sum])[0];
        let row = f.mul(f.add(f.mul(batch, time), frame), f.dim(&k.vocab));
        f.store_element(k.grad, f.add(row, symbol), f.sub(f.f32(0.0), sum));
    });
    f.finish([k.batch.clone() * k.time.clone(), Dim::from(1), Dim::from(1)])
}
