//! A head for other letters: which row of the given head serves for which letter.

use crate::vocab::Vocab;

/// Where each row of a head comes from.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeadRows {
    /// Per row the row of the given weights; `None`: it keeps its first values.
    pub rows: Vec<Option<usize>>,
}

impl HeadRows {
    /// Rows for `to`, whose class i has the number `order[i]` in files, out of a head for `from`. Rows are copied where both have
    /// the token; blank and end of word go by what they are for, not by their names. Without `from` nothing is known of
    /// the given rows.
    pub fn new(from: Option<&Vocab>, to: &Vocab, classes: usize) -> HeadRows {
        let row = |id| from.and_then(|from| to.same_in(id, from));
        HeadRows {
            rows: (0..classes)
                .map(|id| if id < to.len() { row(id) } else { None })
                .collect(),
        }
    }

    /// Rows in another order: class i is row `order[i]`, and what lies beyond stays where it is.
    pub fn reordered(order: &[usize], classes: usize) -> HeadRows {
        HeadRows {
            rows: (0..classes).map(|i| Some(order.get(i).copied().unwrap_or(i))).collect(),
        }
    }

    /// Whether this is every row in its place.
    pub fn is_identity(&self) -> bool {
        self.rows.iter().enumerate().all(|(i, r)| *r == Some(i))
    }

    /// Copies rows of `from`, each of `width` values, to their places in `to`. A row that `from` lacks stays as it is.
    pub(super) fn copy(&self, from: &[f32], to: &mut [f32]) {
        let width = to.len() / self.rows.len().max(1);
        for (place, row) in to.chunks_mut(width.max(1)).zip(&self.rows) {
            if let Some(values) = row.and_then(|r| from.get(r * width..(r + 1) * width)) {
                place.copy_from_slice(values);
            }
        }
    }

    /// What a user should know of it: letters whose rows are copied and letters that start anew, if any do.
    pub fn describe(&self, to: &Vocab) -> Option<String> {
        let known = &self.rows[..to.len().min(self.rows.len())];
        let new: Vec<&str> = known
            .iter()
            .enumerate()
            .filter(|(_, r)| r.is_none())
            .filter_map(|(i, _)| to.token(i))
            .collect();
        if new.is_empty() {
            return None;
        }
        let shown = new.iter().take(12).copied().collect::<Vec<_>>().join(" ");
        let more = if new.len() > 12 { " ..." } else { "" };
        Some(format!(
            "{} of {} tokens start at random in lm_head, being absent from the given weights ({shown}{more}); the rows of the \
             other {} are copied",
            new.len(),
            known.len(),
            known.len() - new.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab(tokens: &[&str]) -> Vocab {
        Vocab::new(tokens.iter().map(|t| t.to_string()).collect())
    }

    #[test]
    fn rows_of_common_tokens_are_copied_and_the_others_named() {
        let from = vocab(&["<pad>", "<unk>", "|", "a", "é", "b"]);
        // The blank and the unknown token under other names, é as letter and mark.
        let to = vocab(&["|", "b", "c", "e\u{301}", "[UNK]", "[PAD]"]);
        let (first, _) = to.blank_first();
        let head = HeadRows::new(Some(&from), &first, 7);
        assert_eq!(head.rows, [Some(0), Some(2), Some(5), None, Some(4), Some(1), None]);
        let told = head.describe(&first).unwrap();
        assert!(
            told.contains("1 of 6") && told.contains("random in lm_head") && told.contains("(c)"),
            "{told}"
        );
        let mut values = [9.0; 14];
        head.copy(
            &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5],
            &mut values,
        );
        assert_eq!(
            values,
            [0.0, 0.5, 2.0, 2.5, 5.0, 5.5, 9.0, 9.0, 4.0, 4.5, 1.0, 1.5, 9.0, 9.0]
        );
        assert!(HeadRows::new(None, &first, 6).rows.iter().all(Option::is_none));
    }

    #[test]
    fn the_same_letters_are_every_row_in_its_place() {
        let v = Vocab::default();
        assert!(HeadRows::new(Some(&v), &v, v.len()).is_identity());
        assert_eq!(HeadRows::new(Some(&v), &v, v.len()).describe(&v), None);
        let (_, order) = vocab(&["a", "b", "[PAD]"]).blank_first();
        assert_eq!(
            HeadRows::reordered(&order, 4).rows,
            [Some(2), Some(0), Some(1), Some(3)]
        );
    }
}
