//! Transcripts to the standard output, or to a file each.

use super::OutputFlags;
use crate::atomic::{create_dir, write_text};
use crate::error::Error;
use decode::output::{self, Detail, Format, Layout, TSV_HEAD, Transcript};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

type Say<'a> = dyn Fn(&str) -> Result<(), Error> + 'a;

pub struct Writer {
    format: Format,
    detail: Detail,
    layout: Layout,
    folder: Option<PathBuf>,
    /// Names of files that are written.
    used: BTreeSet<String>,
    written: usize,
}

impl Writer {
    /// `recordings`: how many there will be.
    ///
    /// # Errors
    /// Where the format holds one recording, and more would have to go to one stream; where the folder cannot be made.
    pub fn new(flags: &OutputFlags, recordings: usize) -> Result<Writer, Error> {
        let format = flags.format();
        if flags.output_dir.is_none() && recordings > 1 && !format.holds_several() {
            return Err(Error::Usage(format!(
                "a .{} file holds one recording and there are {recordings}: give --output-dir DIR for a file each",
                format.ending()
            )));
        }
        if let Some(folder) = &flags.output_dir {
            create_dir(folder)?;
        }
        Ok(Writer {
            format,
            detail: flags.detail(),
            layout: flags.layout(),
            folder: flags.output_dir.clone(),
            used: BTreeSet::new(),
            written: 0,
        })
    }

    pub fn write(&mut self, transcript: &Transcript, say: &Say) -> Result<(), Error> {
        self.written += 1;
        if let Some(folder) = &self.folder {
            let path = folder.join(unused(&transcript.name, self.format.ending(), &mut self.used));
            let text = output::file(transcript, self.format, self.detail, &self.layout);
            return write_text(&path, &text);
        }
        let text = match (self.format, transcript.alternatives.is_empty()) {
            (Format::Text, false) => ranked(transcript),
            _ => output::part(transcript, self.format, self.detail, &self.layout),
        };
        let before = match (self.format, self.written) {
            (Format::Tsv, 1) => TSV_HEAD,
            (Format::Json, 1) => "[\n",
            (Format::Json, _) => ",\n",
            _ => "",
        };
        say(&format!("{before}{text}"))
    }

    /// What stands behind the last transcript.
    pub fn finish(&self, say: &Say) -> Result<(), Error> {
        match (self.format, self.written, &self.folder) {
            (Format::Json, 0, None) => say("[]\n"),
            (Format::Json, _, None) => say("\n]\n"),
            (Format::Tsv, 0, None) => say(TSV_HEAD),
            _ => Ok(()),
        }
    }
}

/// Texts of one recording, best first: path, rank, score, its parts, text.
fn ranked(transcript: &Transcript) -> String {
    let lines = transcript.alternatives.iter().enumerate().map(|(i, a)| {
        format!(
            "{}\t{}\t{:.4}\t{:.4}\t{:.4}\t{}\n",
            transcript.name,
            i + 1,
            a.score,
            a.acoustic,
            a.language,
            a.text
        )
    });
    lines.collect()
}

/// The name of a recording with another ending, and a number where it comes again.
fn unused(name: &str, ending: &str, used: &mut BTreeSet<String>) -> String {
    let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned());
    let stem = match stem {
        Some(stem) if stem != "-" => stem,
        _ => "recording".into(),
    };
    let mut number = 1;
    loop {
        let own = match number {
            1 => format!("{stem}.{ending}"),
            n => format!("{stem}-{n}.{ending}"),
        };
        if used.insert(own.clone()) {
            return own;
        }
        number += 1;
    }
}
