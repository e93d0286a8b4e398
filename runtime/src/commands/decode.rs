//! `decode`: logits to texts, without audio.

use crate::error::Error;
use crate::geometry::Geometry;
use crate::log::{Progress, tell};
use crate::texts::{Case, Finder, Frames, OutputFlags, SearchFlags, Writer, tune};
use crate::trainer::text_task;
use crate::vocab::Vocab;
use crate::weights::TensorFile;
use clap::Args;
use ir::artifact::Artifact;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Recordings that are decoded at a time.
const TOGETHER: usize = 64;

#[derive(Args)]
pub struct DecodeArgs {
    /// Logits f32 [frames, classes], one tensor per recording, as `transcribe --logits` writes them.
    #[arg(value_name = "LOGITS.safetensors")]
    pub logits: PathBuf,
    /// The vocabulary: vocab.json, or a run folder.
    #[arg(long, value_name = "FILE")]
    pub vocab: PathBuf,
    /// Search the --lm-weight and --word-score with the fewest word errors against these texts (`recording<TAB>text` lines)
    /// instead of writing texts.
    #[arg(long, value_name = "REFS.tsv", requires = "lm")]
    pub tune: Option<PathBuf>,
    #[command(flatten)]
    pub search: SearchFlags,
    #[command(flatten)]
    pub output: OutputFlags,
}

/// Writes the texts of logits, or the weights that suit them; `say` prints to the standard output.
///
/// # Errors
/// Where a file cannot be read or written.
pub fn run(artifact: &Artifact, args: &DecodeArgs, say: &dyn Fn(&str) -> Result<(), Error>) -> Result<(), Error> {
    let vocab = vocabulary(&args.vocab)?;
    let file = TensorFile::open(&args.logits)?;
    let geometry = Geometry::new(artifact, text_task(artifact)?)?;
    let mut names = file.names();
    names.sort();
    let classes = classes(&file, &names, &args.logits)?;
    if classes < vocab.len() {
        return Err(Error::weights(
            &args.logits,
            format!(
                "its rows have {classes} values and {} has {} tokens",
                args.vocab.display(),
                vocab.len()
            ),
            "give the vocabulary of the model that made it",
        ));
    }
    let finder = Finder::new(vocab, classes, &geometry, &args.search, &args.output)?;
    if let Some(references) = &args.tune {
        return tuned(&finder, &file, &names, references, args, say);
    }
    let mut writer = Writer::new(&args.output, names.len())?;
    let mut progress = Progress::new("recordings decoded", names.len());
    for some in names.chunks(TOGETHER) {
        let found: Vec<Result<_, Error>> = some
            .par_iter()
            .map(|name| {
                let logits = logits(&file, name)?;
                let frames = logits.len() / classes;
                let samples = if frames == 0 { 0 } else { geometry.least_samples(frames) };
                finder.find(&Frames {
                    name,
                    logits: &logits,
                    classes,
                    duration: samples as f64 / crate::audio::RATE as f64,
                })
            })
            .collect();
        for transcript in found {
            let transcript = transcript?;
            progress.suspend(|| writer.write(&transcript, say))?;
            progress.step();
        }
    }
    writer.finish(say)
}

/// A vocabulary with what lies beside it.
pub(super) fn vocabulary(path: &Path) -> Result<Vocab, Error> {
    let folder = match path.is_dir() {
        true => Some(path),
        false => path
            .parent()
            .filter(|_| path.file_name().is_some_and(|n| n == "vocab.json")),
    };
    if let Some(folder) = folder {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        if let Some(vocab) = Vocab::of_folder(folder)? {
            return Ok(vocab);
        }
    }
    Vocab::read(path)
}

/// Classes of the logits, which all must have.
pub(super) fn classes(file: &TensorFile, names: &[String], path: &Path) -> Result<usize, Error> {
    let remedy = "give the file that `transcribe --logits` wrote";
    let mut classes = None;
    for name in names {
        match file.shape(name) {
            Some([_, own]) if *own > 0 && classes.is_none_or(|c| c == *own) => classes = Some(*own),
            shape => {
                let what = format!(
                    "`{name}` has the shape {:?} instead of [frames, classes]",
                    shape.unwrap_or(&[])
                );
                return Err(Error::weights(path, what, remedy));
            }
        }
    }
    classes.ok_or_else(|| Error::weights(path, "it has no tensors", remedy))
}

pub(super) fn logits(file: &TensorFile, name: &str) -> Result<Vec<f32>, Error> {
    let values = file.floats(name)?.unwrap_or_default();
    match values.iter().position(|v| v.is_nan()) {
        None => Ok(values),
        Some(at) => Err(Error::data(
            name,
            format!("value {at} of its logits is not a number"),
            "check the weights that made it",
        )),
    }
}

