//! Trainings that are killed, run out of disk or of power: what they go on to is what one that nothing ended has, to the bit.
//!
//! `make kill-test KILLS=N` does more of it than `make test`; `W2VC_KILLS` is the number.

use crate::commands::{assert_ok, compile, recordings};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// System calls that change files.
pub const CALLS: [&str; 13] = [
    "openat",
    "mkdir",
    "write",
    "fsync",
    "fdatasync",
    "fchmod",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "ftruncate",
];

pub fn kills(few: usize) -> usize {
    let asked = std::env::var("W2VC_KILLS").ok();
    asked.map_or(few, |n| n.parse().expect("W2VC_KILLS is a number"))
}

/// A compiled model, data, and what a training of it comes to.
pub struct Bench {
    folder: tempfile::TempDir,
    wanted: BTreeMap<&'static str, Vec<u8>>,
}

const RESULTS: [&str; 3] = [
    "model.safetensors",
    "checkpoints/step-00000006/weights.safetensors",
    "checkpoints/step-00000006/moments.safetensors",
];

impl Bench {
    pub fn new() -> Bench {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        fs::create_dir(folder.path().join("data")).expect("the temporary folder is writable");
        assert_ok(compile("cpu", &folder.path().join("model")));
        recordings(&folder.path().join("data"));
        let mut bench = Bench {
            folder,
            wanted: BTreeMap::new(),
        };
        let whole = bench.at("whole");
        assert_ok(bench.training(&[], &whole).output().expect("the executable starts"));
        bench.wanted = RESULTS.map(|name| (name, read(&whole.join(name)))).into();
        bench
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A training of six updates with a checkpoint after each, under another command where `under` is one.
    pub fn training(&self, under: &[&str], out: &Path) -> Command {
        let exe = self.at("model");
        let mut words: Vec<std::ffi::OsString> = under.iter().map(Into::into).collect();
        words.push(exe.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
            .args(["pretrain", "--threads", "1", "--data"])
            .arg(self.at("data"));
        command.arg("--out").arg(out);
        let settings = [
            "updates=6",
            "save_every=1",
            "validate_every=2",
            "log_every=1",
            "warmup=2",
            "max_tokens=70000",
            "loaders=1",
        ];
        command.args(settings.iter().flat_map(|s| ["--set", s]));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Goes on with whatever was left, to the end, and holds it against the training that nothing ended.
    pub fn goes_on(&self, out: &Path, what: &str) {
        let mut command = self.training(&[], out);
        // A run that was killed before its folder was there is begun, not gone on with.
        if out.exists() {
            command.arg("--resume");
        }
        let done = command.output().expect("the executable starts");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{what}: {said}");
        for (name, wanted) in &self.wanted {
            assert!(read(&out.join(name)) == *wanted, "{what}: {name} differs\n{said}");
        }
        let strange: Vec<String> = below(out)
            .into_iter()
            .filter(|name| !name.starts_with("checkpoints/step-") && !KNOWN.contains(&name.as_str()))
            .collect();
        assert!(strange.is_empty(), "{what}: {strange:?} are left");
    }
}

/// What a run of pretraining holds besides its checkpoints.
const KNOWN: [&str; 7] = [
    ".lock",
    "checkpoints",
    "config.json",
    "log.jsonl",
    "model.safetensors",
    "preprocessor_config.json",
    "run.json",
];

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Everything in a run folder, two levels down.
fn below(dir: &Path) -> Vec<String> {
    let list = |dir: &Path| {
        fs::read_dir(dir)
            .expect("the folder is there")
            .map(|e| e.expect("it can be listed"))
    };
    let mut all = vec![];
    for entry in list(dir) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "checkpoints" {
            all.extend(list(&entry.path()).map(|e| format!("checkpoints/{}", e.file_name().to_string_lossy())));
        }
        all.push(name);
    }
    all
}

/// Whether system calls can be traced here.
pub fn traces() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let works = tried.is_ok_and(|o| o.status.success());
    if !works {
        eprintln!("strace is missing or may not trace: not done");
    }
    works
}

/// A fixed sequence that looks random.
fn numbers() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(88_172_645_463_325_252u64), |x| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 7);
        Some(x ^ (x << 17))
    })
    .map(|x| (x >> 11) as usize)
}

