//! Which vocabulary a fine-tuning uses, and which rows of the given output layer are copied.

use super::prepare::Options;
use crate::data::{DEFAULT_SHARE, open, show_places};
use crate::error::Error;
use crate::session::Session;
use crate::settings::Settings;
use crate::vocab::{Coverage, Rules, Units, Vocab, make};
use crate::weights::{Folder, HeadRows};
use ir::artifact::Artifact;
use ir::task::Task;
use std::path::Path;

/// The value of `--vocab` that makes one of the texts.
pub(crate) const AUTO: &str = "auto";

/// The vocabulary of a fine-tuning.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Letters {
    /// As it is written to the run folder.
    pub written: Vocab,
    /// As it is trained: the same with the blank as class 0.
    pub trained: Vocab,
    /// The number in the folder of each class.
    pub order: Vec<usize>,
    pub head: HeadRows,
    pub notes: Vec<String>,
}

impl Letters {
    /// Chooses: the run's own when it is resumed, else the one asked for, else that of the given weights, else one made of the
    /// texts.
    pub(super) fn choose(session: &mut dyn Session, task: &Task, options: &Options) -> Result<Letters, Error> {
        let artifact = &session.artifact().clone();
        let init = options.init.as_deref().map(Folder::open).transpose()?;
        let given = init.as_ref().map(Folder::vocab).transpose()?.flatten();
        let mut notes = vec![];
        let vocab = match of_run(options)? {
            Some(own) => {
                let rules = rules(artifact, task, &options.set, own.rules())?;
                own.with_rules(rules)
            }
            None => new(artifact, task, options, given.as_ref(), &mut notes)?,
        };
        // Where the model leaves it to the run, the head has as many classes as there are tokens.
        if let Some(size) = artifact.class_size(task) {
            session.choose(&[(&size, vocab.len() as i64)])?;
        }
        let artifact = session.artifact();
        let written = fit_head(artifact, task, vocab)?;
        let (trained, order) = written.blank_first();
        let size = artifact.classes(task).unwrap_or(trained.len());
        let head = head_rows(
            init.as_ref().and_then(|f| f.classes(artifact, task)),
            given.as_ref(),
            &written,
            &trained,
            &order,
            size,
        );
        // Weights without a head are told by the names of what they lack.
        if !options.resume && init.as_ref().is_some_and(|f| f.classes(artifact, task).is_some()) {
            notes.extend(head.describe(&trained));
        }
        Ok(Letters {
            written,
            trained,
            order,
            head,
            notes,
        })
    }
}

/// Rows by token; where the given head has the same tokens, every row, those without a token included.
fn head_rows(
    init: Option<usize>,
    given: Option<&Vocab>,
    written: &Vocab,
    trained: &Vocab,
    order: &[usize],
    size: usize,
) -> HeadRows {
    let same_size = init == Some(size);
    let same_tokens =
        given.is_some_and(|g| g.len() == written.len() && (0..g.len()).all(|i| g.token(i) == written.token(i)));
    if same_size && same_tokens {
        HeadRows::reordered(order, size)
    } else {
        HeadRows::new(given, trained, size)
    }
}

/// The vocabulary as a head of this artifact can have it: the one place that compares the two. Special tokens that come last
/// and have no class (transformers adds such to vocabularies) are left out.
///
/// # Errors
/// Where letters, or the blank, are without a class.
pub(super) fn fit_head(artifact: &Artifact, task: &Task, vocab: Vocab) -> Result<Vocab, Error> {
    let Some(classes) = artifact.classes(task).filter(|c| *c < vocab.len()) else {
        return Ok(vocab);
    };
    let spare = (classes..vocab.len()).all(|i| vocab.token(i).is_none() || vocab.is_silent(i));
    if spare && vocab.blank() < classes {
        return Ok(vocab.truncated(classes));
    }
    let what = format!(
        "it has {} tokens and the head of `{}` has {classes} classes",
        vocab.len(),
        artifact.name
    );
    let remedy = format!(
        "compile the model with --set vocab={}, or give another --vocab",
        vocab.len()
    );
    Err(Error::data("vocabulary", what, remedy))
}

/// The vocabulary that a resumed run was begun with. Another one would change what its classes mean.
fn of_run(options: &Options) -> Result<Option<Vocab>, Error> {
    if !options.resume {
        return Ok(None);
    }
    let Some(own) = Vocab::of_folder(&options.out)? else {
        return Ok(None);
    };
    let asked = options
        .vocab
        .as_deref()
        .filter(|p| *p != Path::new(AUTO))
        .map(read)
        .transpose()?;
    let tokens = |v: &Vocab| (0..v.len()).map(|i| v.token(i).map(String::from)).collect::<Vec<_>>();
    // What the head had no class for was left out when the run began.
    match asked.filter(|a| tokens(a)[..own.len().min(a.len())] != tokens(&own)) {
        None => Ok(Some(own)),
        Some(_) => Err(Error::run(
            &options.out,
            "--vocab is not the vocabulary that it was begun with",
            "leave --vocab out, or start again with --init this folder and another --out",
        )),
    }
}