/// Prints the flags that suit best.
fn tuned(
    finder: &Finder,
    file: &TensorFile,
    names: &[String],
    path: &Path,
    args: &DecodeArgs,
    say: &dyn Fn(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let references = references(path)?;
    let mut cases = vec![];
    for name in names {
        let base = Path::new(name).file_name().map(|f| f.to_string_lossy().into_owned());
        let own = [Some(name.clone()), base].into_iter().flatten();
        if let Some(text) = own.filter_map(|n| references.get(&n)).next() {
            cases.push(Case {
                logits: logits(file, name)?,
                reference: finder.vocab().normalize(text),
            });
        }
    }
    if cases.is_empty() {
        return Err(Error::data(
            path.display(),
            format!("it names none of the recordings of {}", args.logits.display()),
            "write `recording<TAB>text` lines, with the names that `decode` prints",
        ));
    }
    if cases.len() < names.len() {
        tell(&format!(
            "note: {} of {} recordings have a text",
            cases.len(),
            names.len()
        ));
    }
    let options = args.search.options();
    let (best, given) = tune(finder, &cases, (options.lm_weight, options.word_score));
    let share = |wrong: usize| 100.0 * wrong as f64 / best.words.max(1) as f64;
    say(&format!(
        "--lm-weight {:.2} --word-score {:.2}\n",
        best.lm_weight, best.word_score
    ))?;
    tell(&format!(
        "{} of {} words wrong ({:.1} %); with --lm-weight {} --word-score {} {} ({:.1} %)",
        best.words_wrong,
        best.words,
        share(best.words_wrong),
        given.lm_weight,
        given.word_score,
        given.words_wrong,
        share(given.words_wrong)
    ));
    Ok(())
}

/// Texts by recording, and by the last part of its path.
fn references(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = crate::atomic::read_to_string(path).map_err(Error::io("read", path))?;
    let mut out = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let Some((name, said)) = line.split_once('\t') else {
            let place = format!("{}:{}", path.display(), number + 1);
            return Err(Error::data(place, "the line has no tab", "write `recording<TAB>text`"));
        };
        let base = Path::new(name).file_name().map(|f| f.to_string_lossy().into_owned());
        out.insert(name.to_string(), said.to_string());
        if let Some(base) = base {
            out.entry(base).or_insert_with(|| said.to_string());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::cell::RefCell;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DecodeArgs,
    }

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../decode/tests/fixtures")
    }

    /// What `decode` prints; `$` stands for the folder of the fixtures.
    fn call(flags: &str) -> Result<String, String> {
        let folder = fixtures().display().to_string();
        let line = format!("decode $/log_probs.safetensors --vocab $/vocab.json {flags}").replace('$', &folder);
        let args = Line::try_parse_from(line.split_whitespace())
            .map_err(|e| e.to_string())?
            .args;
        let said = RefCell::new(String::new());
        let say = |text: &str| {
            said.borrow_mut().push_str(text);
            Ok(())
        };
        run(&crate::fake::artifact(), &args, &say).map_err(|e| e.to_string())?;
        Ok(said.into_inner())
    }

    fn json(name: &str) -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap()
    }

    fn table(text: &str) -> BTreeMap<&str, &str> {
        text.lines().map(|l| l.split_once('\t').unwrap()).collect()
    }

    #[test]
    fn texts_are_those_that_others_find() {
        let greedy = call("").unwrap();
        let greedy = table(&greedy);
        let found = call("--lm $/lm/lm3.trie.bin").unwrap();
        let found = table(&found);
        for (name, want) in json("greedy.json").as_object().unwrap() {
            let text = want["text"].as_str().unwrap();
            if !text.contains('<') {
                assert_eq!(greedy[name.as_str()], text, "{name}");
            }
        }
        let mut compared = 0;
        for case in json("beam.json")["cases"].as_object().unwrap().values() {
            if case["setting"] == "default" {
                assert_eq!(found[case["case"].as_str().unwrap()], case["best"].as_str().unwrap());
                compared += 1;
            }
        }
        assert_eq!(compared, 10);
        // A binary without its words finds the same.
        assert_eq!(
            call("--lm $/lm/lm2.novocab.trie.bin").unwrap().lines().count(),
            greedy.len()
        );
    }

    #[test]
    fn alternatives_have_their_scores_and_lexicons_their_words() {
        let found = call("--lm $/lm/lm3.arpa --nbest 3").unwrap();
        let own: Vec<Vec<&str>> = found
            .lines()
            .map(|l| l.split('\t').collect())
            .filter(|f: &Vec<&str>| f[0] == "speech_00")
            .collect();
        assert_eq!(own.len(), 3);
        assert_eq!(own[0][5], "HIS CAREFUL BAKER FOUND HIS TEACHER TO THE FOREST");
        let score = |f: &Vec<&str>| f[2].parse::<f64>().unwrap();
        assert!(own.is_sorted_by(|a, b| score(a) >= score(b)));
        let parts = own[0][3].parse::<f64>().unwrap() + own[0][4].parse::<f64>().unwrap();
        assert!((parts - score(&own[0])).abs() < 1e-3);

        let dir = tempfile::tempdir().unwrap();
        let words = dir.path().join("words.txt");
        std::fs::write(
            &words,
            "The\tT H E |\nold\nteacher\nwaited\nbehind\ncellar\n42\tO N |\nSunday\n",
        )
        .unwrap();
        let found = call(&format!("--lexicon {}", words.display())).unwrap();
        assert_eq!(
            table(&found)["speech_01"],
            "The old teacher waited behind The cellar 42 Sunday"
        );
        let heard = call("--lm $/lm/char6.trie.bin --lm-weight 0.3 --word-score 0").unwrap();
        let heard = table(&heard);
        assert_eq!(heard["speech_00"], "HIS CAREFUL BAKER FOUND HIS TEACHER TO THE FOREST");
    }

    #[test]
    fn a_file_per_recording_in_every_format() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        for format in ["text", "tsv", "json", "jsonl", "srt", "vtt", "ctm", "textgrid", "lrc"] {
            let said = call(&format!(
                "--format {format} --timestamps char --output-dir {at}/{format}"
            ))
            .unwrap();
            assert_eq!(said, "");
            let files = std::fs::read_dir(dir.path().join(format)).unwrap().count();
            assert_eq!(files, json("greedy.json").as_object().unwrap().len(), "{format}");
        }
        let said = call("--format srt").unwrap_err();
        assert!(said.contains("--output-dir"), "{said}");
        let all: serde_json::Value = serde_json::from_str(&call("--format json --timestamps word").unwrap()).unwrap();
        let own = all
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["recording"] == "speech_00")
            .unwrap();
        let word = &own["segments"][0]["words"][0];
        // The fake model's frames are 10 samples long.
        assert_eq!(
            (word["text"].as_str(), word["start"].as_f64()),
            (Some("HIS"), Some(13.0 * 10.0 / 16000.0))
        );
        assert!(word["letters"].is_null());
    }

    #[test]
    fn weights_are_found_that_make_fewer_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("texts.tsv");
        let texts = json("references.json");
        let lines = texts.as_object().unwrap().iter();
        let lines: String = lines
            .map(|(n, t)| format!("{n}\t{}\n", t.as_str().unwrap().to_lowercase()))
            .collect();
        std::fs::write(&path, lines).unwrap();
        let flags = call(&format!("--lm $/lm/lm3.arpa --beam 30 --tune {}", path.display())).unwrap();
        let wrong = |flags: &str| {
            let found = call(&format!("--lm $/lm/lm3.arpa --beam 30 {flags}")).unwrap();
            let found = table(&found);
            let errors = texts.as_object().unwrap().iter().map(|(name, text)| {
                let words = |t: &str| t.split(' ').map(String::from).collect::<Vec<_>>();
                let ops = crate::score::align(&words(text.as_str().unwrap()), &words(found[name.as_str()]));
                ops.iter().filter(|o| !matches!(o, crate::score::Op::Hit(..))).count()
            });
            errors.sum::<usize>()
        };
        assert!(wrong(flags.trim()) < wrong(""), "{flags}");
    }

    #[test]
    fn what_does_not_fit_is_told() {
        for (flags, part) in [
            ("--lm $/nothing.arpa", "nothing.arpa"),
            ("--lm $/vocab.json", "neither an ARPA file nor a KenLM binary"),
            ("--lexicon $/lm/lm3.trie.bin", "lm3.trie.bin"),
            ("--hotwords 字", "none of the hotwords"),
            ("--lm $/lm/lm3.arpa --tune $/vocab.json", "no tab"),
            ("--beam 0", "--beam"),
            ("--lm-weight nan", "--lm-weight"),
        ] {
            let said = call(flags).unwrap_err();
            assert!(said.contains(part), "{flags}: {said}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits.safetensors");
        let piece = crate::atomic::Piece {
            shape: vec![2, 3],
            values: crate::atomic::Values::F32(&[0.0; 6]),
        };
        crate::atomic::write_tensors(&path, vec![("a".into(), piece)]).unwrap();
        let line = format!("decode {} --vocab {}/vocab.json", path.display(), fixtures().display());
        let args = Line::try_parse_from(line.split(' ')).unwrap().args;
        let said = run(&crate::fake::artifact(), &args, &|_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(said.contains("3 values") && said.contains("32 tokens"), "{said}");
    }
}
