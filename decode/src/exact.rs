//! The exact weight of a text: the sum over all of its paths, which a search only finds in part.

use crate::alphabet::Alphabet;

fn add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    match low == f64::NEG_INFINITY {
        true => high,
        false => high + (low - high).exp().ln_1p(),
    }
}

/// ln of the probability of all paths of a matrix [frames, classes] of log-probabilities or logits that spell these words: any
/// number of word ends, also none, before the first and after the last, one or more between two.
pub fn acoustic(alphabet: &Alphabet, matrix: &[f32], words: &[Vec<u32>]) -> f64 {
    let end = alphabet.word_end.map(|e| e as u32);
    let mut units: Vec<u32> = vec![];
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            units.extend(end);
        }
        units.extend(word);
    }
    let last = units.len();
    units.extend(end);
    const NO: f64 = f64::NEG_INFINITY;
    // Per number of units so far: ln of paths that end in a blank, and of those that end in the last unit.
    let mut now = vec![(NO, NO); units.len() + 1];
    now[0].0 = 0.0;
    for row in matrix.chunks_exact(alphabet.len()) {
        let all = row.iter().fold(NO, |sum, v| add(sum, *v as f64));
        let worth = |class: u32| row[class as usize] as f64 - all;
        let mut next = vec![(NO, NO); now.len()];
        for (at, (blank, label)) in now.iter().enumerate() {
            let both = add(*blank, *label);
            next[at].0 = add(next[at].0, both + worth(alphabet.blank as u32));
            let own = at.checked_sub(1).map(|i| units[i]);
            let closed = at == 0 || own == end && own.is_some();
            match (closed, own) {
                (true, _) => {
                    if let Some(end) = end {
                        next[at].1 = add(next[at].1, both + worth(end));
                    }
                }
                (false, Some(class)) => next[at].1 = add(next[at].1, label + worth(class)),
                (false, None) => {}
            }
            if let Some(class) = units.get(at).filter(|c| at > 0 || Some(**c) != end) {
                let from = if own == Some(*class) { *blank } else { both };
                next[at + 1].1 = add(next[at + 1].1, from + worth(*class));
            }
        }
        now = next;
    }
    let (blank, label) = now[last];
    let closed = match units.len() > last && last > 0 {
        true => add(now[last + 1].0, now[last + 1].1),
        false => NO,
    };
    add(add(blank, label), closed)
}
