//! The loop over the summed axis: panels of later steps are on their way while one step is multiplied.

use super::micro::Micro;
use super::panel::{Panel, Parts, Step};
use super::product::Product;
use super::schedule::Schedule;
use crate::arith::Cmp;
use crate::builder::{Ty, V};
use crate::function::{Function, blocks_of};
use ir::dim::Dim;
use ir::kernel::Strided;

/// Both panels of a step and everything needed to fill them.
pub struct Pipeline<'p, 'c> {
    pub product: &'p Product,
    pub schedule: &'p Schedule,
    pub a: &'p Panel,
    pub b: &'p Panel,
    pub parts_a: Parts<'c>,
    pub parts_b: Parts<'c>,
    /// Start of shared memory.
    pub shared: V<'c>,
}

/// Where in the summed axis the panels are that are fetched next.
#[derive(Clone, Copy)]
struct Walk<'c> {
    /// Position along the inner part, i32.
    at: V<'c>,
    /// Elements from the start of the operands.
    a: V<'c>,
    b: V<'c>,
}

impl<'p, 'c> Pipeline<'p, 'c> {
    /// Bytes of shared memory.
    pub fn shared_bytes(s: &Schedule, a: &Panel, b: &Panel) -> u32 {
        s.tile.stages * (a.bytes() + b.bytes())
    }

    /// Number of steps of the whole sum.
    pub fn steps(product: &Product, s: &Schedule) -> Dim {
        product.k_outer.clone() * blocks_of(&product.k, s.tile.k as i64)
    }

