//! An MPI library, opened while the program runs: the functions that are called, and what they return.

use super::abi::{Abi, ERROR_TEXT, first_line, version};
use crate::error::{Error, RANKS};
use crate::ranks::launch::{LIBRARY, Launch};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// A wait asks without pause for so long, and then sleeps between one question and the next: a rank that waits takes no core
/// from those that compute.
const EAGER: Duration = Duration::from_micros(200);
const NAP: Duration = Duration::from_micros(100);

macro_rules! functions {
    ($($field:ident = $name:literal: fn($($arg:ty),*);)*) => {
        /// Addresses of MPI's functions; each returns 0 or the number of an error.
        struct Functions {
            $($field: unsafe extern "C" fn($($arg),*) -> c_int,)*
        }

        impl Functions {
            /// # Errors
            /// The name of the first that is missing.
            fn of(library: &Library) -> Result<Functions, &'static str> {
                Ok(Functions {
                    // SAFETY: signatures are those of the MPI standard, with handles as wide as a pointer (see `abi`).
                    $($field: *unsafe { library.get(concat!($name, "\0").as_bytes()) }.map_err(|_| $name)?,)*
                })
            }
        }
    };
}

functions! {
    init_thread = "MPI_Init_thread": fn(*mut c_int, *mut c_void, c_int, *mut c_int);
    finalize = "MPI_Finalize": fn();
    comm_rank = "MPI_Comm_rank": fn(usize, *mut c_int);
    comm_size = "MPI_Comm_size": fn(usize, *mut c_int);
    comm_split_type = "MPI_Comm_split_type": fn(usize, c_int, c_int, usize, *mut usize);
    comm_set_errhandler = "MPI_Comm_set_errhandler": fn(usize, usize);
    error_string = "MPI_Error_string": fn(c_int, *mut c_char, *mut c_int);
    ibcast = "MPI_Ibcast": fn(*mut c_void, c_int, usize, c_int, usize, *mut usize);
    iallgather = "MPI_Iallgather": fn(*const c_void, c_int, usize, *mut c_void, c_int, usize, usize, *mut usize);
    iallgatherv = "MPI_Iallgatherv": fn(*const c_void, c_int, usize, *mut c_void, *const c_int, *const c_int, usize, usize, *mut usize);
    ialltoallv = "MPI_Ialltoallv": fn(*const c_void, *const c_int, *const c_int, usize, *mut c_void, *const c_int, *const c_int, usize, usize, *mut usize);
    igatherv = "MPI_Igatherv": fn(*const c_void, c_int, usize, *mut c_void, *const c_int, *const c_int, usize, c_int, usize, *mut usize);
    test = "MPI_Test": fn(*mut usize, *mut c_int, usize);
    iprobe = "MPI_Iprobe": fn(c_int, c_int, usize, *mut c_int, usize);
}

/// An initialised library. Its functions are called by the thread that opened it alone.
pub struct Mpi {
    functions: Functions,
    abi: Abi,
    /// What it calls itself.
    pub version: String,
    pub rank: usize,
    pub size: usize,
    /// Rank among the processes of this machine, and how many those are.
    pub local: (usize, usize),
    /// From here on the library may not be called any more.
    finished: Cell<bool>,
}

