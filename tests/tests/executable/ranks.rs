//! Several ranks under the launchers of two MPI libraries train what one process trains, and end together.
//!
//! Open MPI's and MPICH's launchers are installed by `make setup` for these tests alone; where one is not there, they say so and
//! do what they can with the other. `make test-ranks` does more of it.

use crate::commands::{compile, recordings};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A launcher, and the words that it wants before those of the executable.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Launcher {
    OpenMpi,
    Mpich,
}

use Launcher::{Mpich, OpenMpi};

impl Launcher {
    fn name(self) -> &'static str {
        match self {
            OpenMpi => "mpirun.openmpi",
            Mpich => "mpirun.mpich",
        }
    }
    fn library(self) -> &'static str {
        match self {
            OpenMpi => "libmpi.so.40",
            Mpich => "libmpich.so.12",
        }
    }
    fn other(self) -> Launcher {
        match self {
            OpenMpi => Mpich,
            Mpich => OpenMpi,
        }
    }
    fn is_here(self) -> bool {
        let found = Command::new(self.name()).arg("--version").output();
        found.is_ok_and(|o| o.status.success())
    }
}

/// The launchers that are installed; what is missing is told.
fn launchers() -> Vec<Launcher> {
    static FOUND: OnceLock<Vec<Launcher>> = OnceLock::new();
    let look = || {
        let (here, missing): (Vec<_>, Vec<_>) = [OpenMpi, Mpich].into_iter().partition(|l| l.is_here());
        for launcher in missing {
            eprintln!(
                "SKIPPED: {} is not installed (make setup), so ranks were not tested with it",
                launcher.name()
            );
        }
        here
    };
    FOUND.get_or_init(look).clone()
}

/// Whether the long tests are asked for.
fn thorough() -> bool {
    std::env::var_os("W2VC_RANKS").is_some()
}

/// A small executable and recordings, made once for all tests here.
struct Bench {
    dir: tempfile::TempDir,
}

fn bench() -> &'static Bench {
    static MADE: OnceLock<Bench> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("the temporary folder is writable");
        let out = compile("cpu", &dir.path().join("model"));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("the temporary folder is writable");
        recordings(&data);
        Bench { dir }
    })
}

const SETTINGS: [&str; 8] = [
    "max_tokens=70000",
    "accumulate=4",
    "warmup=2",
    "log_every=1",
    "estimate=false",
    "dropout=0.1",
    "layerdrop=0.2",
    "valid_fraction=0.2",
];

impl Bench {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn words(&self, command: &mut Command, out: &Path, more: &[&str]) {
        command
            .arg("pretrain")
            .arg("--data")
            .arg(self.at("data"))
            .arg("--out")
            .arg(out);
        command.args(SETTINGS.iter().flat_map(|s| ["--set", s])).args(more);
        command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    }

    /// Alone, by itself.
    fn alone(&self, out: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(self.at("model"));
        self.words(&mut command, out, more);
        command
    }

    /// `before` stands between the launcher and the executable.
    fn ranks(&self, (launcher, count): (Launcher, usize), before: &[&str], out: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(launcher.name());
        if launcher == OpenMpi {
            command.arg("--oversubscribe");
            command
                .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
                .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        }
        command
            .arg("-n")
            .arg(count.to_string())
            .args(before)
            .arg(self.at("model"));
        self.words(&mut command, out, more);
        command
    }
}

/// A command that must end in time: a hang is a failure and not the end of the tests.
fn within(seconds: u64, command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the launcher starts");
    ends(seconds, child)
}

fn ends(seconds: u64, child: Child) -> Output {
    let id = child.id();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    match receive.recv_timeout(Duration::from_secs(seconds)) {
        Ok(out) => out.expect("the child is waited for"),
        Err(_) => {
            let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status();
            panic!("it hung for {seconds} s");
        }
    }
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout)
}

#[track_caller]
fn done(out: &Output) {
    assert!(out.status.success(), "{}", said(out));
}

/// Values of a report of one kind, without what depends on time and on how many ranks there are.
fn reports(run: &Path, kind: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let text = fs::read_to_string(run.join("log.jsonl")).expect("the run has a log");
    let all = text
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let own = all.filter(|v| v["kind"] == kind);
    own.filter_map(|v| v.as_object().cloned()).collect()
}

