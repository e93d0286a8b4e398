//! `align`: times of the words of known texts.

use super::decode::{classes, logits, vocabulary};
use crate::atomic::{check_output, write_text};
use crate::audio::RATE;
use crate::data::Utterance;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::log::{Progress, tell};
use crate::session::Session;
use crate::texts::{Aligner, Frames, OutputFlags, Star, Writer};
use crate::trainer::{Transcriber, Transcript, text_task};
use crate::weights::TensorFile;
use clap::Args;
use ir::artifact::Artifact;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct AlignArgs {
    /// A run or a Hugging Face folder.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "logits",
        conflicts_with = "logits"
    )]
    pub weights: Option<PathBuf>,
    /// Instead of a recording: logits of one recording, as `transcribe --logits` writes them.
    #[arg(long, value_name = "FILE.safetensors", requires = "vocab")]
    pub logits: Option<PathBuf>,
    /// For --logits: the vocabulary, vocab.json or a run folder.
    #[arg(long, value_name = "FILE")]
    pub vocab: Option<PathBuf>,
    /// The recording.
    #[arg(value_name = "RECORDING", conflicts_with_all = ["logits", "manifest"])]
    pub file: Option<PathBuf>,
    /// Its text, one segment per line.
    #[arg(long, value_name = "TEXT.txt", conflicts_with = "manifest")]
    pub text: Option<PathBuf>,
    /// Where audio may contain what the text does not (speech, music) [default: edges, with --manifest none].
    #[arg(long)]
    pub star: Option<Star>,
    /// Instead of one recording: a data set with texts. Prints `recording<TAB>score<TAB>text`; the score is the mean natural log
    /// of the probability over the worst 0.6 s. Below -2 a text hardly fits.
    #[arg(long, value_name = "D", conflicts_with = "logits")]
    pub manifest: Option<PathBuf>,
    /// With --manifest: the least score of the texts that -o writes.
    #[arg(long, value_name = "S", requires = "output", default_value_t = -2.0, allow_hyphen_values = true)]
    pub min_score: f64,
    /// With --manifest: write the recordings whose texts fit, as `recording<TAB>text` lines.
    #[arg(short = 'o', long = "output", value_name = "NEW.tsv", requires = "manifest")]
    pub output: Option<PathBuf>,
    /// Change a setting of `transcribe`; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub form: OutputFlags,
}

type Say<'a> = dyn Fn(&str) -> Result<(), Error> + 'a;

impl AlignArgs {
    /// # Errors
    /// Where it is not said what to align.
    pub fn check(&self) -> Result<(), Error> {
        let whole = self.manifest.is_some() || self.text.is_some() && (self.file.is_some() || self.logits.is_some());
        match whole {
            true => Ok(()),
            false => Err(Error::Usage(
                "name a recording and its text: `align --weights RUN speech.wav --text speech.txt`; or a data set: `--manifest D`".into(),
            )),
        }
    }
}

/// Aligns with a model; `say` prints to the standard output.
///
/// # Errors
/// Where a file cannot be read or written, or a text does not fit.
pub fn run(session: &mut dyn Session, args: &AlignArgs, say: &Say) -> Result<(), Error> {
    let weights = args
        .weights
        .as_deref()
        .expect("the command line asks for weights or logits");
    let mut transcriber = Transcriber::new(session, weights, &args.set)?;
    let aligner = transcriber.aligner();
    if let Some(manifest) = &args.manifest {
        return corpus(&mut transcriber, &aligner, manifest, args, say);
    }
    let (Some(path), Some(text)) = (&args.file, &args.text) else {
        return args.check();
    };
    let text = read(text)?;
    let heard = transcriber.file(path)?;
    let name = path.display().to_string();
    one(&aligner, &frames(&name, &heard), &text, args, say)
}

/// Aligns logits; no model is needed.
///
/// # Errors
/// As [`run`].
pub fn run_logits(artifact: &Artifact, args: &AlignArgs, say: &Say) -> Result<(), Error> {
    let (Some(path), Some(vocab), Some(text)) = (&args.logits, &args.vocab, &args.text) else {
        return args.check();
    };
    let (text, geometry) = (read(text)?, Geometry::new(artifact, text_task(artifact)?)?);
    let file = TensorFile::open(path)?;
    let names = file.names();
    let classes = classes(&file, &names, path)?;
    let [name] = &names[..] else {
        let what = format!("it has {} recordings", names.len());
        return Err(Error::data(path.display(), what, "give the logits of one recording"));
    };
    let values = logits(&file, name)?;
    let samples = match values.len() / classes {
        0 => 0,
        frames => geometry.least_samples(frames),
    };
    let aligner = Aligner::new(vocabulary(vocab)?, classes, &geometry);
    let frames = Frames {
        name,
        logits: &values,
        classes,
        duration: samples as f64 / RATE as f64,
    };
    one(&aligner, &frames, &text, args, say)
}