/// Opens the library that the user names, or the first of the launcher's that there is.
fn open(launch: &Launch) -> Result<(Library, String), Error> {
    let names = match &launch.library {
        Some(own) => vec![own.as_str()],
        None => launch.launcher.libraries(),
    };
    let mut last = String::new();
    for name in &names {
        // SAFETY: an MPI library's initialisers touch nothing of ours. Its parts look for its symbols globally.
        match unsafe { Library::open(Some(*name), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return Ok((library, name.to_string())),
            Err(e) => last = e.to_string(),
        }
    }
    Err(Error::Ranks {
        what: format!(
            "{} started {} processes, and no MPI library can be opened ({}; the last one: {last})",
            launch.launcher.name(),
            launch.size,
            names.join(", ")
        ),
        remedy: format!("install the launcher's own, name it by {LIBRARY}=PATH, or train alone by {LIBRARY}=none"),
    })
}

impl Mpi {
    /// Opens and initialises the library; every process of the job does so at the same time.
    ///
    /// # Errors
    /// Where there is none, or it is another one's than the launcher.
    pub fn start(launch: &Launch) -> Result<Mpi, Error> {
        let (library, name) = open(launch)?;
        let unusable = |what: String| Error::Ranks {
            what: format!("`{name}` cannot be used: {what}"),
            remedy: format!("name another MPI library by {LIBRARY}=PATH"),
        };
        let abi = Abi::of(&library).map_err(unusable)?;
        let version = first_line(&version(&library, abi.version_text).map_err(unusable)?);
        let functions = Functions::of(&library).map_err(|missing| unusable(format!("it lacks {missing}")))?;
        // Its threads and handlers stay until the process ends.
        std::mem::forget(library);
        let mut mpi = Mpi {
            functions,
            abi,
            version: format!("{name}: {version}"),
            rank: 0,
            size: 1,
            local: (0, 1),
            finished: Cell::new(false),
        };
        mpi.initialise(launch)?;
        Ok(mpi)
    }

    fn initialise(&mut self, launch: &Launch) -> Result<(), Error> {
        let f = &self.functions;
        let mut provided = 0;
        // SAFETY: MPI allows null for the arguments; results are written to variables of their types.
        unsafe {
            let code = (f.init_thread)(null_mut(), null_mut(), self.abi.funneled, &mut provided);
            self.done("MPI_Init_thread", code)?;
            self.done(
                "MPI_Comm_set_errhandler",
                (f.comm_set_errhandler)(self.abi.world, self.abi.errors_return),
            )?;
            (self.rank, self.size) = self.place_in(self.abi.world)?;
            if self.size != launch.size {
                // Every process finds the same, and each believes to be the only one.
                launch.silent_unless_first(RANKS);
                return Err(mixed(launch, &self.version, self.size));
            }
            let mut local = 0;
            let key = self.rank as c_int;
            let code = (f.comm_split_type)(self.abi.world, self.abi.shared, key, self.abi.info_null, &mut local);
            self.done("MPI_Comm_split_type", code)?;
            self.local = self.place_in(local)?;
        }
        Ok(())
    }

    /// Rank in a communicator, and its size.
    fn place_in(&self, communicator: usize) -> Result<(usize, usize), Error> {
        let (mut rank, mut size) = (0, 0);
        // SAFETY: results are written to variables of their types.
        unsafe {
            self.done("MPI_Comm_rank", (self.functions.comm_rank)(communicator, &mut rank))?;
            self.done("MPI_Comm_size", (self.functions.comm_size)(communicator, &mut size))?;
        }
        Ok((rank as usize, size as usize))
    }

    fn done(&self, call: &str, code: c_int) -> Result<(), Error> {
        if code == 0 {
            return Ok(());
        }
        let mut text = vec![0u8; 8 * ERROR_TEXT];
        let mut length = 0;
        // SAFETY: the room is more than any library writes.
        unsafe { (self.functions.error_string)(code, text.as_mut_ptr().cast(), &mut length) };
        let text = String::from_utf8_lossy(&text[..length.max(0) as usize]).into_owned();
        Err(Error::Ranks {
            what: format!("{call} fails: {text} ({})", self.version),
            remedy: "see what the launcher says, and go on with --resume".into(),
        })
    }

    /// Waits for what was begun.
    fn wait(&self, call: &str, code: c_int, mut request: usize) -> Result<(), Error> {
        self.done(call, code)?;
        let begun = Instant::now();
        loop {
            let mut flag = 0;
            // SAFETY: the request is one of this library, and the status is not asked for.
            let code = unsafe { (self.functions.test)(&mut request, &mut flag, self.abi.status_ignore) };
            self.done(call, code)?;
            match flag {
                0 if begun.elapsed() < EAGER => std::thread::yield_now(),
                0 => std::thread::sleep(NAP),
                _ => return Ok(()),
            }
        }
    }

    /// Lets the library work on what others sent; to be called now and then while there is nothing else to do.
    pub fn idle(&self) {
        if self.finished.get() {
            return;
        }
        let mut flag = 0;
        // SAFETY: no message is received, and the status is not asked for.
        unsafe { (self.functions.iprobe)(0, 0, self.abi.world, &mut flag, self.abi.status_ignore) };
    }

    /// Rank 0's bytes, on every rank.
    pub fn broadcast(&self, bytes: &mut [u8]) -> Result<(), Error> {
        for piece in bytes.chunks_mut(PIECE) {
            let mut request = 0;
            let at = piece.as_mut_ptr().cast();
            // SAFETY: the piece stays where it is until the request is done.
            let code = unsafe {
                (self.functions.ibcast)(at, piece.len() as c_int, self.abi.byte, 0, self.abi.world, &mut request)
            };
            self.wait("MPI_Ibcast", code, request)?;
        }
        Ok(())
    }

    /// What each rank gives, by rank. All give as many bytes.
    pub fn gather_equal(&self, own: &[u8]) -> Result<Vec<u8>, Error> {
        let mut all = vec![0u8; own.len() * self.size];
        let (count, byte) = (own.len() as c_int, self.abi.byte);
        let (from, to) = (own.as_ptr().cast(), all.as_mut_ptr().cast());
        let mut request = 0;
        // SAFETY: both stay where they are until the request is done, and the second has room for all.
        let code =
            unsafe { (self.functions.iallgather)(from, count, byte, to, count, byte, self.abi.world, &mut request) };
        self.wait("MPI_Iallgather", code, request)?;
        Ok(all)
    }

    /// What each rank gives, by rank.
    pub fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let lengths: Vec<usize> = self
            .gather_equal(&(own.len() as u64).to_le_bytes())?
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes(b.try_into().expect("8 bytes")) as usize)
            .collect();
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|n| Vec::with_capacity(*n)).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        // Counts are `int`s: long texts go in rounds.
        let round = (PIECE / self.size).max(1);
        for from in (0..longest).step_by(round) {
            let part = |n: usize| n.min(from + round) - n.min(from);
            let counts: Vec<usize> = lengths.iter().map(|n| part(*n)).collect();
            let mine = &own[own.len().min(from)..][..part(own.len())];
            let counts = ints(&counts);
            let places = starts(&counts);
            let mut got = vec![0u8; counts.iter().sum::<c_int>() as usize];
            let (count, byte) = (mine.len() as c_int, self.abi.byte);
            let (source, target) = (mine.as_ptr().cast(), got.as_mut_ptr().cast());
            let mut request = 0;
            // SAFETY: all of these stay where they are until the request is done, and there is room for all.
            let code = unsafe {
                let (counts, places) = (counts.as_ptr(), places.as_ptr());
                let world = self.abi.world;
                (self.functions.iallgatherv)(source, count, byte, target, counts, places, byte, world, &mut request)
            };
            self.wait("MPI_Iallgatherv", code, request)?;
            for ((text, count), at) in all.iter_mut().zip(&counts).zip(&places) {
                text.extend_from_slice(&got[*at as usize..][..*count as usize]);
            }
        }
        Ok(all)
    }

    /// Sends part `i` of the values, which begins at `places[i]`, to rank `i`; what this rank is sent by rank 0, 1, ... lies in
    /// `got`, one after the other. Part `i` has `counts[i]` values, so that this rank is sent `counts[rank]` by each.
    pub fn scatter(&self, values: &[f32], (counts, places): Parts, got: &mut [f32]) -> Result<(), Error> {
        let own = vec![counts[self.rank]; self.size];
        assert!(lie_within(values.len(), (counts, places)) && got.len() >= own.iter().sum());
        let (send, receive) = (ints(counts), ints(&own));
        let (send_at, receive_at) = (ints(places), starts(&receive));
        let mut request = 0;
        // SAFETY: all of these stay where they are until the request is done, and hold what the counts say.
        let code = unsafe {
            (self.functions.ialltoallv)(
                values.as_ptr().cast(),
                send.as_ptr(),
                send_at.as_ptr(),
                self.abi.float,
                got.as_mut_ptr().cast(),
                receive.as_ptr(),
                receive_at.as_ptr(),
                self.abi.float,
                self.abi.world,
                &mut request,
            )
        };
        self.wait("MPI_Ialltoallv", code, request)
    }

    /// Part `i` of the values becomes what rank `i` has there.
    pub fn spread(&self, values: &mut [f32], (counts, places): Parts) -> Result<(), Error> {
        assert!(lie_within(values.len(), (counts, places)));
        let (counts, places) = (ints(counts), ints(places));
        let mut request = 0;
        // SAFETY: all of these stay where they are until the request is done, and hold what the counts say.
        let code = unsafe {
            (self.functions.iallgatherv)(
                self.abi.in_place as *const c_void,
                0,
                self.abi.float,
                values.as_mut_ptr().cast(),
                counts.as_ptr(),
                places.as_ptr(),
                self.abi.float,
                self.abi.world,
                &mut request,
            )
        };
        self.wait("MPI_Iallgatherv", code, request)
    }

    /// As [`Mpi::spread`], to rank 0 alone: the others only give their part.
    pub fn collect(&self, values: &mut [f32], (counts, places): Parts) -> Result<(), Error> {
        assert!(lie_within(values.len(), (counts, places)));
        let own = counts[self.rank];
        let from = match self.rank {
            0 => self.abi.in_place as *const c_void,
            rank => values[places[rank]..].as_ptr().cast(),
        };
        let (counts, places) = (ints(counts), ints(places));
        let mut request = 0;
        // SAFETY: as for `spread`.
        let code = unsafe {
            (self.functions.igatherv)(
                from,
                own as c_int,
                self.abi.float,
                values.as_mut_ptr().cast(),
                counts.as_ptr(),
                places.as_ptr(),
                self.abi.float,
                0,
                self.abi.world,
                &mut request,
            )
        };
        self.wait("MPI_Igatherv", code, request)
    }

    /// Leaves the job; every rank does so.
    pub fn finish(&self) -> Result<(), Error> {
        self.finished.set(true);
        // SAFETY: nothing that was begun is still going on, and nothing is called after this.
        self.done("MPI_Finalize", unsafe { (self.functions.finalize)() })
    }
}

