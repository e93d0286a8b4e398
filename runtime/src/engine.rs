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
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

type Reply = Box<dyn FnOnce(Result<Logits, Error>) + Send>;

/// Samples whose logits somebody waits for.
struct Asked {
    wave: Vec<f32>,
    since: Instant,
    reply: Reply,
}

/// What comes to an engine.
enum Message {
    Asked(Asked),
    End,
}

/// Why an engine has ended, where that was an error.
type Why = Arc<OnceLock<String>>;

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
    asked: Receiver<Message>,
    waiting: VecDeque<Asked>,
    why: Why,
}

/// Asks an engine for logits; clones ask the same one.
#[derive(Clone)]
pub struct Ear {
    ask: Sender<Message>,
    why: Why,
}

/// An engine, and what asks it. The engine ends when no ear is left, or by [`Ear::end`].
pub fn engine() -> (Engine, Ear) {
    let (ask, asked) = channel();
    let (waiting, why) = (VecDeque::new(), Why::default());
    let ear = Ear { ask, why: why.clone() };
    (Engine { asked, waiting, why }, ear)
}

impl Ear {
    /// Asks for the logits of samples; `reply` gets them on the engine's thread. Where the engine has ended it is dropped.
    pub fn ask(&self, wave: Vec<f32>, reply: impl FnOnce(Result<Logits, Error>) + Send + 'static) {
        let since = Instant::now();
        let reply = Box::new(reply);
        // Dropping the reply tells who waits for it.
        let _ = self.ask.send(Message::Asked(Asked { wave, since, reply }));
    }

    /// Ends the engine after what it computes now, whoever else has an ear; what waits is given up.
    pub fn end(&self) {
        // It may have ended.
        let _ = self.ask.send(Message::End);
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
        get.recv()
            .unwrap_or_else(|_| Err(ended(self.why.get().map(String::as_str))))
    }
}

/// What computes is no more, and why, where that is known.
pub fn ended(why: Option<&str>) -> Error {
    Error::Usage(match why {
        Some(why) => format!("the model has stopped after an error: {why}; start it again"),
        None => "the model has stopped; start it again".into(),
    })
}

impl Engine {
    /// Computes until no ear is left, or one ends it; `note` is told of every run.
    ///
    /// # Errors
    /// What ends more than one recording, as a device that fails: then all that wait are given up.
    pub fn run(mut self, transcriber: &mut Transcriber, note: &mut dyn FnMut(&Ran)) -> Result<(), Error> {
        while self.receive() {
            let sizes: Vec<usize> = self.waiting.iter().map(|a| a.wave.len()).collect();
            let chosen = together(&sizes);
            let mut batch = vec![];
            // From the back, so that places in front stay what they are.
            for at in chosen.into_iter().rev() {
                batch.extend(self.waiting.remove(at));
            }
            batch.reverse();
            compute(transcriber, batch, &self.why, note)?;
        }
        Ok(())
    }

    /// Takes what has come, waiting for something to do; false where this is the end.
    fn receive(&mut self) -> bool {
        let mut next = match self.waiting.is_empty() {
            true => self.asked.recv().ok().or(Some(Message::End)),
            false => self.asked.try_recv().ok(),
        };
        while let Some(message) = next {
            match message {
                Message::Asked(asked) => self.waiting.push_back(asked),
                Message::End => return false,
            }
            next = self.asked.try_recv().ok();
        }
        true
    }
}

/// Together where there is memory for it, else one by one.
fn compute(
    transcriber: &mut Transcriber,
    batch: Vec<Asked>,
    why: &Why,
    note: &mut dyn FnMut(&Ran),
) -> Result<(), Error> {
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
                compute(transcriber, vec![asked], why, note)?;
            }
            Ok(())
        }
        Err(e) if e.is_of_one() => {
            if let Some(asked) = batch.into_iter().next() {
                (asked.reply)(Err(e));
            }
            Ok(())
        }
        Err(e) => {
            // Known before those that wait learn that nobody answers them.
            let _ = why.set(e.to_string());
            Err(e)
        }
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

    /// What those get who ask for so many samples each before anything is computed, and how many were computed at a time.
    fn asked(session: &mut FakeSession, sizes: &[usize], end: bool) -> (Vec<Result<Logits, String>>, Vec<usize>) {
        let tmp = tempfile::tempdir().unwrap();
        let mut transcriber = Transcriber::new(session, &test_weights(tmp.path()), &[]).unwrap();
        let (engine, ear) = engine();
        let (give, get) = channel();
        for (place, size) in sizes.iter().enumerate() {
            let give = give.clone();
            ear.ask(vec![0.1; *size], move |found| give.send((place, found)).unwrap());
        }
        drop(give);
        if end {
            ear.end();
        }
        let why = ear.why.clone();
        let _held = end.then(|| ear.clone());
        drop(ear);
        let mut runs = vec![];
        let _ = engine.run(&mut transcriber, &mut |ran| runs.push(ran.stretches));
        let lost = || Err(ended(why.get().map(String::as_str)).to_string());
        let mut all: Vec<Result<Logits, String>> = sizes.iter().map(|_| lost()).collect();
        for (place, found) in get {
            all[place] = found.map_err(|e| e.to_string());
        }
        (all, runs)
    }

    #[test]
    fn what_waits_is_computed_together() {
        let (found, runs) = asked(&mut FakeSession::default(), &[800; 8], false);
        assert!(found.iter().all(Result::is_ok));
        assert_eq!(runs, [8]);
    }

    #[test]
    fn memory_that_is_short_for_some_ends_nothing_for_others() {
        let mut session = FakeSession::default();
        session.grows = Some(1000);
        let (found, runs) = asked(&mut session, &[800, 900, 1050, 850], false);
        let sound: Vec<bool> = found.iter().map(Result::is_ok).collect();
        assert_eq!(sound, [true, true, false, true]);
        assert!(found[2].as_ref().unwrap_err().contains("memory"));
        assert_eq!(runs, [4, 1, 1, 1, 1]);
    }

    #[test]
    fn who_waits_for_a_device_that_fails_is_told_why() {
        let mut session = FakeSession::default();
        session.dies_at = Some(1);
        let (found, runs) = asked(&mut session, &[800, 5000, 90_000], false);
        assert!(found[0].is_ok());
        for lost in &found[1..] {
            let why = lost.as_ref().unwrap_err();
            assert!(why.contains("unplugged") && why.contains("start it again"), "{why}");
        }
        assert_eq!(runs, [1, 1]);
    }

    #[test]
    fn an_engine_ends_when_it_is_told_whoever_could_still_ask() {
        let (found, runs) = asked(&mut FakeSession::default(), &[800, 800], true);
        assert!(found.iter().all(Result::is_err));
        assert_eq!(runs, [0; 0]);
    }

    #[test]
    fn who_asks_an_engine_that_has_ended_is_told() {
        let (engine, ear) = engine();
        drop(engine);
        assert!(ear.logits(vec![0.0; 100]).unwrap_err().to_string().contains("stopped"));
    }
}
