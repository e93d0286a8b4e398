//! Several processes that train one model: each is a *rank*. A launcher (mpirun, srun) starts them; MPI introduces them and moves
//! bytes and gradients. It is opened while the program runs, and only where a launcher's environment says that there are others.
//!
//! Who trains alone has [`Ranks::default`]: every call is answered at once by what this process gives.

mod launch;
mod mpi;
mod now;
pub mod share;
mod sum;
mod watch;
mod wire;

pub use now::Phase;
pub use share::Share;

use crate::error::Error;
use crate::log::tell;
use launch::{LIBRARY, Launch, Launcher};
use mpi::MpiThread;
use now::Now;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use watch::{Guest, Host, Limits, Member};
pub use wire::Pending;
use wire::Wire;

/// The ranks of a training, or this process alone.
#[derive(Clone, Default)]
pub struct Ranks(Option<Arc<Party>>);

struct Party {
    wire: Box<dyn Wire>,
    members: Vec<Member>,
    now: Arc<Now>,
    limits: Arc<Limits>,
    watch: Watch,
    /// Sums may go on beside computing.
    spare: AtomicBool,
}

enum Watch {
    Host(Host),
    Guest(Guest),
    /// In tests: ranks are threads of one process.
    #[cfg(test)]
    None,
}

/// What a rank says of itself when it comes.
#[derive(Serialize, Deserialize)]
struct Introduction {
    host: String,
    pid: u32,
    /// Of the whole executable.
    digest: [u8; 16],
}

/// Where rank 0 can be reached.
#[derive(Serialize, Deserialize)]
struct Meeting {
    addresses: Vec<IpAddr>,
    port: u16,
    token: u64,
}

impl std::fmt::Debug for Ranks {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl Ranks {
    /// Meets the other processes of this job, where a launcher started several.
    ///
    /// # Errors
    /// Where MPI cannot be opened, is not the launcher's, or the processes do not go together.
    pub fn start() -> Result<Ranks, Error> {
        let Some(launch) = Launch::seen() else {
            return Ok(Ranks::default());
        };
        match MpiThread::start(&launch) {
            Ok(wire) => Ranks::meet(Box::new(wire)),
            // An interactive shell of Slurm inherits its variable.
            Err(e) if launch.launcher == Launcher::Slurm => {
                tell(&format!(
                    "note: this process trains alone, though Slurm's environment speaks of {} ({e}); start with srun \
                     --mpi=pmix, or say so by {LIBRARY}=none",
                    launch.size
                ));
                Ok(Ranks::default())
            }
            Err(e) => {
                launch.let_the_first_speak();
                Err(e)
            }
        }
    }

    fn meet(wire: Box<dyn Wire>) -> Result<Ranks, Error> {
        let (rank, size) = (wire.rank(), wire.size());
        let own = Introduction {
            host: host_name(),
            pid: std::process::id(),
            digest: digest()?,
        };
        let all: Vec<Introduction> = gather(&*wire, &own)?;
        let members: Vec<Member> = all
            .iter()
            .enumerate()
            .map(|(rank, own)| Member {
                rank,
                host: own.host.clone(),
                pid: own.pid,
            })
            .collect();
        let (now, limits) = (Arc::new(Now::default()), Arc::new(Limits::default()));
        let unwatched = |what: String| Error::Ranks {
            what: format!("the ranks cannot be watched: {what}"),
            remedy: "let the machines reach each other by TCP".into(),
        };
        let door = match rank {
            0 => Some(watch::Door::open().map_err(|e| unwatched(e.to_string()))?),
            _ => None,
        };
        let meeting = door.as_ref().map(|d| Meeting {
            addresses: d.addresses.clone(),
            port: d.port,
            token: d.token,
        });
        let meeting: Meeting = from_first(&*wire, meeting)?;
        let watch = match door {
            Some(door) => Host::watch(door, &members, &now, &limits)
                .map(Watch::Host)
                .map_err(|e| e.to_string()),
            None => {
                let place = (meeting.addresses.as_slice(), meeting.port, meeting.token);
                Guest::connect((&members[0], &members[rank]), place, &now, &limits).map(Watch::Guest)
            }
        };
        // Who could not come is told by all in the same words; rank 0 is heard.
        let failures: Vec<Option<String>> = gather(&*wire, &watch.as_ref().err().cloned())?;
        let first_failure = failures.iter().zip(&members).find_map(|(f, m)| Some((f.as_ref()?, m)));
        if let Some((what, member)) = first_failure {
            let what = format!("{} cannot reach {}: {what}", member.name(), members[0].name());
            return Err(silently_unless_first(rank, unwatched(what)));
        }
        let watch = watch.map_err(unwatched)?;
        let ranks = Ranks(Some(Arc::new(Party {
            wire,
            members,
            now,
            limits,
            watch,
            spare: AtomicBool::new(false),
        })));
        ranks.compare("executable", &all.iter().map(|i| i.digest).collect::<Vec<_>>())?;
        if rank == 0 {
            tell(&format!(
                "{size} ranks: {}; {}",
                ranks.places(),
                ranks.party().wire.name()
            ));
        }
        Ok(ranks)
    }