/// Of every rank's part of some values: how many there are, and where they begin.
pub type Parts<'a> = (&'a [usize], &'a [usize]);

fn lie_within(values: usize, (counts, places): Parts) -> bool {
    let fits = |(count, place): (&usize, &usize)| place + count <= values;
    values <= c_int::MAX as usize && counts.len() == places.len() && counts.iter().zip(places).all(fits)
}

/// Bytes that are moved by one call at most.
const PIECE: usize = 64 << 20;

fn ints(counts: &[usize]) -> Vec<c_int> {
    counts.iter().map(|n| *n as c_int).collect()
}

/// Where each part begins.
fn starts(counts: &[c_int]) -> Vec<c_int> {
    let mut next = 0;
    let mut all = vec![];
    for count in counts {
        all.push(next);
        next += count;
    }
    all
}

fn mixed(launch: &Launch, version: &str, size: usize) -> Error {
    Error::Ranks {
        what: format!(
            "{} started {} processes, and the MPI library ({version}) knows of {size}: it is not the launcher's own",
            launch.launcher.name(),
            launch.size
        ),
        remedy: format!(
            "start with the library's own launcher (mpirun.openmpi, mpirun.mpich, srun --mpi=pmix), or name the launcher's \
             library by {LIBRARY}=PATH; {LIBRARY}=none trains alone"
        ),
    }
}