/// A vocabulary that was asked for by its file or folder.
pub(crate) fn read(path: &Path) -> Result<Vocab, Error> {
    if path.is_dir() {
        let none = || Error::data(path.display(), "it holds no vocab.json", "name a file of tokens");
        return Vocab::of_folder(path)?.ok_or_else(none);
    }
    // What lies beside a folder's vocabulary tells what its tokens are for.
    match path
        .parent()
        .filter(|dir| path.ends_with("vocab.json") && dir.join("tokenizer_config.json").is_file())
    {
        Some(dir) => Ok(Vocab::of_folder(dir)?.map_or_else(|| Vocab::read(path), Ok)?),
        None => Vocab::read(path)?.without_gaps(path),
    }
}

/// The rules of normalisation: those that a vocabulary comes with, over them what the recipe and the command line say.
pub(crate) fn rules(artifact: &Artifact, task: &Task, set: &[String], own: Rules) -> Result<Rules, Error> {
    let mut settings = Settings::new(artifact, &task.name)?;
    let recipe = settings.clone();
    set.iter().try_for_each(|s| settings.set(s))?;
    let flag = |name: &str, own: bool| -> Result<bool, Error> {
        let named = set.iter().any(|s| s.split('=').next().map(str::trim) == Some(name));
        if named { settings.flag(name) } else { Ok(own) }
    };
    let units = settings.text("units").unwrap_or_default();
    let asked = Units::parse(units).ok_or_else(|| {
        Error::Setting(format!(
            "`units` must be one of {}, not `{units}`",
            Units::NAMES.join(", ")
        ))
    })?;
    let units_named = settings.text("units") != recipe.text("units");
    Ok(Rules {
        nfc: flag("nfc", own.nfc)?,
        fold_case: flag("fold_case", own.fold_case)?,
        keep_punctuation: flag("keep_punctuation", own.keep_punctuation)?,
        units: if units_named { asked } else { own.units },
    })
}

/// A vocabulary for a run that begins.
fn new(
    artifact: &Artifact,
    task: &Task,
    options: &Options,
    given: Option<&Vocab>,
    notes: &mut Vec<String>,
) -> Result<Vocab, Error> {
    let texts = texts(options)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let asked = options.vocab.as_deref();
    let vocab = match (asked, given) {
        (Some(path), _) if path != Path::new(AUTO) => read(path)?,
        (None, Some(given)) => given.clone(),
        _ => {
            let vocab = make(&texts, rules(artifact, task, &options.set, Rules::default())?, given);
            notes.push(made(&vocab));
            return Ok(vocab);
        }
    };
    let vocab = {
        let rules = rules(artifact, task, &options.set, vocab.rules())?;
        vocab.with_rules(rules)
    };
    check_units(&vocab)?;
    check_coverage(&vocab.coverage(texts.iter().copied()), asked, options, notes)?;
    Ok(vocab)
}

fn made(vocab: &Vocab) -> String {
    let letters: Vec<&str> = (0..vocab.len())
        .filter(|i| !vocab.is_silent(*i))
        .filter_map(|i| vocab.token(i))
        .collect();
    let shown = letters.iter().take(60).copied().collect::<Vec<_>>().join(" ");
    let more = if letters.len() > 60 { " ..." } else { "" };
    format!("vocabulary made of the texts, {} tokens: {shown}{more}", vocab.len())
}

/// Texts of the training data, in their order.
fn texts(options: &Options) -> Result<Vec<String>, Error> {
    let mut texts = vec![];
    for place in &options.data {
        texts.extend(open(place)?.into_iter().filter_map(|u| u.text));
    }
    Ok(texts)
}

fn check_units(vocab: &Vocab) -> Result<(), Error> {
    if vocab.rules().units == Units::Jamo && !vocab.has_jamo() {
        let remedy = "leave --vocab out, or let --vocab auto make one";
        return Err(Error::data(
            "vocabulary",
            "`units` is jamo and it has none (U+1100 to U+11FF)",
            remedy,
        ));
    }
    Ok(())
}

