//! What a recipe asks of each of several processors: sizes alone, nothing is run.

use super::course::Course;
use super::estimate::noise;
use super::rules::Rules;
use crate::error::Error;
use crate::feeds::{Feeds, Target};
use crate::session::Session;
use crate::settings::Settings;

/// A recipe's updates and the largest of its micro-batches.
pub struct Load {
    pub task: String,
    pub updates: u64,
    /// Micro-batches of an update.
    pub accumulate: u64,
    /// Clips of the largest micro-batch, and samples of each.
    pub clips: usize,
    pub samples: usize,
    /// Elements that the last program trains, and all that there are.
    pub trained: usize,
    pub parameters: usize,
    /// Bytes of the activations of such a micro-batch.
    pub activations: usize,
    /// Whether programs read copies of the parameters in bf16.
    pub narrow: bool,
}

impl Load {
    /// Of a task that trains, with these settings.
    ///
    /// # Errors
    /// Where there is no such task, or settings do not go together.
    pub fn of(session: &dyn Session, task: &str, set: &[String]) -> Result<Load, Error> {
        let artifact = session.artifact();
        let declared = artifact.task(task).ok_or_else(|| Error::no_task(artifact, task))?;
        let training = declared.training().ok_or_else(|| Error::no_task(artifact, task))?;
        let settings = Settings::checked(artifact, task, set)?;
        let feeds = Feeds::bind(artifact, declared, &settings, Target::default())?;
        let course = Course::bind(artifact, declared, training, &settings)?;
        let rules = Rules::bind(&training.data, &settings)?;
        let limits = rules.limits();
        let updates = settings.count("updates", 1)?;
        let program = course.program(updates - 1);
        let samples = rules.longest();
        let clips = (limits.max_tokens / samples).clamp(1, limits.max_batch);
        let batch = noise(&feeds, program, &vec![samples; clips]);
        let batch = batch.ok_or_else(|| Error::program(&program.name, "no batch can be made up for it"))?;
        Ok(Load {
            task: task.into(),
            updates,
            accumulate: settings.count("accumulate", 1)?,
            clips,
            samples,
            trained: program.trains.iter().map(|i| artifact.params[*i].len()).sum(),
            parameters: artifact.param_elements,
            activations: session.peak_bytes(&program.name, &batch.inputs.refs())?,
            narrow: artifact.has_bf16(),
        })
    }
}