/// What the reports of a run say under some of these names, which depend on weights and batches alone.
fn values(run: &Path, names: &[&str]) -> Vec<Vec<f64>> {
    let of = |report: &serde_json::Map<String, serde_json::Value>| {
        let value = |name: &&str| {
            report[*name]
                .as_f64()
                .unwrap_or_else(|| panic!("no number {name}: {report:?}"))
        };
        names.iter().map(value).collect()
    };
    reports(run, "train").iter().map(of).collect()
}

const LOSSES: [&str; 3] = ["loss_bits", "contrastive_bits", "accuracy"];
const PLANS: [&str; 3] = ["update", "masked_frames", "epoch"];

fn weights(run: &Path) -> Vec<f32> {
    let bytes = fs::read(run.join("model.safetensors")).expect("the run has a model");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let values = bytes[8 + header..].chunks_exact(4);
    values
        .map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes")))
        .collect()
}

#[track_caller]
fn nearly_same(a: &Path, b: &Path, what: &str) {
    let (a, b) = (weights(a), weights(b));
    assert_eq!(a.len(), b.len());
    let most = a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(most <= 1e-5, "{what}: weights differ by {most}");
}

#[track_caller]
fn same_bytes(a: &Path, b: &Path, what: &str) {
    for file in ["weights.safetensors", "moments.safetensors"] {
        let newest = |run: &Path| {
            let mut all: Vec<PathBuf> = fs::read_dir(run.join("checkpoints"))
                .expect("the run has checkpoints")
                .map(|e| e.expect("the folder is readable").path())
                .collect();
            all.sort();
            fs::read(all.pop().expect("there is a checkpoint").join(file)).expect("the checkpoint is whole")
        };
        assert!(newest(a) == newest(b), "{what}: other {file}");
    }
}

/// As if a run had ended after an update.
fn back_to(run: &Path, update: u64) {
    for entry in fs::read_dir(run.join("checkpoints")).expect("the run has checkpoints") {
        let path = entry.expect("the folder is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name
            .strip_prefix("step-")
            .and_then(|n| n.parse().ok())
            .is_some_and(|step: u64| step > update)
        {
            fs::remove_dir_all(&path).expect("the run is the test's own");
        }
    }
}

/// One update is one update: the first has the very losses of one process, weights differ by the order of sums alone, and are the
/// same for the same number of ranks whatever the library and the threads.
#[test]
fn ranks_train_what_one_process_trains() {
    let bench = bench();
    let settings = [
        "--set",
        "updates=3",
        "--set",
        "validate_every=1",
        "--set",
        "save_every=3",
    ];
    let alone = bench.at("alone");
    done(&within(60, &mut bench.alone(&alone, &settings)));
    let counts = if thorough() { vec![2, 3, 4] } else { vec![2, 3] };
    for count in counts {
        let mut first: Option<PathBuf> = None;
        for launcher in launchers() {
            let out = bench.at(&format!("{launcher:?}{count}"));
            let threads = if launcher == OpenMpi { "1" } else { "2" };
            let mut more = settings.to_vec();
            more.extend(["--threads", threads]);
            done(&within(60, &mut bench.ranks((launcher, count), &[], &out, &more)));
            let what = format!("{launcher:?}, {count} ranks");
            nearly_same(&alone, &out, &what);
            assert_eq!(values(&alone, &LOSSES)[0], values(&out, &LOSSES)[0], "{what}");
            assert_eq!(
                values(&alone, &PLANS),
                values(&out, &PLANS),
                "{what}: other clips or masks"
            );
            match &first {
                None => first = Some(out),
                Some(first) => same_bytes(first, &out, &what),
            }
        }
    }
}

/// Sums that begin while gradients are computed, and moments that ranks share, change no bit.
#[test]
fn overlap_and_shares_of_the_moments_change_no_bit() {
    let bench = bench();
    let Some(launcher) = launchers().pop() else { return };
    let run = |name: &str, more: &[&str]| {
        let out = bench.at(name);
        let settings = [
            "--set",
            "updates=4",
            "--set",
            "save_every=4",
            "--set",
            "validate_every=2",
        ];
        done(&within(
            60,
            &mut bench.ranks((launcher, 3), &[], &out, &[&settings[..], more].concat()),
        ));
        out
    };
    let plain = run("plain", &["--set", "overlap=never"]);
    same_bytes(&plain, &run("overlapped", &["--set", "overlap=always"]), "overlap");
    let both = ["--set", "overlap=always", "--set", "shard=true"];
    same_bytes(&plain, &run("shared", &both), "overlap and shard");
}

/// What one number of ranks has begun another goes on with, and one process as well.
#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let bench = bench();
    let Some(launcher) = launchers().pop() else { return };
    let alone = bench.at("whole");
    let settings = ["updates=6", "validate_every=2", "save_every=2", "keep_checkpoints=9"];
    let settings: Vec<&str> = settings.iter().flat_map(|s| ["--set", s]).collect();
    done(&within(60, &mut bench.alone(&alone, &settings)));
    let run = bench.at("changing");
    done(&within(60, &mut bench.ranks((launcher, 3), &[], &run, &settings)));
    back_to(&run, 2);
    done(&within(60, &mut bench.ranks((launcher, 2), &[], &run, &["--resume"])));
    back_to(&run, 4);
    done(&within(60, &mut bench.alone(&run, &["--resume"])));
    assert_eq!(values(&alone, &PLANS), values(&run, &PLANS));
    for (a, b) in values(&alone, &LOSSES)
        .iter()
        .flatten()
        .zip(values(&run, &LOSSES).iter().flatten())
    {
        // Of weights that differ by rounding.
        assert!((a - b).abs() <= 1e-3 * a.abs(), "{a} and {b}");
    }
    nearly_same(&alone, &run, "resumed");
}

