//! Prefetches and decodes training data on background threads.

use super::clip::{Taken, take};
use super::{Batcher, Corpus, Plan, Position, Skipped};
use crate::audio::Reader;
use crate::error::Error;
use crate::ranks::Share;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A decoded clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub path: PathBuf,
    pub wave: Vec<f32>,
    /// The sample of the recording with which `wave` begins.
    pub start: usize,
    pub text: Option<String>,
    pub clusters: Option<String>,
}

/// A decoded batch: the clips that could be used, and those that could not.
#[derive(Debug)]
pub struct Loaded {
    /// Batches from where the loader begins to this one.
    pub number: u64,
    pub position: Position,
    /// Where the next batch is to be found: what a checkpoint keeps.
    pub next: Position,
    pub clips: Vec<Clip>,
    pub skipped: Vec<Skipped>,
}

/// What a loader does with each batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    pub seed: u64,
    /// Clips found shorter than this, whatever a header said, are skipped.
    pub min_samples: usize,
    /// A batch has no more samples than this, padding included, whatever a header said.
    pub max_tokens: usize,
    /// All clips of a batch to the length of the shortest.
    pub equal: bool,
    /// Zero mean and unit variance, over the whole clip before it is cropped.
    pub normalize: bool,
    /// Clips of digital silence are skipped.
    pub drop_silent: bool,
}

/// Batches in order, decoded by several threads, each of which works a few batches ahead and no further.
pub struct Loader {
    workers: Vec<Worker>,
    turn: usize,
    /// Where the system gives no thread at all.
    here: Option<Here>,
}

struct Worker {
    receive: Receiver<Result<Loaded, Error>>,
    thread: JoinHandle<()>,
}

/// Batches a thread may have ready.
const AHEAD: usize = 2;

/// Planned batches, each with its number and the position of the one after it.
type Plans = Box<dyn Iterator<Item = (u64, Plan, Position)> + Send>;

impl Loader {
    /// Batches of a share. Of `n` threads, thread `w` takes every `n`-th of them, so that batches come in order without being
    /// sorted. There are as many as the system gives of those asked for.
    pub fn new(
        corpus: Arc<Corpus>,
        (batcher, share): (Batcher, Share),
        start: Position,
        threads: usize,
        task: Task,
    ) -> Loader {
        let plans = || with_next(batcher.clone().from(start)).filter(move |(number, ..)| share.has(*number));
        let work = |plans: Plans| Here {
            corpus: corpus.clone(),
            plans,
            start,
            task,
            reader: Reader::default(),
            ready: VecDeque::new(),
        };
        // A thread is told its share when it is known how many there are.
        let (mut shares, mut workers) = (vec![], vec![]);
        for _ in 0..threads.max(1) {
            let (share, own) = sync_channel::<Here>(1);
            let (send, receive) = sync_channel(AHEAD);
            let decode = move || own.recv().into_iter().for_each(|here: Here| here.send_all(&send));
            let Ok(thread) = crate::threads::start(decode) else {
                break;
            };
            shares.push(share);
            workers.push(Worker { receive, thread });
        }
        let count = workers.len();
        for (w, share) in shares.into_iter().enumerate() {
            let own = work(Box::new(plans().skip(w).step_by(count)));
            // A thread that is gone shows when its turn comes.
            let _ = share.send(own);
        }
        let here = (count == 0).then(|| work(Box::new(plans())));
        Loader { workers, turn: 0, here }
    }

    /// The next batch.
    ///
    /// # Errors
    /// Where there are no clips at all, or the system failed to read one.
    pub fn next_batch(&mut self) -> Result<Loaded, Error> {
        loop {
            if let Some(loaded) = self.next_within(Duration::MAX)? {
                return Ok(loaded);
            }
        }
    }

