//! Clips that a training leaves out: counted once each, reported together; too many stop it.

use super::Trainer;
use crate::data::{SILENT, Skipped, table_of_reasons, too_many};
use crate::error::Error;

impl Trainer<'_> {
    /// Notes clips that were left out; each counts once.
    ///
    /// # Errors
    /// Where more are left out than may be: damage that only decoding shows is found on the way.
    pub(super) fn skip(&mut self, clips: Vec<Skipped>) -> Result<(), Error> {
        for clip in clips {
            if self.skipped.insert(clip.path.clone()) {
                // Silence is no damage: it is told and does not stop.
                self.silent += usize::from(clip.reason == SILENT);
                self.untold.push(clip);
            }
        }
        if self.untold.is_empty() || !too_many(self.skipped.len() - self.silent, self.clips, self.allowed) {
            return Ok(());
        }
        let what = format!(
            "{} of {} clips had to be left out so far, these at last:{}\n ",
            self.skipped.len(),
            self.clips,
            table_of_reasons(&self.untold)
        );
        Err(Error::data(
            "training",
            what,
            "repair them and continue with --resume, or continue without them with --allow-skips",
        ))
    }

    /// Tells which clips were left out since this was last told, in one table.
    pub(super) fn tell_skipped(&mut self) -> Result<(), Error> {
        let untold = std::mem::take(&mut self.untold);
        if untold.is_empty() {
            return Ok(());
        }
        let message = format!("{} of {}:{}", self.skipped.len(), self.clips, table_of_reasons(&untold));
        self.log.event(self.state.update, "clips left out", &message)
    }
}
