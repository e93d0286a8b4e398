//! The commands as they were built, and what they are given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A command that `cargo build --workspace --bins --lib` made, beside the folder of this test.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let path = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/PROFILE/deps")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace --bins --lib` first",
        path.display()
    );
    path
}

const SMALL: [&str; 9] = [
    "hidden=32",
    "layers=2",
    "heads=4",
    "ffn=64",
    "channels=16",
    "pos_kernel=16",
    "codes=8",
    "code_dim=8",
    "num_negatives=10",
];

/// `w2vc compile` of a small model.
pub fn compiler(target: &str, to: &Path) -> Command {
    let mut command = of_small_model("compile", target);
    command.arg("-o").arg(to);
    command
}

/// A command of `w2vc` about a small model.
pub fn of_small_model(command: &str, target: &str) -> Command {
    let mut w2vc = of_model(command, target);
    w2vc.args(SMALL.iter().flat_map(|s| ["--set", s]));
    w2vc
}

/// The same about the model as it is.
pub fn of_model(command: &str, target: &str) -> Command {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny.ron");
    let mut w2vc = Command::new(built("w2vc"));
    w2vc.arg(command).arg(model).args(["--target", target]);
    w2vc
}

pub fn compile(target: &str, to: &Path) -> Output {
    compiler(target, to).output().expect("w2vc starts")
}

/// What was said on the standard output.
pub fn assert_ok(out: Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Tones of changing pitch, 1.5 to 2.1 s, with a table of made-up texts.
pub fn recordings(folder: &Path) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut table = String::new();
    for clip in 0..12 {
        let name = format!("{clip}.wav");
        let mut wav = hound::WavWriter::create(folder.join(&name), spec).expect("the temporary folder is writable");
        for i in 0..12_000 + clip * 400 {
            let t = i as f32 / 8000.0;
            let pitch = 200.0 + 60.0 * clip as f32 + 100.0 * (t * 7.0).sin();
            wav.write_sample(((t * pitch * std::f32::consts::TAU).sin() * 8000.0) as i16)
                .expect("the disk has room");
        }
        wav.finalize().expect("the disk has room");
        table += &format!("{name}\tA {}\n", ["B", "CAB", "AC"][clip % 3]);
    }
    std::fs::write(folder.join("texts.tsv"), table).expect("the temporary folder is writable");
}

/// Has a command run as a user that is not root, for whom permissions and limits hold; `most`: processes and threads that it may
/// have in all. Where this test is not run by root, as its own user.
pub fn unprivileged(command: &mut Command, most: Option<u64>) -> &mut Command {
    // A user that nobody else is, or their processes would count.
    let id = 20_000 + std::process::id() % 30_000;
    let change = move || {
        // SAFETY: system calls alone, which may be made between fork and exec.
        let ok = unsafe {
            let own = libc::geteuid() != 0
                || (libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(id) == 0 && libc::setuid(id) == 0);
            let limit = |n| libc::rlimit {
                rlim_cur: n,
                rlim_max: n,
            };
            own && most.is_none_or(|n| libc::setrlimit(libc::RLIMIT_NPROC, &limit(n)) == 0)
        };
        match ok {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(change) }
}

pub fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("what the test made is its own");
}