    /// The next batch, if it is decoded in time; an error where there are no clips at all.
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Loaded>, Error> {
        let nothing = || {
            Error::data(
                "loader",
                "no clips are left to train on",
                "check the data and min_samples",
            )
        };
        if let Some(here) = &mut self.here {
            return here.next().unwrap_or_else(|| Err(nothing())).map(Some);
        }
        match self.workers[self.turn].receive.recv_timeout(time) {
            Ok(received) => received.map(|loaded| Some(self.taken(loaded))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(nothing()),
        }
    }

    /// The next batch if it is decoded already; errors as [`Loader::next_batch`].
    pub fn ready_batch(&mut self) -> Result<Option<Loaded>, Error> {
        let Some(worker) = self.workers.get(self.turn) else {
            return Ok(None);
        };
        match worker.receive.try_recv() {
            Ok(received) => received.map(|loaded| Some(self.taken(loaded))),
            Err(_) => Ok(None),
        }
    }

    fn taken(&mut self, loaded: Loaded) -> Loaded {
        // The parts of one batch come from the same thread.
        if loaded.next.part == 0 {
            self.turn = (self.turn + 1) % self.workers.len();
        }
        loaded
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        for Worker { receive, thread } in self.workers.drain(..) {
            drop(receive); // Its next send fails, which ends it.
            drop(thread); // It is not waited for: it may hang in a file, and that must not hold up the end of a training.
        }
    }
}

/// Decodes its plans one after another, on whatever thread it is.
struct Here {
    corpus: Arc<Corpus>,
    plans: Plans,
    start: Position,
    task: Task,
    reader: Reader,
    /// Parts of a batch that are still to be given out.
    ready: VecDeque<Loaded>,
}

impl Here {
    /// The next batch, or nothing after the last.
    fn next(&mut self) -> Option<Result<Loaded, Error>> {
        loop {
            if let Some(loaded) = self.ready.pop_front() {
                return Some(Ok(loaded));
            }
            let (number, plan, next) = self.plans.next()?;
            match load(&self.corpus, (number, &plan), next, &mut self.reader, self.task) {
                Ok(parts) => self
                    .ready
                    .extend(parts.into_iter().filter(|l| l.position >= self.start)),
                Err(e) => return Some(Err(e)),
            }
        }
    }

    fn send_all(mut self, to: &SyncSender<Result<Loaded, Error>>) {
        while let Some(loaded) = self.next() {
            let failed = loaded.is_err();
            // Where the trainer has gone, it does not matter to it.
            if to.send(loaded).is_err() || failed {
                return;
            }
        }
    }
}

/// Numbers plans and gives each the position of the one after it.
fn with_next(plans: impl Iterator<Item = Plan>) -> impl Iterator<Item = (u64, Plan, Position)> {
    let mut plans = plans.peekable();
    let mut numbers = 0..;
    std::iter::from_fn(move || {
        let plan = plans.next()?;
        let next = plans.peek().map_or(plan.position, |p| p.position);
        Some((numbers.next()?, plan, next))
    })
}

/// Decodes a planned batch: one part, or several where headers understated the lengths and it does not fit.
fn load(
    corpus: &Corpus,
    (number, plan): (u64, &Plan),
    next: Position,
    reader: &mut Reader,
    task: Task,
) -> Result<Vec<Loaded>, Error> {
    let (mut clips, mut skipped) = (vec![], vec![]);
    for index in &plan.clips {
        let utterance = &corpus.utterances[*index];
        #[cfg(test)]
        held::pass(&utterance.path);
        let (path, known) = (utterance.name(), corpus.lengths[*index]);
        match take(reader, utterance, known, (plan, clips.len()), task)? {
            Taken::LeftOut(reason) => skipped.push(Skipped { path, reason }),
            Taken::Samples(wave, start) => clips.push(Clip {
                start,
                path,
                wave,
                text: utterance.text.clone(),
                clusters: utterance.clusters.clone(),
            }),
        }
    }
    // By the lengths found, which need not be those of the manifest.
    let shortest = clips.iter().map(|c| c.wave.len()).min().unwrap_or(0);
    let crop = if task.equal { plan.crop.min(shortest) } else { plan.crop };
    for (row, clip) in clips.iter_mut().enumerate() {
        if clip.wave.len() > crop {
            let start = Batcher::crop_start(task.seed, plan.position, row, clip.wave.len(), crop);
            clip.wave = clip.wave[start..start + crop].to_vec();
            clip.start += start;
        }
    }
    // Lengths that a header understates must not make a batch that does not fit: what is left over is one of its own.
    let (mut parts, mut longest) = (vec![vec![]], 0);
    for clip in clips {
        let length = clip.wave.len();
        if length > task.max_tokens {
            skipped.push(Skipped {
                path: clip.path,
                reason: format!(
                    "it has {length} samples and max_tokens is {}; cut it or raise the setting",
                    task.max_tokens
                ),
            });
            continue;
        }
        let last = parts.last_mut().expect("there is a first part");
        let width = length.max(longest);
        if (last.len() + 1) * width <= task.max_tokens {
            last.push(clip);
            longest = width;
        } else {
            parts.push(vec![clip]);
            longest = length;
        }
    }
    let count = parts.len() as u64;
    let part = |i: u64| Position {
        part: i,
        ..plan.position
    };
    let parts = parts.into_iter().zip(0..).map(|(clips, i)| Loaded {
        number,
        position: part(i),
        next: if i + 1 < count { part(i + 1) } else { next },
        clips,
        skipped: if i == 0 { std::mem::take(&mut skipped) } else { vec![] },
    });
    Ok(parts.collect())
}

/// Recordings that hang, as on a network that is away.
#[cfg(test)]
pub mod held {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    type Heard = Box<dyn Fn() + Send>;
    static HELD: Mutex<Vec<(PathBuf, Heard)>> = Mutex::new(vec![]);

