//! The side of rank 0.

use super::{BEAT, Limits, Member, Said, Told, frame, leave};
use crate::log::tell;
use crate::ranks::now::{Now, Phase, Status};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// An error that rank 0 meets as well is told as its own: so long another's waits.
const GRACE: Duration = Duration::from_millis(300);

/// How long the others have to end before rank 0 does.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Seconds after which it is told for whom all wait.
const SLOW: f64 = 60.0;

/// What is known of a rank.
struct Seen {
    stream: TcpStream,
    heard: Instant,
    status: Status,
    /// It said goodbye, or its connection ended.
    left: bool,
}

struct Shared {
    members: Vec<Member>,
    now: Arc<Now>,
    limits: Arc<Limits>,
    /// By rank; `None` of rank 0 and of those that are not there yet.
    seen: Mutex<Vec<Option<Seen>>>,
    parted: AtomicBool,
    /// Held by whoever ends the process.
    ending: Mutex<()>,
    /// What was said while no log could be written.
    events: Mutex<Vec<String>>,
}

/// Rank 0's connections to all others.
pub struct Host(Arc<Shared>);

/// A door that the others are told of.
pub struct Door {
    listener: TcpListener,
    pub port: u16,
    pub token: u64,
    pub addresses: Vec<IpAddr>,
}

impl Door {
    /// # Errors
    /// Where the system gives no port.
    pub fn open() -> io::Result<Door> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        Ok(Door {
            port: listener.local_addr()?.port(),
            listener,
            token: token(),
            addresses: addresses(),
        })
    }
}

/// A number that others cannot guess: a stranger at the port is not taken for a rank.
fn token() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Addresses of this machine that others can reach.
fn addresses() -> Vec<IpAddr> {
    let mut found = vec![];
    let mut list = std::ptr::null_mut();
    // SAFETY: the list is walked as the system made it, and given back once.
    unsafe {
        if libc::getifaddrs(&mut list) != 0 {
            return found;
        }
        let mut at = list;
        while let Some(one) = at.as_ref() {
            if let Some(address) = one.ifa_addr.as_ref()
                && i32::from(address.sa_family) == libc::AF_INET
            {
                let address = &*one.ifa_addr.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                if !ip.is_loopback() {
                    found.push(IpAddr::V4(ip));
                }
            }
            at = one.ifa_next;
        }
        libc::freeifaddrs(list);
    }
    found
}