/// A rank that cannot go on is named once, with its host, and all end with the code of its error.
#[test]
fn what_ends_one_rank_ends_all() {
    let bench = bench();
    for launcher in launchers() {
        // The second rank looks for the recordings in another folder.
        let script = format!(
            "if [ \"${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}}\" = 1 ]; then mkdir -p {0}/empty && cd {0}/empty; else cd {0}; fi; exec \"$@\"",
            bench.dir.path().display()
        );
        let out = bench.at(&format!("missing{launcher:?}"));
        let mut command = bench.ranks((launcher, 2), &["sh", "-c", &script, "sh"], &out, &[]);
        command.args(["--valid", "data", "--set", "updates=2"]);
        let ended = within(60, &mut command);
        let text = said(&ended);
        assert_eq!(ended.status.code(), Some(9), "{text}");
        assert_eq!(text.matches("error: ").count(), 1, "{text}");
        assert!(
            text.contains("error: rank 1 on ") && text.contains("cannot open"),
            "{text}"
        );

        // Rank 0's own error.
        let mut command = bench.ranks((launcher, 2), &[], &bench.at("data"), &["--set", "updates=2"]);
        let ended = within(60, &mut command);
        let text = said(&ended);
        assert_eq!(ended.status.code(), Some(12), "{text}");
        assert_eq!(text.matches("error: ").count(), 1, "{text}");

        // Fewer batches than ranks.
        let few = ["--set", "max_tokens=1000000", "--set", "updates=2"];
        let ended = within(60, &mut bench.ranks((launcher, 3), &[], &bench.at("few"), &few));
        let text = said(&ended);
        assert_eq!(ended.status.code(), Some(9), "{text}");
        assert!(text.contains("there are 3 ranks"), "{text}");
        let _ = fs::remove_dir_all(bench.at("few"));
    }
}

/// A launcher with the library of the other is named.
#[test]
fn a_launcher_of_another_library_is_named() {
    let bench = bench();
    if launchers().len() < 2 {
        return;
    }
    for launcher in launchers() {
        let library = format!("W2VC_MPI={}", launcher.other().library());
        let out = bench.at("mixed");
        let ended = within(
            60,
            &mut bench.ranks((launcher, 2), &["env", &library], &out, &["--set", "updates=2"]),
        );
        let text = said(&ended);
        assert_eq!(ended.status.code(), Some(14), "{text}");
        assert_eq!(text.matches("error: ").count(), 1, "{text}");
        for part in ["started 2 processes", launcher.other().library(), "W2VC_MPI"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!out.exists(), "nothing is written");
    }
}

