//! Sums over ranks in a fixed order: the same bits whatever library moves the numbers, and wherever the ranks are.

use super::mpi::library::Mpi;
use crate::error::Error;

/// Values that are summed at a time: 4 MiB.
const PIECE: usize = 1 << 20;

/// How many of `count` values each of `ranks` adds up: as even as can be, the first have one more.
pub fn parts(count: usize, ranks: usize) -> Vec<usize> {
    (0..ranks)
        .map(|r| count / ranks + usize::from(r < count % ranks))
        .collect()
}

/// Every rank's values become the sums of all ranks', each added in the order of the ranks.
///
/// # Errors
/// What the library says.
pub fn sum(mpi: &Mpi, values: &mut [f32], room: &mut Vec<f32>) -> Result<(), Error> {
    for piece in values.chunks_mut(PIECE) {
        let counts = parts(piece.len(), mpi.size);
        let own = counts[mpi.rank];
        room.resize(room.len().max(own * mpi.size), 0.0);
        mpi.scatter(piece, &counts, room)?;
        let at: usize = counts[..mpi.rank].iter().sum();
        in_order(&mut piece[at..at + own], &room[..own * mpi.size]);
        mpi.spread(piece, &counts)?;
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
        assert_eq!(parts(10, 4), [3, 3, 2, 2]);
        assert_eq!(parts(2, 3), [1, 1, 0]);
        for (count, ranks) in [(0, 1), (1, 5), (4096, 3)] {
            assert_eq!(parts(count, ranks).iter().sum::<usize>(), count);
        }
    }

    #[test]
    fn the_order_of_a_sum_is_that_of_the_ranks() {
        // In f32, (1e8 + 1) - 1e8 is 0 and (1e8 - 1e8) + 1 is 1.
        let mut sums = [0.0; 2];
        in_order(&mut sums, &[1e8, 1e8, 1.0, -1e8, -1e8, 1.0]);
        assert_eq!(sums, [0.0, 1.0]);
    }
}