#[test]
fn a_training_killed_at_a_system_call_goes_on_to_the_same_bits() {
    if !traces() {
        return;
    }
    let bench = Bench::new();
    let log = bench.at("calls");
    let trace = format!("trace={}", CALLS.join(","));
    let mut counted = bench.training(
        &["strace", "-qq", "-e", &trace, "-o", log.to_str().expect("it is text")],
        &bench.at("counted"),
    );
    assert_ok(counted.output().expect("strace starts"));
    // Each call of each kind, but those before the folder of the run is there.
    let text = fs::read_to_string(&log).expect("strace wrote it");
    let (mut seen, mut points) = (BTreeMap::new(), vec![]);
    let mut begun = false;
    for line in text.lines() {
        let Some((call, _)) = line.split_once('(') else {
            continue;
        };
        let count = seen.entry(call.to_string()).or_insert(0usize);
        *count += 1;
        begun |= line.contains("/counted");
        if begun {
            points.push((call.to_string(), *count));
        }
    }
    assert!(points.len() > 100, "{} calls", points.len());
    let all = points.len();
    let chosen = kills(8);
    let mut random = numbers();
    for turn in 0..chosen {
        // All in order where there are enough turns.
        let at = if chosen >= all {
            turn % all
        } else {
            random.next().expect("no end") % all
        };
        let (call, count) = &points[at];
        let out = bench.at(&format!("killed-{turn}"));
        let inject = format!("inject={call}:signal=KILL:when={count}");
        let mut killed = bench.training(
            &[
                "strace",
                "-qq",
                "-e",
                &format!("trace={call}"),
                "-e",
                &inject,
                "-o",
                "/dev/null",
            ],
            &out,
        );
        killed.output().expect("strace starts");
        bench.goes_on(&out, &format!("killed at {call} {count}"));
        fs::remove_dir_all(&out).expect("it is ours");
    }
    println!("{chosen} kills at {all} system calls");
}

#[test]
fn a_training_killed_at_any_moment_goes_on_to_the_same_bits() {
    let bench = Bench::new();
    let mut random = numbers();
    let chosen = kills(4);
    for turn in 0..chosen {
        let out = bench.at("killed");
        // Two kills, the second in what goes on from the first.
        for resume in [false, true] {
            let mut command = bench.training(&[], &out);
            if resume && out.exists() {
                command.arg("--resume");
            }
            let mut child = command.spawn().expect("the executable starts");
            let lines = random.next().expect("no end") % 9;
            let stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
            let _ = stderr.lines().take(lines).count();
            // A moment that lasts between nothing and about the time of an update.
            let mut moment = random.next().expect("no end") % 2_000_000;
            while std::hint::black_box(moment) > 0 {
                moment -= 1;
            }
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
        }
        bench.goes_on(&out, &format!("random kill {turn}"));
        fs::remove_dir_all(&out).expect("it is ours");
    }
}

#[test]
fn a_training_told_to_stop_says_how_to_go_on_and_does() {
    let bench = Bench::new();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let out = bench.at(signal);
        let mut child = bench.training(&[], &out).spawn().expect("the executable starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        // From the first report on signals are watched for.
        lines
            .find(|l| l.as_ref().is_ok_and(|l| l.contains("train")))
            .expect("there is a report")
            .expect("it is text");
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        let said = said.join("\n");
        let ended = child.wait().expect("a child can be waited for");
        assert_eq!(ended.code(), Some(code), "{said}");
        assert!(said.contains("--resume") && said.contains("checkpoint"), "{said}");
        bench.goes_on(&out, signal);
    }
}

/// A file system of its own, which is unmounted in the end.
struct Disk(PathBuf);

impl Disk {
    fn new(at: PathBuf, bytes: usize) -> Option<Disk> {
        fs::create_dir_all(&at).expect("the temporary folder is writable");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&at);
        mount.output().is_ok_and(|o| o.status.success()).then_some(Disk(at))
    }

    fn resize(&self, bytes: usize) -> Output {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={bytes}")]).arg(&self.0);
        mount.output().expect("mount is there")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_ends_a_training_with_words_and_costs_nothing() {
    let bench = Bench::new();
    let page = 4096;
    // What two checkpoints and a model take, in whole pages.
    let sizes = RESULTS.map(|name| bench.wanted[name].len().next_multiple_of(page));
    let whole: usize = sizes[0] + 2 * (sizes[1] + sizes[2] + page) + 16 * page;
    let chosen = kills(3);
    for turn in 0..chosen {
        let bytes = (whole * (turn + 1) / (chosen + 1)).next_multiple_of(page).max(8 * page);
        let Some(disk) = Disk::new(bench.at("disk"), bytes) else {
            eprintln!("file systems may not be mounted here: not done");
            return;
        };
        let out = disk.0.join("run");
        let full = bench.training(&[], &out).output().expect("the executable starts");
        let said = String::from_utf8_lossy(&full.stderr).into_owned();
        assert_eq!(full.status.code(), Some(1), "{bytes} bytes: {said}");
        assert!(said.contains("free some space") && said.contains("/disk/run"), "{said}");
        assert_ok(disk.resize(8 * whole));
        bench.goes_on(&out, &format!("a disk of {bytes} bytes"));
    }
}