    /// Whoever reads below `dir` calls `heard` and waits for ever.
    pub fn hold(dir: &Path, heard: impl Fn() + Send + 'static) {
        HELD.lock().unwrap().push((dir.into(), Box::new(heard)));
    }

    pub fn pass(path: &Path) {
        let held = HELD.lock().unwrap().iter().any(|(dir, heard)| {
            let below = path.starts_with(dir);
            if below {
                heard();
            }
            below
        });
        while held {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Utterance};
    use super::*;

    #[test]
    fn threads_do_not_change_what_is_loaded_and_bad_clips_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut corpus = Corpus::default();
        for i in 0..12usize {
            let path = dir.path().join(format!("{i}.wav"));
            let n = 200 + 37 * i;
            if i == 5 {
                std::fs::write(&path, b"RIFFnonsense").unwrap();
            } else {
                let mut w = hound::WavWriter::create(&path, spec).unwrap();
                (0..n).for_each(|s| w.write_sample((s * (i + 1)) as i16).unwrap());
                w.finalize().unwrap();
            }
            corpus.utterances.push(Utterance {
                path,
                ..Utterance::default()
            });
            corpus.lengths.push(n);
        }
        let corpus = Arc::new(corpus);
        let limits = Limits {
            max_tokens: 1_200,
            max_batch: 8,
            max_crop: 400,
            crop_to_shortest: true,
        };
        let task = Task {
            seed: 7,
            min_samples: 0,
            max_tokens: 1_200,
            equal: true,
            normalize: false,
            drop_silent: false,
        };
        let load = |threads, start, count| {
            let batcher = Batcher::new(corpus.lengths.clone(), limits, 7, true);
            let mut loader = Loader::new(corpus.clone(), (batcher, Share::ALL), start, threads, task);
            (0..count).map(|_| loader.next_batch().unwrap()).collect::<Vec<_>>()
        };
        let one = load(1, Position::default(), 14);
        let three = load(3, Position::default(), 14);
        for (a, b) in one.iter().zip(&three) {
            assert_eq!((a.position, a.next, &a.clips), (b.position, b.next, &b.clips));
            assert!(a.clips.windows(2).all(|w| w[0].wave.len() == w[1].wave.len()));
        }
        let later = load(2, one[6].next, 3);
        assert_eq!(later[2].clips, one[9].clips);
        let bad: Vec<_> = one
            .iter()
            .filter(|l| l.position.epoch == 0)
            .flat_map(|l| &l.skipped)
            .collect();
        assert!(bad.len() == 1 && bad[0].path.ends_with("5.wav"), "{bad:?}");
    }