/// Says which letters of the texts have no token; fails where that would leave out more than a few texts.
fn check_coverage(
    coverage: &Coverage,
    asked: Option<&Path>,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    if coverage.affected == 0 {
        return Ok(());
    }
    let whose = match (asked, &options.init) {
        (Some(path), _) => format!("vocabulary `{}`", path.display()),
        (None, Some(init)) => format!("vocabulary of `{}`", init.display()),
        (None, None) => "vocabulary".into(),
    };
    let (affected, texts) = (coverage.affected, coverage.texts);
    let what = format!(
        "the {whose} has no token for letters of {affected} of {texts} texts: {}",
        coverage.describe_lacking()
    );
    if affected as f64 <= options.allow_skips.unwrap_or(DEFAULT_SHARE) * texts as f64 {
        notes.push(format!("{what}; these are left out"));
        return Ok(());
    }
    Err(Error::data(
        show_places(&options.data),
        what,
        "write them in its letters (7 as seven), or give --vocab auto: it makes a vocabulary of the texts, and rows of the head \
         for letters that both have are kept",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path, texts: &str) -> Options {
        let rows: String = texts
            .lines()
            .enumerate()
            .map(|(i, t)| format!("{i}.wav\t{t}\n"))
            .collect();
        std::fs::write(dir.join("data.tsv"), rows).unwrap();
        Options {
            data: vec![dir.join("data.tsv")],
            out: dir.join("out"),
            ..Options::default()
        }
    }

    fn choose(options: &Options) -> Result<Letters, String> {
        Letters::choose(
            &mut crate::fake::FakeSession::default(),
            &crate::fake::task("finetune"),
            options,
        )
        .map_err(|e| e.to_string())
    }

    #[test]
    fn without_a_vocabulary_one_is_made_of_the_texts() {
        let tmp = tempfile::tempdir().unwrap();
        let chosen = choose(&options(tmp.path(), "팔 일\n일 오")).unwrap();
        let tokens: Vec<_> = (0..chosen.written.len())
            .filter_map(|i| chosen.written.token(i))
            .collect();
        assert_eq!(tokens, ["<pad>", "<s>", "</s>", "<unk>", "|", "일", "오", "팔"]);
        assert!(chosen.notes[0].contains("8 tokens: | 일 오 팔"), "{:?}", chosen.notes);
    }

    #[test]
    fn a_vocabulary_that_does_not_cover_the_texts_is_refused_with_letters_and_remedy() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("ab.json");
        std::fs::write(&file, r#"{"<pad>": 0, "|": 1, "a": 2, "b": 3}"#).unwrap();
        let mut o = options(tmp.path(), "a b\né 7 7");
        o.vocab = Some(file.clone());
        let error = choose(&o).err().unwrap();
        for part in ["1 of 2 texts", "`7` (2), `é` (1)", "--vocab auto", "ab.json"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        // A few such texts are left out and told.
        let mut o = options(tmp.path(), &format!("{}a7", "a b\n".repeat(60)));
        o.vocab = Some(file);
        let notes = choose(&o).unwrap().notes;
        assert!(
            notes[0].contains("1 of 61 texts") && notes[0].contains("left out"),
            "{notes:?}"
        );
        o.vocab = Some(AUTO.into());
        assert!(choose(&o).unwrap().written.id("7").is_some());
    }

    #[test]
    fn a_head_has_as_many_classes_as_there_are_letters_or_more() {
        let artifact = crate::fake::artifact();
        let of = |tokens: Vec<String>| fit_head(&artifact, &crate::fake::task("finetune"), Vocab::new(tokens));
        let letters = |n: u32| {
            (0..n)
                .map(|i| char::from_u32(0xac00 + i).unwrap().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(letters(32)).unwrap().len(), 32);
        assert_eq!(of(letters(5)).unwrap().len(), 5);
        let error = of(letters(33)).err().unwrap().to_string();
        assert!(
            error.contains("--set vocab=33") && error.contains("32 classes"),
            "{error}"
        );
        // Two special tokens beyond the classes, as transformers adds them.
        let mut tokens = letters(32);
        tokens.extend(["<s>".into(), "</s>".into()]);
        let roles = crate::vocab::Roles {
            blank: Some(tokens[31].clone()),
            ..Default::default()
        };
        assert_eq!(
            fit_head(
                &artifact,
                &crate::fake::task("finetune"),
                Vocab::with(tokens, roles, Rules::default())
            )
            .unwrap()
            .len(),
            32
        );
    }

    #[test]
    fn rules_are_settings() {
        let tmp = tempfile::tempdir().unwrap();
        let mut o = options(tmp.path(), "Ab, 값");
        o.set = vec![
            "fold_case=false".into(),
            "keep_punctuation=true".into(),
            "units=jamo".into(),
        ];
        let vocab = choose(&o).unwrap().written;
        assert!(["A", "b", ",", "\u{11b9}"].iter().all(|t| vocab.id(t).is_some()));
        o.set = vec!["units=jam".into()];
        assert!(choose(&o).err().unwrap().contains("jamo"));
    }
}