    /// Ranks that are threads of this process.
    #[cfg(test)]
    pub(crate) fn threads(size: usize) -> Vec<Ranks> {
        let member = |rank| Member {
            rank,
            host: "here".into(),
            pid: rank as u32,
        };
        let party = |wire: wire::threads::Threads| Party {
            wire: Box::new(wire),
            members: (0..size).map(member).collect(),
            now: Arc::default(),
            limits: Arc::default(),
            watch: Watch::None,
            spare: AtomicBool::new(false),
        };
        let all = wire::threads::of(size).into_iter();
        all.map(|wire| Ranks(Some(Arc::new(party(wire))))).collect()
    }

    fn party(&self) -> &Party {
        self.0.as_ref().expect("only asked for where there are several")
    }

    /// Whether there are others.
    pub fn several(&self) -> bool {
        self.0.is_some()
    }
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |p| p.wire.rank())
    }
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |p| p.wire.size())
    }
    /// Whether this is the rank that owns the run folder and speaks.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }
    /// Rank among those of this machine, and how many those are.
    pub fn local(&self) -> (usize, usize) {
        self.0.as_ref().map_or((0, 1), |p| p.wire.local())
    }

    /// A rank, as messages name it.
    pub fn name(&self, rank: usize) -> String {
        self.0
            .as_ref()
            .map_or("this process".into(), |p| p.members[rank].name())
    }

    /// All ranks by host: `a: 0 (pid 12), 1 (pid 13); b: ...`.
    pub fn places(&self) -> String {
        let mut hosts: Vec<(&str, Vec<String>)> = vec![];
        for m in &self.party().members {
            let one = format!("{} (pid {})", m.rank, m.pid);
            match hosts.iter_mut().find(|(host, _)| *host == m.host) {
                Some((_, all)) => all.push(one),
                None => hosts.push((&m.host, vec![one])),
            }
        }
        let words = hosts.iter().map(|(host, all)| format!("{} on {host}", all.join(", ")));
        words.collect::<Vec<_>>().join("; ")
    }

    /// Cores that this rank may compute with: those of its mask, divided where the mask is the whole machine and others share it.
    pub fn cores(&self) -> usize {
        let own = crate::threads::cores();
        let of_machine = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let of_machine = of_machine.lines().filter(|l| l.starts_with("processor")).count();
        match own >= of_machine {
            true => (own / self.local().1).max(1),
            false => own,
        }
    }

    /// Has memory and silence of this rank judged by what it shares and by the settings of the run.
    pub fn set_limits(&self, silence_seconds: f64, stall_seconds: f64) {
        if let Some(party) = &self.0 {
            party.limits.set(silence_seconds, stall_seconds);
        }
    }

    /// Says what this rank begins to do; what it did before is given back.
    pub fn enter(&self, phase: Phase) -> Phase {
        self.0.as_ref().map_or(Phase::Starting, |p| p.now.enter(phase))
    }
    pub fn at_update(&self, update: u64) {
        if let Some(party) = &self.0 {
            party.now.at_update(update);
        }
    }

    /// What was said of ranks that others wait for, for the log.
    pub fn take_events(&self) -> Vec<String> {
        match self.0.as_ref().map(|p| &p.watch) {
            Some(Watch::Host(host)) => host.take_events(),
            _ => vec![],
        }
    }

    fn exchanging<T>(&self, work: impl FnOnce(&dyn Wire) -> Result<T, Error>) -> Result<T, Error> {
        let party = self.party();
        let before = party.now.enter(Phase::Exchanging);
        let done = work(&*party.wire);
        party.now.enter(before);
        done
    }

    /// What each rank gives, by rank.
    ///
    /// # Errors
    /// Here and below: where the connection fails.
    pub fn gather<T: Serialize + DeserializeOwned>(&self, own: T) -> Result<Vec<T>, Error> {
        match self.several() {
            true => self.exchanging(|wire| gather(wire, &own)),
            false => Ok(vec![own]),
        }
    }

    /// What rank 0 makes, on every rank. Where it fails, it is rank 0 that says so.
    pub fn from_first<T: Serialize + DeserializeOwned>(
        &self,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !self.several() {
            return make();
        }
        let own = if self.is_first() { Some(make()?) } else { None };
        self.exchanging(|wire| from_first(wire, own))
    }

    /// Rank 0's values, on every rank.
    pub fn spread(&self, values: &mut [f32]) -> Result<(), Error> {
        match self.several() {
            true => self.exchanging(|wire| wire.broadcast(crate::bytes::of_mut(values))),
            false => Ok(()),
        }
    }

    /// Every rank's values become the sums over all ranks, added in the order of the ranks.
    pub fn sum(&self, values: &mut [f32]) -> Result<(), Error> {
        match self.several() {
            true => self.exchanging(|wire| wire.sum(values)),
            false => Ok(()),
        }
    }

    /// How many of `count` values belong to each rank, in whole blocks.
    pub fn parts(&self, count: usize, block: usize) -> Vec<usize> {
        sum::parts(count, self.size(), block)
    }

    /// This rank's part of the values becomes the sums over all ranks; the other parts may be anything.
    pub fn sum_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
        self.exchanging(|wire| wire.sum_parts(values, parts))
    }

    /// Begins a sum as [`Ranks::sum`] or [`Ranks::sum_parts`] and does not wait for it.
    ///
    /// # Safety
    /// The values are neither read nor written nor given back until the sum is waited for.
    pub unsafe fn begin_sum(&self, values: *mut f32, length: usize, parts: Option<Vec<usize>>) -> Pending {
        // SAFETY: as the caller promises.
        unsafe { self.party().wire.begin_sum(values, length, parts) }
    }

    /// Waits for sums that were begun.
    pub fn wait(&self, sums: Vec<Pending>) -> Result<(), Error> {
        match sums.is_empty() {
            true => Ok(()),
            false => self.exchanging(|_| sums.into_iter().try_for_each(Pending::wait)),
        }
    }

    /// Says that this machine has cores beside those that this rank computes with, so that sums may go on meanwhile.
    pub fn has_spare_cores(&self, spare: bool) {
        if let Some(party) = &self.0 {
            party.spare.store(spare, Ordering::Relaxed);
        }
    }
    pub fn spare_cores(&self) -> bool {
        self.0.as_ref().is_some_and(|p| p.spare.load(Ordering::Relaxed))
    }

    /// Every part becomes what its rank has there.
    pub fn spread_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
        self.exchanging(|wire| wire.spread_parts(values, parts))
    }

    /// The same, on rank 0 alone.
    pub fn collect_parts(&self, values: &mut [f32], parts: &[usize]) -> Result<(), Error> {
        self.exchanging(|wire| wire.collect_parts(values, parts))
    }

    /// Fails where not all ranks have the same as rank 0; `all` is what each has, by rank.
    pub fn compare<T: PartialEq>(&self, what: &str, all: &[T]) -> Result<(), Error> {
        match all.iter().position(|own| *own != all[0]) {
            None => Ok(()),
            Some(other) => Err(Error::Ranks {
                what: format!("{} has another {what} than {}", self.name(other), self.name(0)),
                remedy: "give all of them the same".into(),
            }),
        }
    }

    /// Ends a training that is done: every rank comes here.
    pub fn finish(&self) -> Result<(), Error> {
        let Some(party) = &self.0 else { return Ok(()) };
        party.now.enter(Phase::Ending);
        gather(&*party.wire, &0u8)?;
        match &party.watch {
            Watch::Host(host) => host.part(),
            Watch::Guest(guest) => guest.part(),
            #[cfg(test)]
            Watch::None => {}
        }
        party.wire.leave()
    }

    /// Ends all ranks where there are several: rank 0 says why, once. Alone it comes back.
    pub fn end(&self, error: &Error) {
        let code = error.exit_code();
        match self.0.as_ref().map(|p| &p.watch) {
            Some(Watch::Host(host)) => host.end(code, &format!("error: {error}")),
            Some(Watch::Guest(guest)) => {
                let alike = matches!(error, Error::Training { .. } | Error::Interrupted { .. });
                guest.fail(code, error.to_string(), alike)
            }
            #[cfg(test)]
            Some(Watch::None) => {}
            None => {}
        }
    }
}