    /// The sums of `count` steps from step `first` (`None`: the first of all) on.
    pub fn run(&self, f: &Function<'_, 'c>, micro: &Micro<'_, 'c>, first: Option<V<'c>>, count: V<'c>) -> Vec<V<'c>> {
        let stages = self.schedule.tile.stages as i32;
        let mut walk = self.start(f, first);
        for stage in 0..stages - 1 {
            let there = f.cmp(Cmp::Lt, f.i32(stage), count);
            f.when(there, || {
                let fetched = self.fetch(f, walk, f.i32(stage));
                self.put(f, &fetched, f.i32(stage));
            });
            self.commit(f);
            walk = self.advance(f, walk);
        }
        let mut carried = vec![f.i32(0), f.i32(stages - 1), walk.at, walk.a, walk.b];
        let fixed = carried.len();
        carried.extend(micro.start(f));
        let out = f.for_carried((f.i32(0), count, f.i32(1)), &carried, |t, carried| {
            let (read, write) = (carried[0], carried[1]);
            let walk = Walk {
                at: carried[2],
                a: carried[3],
                b: carried[4],
            };
            self.wait(f, stages as u32 - 2);
            // Also: all have multiplied the step whose panels are overwritten now.
            f.barrier();
            let there = f.cmp(Cmp::Lt, f.add(t, f.i32(stages - 1)), count);
            let fetched = self.fetch_where(f, there, walk, write);
            self.commit(f);
            let panels = (self.panel(f, self.a, read), self.panel(f, self.b, read));
            let sums = micro.step(f, panels, &carried[fixed..]);
            f.when(there, || self.put(f, &fetched, write));
            let next = |stage| {
                let next = f.add(stage, f.i32(1));
                f.select(f.cmp(Cmp::Eq, next, f.i32(stages)), f.i32(0), next)
            };
            let walk = self.advance(f, walk);
            let mut out = vec![next(read), next(write), walk.at, walk.a, walk.b];
            out.extend(sums);
            out
        });
        self.wait(f, 0);
        f.barrier();
        out[fixed..].to_vec()
    }

    fn asynchronous(&self) -> bool {
        self.a.asynchronous || self.b.asynchronous
    }

    fn commit(&self, f: &Function<'_, 'c>) {
        if self.asynchronous() {
            f.commit_copies();
        }
    }

    fn wait(&self, f: &Function<'_, 'c>, pending: u32) {
        if self.asynchronous() {
            f.await_copies(pending);
        }
    }

    fn start(&self, f: &Function<'_, 'c>, first: Option<V<'c>>) -> Walk<'c> {
        let Some(first) = first else {
            return Walk {
                at: f.i32(0),
                a: f.i64(0),
                b: f.i64(0),
            };
        };
        let (p, depth) = (self.product, self.schedule.tile.k as i64);
        let per_outer = f.dim32(&blocks_of(&p.k, depth));
        let per_outer = f.most(per_outer, f.i32(1));
        let (outer, inner) = (f.udiv(first, per_outer), f.urem(first, per_outer));
        let at = f.mul(inner, f.i32(depth as i32));
        let [outer, inner] = [outer, at].map(|v| f.widen(v, Ty::I64));
        let element = |s: &Strided| f.add(f.mul(outer, f.dim(&s.k_outer)), f.mul(inner, f.dim(&s.k)));
        Walk {
            at,
            a: element(&p.a),
            b: element(&p.b),
        }
    }

    fn advance(&self, f: &Function<'_, 'c>, walk: Walk<'c>) -> Walk<'c> {
        let (p, depth) = (self.product, self.schedule.tile.k as i64);
        let at = f.add(walk.at, f.i32(depth as i32));
        let next = |s: &Strided| s.k.clone() * Dim::from(depth);
        if p.k_outer.is_one() {
            let element = |s: &Strided, from| f.add(from, f.dim(&next(s)));
            return Walk {
                at,
                a: element(&p.a, walk.a),
                b: element(&p.b, walk.b),
            };
        }
        let over = f.cmp(Cmp::Ge, at, f.dim32(&p.k));
        let element = |s: &Strided, from| {
            let back = next(s) * (blocks_of(&p.k, depth) - Dim::from(1));
            let outer = s.k_outer.clone() - back;
            f.add(from, f.select(over, f.dim(&outer), f.dim(&next(s))))
        };
        Walk {
            at: f.select(over, f.i32(0), at),
            a: element(&p.a, walk.a),
            b: element(&p.b, walk.b),
        }
    }

    /// The address of a panel in a stage.
    fn panel(&self, f: &Function<'_, 'c>, panel: &Panel, stage: V<'c>) -> V<'c> {
        let (size, before) = if std::ptr::eq(panel, self.a) {
            (self.a.bytes(), 0)
        } else {
            (self.b.bytes(), self.schedule.tile.stages * self.a.bytes())
        };
        let bytes = f.add(f.mul(stage, f.i32(size as i32)), f.i32(before as i32));
        f.offset(self.shared, Ty::I8, f.widen(bytes, Ty::I64))
    }

    fn operands(&self) -> [(&'p Panel, &Parts<'c>); 2] {
        [(self.a, &self.parts_a), (self.b, &self.parts_b)]
    }

    fn walked(&self, f: &Function<'_, 'c>, walk: Walk<'c>) -> [Step<'c>; 2] {
        let left = f.sub(f.dim32(&self.product.k), walk.at);
        [walk.a, walk.b].map(|offset| Step { offset, left })
    }

    /// Starts asynchronous copies and loads what goes through registers.
    fn fetch(&self, f: &Function<'_, 'c>, walk: Walk<'c>, stage: V<'c>) -> Vec<Vec<V<'c>>> {
        let steps = self.walked(f, walk);
        let each = self.operands().into_iter().zip(steps);
        each.map(|((panel, parts), step)| {
            if panel.asynchronous {
                panel.copy(f, parts, step, self.panel(f, panel, stage));
                return vec![];
            }
            panel.fetch(f, parts, step)
        })
        .collect()
    }

    /// The same where there is another step; what it gives elsewhere is not to be used.
    fn fetch_where(&self, f: &Function<'_, 'c>, there: V<'c>, walk: Walk<'c>, stage: V<'c>) -> Vec<Vec<V<'c>>> {
        let mut lengths = vec![];
        let flat = f.if_else(
            there,
            || {
                let fetched = self.fetch(f, walk, stage);
                lengths = fetched.iter().map(Vec::len).collect();
                fetched.concat()
            },
            || {
                self.operands()
                    .into_iter()
                    .flat_map(|(panel, parts)| panel.nothing(f, parts))
                    .collect()
            },
        );
        let mut rest = &flat[..];
        let split = |n| {
            let (now, later) = rest.split_at(n);
            rest = later;
            now.to_vec()
        };
        lengths.into_iter().map(split).collect()
    }

    fn put(&self, f: &Function<'_, 'c>, fetched: &[Vec<V<'c>>], stage: V<'c>) {
        for ((panel, parts), fetched) in self.operands().into_iter().zip(fetched) {
            if !panel.asynchronous {
                panel.put(f, parts, fetched, self.panel(f, panel, stage));
            }
        }
    }
}
