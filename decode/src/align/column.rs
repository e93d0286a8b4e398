//! Scores of all states at one frame, and how they come from those of the frame before.

use super::{Matrix, frames_needed};

const NO: f64 = f64::NEG_INFINITY;

/// Labels in order; state 2 i is the blank before label i, state 2 i + 1 the label.
pub struct Chain {
    pub labels: Vec<u32>,
    /// The same in a byte each, where classes are few enough.
    narrow: Option<Vec<u8>>,
    blank: usize,
    /// Labels that are equal to the one before: there is a blank between.
    repeats: Vec<usize>,
    /// Labels that may come again after a blank.
    again: Vec<usize>,
    /// Whether the first and the last label may be left out.
    optional: (bool, bool),
}

impl Chain {
    /// `word_end`: a class that may be repeated, and left out at both ends.
    pub fn new(labels: &[u32], blank: usize, word_end: Option<u32>) -> Chain {
        let ends = |label: Option<&u32>| word_end.is_some() && label.copied() == word_end && labels.len() > 1;
        Chain {
            narrow: labels.iter().map(|l| u8::try_from(*l).ok()).collect(),
            repeats: (1..labels.len()).filter(|i| labels[*i] == labels[i - 1]).collect(),
            again: (0..labels.len()).filter(|i| Some(labels[*i]) == word_end).collect(),
            optional: (ends(labels.first()), ends(labels.last())),
            labels: labels.to_vec(),
            blank,
        }
    }

    pub fn needed(&self) -> usize {
        let (first, last) = self.optional;
        frames_needed(&self.labels[first as usize..self.labels.len() - last as usize])
    }
}

#[derive(Clone)]
pub struct Column {
    /// Of the blank before each label, and behind the last.
    blanks: Vec<f64>,
    labels: Vec<f64>,
}

/// What advancing needs besides: what the frame says of each label, and room.
pub struct Room {
    worth: Vec<f64>,
    narrow: [f64; 256],
    labels: Vec<f64>,
}

impl Room {
    pub fn new(chain: &Chain) -> Room {
        Room {
            worth: vec![0.0; chain.labels.len()],
            narrow: [0.0; 256],
            labels: vec![NO; chain.labels.len()],
        }
    }

    /// What a frame says of some labels.
    fn read(&mut self, matrix: &Matrix, chain: &Chain, frame: usize, from: usize, to: usize) {
        let row = matrix.row(frame);
        let worth = &mut self.worth[from..to];
        match &chain.narrow {
            Some(classes) => {
                self.narrow.iter_mut().zip(row).for_each(|(own, v)| *own = *v as f64);
                // The star, which may have the number of the class behind the last.
                self.narrow
                    .iter_mut()
                    .skip(row.len())
                    .take(1)
                    .for_each(|own| *own = 0.0);
                for (own, class) in worth.iter_mut().zip(&classes[from..to]) {
                    *own = self.narrow[*class as usize];
                }
            }
            None => {
                for (own, class) in worth.iter_mut().zip(&chain.labels[from..to]) {
                    *own = row.get(*class as usize).map_or(0.0, |v| *v as f64);
                }
            }
        }
    }
}

/// How a state was reached.
const STAY: u8 = 0;
const BACK: u8 = 3;

fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// All labels but the first: each from itself, from the blank before it, and from the label before that.
#[inline(always)]
fn step(blanks: &mut [f64], before: &[f64], own: &[f64], worth: &[f64], blank: f64, new: &mut [f64]) {
    let count = blanks.len();
    let (before, own, worth, new) = (&before[..count], &own[..count], &worth[..count], &mut new[..count]);
    for i in 0..count {
        let moved = larger(before[i], blanks[i]);
        blanks[i] = moved + blank;
        new[i] = larger(moved, own[i]) + worth[i];
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn step_avx2(blanks: &mut [f64], before: &[f64], own: &[f64], worth: &[f64], blank: f64, new: &mut [f64]) {
    step(blanks, before, own, worth, blank, new);
}

fn step_fast(blanks: &mut [f64], before: &[f64], own: &[f64], worth: &[f64], blank: f64, new: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { step_avx2(blanks, before, own, worth, blank, new) };
    }
    step(blanks, before, own, worth, blank, new);
}

impl Column {
    pub fn first(matrix: &Matrix, chain: &Chain) -> Column {
        let count = chain.labels.len();
        let mut column = Column {
            blanks: vec![NO; count + 1],
            labels: vec![NO; count],
        };
        let label = |i: usize| matrix.at(0, chain.labels[i] as usize) as f64;
        let blank = matrix.at(0, chain.blank) as f64;
        column.blanks[0] = blank;
        column.labels[0] = label(0);
        if chain.optional.0 {
            column.blanks[1] = blank;
            column.labels[1] = label(1);
        }
        column
    }

    pub fn advance(&mut self, matrix: &Matrix, chain: &Chain, frame: usize, room: &mut Room) {
        let count = chain.labels.len();
        // Labels that can have been reached, and from which the end can still be.
        let to = (frame + 1 + chain.optional.0 as usize).min(count);
        let left = matrix.frames() - 1 - frame;
        let from = count.saturating_sub(left + 1 + chain.optional.1 as usize).min(to - 1);
        room.read(matrix, chain, frame, from, to);
        let blank = matrix.row(frame)[chain.blank] as f64;
        let within = |all: &[usize]| all.partition_point(|i| *i < from)..all.partition_point(|i| *i < to);
        let again = &chain.again[within(&chain.again)];
        let returns: Vec<f64> = again.iter().map(|i| self.blanks[i + 1] + room.worth[*i]).collect();
        let repeats = &chain.repeats[within(&chain.repeats)];
        let stays: Vec<f64> = repeats
            .iter()
            .map(|i| larger(self.blanks[*i], self.labels[*i]) + room.worth[*i])
            .collect();
        self.blanks[to] = larger(self.labels[to - 1], self.blanks[to]) + blank;
        let start = from.max(1);
        if from == 0 {
            room.labels[0] = larger(self.blanks[0], self.labels[0]) + room.worth[0];
            self.blanks[0] += blank;
        }
        step_fast(
            &mut self.blanks[start..to],
            &self.labels[start - 1..to - 1],
            &self.labels[start..to],
            &room.worth[start..to],
            blank,
            &mut room.labels[start..to],
        );
        for (i, score) in repeats.iter().zip(stays).filter(|(i, _)| **i > 0) {
            room.labels[*i] = score;
        }
        for (i, score) in again.iter().zip(returns) {
            room.labels[*i] = room.labels[*i].max(score);
        }
        // The label before the first is read once more, and is what it was at the frame before.
        if from > 0 {
            room.labels[from - 1] = self.labels[from - 1];
        }
        std::mem::swap(&mut self.labels, &mut room.labels);
    }

    /// The state in which the likeliest path ends, and its score; of equals the label, not the blank behind it.
    pub fn last(&self, chain: &Chain) -> (usize, f64) {
        let count = self.labels.len();
        let mut ends = vec![(2 * count - 1, self.labels[count - 1]), (2 * count, self.blanks[count])];
        if chain.optional.1 {
            ends.push((2 * count - 3, self.labels[count - 2]));
            ends.push((2 * count - 2, self.blanks[count - 1]));
        }
        let first = ends[0];
        ends.into_iter()
            .fold(first, |best, end| if end.1 > best.1 { end } else { best })
    }

    /// The states of a path that ends in the last entry's, which is given; this column is the first entry's.
    pub fn trace(&self, matrix: &Matrix, chain: &Chain, from: usize, path: &mut [usize]) {
        let steps = path.len() - 1;
        let end = path[steps];
        // A step goes back by one label at most, and forward to the blank behind an end of word.
        let low = (end / 2).saturating_sub(steps + 1);
        let high = (end / 2 + 1).min(chain.labels.len());
        let width = high - low + 1;
        let mut blanks = self.blanks[low..=high].to_vec();
        let mut labels = self.labels[low..high].to_vec();
        let mut ways = vec![STAY; steps * 2 * width];
        let mut old = (blanks.clone(), labels.clone());
        for step in 1..=steps {
            old.0.copy_from_slice(&blanks);
            old.1.copy_from_slice(&labels);
            let ways = &mut ways[(step - 1) * 2 * width..step * 2 * width];
            let frame = from + step;
            let blank = matrix.at(frame, chain.blank) as f64;
            for i in 0..width {
                let before = if i > 0 { old.1[i - 1] } else { NO };
                let moved = before > old.0[i];
                blanks[i] = if moved { before } else { old.0[i] } + blank;
                ways[2 * i] = moved as u8;
                let at = low + i;
                if i + 1 == width {
                    continue;
                }
                let mut sources = [old.1[i], old.0[i], before, NO];
                if at == 0 || chain.labels[at] == chain.labels[at - 1] {
                    sources[2] = NO;
                }
                if chain.again.binary_search(&at).is_ok() {
                    sources[BACK as usize] = old.0[i + 1];
                }
                let mut way = 0;
                for (other, score) in sources.iter().enumerate() {
                    if *score > sources[way] {
                        way = other;
                    }
                }
                labels[i] = sources[way] + matrix.at(frame, chain.labels[at] as usize) as f64;
                ways[2 * i + 1] = way as u8;
            }
        }
        let mut state = end;
        for step in (1..=steps).rev() {
            path[step] = state;
            let way = ways[(step - 1) * 2 * width + state - 2 * low];
            state = if way == BACK { state + 1 } else { state - way as usize };
        }
        path[0] = state;
    }
}