fn read(path: &Path) -> Result<String, Error> {
    crate::atomic::read_to_string(path).map_err(Error::io("read", path))
}

fn frames<'a>(name: &'a str, heard: &'a Transcript) -> Frames<'a> {
    Frames {
        name,
        logits: &heard.logits,
        classes: heard.classes,
        duration: heard.seconds,
    }
}

fn one(aligner: &Aligner, frames: &Frames, text: &str, args: &AlignArgs, say: &Say) -> Result<(), Error> {
    let segments: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let found = aligner.align(frames, &segments, args.star.unwrap_or_default())?;
    let mut form = args.form.clone();
    // Times are what one aligns for.
    if form.format.is_none() && form.timestamps.is_none() {
        form.timestamps = Some(crate::texts::Of::Word);
    }
    let mut writer = Writer::new(&form, 1)?;
    writer.write(&found.transcript, say)?;
    writer.finish(say)
}

/// Scores the texts of a data set, and writes one of those that fit.
fn corpus(
    transcriber: &mut Transcriber,
    aligner: &Aligner,
    manifest: &Path,
    args: &AlignArgs,
    say: &Say,
) -> Result<(), Error> {
    if let Some(output) = &args.output {
        check_output(output, &[manifest.to_path_buf()])?;
    }
    let all = crate::data::open(manifest)?;
    let with_text: Vec<&Utterance> = all.iter().filter(|u| u.text.is_some()).collect();
    if with_text.is_empty() {
        let what = format!("none of its {} recordings has a text", all.len());
        return Err(Error::data(manifest.display(), what, "give a table `path<TAB>text`"));
    }
    let mut progress = Progress::new("recordings aligned", with_text.len());
    let (mut kept, mut kept_count, mut failed) = (String::new(), 0, 0);
    for utterance in &with_text {
        let name = utterance.name().display().to_string();
        let text = utterance.text.as_deref().unwrap_or_default();
        let found = transcriber
            .utterance(utterance)
            .and_then(|heard| aligner.align(&frames(&name, &heard), &[text], args.star.unwrap_or(Star::None)));
        match found {
            Ok(found) => {
                let score = found.scores.iter().copied().fold(f64::INFINITY, f64::min);
                progress.suspend(|| say(&format!("{name}\t{score:.4}\t{text}\n")))?;
                if score >= args.min_score {
                    kept += &format!("{name}\t{text}\n");
                    kept_count += 1;
                }
            }
            Err(e @ (Error::Data { .. } | Error::Audio { .. } | Error::Io { .. })) => {
                progress.suspend(|| tell(&format!("error: {e}")));
                failed += 1;
            }
            Err(e) => return Err(e),
        }
        progress.step();
    }
    drop(progress);
    if let Some(output) = &args.output {
        write_text(output, &kept)?;
        tell(&format!(
            "{kept_count} of {} recordings score at least {}; {failed} could not be aligned; written to {}",
            with_text.len(),
            args.min_score,
            output.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Piece, Values, write_tensors};
    use clap::Parser;
    use std::cell::RefCell;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AlignArgs,
    }

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../decode/tests/fixtures")
    }

    /// Aligns a text with a matrix of the fixtures.
    fn call(case: &str, text: &str, flags: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = TensorFile::open(&fixtures().join("log_probs.safetensors")).unwrap();
        let values = file.floats(case).unwrap().unwrap();
        let piece = Piece {
            shape: file.shape(case).unwrap().to_vec(),
            values: Values::F32(&values),
        };
        write_tensors(&dir.path().join("one.safetensors"), vec![(case.into(), piece)]).unwrap();
        std::fs::write(dir.path().join("text.txt"), text).unwrap();
        let line = format!(
            "align --logits {0}/one.safetensors --vocab {1}/vocab.json --text {0}/text.txt {flags}",
            dir.path().display(),
            fixtures().display()
        );
        let args = Line::try_parse_from(line.split_whitespace())
            .map_err(|e| e.to_string())?
            .args;
        args.check().map_err(|e| e.to_string())?;
        let said = RefCell::new(String::new());
        let say = |text: &str| {
            said.borrow_mut().push_str(text);
            Ok(())
        };
        run_logits(&crate::fake::artifact(), &args, &say).map_err(|e| e.to_string())?;
        Ok(said.into_inner())
    }

    /// Text and frames of each row of a table; a frame of the fake model is 10 samples.
    fn rows(table: &str) -> Vec<(String, i64, i64)> {
        let frame = |seconds: &str| (seconds.parse::<f64>().unwrap() * 1600.0).round() as i64;
        let rows = table.lines().skip(1).map(|l| l.split('\t').collect::<Vec<_>>());
        rows.map(|f| (f[3].to_string(), frame(f[1]), frame(f[2]))).collect()
    }

    #[test]
    fn words_are_where_torchaudio_finds_them_and_keep_their_spelling() {
        let all: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(fixtures().join("align.json")).unwrap()).unwrap();
        let said = "A lawyer feared that the sister\nfound his \u{201c}book\u{201d} to the Bridge!\n";
        // Without stars the labels are those of the case without a last end of word.
        let found = rows(&call("speech_02", said, "--star none").unwrap());
        let want = all["speech_02/no_bar"]["words"].as_array().unwrap();
        assert_eq!(found.len(), want.len());
        for ((text, start, end), want) in found.iter().zip(want) {
            // Times of the table have three decimals, of which a frame of this model has one and a half.
            assert!((start - want["start"].as_i64().unwrap()).abs() <= 1, "{text} {want}");
            assert!((end - want["end"].as_i64().unwrap()).abs() <= 1, "{text} {want}");
        }
        assert_eq!(
            (found[8].0.as_str(), found[11].0.as_str()),
            ("\u{201c}book\u{201d}", "Bridge!")
        );
        // Numerals have times too, and dashes stay with the word before.
        let found = rows(&call("speech_02", &said.replace("lawyer", "42 \u{2014}"), "").unwrap());
        assert_eq!(found.len(), want.len());
        assert_eq!(found[1].0, "42 \u{2014}");
        assert!(found.windows(2).all(|w| w[0].2 <= w[1].1) && found.iter().all(|r| r.2 > r.1));
    }

    #[test]
    fn what_is_missing_in_the_text_is_passed_over() {
        let whole = rows(
            &call(
                "speech_02",
                "A LAWYER FEARED THAT THE SISTER FOUND HIS BOOK TO THE BRIDGE",
                "",
            )
            .unwrap(),
        );
        let part = rows(&call("speech_02", "FEARED THAT THE SISTER FOUND", "").unwrap());
        assert_eq!(part, whole[2..7]);
        let segments = rows(&call("speech_02", "A LAWYER\nFOUND HIS BOOK", "--star segments").unwrap());
        assert_eq!(segments[..2], whole[..2]);
        assert_eq!(segments[2..], whole[6..9]);
    }

    #[test]
    fn what_cannot_be_aligned_is_told() {
        let said = call("one_frame", "TWO WORDS", "").unwrap_err();
        assert!(said.contains("too long for it by") && said.contains("frames"), "{said}");
        let said = call("speech_02", "... !\n", "").unwrap_err();
        assert!(said.contains("no word"), "{said}");
        let said = Line::try_parse_from("align --weights run a.wav".split(' '))
            .unwrap()
            .args
            .check();
        assert!(said.unwrap_err().to_string().contains("--text"));
    }

    #[test]
    fn segments_are_the_lines_of_the_text() {
        let said = call(
            "speech_02",
            "A LAWYER FEARED\nTHAT THE SISTER FOUND\nHIS BOOK TO THE BRIDGE",
            "--format srt",
        )
        .unwrap();
        let lines: Vec<&str> = said
            .lines()
            .filter(|l| l.chars().all(|c| c == ' ' || c.is_ascii_uppercase()))
            .collect();
        let lines: Vec<&&str> = lines.iter().filter(|l| !l.is_empty()).collect();
        assert_eq!(
            lines,
            [&"A LAWYER FEARED", &"THAT THE SISTER FOUND", &"HIS BOOK TO THE BRIDGE"]
        );
    }
}
