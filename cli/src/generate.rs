//! GPU code of kernels, from code generators in separate processes: MLIR and LLVM end the process they are in
//! if code generation fails, and compiling for the CPU never loads MLIR.

use ir::artifact::{Operand, Program, Step};
use ir::codegen::{Generated, Job, Reply, greet, greeted, receive, send};
use ir::dim::Dim;
use ir::kernel::Kernel;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// What PTX is made for: every GPU from compute capability 8.0 on, and Hopper.
pub const ARCHS: [&str; 2] = ["sm_80", "sm_90a"];

/// Bytes that arenas, and the places of temporaries in theirs, are multiples of.
const ARENA: u32 = ir::artifact::ALIGN as u32;

/// Says which code generator to run instead of the one beside `w2vc`.
const VARIABLE: &str = "W2VC_CODEGEN";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot run the code generator `{path}`: {why}; it is installed beside w2vc and needs MLIR: build it with \
         `make build`"
    )]
    Missing { path: PathBuf, why: String },
    #[error(
        "the code generator `{path}` is not of this w2vc (version {version}): {why}; install both together, as \
         `make build` does",
        version = env!("CARGO_PKG_VERSION")
    )]
    Another { path: PathBuf, why: String },
    #[error("kernel `{kernel}`: {message}")]
    Kernel { kernel: String, message: String },
    #[error("kernel `{kernel}`: the code generator ended without an answer ({status}){said}")]
    Died {
        kernel: String,
        status: ExitStatus,
        said: String,
    },
}

