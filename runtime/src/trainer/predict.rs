//! The start of every prediction: weights in the session, settings, and feeds.

use crate::error::Error;
use crate::feeds::{Feeds, Target};
use crate::session::Session;
use crate::settings::Settings;
use crate::weights::{Folder, adopt_sizes};
use ir::artifact::{Artifact, Program};
use ir::task::{Gives, Task};
use std::path::Path;

/// A prediction whose weights are loaded.
pub(crate) struct Opened<T> {
    pub artifact: Artifact,
    pub task: Task,
    pub folder: Folder,
    pub program: Program,
    pub settings: Settings,
    pub feeds: Feeds,
    /// Recordings are brought to zero mean and unit variance.
    pub normalize: bool,
    /// What the kind of task needs besides.
    pub own: T,
}

/// What users should know of tensors in a folder that no program reads.
pub(super) fn unread(folder: &Folder, artifact: &Artifact) -> Option<String> {
    let extra = folder.extra(artifact);
    let shown = extra.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match extra.len() {
        0 => None,
        n if n > 5 => Some(format!(
            "nothing reads {n} tensors of the given weights: {shown} and others"
        )),
        _ => Some(format!("nothing reads these tensors of the given weights: {shown}")),
    }
}

/// Loads weights for a task. `own` says what the kind of task needs of its program, `None` where the task is of another kind; it
/// is asked before weights are read.
///
/// # Errors
/// Where the model has no such task, or was compiled without its program; settings and weights that cannot be used.
pub(crate) fn open<T>(
    session: &mut dyn Session,
    (task, weights, set): (&str, &Path, &[String]),
    own: impl FnOnce(&Program, &Gives) -> Result<Option<T>, Error>,
) -> Result<Opened<T>, Error> {
    let folder = Folder::open(weights)?;
    let artifact = adopt_sizes(session, &folder)?;
    let found = artifact.task(task).and_then(|t| Some((t, t.prediction()?)));
    let (task, prediction) = found.ok_or_else(|| Error::no_task(&artifact, task))?;
    let lacking = || Error::program(&prediction.program, "this model was compiled without it");
    let program = artifact.program(&prediction.program).cloned().ok_or_else(lacking)?;
    let own = own(&program, &prediction.gives)?.ok_or_else(|| Error::no_task(&artifact, &task.name))?;
    let mut settings = Settings::new(&artifact, &task.name)?;
    if let Some(normalize) = folder.normalize()? {
        settings.force("normalize", normalize as u8 as f64);
    }
    set.iter().try_for_each(|s| settings.set(s))?;
    folder.load(&artifact, task, session.params()?, None)?;
    if let Some(note) = unread(&folder, &artifact) {
        crate::log::tell(&note);
    }
    Ok(Opened {
        feeds: Feeds::bind(&artifact, task, &settings, Target::default())?,
        normalize: settings.flag("normalize")?,
        task: task.clone(),
        artifact,
        folder,
        program,
        settings,
        own,
    })
}