/// Before ranks are watched: rank 0 speaks for all, who meet the same error.
fn silently_unless_first(rank: usize, error: Error) -> Error {
    if rank > 0 {
        std::thread::sleep(std::time::Duration::from_secs(1));
        watch::leave(error.exit_code());
    }
    error
}

fn unreadable(e: impl std::fmt::Display) -> Error {
    Error::Ranks {
        what: format!("what a rank sent cannot be read: {e}"),
        remedy: "start the same executable everywhere".into(),
    }
}

fn gather<T: Serialize + DeserializeOwned>(wire: &dyn Wire, own: &T) -> Result<Vec<T>, Error> {
    let bytes = postcard::to_stdvec(own).map_err(unreadable)?;
    let all = wire.gather(&bytes)?;
    all.iter()
        .map(|b| postcard::from_bytes(b).map_err(unreadable))
        .collect()
}

fn from_first<T: Serialize + DeserializeOwned>(wire: &dyn Wire, own: Option<T>) -> Result<T, Error> {
    let mut bytes = own
        .as_ref()
        .map_or(Ok(vec![]), postcard::to_stdvec)
        .map_err(unreadable)?;
    let mut length = (bytes.len() as u64).to_le_bytes();
    wire.broadcast(&mut length)?;
    bytes.resize(u64::from_le_bytes(length) as usize, 0);
    wire.broadcast(&mut bytes)?;
    match own {
        Some(own) => Ok(own),
        None => postcard::from_bytes(&bytes).map_err(unreadable),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "this machine".into(),
        name => name.into(),
    }
}