    /// Loaders of several shares give, together, what one loader gives.
    #[test]
    fn shares_are_loaded_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut corpus = Corpus::default();
        for i in 0..7usize {
            // Nothing can be read, which does not change who has which batch.
            let path = dir.path().join(format!("{i}.wav"));
            std::fs::write(&path, b"nonsense").unwrap();
            corpus.utterances.push(Utterance {
                path,
                ..Utterance::default()
            });
            corpus.lengths.push(1_000);
        }
        let corpus = Arc::new(corpus);
        let limits = Limits {
            max_tokens: 1_000,
            max_batch: 8,
            max_crop: usize::MAX,
            crop_to_shortest: false,
        };
        let task = Task {
            seed: 7,
            min_samples: 0,
            max_tokens: 1_000,
            equal: false,
            normalize: false,
            drop_silent: false,
        };
        let load = |share, count| -> Vec<(u64, Position, PathBuf)> {
            let batcher = Batcher::new(corpus.lengths.clone(), limits, 7, true);
            let mut loader = Loader::new(corpus.clone(), (batcher, share), Position::default(), 2, task);
            let all = (0..count).map(|_| loader.next_batch().unwrap());
            all.map(|l| (l.number, l.position, l.skipped[0].path.clone())).collect()
        };
        let whole = load(Share::ALL, 20);
        let group = 5;
        let mut parts: Vec<_> = (0..3)
            .flat_map(|rank| load(Share { rank, ranks: 3, group }, 8))
            .collect();
        parts.sort();
        assert_eq!(parts[..15], whole[..15]);
    }

    #[test]
    fn clips_that_do_not_fit_together_come_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut corpus = Corpus::default();
        for (i, n) in [600usize, 500, 400, 1_500].into_iter().enumerate() {
            let path = dir.path().join(format!("{i}.wav"));
            let mut w = hound::WavWriter::create(&path, spec).unwrap();
            (0..n).for_each(|s| w.write_sample(s as i16).unwrap());
            w.finalize().unwrap();
            corpus.utterances.push(Utterance {
                path,
                ..Utterance::default()
            });
            // Far too little, so that all are planned into one batch.
            corpus.lengths.push(100);
        }
        let corpus = Arc::new(corpus);
        let limits = Limits {
            max_tokens: 1_000,
            max_batch: 8,
            max_crop: usize::MAX,
            crop_to_shortest: false,
        };
        let task = Task {
            seed: 7,
            min_samples: 0,
            max_tokens: 1_000,
            equal: false,
            normalize: false,
            drop_silent: false,
        };
        let loader = |start, threads| {
            let batcher = Batcher::new(corpus.lengths.clone(), limits, 7, false);
            Loader::new(corpus.clone(), (batcher, Share::ALL), start, threads, task)
        };
        let mut whole = loader(Position::default(), 2);
        let parts: Vec<Loaded> = (0..4).map(|_| whole.next_batch().unwrap()).collect();
        let sizes = |l: &Loaded| l.clips.iter().map(|c| c.wave.len()).collect::<Vec<_>>();
        assert_eq!((sizes(&parts[0]), sizes(&parts[1])), (vec![600], vec![500, 400]));
        assert_eq!(
            (parts[1].next.epoch, parts[1].next.part, sizes(&parts[2])),
            (1, 0, vec![600])
        );
        assert_eq!(parts[0].skipped.len(), 1);
        // A run may be resumed between them.
        let rest = loader(parts[0].next, 2).next_batch().unwrap();
        assert_eq!((rest.position, &rest.clips), (parts[1].position, &parts[1].clips));
    }
}
