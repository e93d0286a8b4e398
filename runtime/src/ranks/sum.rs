//! Sums over ranks in a fixed order: the same bits whatever library moves the numbers, and wherever the ranks are.

use super::mpi::library::Mpi;
use crate::error::Error;

/// Values that are summed at a time: 4 MiB.
const PIECE: usize = 1 << 20;

/// Of `count` values, how many each of `ranks` adds up: as even as can be in whole blocks, the first have one more.
pub fn parts(count: usize, ranks: usize, block: usize) -> Vec<usize> {
    let blocks = count.div_ceil(block);
    let mut left = count;
    let mut take = |rank: usize| {
        let own = block * (blocks / ranks + usize::from(rank < blocks % ranks));
        let own = own.min(left);
        left -= own;
        own
    };
    (0..ranks).map(&mut take).collect()
}

/// Where each part begins.
pub fn places(parts: &[usize]) -> Vec<usize> {
    let mut next = 0;
    let mut all = vec![];
    for part in parts {
        all.push(next);
        next += part;
    }
    all
}

/// Every rank's values become the sums of all ranks', each added in the order of the ranks.
///
/// # Errors
/// What the library says.
pub fn sum(mpi: &Mpi, values: &mut [f32], room: &mut Vec<f32>) -> Result<(), Error> {
    for piece in values.chunks_mut(PIECE) {
        let counts = parts(piece.len(), mpi.size, 1);
        sum_parts(mpi, piece, &counts, room)?;
        mpi.spread(piece, (&counts, &places(&counts)))?;
    }
    Ok(())
}

/// This rank's part becomes the sums of all ranks' values there; what it has of the other parts stays.
pub fn sum_parts(mpi: &Mpi, values: &mut [f32], parts: &[usize], room: &mut Vec<f32>) -> Result<(), Error> {
    let places = places(parts);
    let longest = parts.iter().copied().max().unwrap_or(0);
    let round = PIECE.div_ceil(mpi.size);
    for from in (0..longest).step_by(round) {
        let counts: Vec<usize> = parts.iter().map(|n| n.saturating_sub(from).min(round)).collect();
        let at: Vec<usize> = places.iter().zip(parts).map(|(p, n)| p + from.min(*n)).collect();
        let own = counts[mpi.rank];
        room.resize(room.len().max(own * mpi.size), 0.0);
        mpi.scatter(values, (&counts, &at), room)?;
        in_order(&mut values[at[mpi.rank]..][..own], &room[..own * mpi.size]);
    }
    Ok(())
}

/// Sums of the rows of `rows`, each as long as `sums`, from the first on.
fn in_order(sums: &mut [f32], rows: &[f32]) {
    let n = sums.len();
    for (i, row) in rows
        .chunks(n.max(1))
        .take(rows.len().checked_div(n).unwrap_or(0))
        .enumerate()
    {
        match i {
            0 => sums.copy_from_slice(row),
            _ => sums.iter_mut().zip(row).for_each(|(s, v)| *s += v),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_leave_nothing_out() {
        assert_eq!(parts(10, 4, 1), [3, 3, 2, 2]);
        assert_eq!(parts(2, 3, 1), [1, 1, 0]);
        assert_eq!(parts(10, 2, 4), [8, 2]);
        for (count, ranks, block) in [(0, 1, 1), (1, 5, 4096), (4096, 3, 1), (100_000, 3, 4096)] {
            assert_eq!(parts(count, ranks, block).iter().sum::<usize>(), count);
        }
        assert_eq!(places(&[3, 0, 2]), [0, 3, 3]);
    }

    #[test]
    fn the_order_of_a_sum_is_that_of_the_ranks() {
        // In f32, (1e8 + 1) - 1e8 is 0 and (1e8 - 1e8) + 1 is 1.
        let mut sums = [0.0; 2];
        in_order(&mut sums, &[1e8, 1e8, 1.0, -1e8, -1e8, 1.0]);
        assert_eq!(sums, [0.0, 1.0]);
    }
}
