//! One model, many listeners: whoever hears recordings on other threads sends stretches of samples here, and those that wait are
//! computed together.
//!
//! A recording asks for one stretch at a time, so that a long one takes turns with all others.

mod batch;

pub use batch::{MOST_SAMPLES, together};

use crate::error::Error;
use crate::trainer::{Logits, Transcriber};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

type Reply = Box<dyn FnOnce(Result<Logits, Error>) + Send>;

/// Samples whose logits somebody waits for.
struct Asked {
    wave: Vec<f32>,
    since: Instant,
    reply: Reply,
}

/// What was computed in one run.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    pub stretches: usize,
    /// Samples, without padding.
    pub samples: usize,
    pub took: Duration,
    /// The longest that one of them had waited.
    pub waited: Duration,
}

/// Where stretches arrive.
pub struct Engine {
    asked: Receiver<Asked>,
    waiting: VecDeque<Asked>,
}

/// Asks an engine for logits; clones ask the same one.
#[derive(Clone)]
pub struct Ear {
    ask: Sender<Asked>,
}

/// An engine, and what asks it. The engine ends when no ear is left.
pub fn engine() -> (Engine, Ear) {
    let (ask, asked) = channel();
    let waiting = VecDeque::new();
    (Engine { asked, waiting }, Ear { ask })
}

impl Ear {
    /// Asks for the logits of samples; `reply` gets them on the engine's thread. Where the engine has ended it is dropped.
    pub fn ask(&self, wave: Vec<f32>, reply: impl FnOnce(Result<Logits, Error>) + Send + 'static) {
        let since = Instant::now();
        let reply = Box::new(reply);
        // Dropping the reply tells who waits for it.
        let _ = self.ask.send(Asked { wave, since, reply });
    }

    /// Logits of samples; waits for them.
    ///
    /// # Errors
    /// Those of computing, and where the engine has ended.
    pub fn logits(&self, wave: Vec<f32>) -> Result<Logits, Error> {
        let (give, get) = channel();
        self.ask(wave, move |found| {
            // Nobody waits any more where this fails.
            let _ = give.send(found);
        });
        get.recv().unwrap_or_else(|_| Err(ended()))
    }
}

/// The engine is no more.
pub fn ended() -> Error {
    Error::Usage("the model has stopped after an error; start it again".into())
}

impl Engine {
    /// Computes until no ear is left; `note` is told of every run.
    ///
    /// # Errors
    /// What ends more than one recording, as a device that fails: then all that wait are given up.
    pub fn run(mut self, transcriber: &mut Transcriber, note: &mut dyn FnMut(&Ran)) -> Result<(), Error> {
        loop {
            if self.waiting.is_empty() {
                match self.asked.recv() {
                    Ok(asked) => self.waiting.push_back(asked),
                    Err(_) => return Ok(()),
                }
            }
            self.waiting.extend(self.asked.try_iter());
            let sizes: Vec<usize> = self.waiting.iter().map(|a| a.wave.len()).collect();
            let chosen = together(&sizes);
            let mut batch = vec![];
            // From the back, so that places in front stay what they are.
            for at in chosen.into_iter().rev() {
                batch.extend(self.waiting.remove(at));
            }
            batch.reverse();
            compute(transcriber, batch, note)?;
        }
    }
}

/// Together where there is memory for it, else one by one.
fn compute(transcriber: &mut Transcriber, batch: Vec<Asked>, note: &mut dyn FnMut(&Ran)) -> Result<(), Error> {
    let begun = Instant::now();
    let ran = Ran {
        stretches: batch.len(),
        samples: batch.iter().map(|a| a.wave.len()).sum(),
        waited: batch
            .iter()
            .map(|a| begun.duration_since(a.since))
            .max()
            .unwrap_or_default(),
        took: Duration::ZERO,
    };
    let waves: Vec<&[f32]> = batch.iter().map(|a| a.wave.as_slice()).collect();
    let outcome = transcriber.logits_of(&waves);
    note(&Ran {
        took: begun.elapsed(),
        ..ran
    });
    match outcome {
        Ok(all) => {
            for (asked, found) in batch.into_iter().zip(all) {
                (asked.reply)(Ok(found));
            }
            Ok(())
        }
        Err(e) if batch.len() > 1 && e.is_of_one() => {
            for asked in batch {
                compute(transcriber, vec![asked], note)?;
            }
            Ok(())
        }
        Err(e) if e.is_of_one() => {
            if let Some(asked) = batch.into_iter().next() {
                (asked.reply)(Err(e));
            }
            Ok(())
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeSession;
    use crate::trainer::test_weights;

    #[test]
    fn many_threads_get_what_one_would_and_long_recordings_take_turns() {
        let tmp = tempfile::tempdir().unwrap();
        let weights = test_weights(tmp.path());
        let mut session = FakeSession::default();
        let mut transcriber = Transcriber::new(&mut session, &weights, &[]).unwrap();
        let wave = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 7 + n) % 19) as f32 / 20.0).collect() };
        let sizes = [800, 5, 1300, 801, 700, 799, 3000, 60, 61];
        let alone: Vec<Logits> = sizes
            .iter()
            .map(|n| transcriber.logits_of(&[&wave(*n)]).unwrap().remove(0))
            .collect();
        let (engine, ear) = engine();
        let mut runs = vec![];
        let threads: Vec<_> = sizes
            .iter()
            .zip(alone)
            .map(|(n, want)| {
                let (n, ear) = (*n, ear.clone());
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        let found = ear.logits(wave(n)).unwrap();
                        assert_eq!(found.values, want.values);
                    }
                })
            })
            .collect();
        drop(ear);
        engine.run(&mut transcriber, &mut |ran| runs.push(*ran)).unwrap();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(runs.iter().map(|r| r.stretches).sum::<usize>(), 20 * sizes.len());
    }

    #[test]
    fn who_asks_an_engine_that_has_ended_is_told() {
        let (engine, ear) = engine();
        drop(engine);
        assert!(ear.logits(vec![0.0; 100]).unwrap_err().to_string().contains("stopped"));
    }
}