/// The end of the running file, which has a digest of all before it.
fn digest() -> Result<[u8; 16], Error> {
    use std::os::unix::fs::FileExt;
    let path = std::env::current_exe().map_err(|e| Error::Usage(e.to_string()))?;
    let mut bytes = [0; 16];
    let mut read = || {
        let file = std::fs::File::open(&path)?;
        let end = file.metadata()?.len();
        file.read_exact_at(&mut bytes, end.saturating_sub(16))
    };
    read().map_err(Error::io("read", &path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_gets_back_what_it_gives() {
        let alone = Ranks::default();
        assert!(alone.is_first() && !alone.several() && alone.size() == 1);
        assert_eq!(alone.gather(7u32).unwrap(), [7]);
        assert_eq!(alone.from_first(|| Ok("x".to_string())).unwrap(), "x");
        let mut values = [1.0, 2.0];
        alone.sum(&mut values).unwrap();
        assert_eq!(values, [1.0, 2.0]);
        alone.finish().unwrap();
    }

    #[test]
    fn ranks_exchange_values_and_sums() {
        let work = |ranks: Ranks| {
            let rank = ranks.rank();
            assert_eq!(ranks.gather(format!("r{rank}")).unwrap(), ["r0", "r1", "r2"]);
            assert_eq!(ranks.from_first(|| Ok(rank + 5)).unwrap(), 5);
            let mut values = [rank as f32, 1.0];
            ranks.sum(&mut values).unwrap();
            assert_eq!(values, [3.0, 3.0]);
            let error = ranks.compare("thing", &[1, 1, 2]).unwrap_err();
            assert!(error.to_string().contains("rank 2 on here"), "{error}");
        };
        std::thread::scope(|scope| {
            for ranks in Ranks::threads(3) {
                scope.spawn(move || work(ranks));
            }
        });
    }
}
