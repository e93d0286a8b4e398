//! Layers' states, computed by a session of their own on a thread of its own.

use super::{Options, no_thread};
use crate::error::Error;
use crate::exec::open_file;
use crate::features::Features;
use ir::task::Gives;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

struct Asked {
    samples: Vec<f32>,
    layer: usize,
    reply: Sender<Result<(Vec<f32>, usize), Error>>,
}

/// Ends with its last asker: the thread waits for work, and holds nothing else that anybody waits for.
pub(super) struct States {
    ask: Sender<Asked>,
}

impl States {
    /// # Errors
    /// Where the model has no task that gives states, or weights cannot be used.
    pub fn open((file, path): &(File, PathBuf), weights: &Path, options: &Options) -> Result<States, Error> {
        let (ask, asked) = channel::<Asked>();
        let (give, get) = channel();
        let file = file.try_clone().map_err(Error::io("open", path))?;
        let (path, weights, options) = (path.clone(), weights.to_path_buf(), options.clone());
        let work = move || {
            let given = give.clone();
            let outcome = (|| {
                let runner = open_file(file, &path)?;
                let artifact = runner.artifact();
                let gives =
                    |t: &&ir::task::Task| t.prediction().is_some_and(|p| matches!(p.gives, Gives::States { .. }));
                let task = artifact.tasks.iter().find(gives).map(|t| t.name.clone());
                let none = || Error::Usage(format!("`{}` has no task that gives layers' states", artifact.name));
                let task = task.ok_or_else(none)?;
                let mut session = runner.open(crate::threads::wanted(options.threads)?, options.device.as_deref())?;
                let mut features = Features::new(&mut *session, &task, &weights, &[], &[])?;
                // Whoever opened it waits for this.
                let _ = give.send(Ok(()));
                for asked in asked {
                    let found = features.of_samples(asked.samples, &[asked.layer]);
                    let found = found.map(|mut all| all.pop().map_or((vec![], 0), |s| (s.values, s.width)));
                    let _ = asked.reply.send(found);
                }
                Ok(())
            })();
            if let Err(e) = outcome {
                let _ = given.send(Err(e));
            }
        };
        crate::threads::start(work).map_err(|_| no_thread())?;
        get.recv().unwrap_or_else(|_| Err(crate::engine::ended(None)))?;
        Ok(States { ask })
    }

    /// The states of a layer, and itself where it can go on: after a fault, or where the device fails, it has to be opened anew.
    pub fn of(self, samples: Vec<f32>, layer: usize) -> (Option<States>, Result<(Vec<f32>, usize), Error>) {
        let (reply, get) = channel();
        // Where nobody takes it the reply is dropped, which is noticed below.
        let _ = self.ask.send(Asked { samples, layer, reply });
        match get.recv() {
            Ok(Err(e @ Error::Device { .. })) => (None, Err(e)),
            Ok(found) => (Some(self), found),
            Err(_) => (None, Err(crate::engine::ended(None))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_not_asked_again() {
        let (ask, asked) = channel::<Asked>();
        let states = States { ask };
        let thread = std::thread::spawn(move || {
            for asked in asked.iter().take(2) {
                let _ = asked.reply.send(Err(Error::Usage("no such layer".into())));
            }
        });
        let (states, found) = states.of(vec![], 9);
        assert!(found.unwrap_err().to_string().contains("layer"));
        let (states, _) = states.expect("it goes on after a slip").of(vec![], 9);
        thread.join().unwrap();
        let (states, found) = states.expect("it does not know yet").of(vec![], 0);
        assert!(states.is_none() && found.unwrap_err().to_string().contains("stopped"));
    }
}
