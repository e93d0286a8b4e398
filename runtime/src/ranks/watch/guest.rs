//! The side of every rank but the first.

use super::{BEAT, Limits, Member, Said, Told, frame, leave};
use crate::log::tell;
use crate::ranks::now::Now;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long an address is tried.
const TRY: Duration = Duration::from_secs(5);

/// The code where rank 0 is gone.
const GONE: u8 = crate::error::RANKS;

/// A connection to rank 0.
pub struct Guest {
    stream: Mutex<TcpStream>,
    /// Both sides have said goodbye, or are about to.
    parted: Arc<AtomicBool>,
}

impl Guest {
    /// Connects to the first of these addresses that answers, and watches from there on.
    ///
    /// # Errors
    /// What happened at each of them.
    pub fn connect(
        (first, own): (&Member, &Member),
        (addresses, port, token): (&[IpAddr], u16, u64),
        now: &Arc<Now>,
        limits: &Arc<Limits>,
    ) -> Result<Guest, String> {
        let here = (first.host == own.host).then_some(IpAddr::from([127, 0, 0, 1]));
        let mut tried = vec![];
        let mut connect = |address: IpAddr| {
            let found = TcpStream::connect_timeout(&SocketAddr::new(address, port), TRY);
            found.map_err(|e| tried.push(format!("{address}: {e}"))).ok()
        };
        let all = here.into_iter().chain(addresses.iter().copied());
        let Some(mut stream) = all.into_iter().find_map(&mut connect) else {
            return Err(tried.join(", "));
        };
        let words = |e: std::io::Error| e.to_string();
        stream.set_nodelay(true).map_err(words)?;
        let rank = own.rank;
        frame::write(&mut stream, &Said::Hello { token, rank }).map_err(words)?;
        let parted = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            stream: stream.try_clone().map_err(words)?,
            parted: parted.clone(),
            first: first.clone(),
            own: own.clone(),
            now: now.clone(),
            limits: limits.clone(),
        };
        let mut speaker = stream.try_clone().map_err(words)?;
        let (mine, ended) = (now.clone(), parted.clone());
        let speak = move || {
            while !ended.load(Ordering::Relaxed) && frame::write(&mut speaker, &Said::Alive(mine.status())).is_ok() {
                std::thread::sleep(BEAT);
            }
        };
        let start = |work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name("watch".into()).spawn(work);
        start(Box::new(speak)).map_err(words)?;
        start(Box::new(move || listener.listen())).map_err(words)?;
        Ok(Guest {
            stream: Mutex::new(stream),
            parted,
        })
    }

    fn say(&self, said: &Said) {
        let mut stream = self.stream.lock().unwrap_or_else(|e| e.into_inner());
        // Where rank 0 does not hear it, the listener finds out.
        let _ = frame::write(&mut *stream, said);
    }

    /// Tells rank 0 of an error and ends when that says so. One that all ranks meet alike rank 0 tells itself.
    pub fn fail(&self, code: u8, text: String, alike: bool) -> ! {
        if !alike {
            self.say(&Said::Failed { code, text });
        }
        std::thread::sleep(Duration::from_secs(20));
        leave(code)
    }

    pub fn part(&self) {
        self.parted.store(true, Ordering::Relaxed);
        self.say(&Said::Goodbye);
    }
}

struct Listener {
    stream: TcpStream,
    parted: Arc<AtomicBool>,
    first: Member,
    own: Member,
    now: Arc<Now>,
    limits: Arc<Limits>,
}

impl Listener {
    fn listen(mut self) {
        let mut heard = Instant::now();
        loop {
            let _ = self.stream.set_read_timeout(Some(BEAT));
            match frame::read::<Told>(&mut self.stream) {
                Ok(Told::Alive) => heard = Instant::now(),
                Ok(Told::End { code }) => leave(code),
                Ok(Told::Goodbye) => return,
                Err(_) if self.parted.load(Ordering::Relaxed) => return,
                Err(e) if quiet(&e) && heard.elapsed() <= self.limits.silence() => {}
                Err(e) if quiet(&e) => self.lost(&format!("says nothing for {} s", heard.elapsed().as_secs())),
                Err(_) => self.lost("is gone"),
            }
        }
    }

    /// Rank 0 cannot tell of itself: the next one does, and the others after it, unless they are ended before.
    fn lost(&self, what: &str) -> ! {
        std::thread::sleep(Duration::from_millis(500) * (self.own.rank as u32 - 1).min(20));
        let status = self.now.status();
        tell(&format!(
            "error: {} {what} at update {}; {} was {}; all ranks end here: go on with --resume",
            self.first.name(),
            status.update,
            self.own.name(),
            status.phase.words()
        ));
        leave(GONE)
    }
}

/// Nothing came in time. Messages of rank 0 are so short that no timeout falls within one.
fn quiet(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
