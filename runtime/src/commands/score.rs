//! `score`: two text files against each other.

use crate::error::Error;
use crate::log::tell;
use crate::score::{read_pairs, score};
use crate::vocab::Vocab;
use clap::Args;
use std::path::PathBuf;

/// Seed of the bootstrap where none is given.
pub const SEED: u64 = 1;

#[derive(Args)]
pub struct ScoreArgs {
    /// References: one text per line, or `path<TAB>text` lines.
    #[arg(value_name = "REF")]
    pub reference: PathBuf,
    /// Hypotheses, in the same form; tables are matched by path.
    #[arg(value_name = "HYP")]
    pub hypothesis: PathBuf,
    /// Normalise both to this vocabulary first, as fine-tuning does; by default they are compared as they are.
    #[arg(long, value_name = "FILE")]
    pub vocab: Option<PathBuf>,
    #[command(flatten)]
    pub lists: Lists,
}

/// What the commands that score have in common.
#[derive(Args)]
pub struct Lists {
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Number of confusions and clips to list.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub top: usize,
    /// Seed of the bootstrap intervals.
    #[arg(long, default_value_t = SEED, value_name = "N")]
    pub seed: u64,
}

/// The page or the JSON object to print.
pub fn run(args: &ScoreArgs) -> Result<String, Error> {
    let (mut pairs, notes) = read_pairs(&args.reference, &args.hypothesis)?;
    notes.iter().for_each(|n| tell(&format!("note: {n}")));
    if let Some(path) = &args.vocab {
        let vocab = Vocab::read(path)?;
        for pair in &mut pairs {
            pair.reference = vocab.normalize(&pair.reference);
            pair.hypothesis = vocab.normalize(&pair.hypothesis);
        }
    }
    let found = score(&pairs, args.lists.top, args.lists.seed);
    Ok(match args.lists.json {
        true => format!(
            "{}\n",
            serde_json::to_string(&found).expect("plain data always serialises")
        ),
        false => found.to_string(),
    })
}