/// Ranks of a run, by their process numbers, once it has logged so many updates.
fn at_update(run: &Path, update: usize) -> Vec<u32> {
    let begun = Instant::now();
    while reports_so_far(run) < update {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not get on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = fs::read_to_string(run.join("log.jsonl")).expect("the run has a log");
    let pids = text.split("(pid ").skip(1);
    let mut pids: Vec<u32> = pids.filter_map(|p| p.split(')').next()?.parse().ok()).collect();
    pids.dedup();
    pids
}

fn reports_so_far(run: &Path) -> usize {
    let text = fs::read_to_string(run.join("log.jsonl")).unwrap_or_default();
    text.matches("\"kind\":\"train\"").count()
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

fn alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; its parent has yet to look.
    !state.is_empty() && !state.contains(") Z ")
}

/// A rank that is stopped is given up and named, all end, and what goes on has the bytes of what nothing ended.
#[test]
fn a_stopped_or_killed_rank_ends_all_and_the_run_goes_on() {
    let bench = bench();
    let settings = [
        "--set",
        "updates=30",
        "--set",
        "save_every=2",
        "--set",
        "validate_every=15",
    ];
    let limits = ["--set", "silence_seconds=3"];
    let launchers = launchers();
    if launchers.is_empty() {
        return;
    }
    let whole = bench.at("unbroken");
    done(&within(90, &mut bench.ranks((launchers[0], 2), &[], &whole, &settings)));
    let cases = [
        ("-STOP", OpenMpi),
        ("-STOP", Mpich),
        ("-KILL", OpenMpi),
        ("-KILL", Mpich),
    ];
    let short = [("-STOP", Mpich), ("-KILL", OpenMpi)];
    for (how, launcher) in if thorough() { &cases[..] } else { &short[..] } {
        if !launchers.contains(launcher) {
            continue;
        }
        let run = bench.at(&format!("ended{how}{launcher:?}"));
        let mut command = bench.ranks((*launcher, 2), &[], &run, &[&settings[..], &limits].concat());
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the launcher starts");
        let pids = at_update(&run, 5);
        assert_eq!(pids.len(), 2);
        signal(pids[1], how);
        let ended = ends(30, child);
        let text = said(&ended);
        // MPICH's launcher may end rank 0 before that can speak, and names the process itself.
        if (*how, *launcher) != ("-KILL", Mpich) {
            // Open MPI's launcher ends as the first process did that ended: as the killed one, or as rank 0 that missed it.
            let code = ended.status.code();
            assert!(
                code == Some(14) || (*how == "-KILL" && code == Some(137)),
                "{code:?}: {text}"
            );
            assert!(
                text.contains("rank 1 on ") && text.contains(&format!("(pid {})", pids[1])),
                "{text}"
            );
            assert!(text.contains("at update "), "{text}");
        }
        let begun = Instant::now();
        while pids.iter().any(|p| alive(*p)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "a rank outlives the others");
            std::thread::sleep(Duration::from_millis(50));
        }
        let resume = [&settings[..], &["--resume"]].concat();
        done(&within(90, &mut bench.ranks((*launcher, 2), &[], &run, &resume)));
        same_bytes(&whole, &run, how);
    }
}

/// Two ranks on the emulator train a step that one trains, and that the processor trains: their gradients pass through the host.
#[cfg(feature = "gpu")]
#[test]
fn ranks_on_the_emulator_train_what_the_processor_trains() {
    let bench = bench();
    let Some(launcher) = launchers().pop() else { return };
    let exe = bench.at("gpu-model");
    let out = crate::commands::compiler("cuda", &exe)
        .args(["--precision", "fp32"])
        .output();
    let out = out.expect("w2vc starts");
    assert!(out.status.success(), "{}", said(&out));
    let settings = ["updates=1", "accumulate=2", "max_tokens=35000", "valid_fraction=0"];
    let settings: Vec<&str> = settings.iter().flat_map(|s| ["--set", s]).collect();
    let with = |mut command: Command, device: bool| {
        command.args(&settings);
        if device {
            command.args(["--device", "emulator"]);
        }
        done(&within(120, &mut command));
    };
    let own = bench.at("processor");
    with(bench.alone(&own, &[]), false);
    let two = bench.at("emulated");
    let mut ranks = Command::new(launcher.name());
    if launcher == OpenMpi {
        ranks.arg("--oversubscribe");
        ranks
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    ranks.args(["-n", "2"]).arg(&exe);
    bench.words(&mut ranks, &two, &[]);
    with(ranks, true);
    nearly_same(&own, &two, "two ranks on the emulator");
    let log = fs::read_to_string(two.join("log.jsonl")).expect("the run has a log");
    assert!(log.contains("pass through the hosts' memory"), "{log}");
}
