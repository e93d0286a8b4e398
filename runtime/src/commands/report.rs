//! `report`: what runs logged, as a page for a browser.

use crate::error::Error;
use crate::report::{read, write_events, write_page};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct ReportArgs {
    /// Run folders; several are overlaid.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The HTML file to write.
    #[arg(short, long, value_name = "FILE.html", default_value = "report.html")]
    pub output: PathBuf,
    /// Also write event files for TensorBoard below this folder.
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

/// Writes the page, and says where it is.
pub fn run(args: &ReportArgs) -> Result<String, Error> {
    let runs = read(&args.runs)?;
    write_page(&runs, &args.output)?;
    let mut said = format!("{}\n", args.output.display());
    if let Some(dir) = &args.tensorboard {
        write_events(&runs, dir)?;
        said += &format!("{0}: see it by `tensorboard --logdir {0}`\n", dir.display());
    }
    Ok(said)
}
