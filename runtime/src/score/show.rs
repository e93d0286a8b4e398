//! A score as a page of text.

use super::{Confusion, Rate, Score};
use std::fmt::{Display, Formatter, Result};

impl Display for Score {
    fn fmt(&self, f: &mut Formatter) -> Result {
        line(f, "wer", "words", &self.wer)?;
        line(f, "cer", "letters", &self.cer)?;
        write!(f, "{} clips", self.clips)?;
        match self.empty_references {
            0 => writeln!(f)?,
            n => writeln!(
                f,
                ", {n} of them with an empty reference: everything in their hypotheses is an insertion"
            )?,
        }
        list(f, "confused words", &self.wer.confusions)?;
        list(f, "confused letters", &self.cer.confusions)?;
        if !self.worst.is_empty() {
            writeln!(f, "\nworst clips, by letters")?;
        }
        for worst in &self.worst {
            writeln!(f, "  {:>6.1} %  {}", 100.0 * worst.cer, worst.name)?;
            writeln!(f, "            reference   {}", worst.reference)?;
            writeln!(f, "            hypothesis  {}", worst.hypothesis)?;
        }
        Ok(())
    }
}

fn line(f: &mut Formatter, name: &str, what: &str, rate: &Rate) -> Result {
    write!(f, "{name}  {:.1} %", 100.0 * rate.rate)?;
    if let Some([low, high]) = rate.interval {
        write!(f, " (95 % interval {:.1} to {:.1} %)", 100.0 * low, 100.0 * high)?;
    }
    let c = &rate.counts;
    writeln!(
        f,
        "  {} errors in {} {what}: {} inserted, {} deleted, {} substituted",
        rate.errors, rate.length, c.insertions, c.deletions, c.substitutions
    )
}

fn list(f: &mut Formatter, title: &str, confusions: &[Confusion]) -> Result {
    if confusions.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    for c in confusions {
        // A space by itself would not be seen.
        let visible = |t: &str| if t == " " { "(space)".into() } else { t.to_string() };
        let text = match (&c.reference, &c.hypothesis) {
            (Some(said), Some(heard)) => format!("{} -> {}", visible(said), visible(heard)),
            (Some(said), None) => format!("{} deleted", visible(said)),
            (None, Some(heard)) => format!("{} inserted", visible(heard)),
            (None, None) => continue,
        };
        writeln!(f, "  {:>6}  {text}", c.count)?;
    }
    Ok(())
}
