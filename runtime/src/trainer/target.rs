//! What a training learns to predict: texts by a vocabulary, labels by a list of names, or nothing of either.

use super::letters::Letters;
use super::prepare::Options;
use crate::atomic::write_text;
use crate::data::open;
use crate::error::Error;
use crate::feeds;
use crate::session::Session;
use crate::vocab::Vocab;
use crate::weights::HeadRows;
use ir::task::{Judge, Task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// The file of a folder that names labels by class.
pub const LABELS: &str = "labels.json";

/// What predictions mean.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Target {
    pub letters: Option<Letters>,
    /// Labels of clips, by class.
    pub names: Vec<String>,
    pub notes: Vec<String>,
}

impl Target {
    /// Chooses what the classes stand for, and how many there are.
    pub fn choose(session: &mut dyn Session, task: &Task, options: &Options) -> Result<Target, Error> {
        match task.training().and_then(|t| t.judge.as_ref()) {
            Some(Judge::Text { .. }) => {
                let mut letters = Letters::choose(session, task, options)?;
                let notes = std::mem::take(&mut letters.notes);
                Ok(Target {
                    letters: Some(letters),
                    notes,
                    ..Target::default()
                })
            }
            Some(Judge::Label { .. }) => of_labels(session, task, options),
            None => Ok(Target::default()),
        }
    }

    /// As it is trained.
    pub fn of_feeds(&self) -> feeds::Target<'_> {
        feeds::Target {
            vocab: self.letters.as_ref().map(|l| &l.trained),
            names: Some(&self.names),
        }
    }

    /// As it is written.
    pub fn vocab(&self) -> Option<&Vocab> {
        self.letters.as_ref().map(|l| &l.written)
    }

    /// Rows of the given weights that serve for its classes.
    pub fn head(&self) -> Option<&HeadRows> {
        self.letters.as_ref().map(|l| &l.head)
    }

    /// Words for what a run is about: they must not change when it is resumed.
    pub fn words(&self) -> Option<Vec<String>> {
        match (&self.letters, self.names.is_empty()) {
            (Some(l), _) => {
                let token = |i| l.written.token(i).unwrap_or_default().to_string();
                Some((0..l.written.len()).map(token).collect())
            }
            (None, false) => Some(self.names.clone()),
            (None, true) => None,
        }
    }

    /// Writes the names of labels into a folder, where there are any.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        if self.names.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&self.names).expect("strings always serialise");
        write_text(&dir.join(LABELS), &text)
    }
}

/// Names of labels that a folder has, where it has any.
pub fn labels_of(dir: &Path) -> Result<Option<Vec<String>>, Error> {
    let path = dir.join(LABELS);
    if !path.is_file() {
        return Ok(None);
    }
    let text = crate::atomic::read_to_string(&path).map_err(Error::io("read", &path))?;
    let names = serde_json::from_str(&text);
    let wrong = |e| Error::weights(&path, format!("it is not a list of labels: {e}"), "restore the file");
    names.map(Some).map_err(wrong)
}

/// The run's own labels when it is resumed, else those of the given weights if they cover the data's, else the data's in order.
fn of_labels(session: &mut dyn Session, task: &Task, options: &Options) -> Result<Target, Error> {
    let mut found = BTreeSet::new();
    for place in &options.data {
        let texts = open(place)?.into_iter().filter_map(|u| u.text);
        found.extend(texts.map(|t| t.trim().to_string()));
    }
    let given = match (&options.init, options.resume) {
        (_, true) => labels_of(&options.out)?,
        (Some(init), false) => labels_of(init)?.filter(|own| found.iter().all(|l| own.contains(l))),
        (None, false) => None,
    };
    let names: Vec<String> = given.unwrap_or_else(|| found.into_iter().collect());
    let place = || crate::data::show_places(&options.data);
    if names.len() < 2 {
        let what = format!(
            "its clips have {} different label(s), and there is nothing to tell apart",
            names.len()
        );
        return Err(Error::data(place(), what, "give a table `path<TAB>label`"));
    }
    if let Some(size) = session.artifact().class_size(task) {
        session.choose(&[(&size, names.len() as i64)])?;
    } else if session.artifact().classes(task).is_some_and(|n| n < names.len()) {
        let classes = session.artifact().classes(task).unwrap_or_default();
        let what = format!(
            "its clips have {} labels, and the model has {classes} classes",
            names.len()
        );
        return Err(Error::data(place(), what, "compile the model for as many"));
    }
    let shown = names.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 20 { ", ..." } else { "" };
    let notes = vec![format!("{} labels: {shown}{more}", names.len())];
    Ok(Target {
        names,
        notes,
        ..Target::default()
    })
}