/// Compiles every kernel for each of [`ARCHS`], in as many processes as there are cores; `progress` hears how many are done.
///
/// # Errors
/// Where there is no code generator, where it has no code for a kernel, and where it dies of one.
pub fn generate(
    kernels: &[(String, Kernel)],
    programs: &[Program],
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<Vec<Generated>>, Error> {
    if kernels.is_empty() {
        return Ok(vec![]);
    }
    let path = program();
    check(&path)?;
    let alignment = alignments(kernels, programs);
    let jobs = kernels
        .iter()
        .zip(alignment)
        .enumerate()
        .map(|(i, ((_, kernel), alignment))| Job {
            symbol: format!("k{i}"),
            kernel: kernel.clone(),
            alignment,
            archs: ARCHS.map(String::from).to_vec(),
        });
    let queue = Mutex::new(jobs.enumerate().collect::<VecDeque<_>>());
    let done = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Vec<Generated>>>> = kernels.iter().map(|_| Mutex::new(None)).collect();
    let workers = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(kernels.len());
    let failed: Option<Error> = std::thread::scope(|s| {
        let work = || -> Result<(), Error> {
            let mut worker = Worker::start(&path)?;
            loop {
                let next = queue.lock().unwrap_or_else(|e| e.into_inner()).pop_front();
                let Some((i, job)) = next else { return Ok(()) };
                let generated = worker.answer(&kernels[i].0, &job).inspect_err(|_| {
                    // Nobody needs the rest.
                    queue.lock().unwrap_or_else(|e| e.into_inner()).clear();
                })?;
                *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(generated);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        // As many as the system gives.
        let started = (0..workers).map_while(|_| Builder::new().spawn_scoped(s, work).ok());
        let threads: Vec<_> = started.collect();
        if threads.is_empty() {
            return work().err();
        }
        while threads.iter().any(|t| !t.is_finished()) {
            progress(done.load(Ordering::Relaxed), kernels.len());
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let results = threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        results.filter_map(Result::err).next()
    });
    match failed {
        Some(e) => Err(e),
        None => Ok(slots
            .into_iter()
            .map(|s| {
                s.into_inner()
                    .ok()
                    .flatten()
                    .expect("every job was done, or one failed")
            })
            .collect()),
    }
}

/// A code generator that waits for jobs.
struct Worker {
    child: Child,
    replies: BufReader<std::process::ChildStdout>,
    /// What it says on its standard error stream.
    said: File,
    /// Whether it has said which format it speaks.
    known: bool,
}

/// How long a code generator may take to say what it is: a machine may be busy, and its libraries are large.
const PATIENCE: Duration = Duration::from_secs(120);

/// Has the code generator say its version. One of another version may wait for what never comes when it is given work, and
/// not even greet; with nothing to read it ends.
fn check(path: &Path) -> Result<(), Error> {
    let missing = |e: std::io::Error| Error::Missing {
        path: path.into(),
        why: e.to_string(),
    };
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(missing)?;
    let begun = Instant::now();
    let ended = loop {
        match child.try_wait().map_err(missing)? {
            Some(_) => break true,
            None if begun.elapsed() > PATIENCE => break false,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let another = |why: String| Error::Another { path: path.into(), why };
    if !ended {
        // Both fail only where it has ended now.
        let _ = child.kill();
        let _ = child.wait();
        return Err(another(format!(
            "it does not say what it is within {} s",
            PATIENCE.as_secs()
        )));
    }
    // The greeting is shorter than what a pipe holds.
    let mut said = child.stdout.take().expect("piped above");
    greeted(&mut said).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => another("it ends without a greeting".into()),
        _ => another(e.to_string()),
    })
}

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return path.into();
    }
    let own = std::env::current_exe().unwrap_or_default();
    // Test programs live one folder below the commands.
    let folders = own.ancestors().skip(1).take(2).map(Path::to_path_buf);
    let found = folders.map(|f| f.join("w2vc-codegen")).find(|p| p.exists());
    found.unwrap_or_else(|| own.with_file_name("w2vc-codegen"))
}

impl Worker {
    fn start(path: &Path) -> Result<Worker, Error> {
        let missing = |e: std::io::Error| Error::Missing {
            path: path.into(),
            why: e.to_string(),
        };
        // A file takes what a talkative child says without anybody reading along.
        let said = tempfile::tempfile().map_err(missing)?;
        let started = Command::new(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said.try_clone().map_err(missing)?)
            .spawn();
        let mut child = started.map_err(missing)?;
        let replies = BufReader::new(child.stdout.take().expect("piped above"));
        if let Some(stdin) = &mut child.stdin {
            // Whoever died says why at the first job.
            let _ = greet(stdin);
        }
        Ok(Worker {
            child,
            replies,
            said,
            known: false,
        })
    }

    fn answer(&mut self, kernel: &str, job: &Job) -> Result<Vec<Generated>, Error> {
        let stdin = self.child.stdin.as_mut().expect("piped when it was started");
        // Whoever died says why below.
        let _ = send(&mut BufWriter::new(stdin), job);
        let greeting = match self.known {
            true => Ok(()),
            false => greeted(&mut self.replies),
        };
        self.known = true;
        match greeting.and_then(|()| receive::<Reply>(&mut self.replies)) {
            Ok(Some(reply)) => reply.map_err(|message| Error::Kernel {
                kernel: kernel.into(),
                message,
            }),
            Err(e) if e.kind() == ErrorKind::InvalidData => Err(Error::Kernel {
                kernel: kernel.into(),
                message: format!("the code generator's answer is no reply ({e}): it is of another version of w2vc"),
            }),
            _ => Err(self.obituary(kernel)),
        }
    }

    fn obituary(&mut self, kernel: &str) -> Error {
        drop(self.child.stdin.take());
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(e) => {
                return Error::Kernel {
                    kernel: kernel.into(),
                    message: format!("the code generator is gone: {e}"),
                };
            }
        };
        // What cannot be read is not shown.
        let mut said = vec![];
        let _ = self.said.rewind();
        let _ = (&self.said).take(1 << 20).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().find(|l| !l.trim().is_empty());
        Error::Died {
            kernel: kernel.into(),
            status,
            said: said.map_or(String::new(), |l| format!(": {l}")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without input it ends by itself.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Per kernel and slot: bytes that the addresses of all launches are multiples of.
fn alignments(kernels: &[(String, Kernel)], programs: &[Program]) -> Vec<Vec<u32>> {
    let mut out: Vec<Vec<u32>> = kernels.iter().map(|(_, k)| vec![ARENA; k.slots.len()]).collect();
    for program in programs {
        for steps in [&program.prepare, &program.steps] {
            visit(steps, &mut |kernel, operands| {
                for (slot, operand) in operands.iter().enumerate() {
                    let at = &mut out[kernel][slot];
                    *at = gcd(*at, alignment(program, operand));
                }
            });
        }
    }
    out
}

fn visit(steps: &[Step], f: &mut dyn FnMut(usize, &[Operand])) {
    for step in steps {
        match step {
            Step::Launch(l) => f(l.kernel, &l.operands),
            Step::Loop { body, .. } => visit(body, f),
        }
    }
}

fn alignment(program: &Program, operand: &Operand) -> u32 {
    let buffer = &program.buffers[operand.buffer];
    let bytes = |d: &Dim| {
        let least = d.terms().fold(0, |g, (c, _)| gcd(g, c.unsigned_abs() as u32));
        least.saturating_mul(buffer.dtype.bytes() as u32)
    };
    [&operand.offset, &operand.layer_stride]
        .into_iter()
        .fold(ARENA, |g, d| gcd(g, bytes(d)))
}

/// Greatest common divisor; 0 divides into everything.
fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