impl Host {
    /// Lets the others in, and watches them from there on.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn watch(door: Door, members: &[Member], now: &Arc<Now>, limits: &Arc<Limits>) -> io::Result<Host> {
        let shared = Arc::new(Shared {
            members: members.to_vec(),
            now: now.clone(),
            limits: limits.clone(),
            seen: Mutex::new(members.iter().map(|_| None).collect()),
            parted: AtomicBool::new(false),
            ending: Mutex::new(()),
            events: Mutex::default(),
        });
        let start = |work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name("watch".into()).spawn(work);
        let own = shared.clone();
        start(Box::new(move || own.admit(&door)))?;
        let own = shared.clone();
        start(Box::new(move || own.look()))?;
        Ok(Host(shared))
    }

    /// What was said meanwhile, for the log.
    pub fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0.events))
    }

    /// Says why, has all ranks end with this code, and ends.
    pub fn end(&self, code: u8, message: &str) -> ! {
        self.0.end(code, message)
    }

    pub fn part(&self) {
        self.0.parted.store(true, Ordering::Relaxed);
        for seen in lock(&self.0.seen).iter_mut().flatten() {
            let _ = frame::write(&mut seen.stream, &Told::Goodbye);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Shared {
    fn admit(self: Arc<Shared>, door: &Door) {
        let mut missing = self.members.len() - 1;
        while missing > 0 {
            let Ok((mut stream, _)) = door.listener.accept() else {
                std::thread::sleep(BEAT);
                continue;
            };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.set_nodelay(true);
            let hello = frame::read::<Said>(&mut stream);
            let Ok(Said::Hello { token, rank }) = hello else {
                continue;
            };
            if token != door.token || rank == 0 || rank >= self.members.len() {
                continue;
            }
            let _ = stream.set_read_timeout(None);
            let Ok(own) = stream.try_clone() else { continue };
            lock(&self.seen)[rank] = Some(Seen {
                stream: own,
                heard: Instant::now(),
                status: self.now.status(),
                left: false,
            });
            missing -= 1;
            let shared = self.clone();
            let listen = move || shared.listen(rank, stream);
            if std::thread::Builder::new().name("watch".into()).spawn(listen).is_err() {
                self.end(
                    crate::error::RANKS,
                    "error: the system gives no thread to watch the ranks by (ulimit -u)",
                );
            }
        }
    }

    fn listen(&self, rank: usize, mut stream: TcpStream) {
        loop {
            let said = frame::read::<Said>(&mut stream);
            let mut all = lock(&self.seen);
            let Some(seen) = all[rank].as_mut() else { return };
            seen.heard = Instant::now();
            match said {
                Ok(Said::Alive(status)) => seen.status = status,
                Ok(Said::Failed { code, text }) => {
                    seen.left = true;
                    drop(all);
                    std::thread::sleep(GRACE);
                    self.end(code, &format!("error: {}: {text}", self.members[rank].name()));
                }
                Ok(Said::Hello { .. }) => {}
                Ok(Said::Goodbye) => {
                    seen.left = true;
                    return;
                }
                Err(_) => {
                    let (known, status) = (std::mem::replace(&mut seen.left, true), seen.status);
                    drop(all);
                    if !known {
                        self.lost(rank, status, "is gone");
                    }
                    return;
                }
            }
        }
    }

    fn lost(&self, rank: usize, status: Status, what: &str) {
        let message = format!(
            "error: {} {what} at update {}, while {}; all ranks end here: go on with --resume",
            self.members[rank].name(),
            status.update,
            status.phase.words()
        );
        self.end(crate::error::RANKS, &message);
    }

    /// A few times a second: a sign of life to all, and a look at who gives none or does not get on.
    fn look(&self) {
        let mut told = false;
        loop {
            std::thread::sleep(BEAT);
            if self.parted.load(Ordering::Relaxed) {
                return;
            }
            let mut silent = None;
            let mut statuses = vec![(0, self.now.status())];
            for (rank, seen) in lock(&self.seen).iter_mut().enumerate() {
                let Some(seen) = seen.as_mut().filter(|s| !s.left) else {
                    continue;
                };
                // A stopped process takes no more when its buffers are full.
                let _ = seen.stream.set_write_timeout(Some(Duration::from_millis(100)));
                let _ = frame::write(&mut seen.stream, &Told::Alive);
                statuses.push((rank, seen.status));
                if seen.heard.elapsed() > self.limits.silence() {
                    silent = Some((rank, seen.status, seen.heard.elapsed().as_secs()));
                }
            }
            if let Some((rank, status, seconds)) = silent {
                self.lost(rank, status, &format!("says nothing for {seconds} s"));
            }
            self.stalls(&statuses, &mut told);
        }
    }

    /// Says for whom all others wait, once per wait.
    fn stalls(&self, statuses: &[(usize, Status)], told: &mut bool) {
        let waits = |s: &Status| s.phase == Phase::Exchanging;
        let longest = statuses
            .iter()
            .filter(|(_, s)| waits(s))
            .map(|(_, s)| s.seconds)
            .fold(0.0, f64::max);
        let Some((rank, status)) = statuses.iter().find(|(_, s)| !waits(s)) else {
            return;
        };
        let name = self.members[*rank].name();
        if longest < SLOW {
            *told = false;
        } else if longest > self.limits.stall() && status.phase != Phase::Starting {
            let what = format!(
                "error: {name} has kept all others waiting for {longest:.0} s at update {}, while {}; all ranks end here: go on \
                 with --resume, or allow for more by --set stall_seconds=N",
                status.update,
                status.phase.words()
            );
            self.end(crate::error::RANKS, &what);
        } else if !std::mem::replace(told, true) {
            let what = format!("waiting for {name}: {}", status.phase.words());
            tell(&format!("stalled: {what}"));
            lock(&self.events).push(what);
        }
    }

    fn end(&self, code: u8, message: &str) -> ! {
        // Whoever comes second waits here until the process is no more.
        let _ending = lock(&self.ending);
        tell(message);
        for seen in lock(&self.seen).iter_mut().flatten() {
            let _ = seen.stream.set_write_timeout(Some(Duration::from_millis(100)));
            let _ = frame::write(&mut seen.stream, &Told::End { code });
        }
        let begun = Instant::now();
        while begun.elapsed() < FAREWELL && lock(&self.seen).iter().flatten().any(|s| !s.left) {
            std::thread::sleep(Duration::from_millis(10));
        }
        leave(code)
    }
}
