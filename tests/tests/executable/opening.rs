//! What is said while data are opened: where that takes long, the first line comes within seconds.

use crate::commands::{assert_ok, compile, recordings};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Every opening of a file takes a fifth of a second, as on a slow disk: 400 recordings take most of a minute.
const DELAY: &str = "inject=openat:delay_enter=200000";

#[test]
fn slow_headers_are_counted_from_the_start() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("not checked: strace, which makes a disk slow, is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let (exe, data) = (folder.path().join("model"), folder.path().join("data"));
    std::fs::create_dir(&data).expect("the temporary folder is writable");
    assert_ok(compile("cpu", &exe));
    recordings(&data);
    for i in 0..400 {
        std::fs::hard_link(data.join("0.wav"), data.join(format!("again{i}.wav"))).expect("links can be made");
    }
    let begun = Instant::now();
    // Only openings of recordings are slow, not those of libraries.
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-e", DELAY])
        .args(["-P"])
        .arg(data.join("0.wav"))
        .args((0..400).flat_map(|i| ["-P".into(), data.join(format!("again{i}.wav")).into_os_string()]))
        .arg(&exe)
        .args(["pretrain", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(folder.path().join("run"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("strace starts");
    let mut first = String::new();
    BufReader::new(child.stderr.take().expect("it is piped"))
        .read_line(&mut first)
        .expect("it says something");
    let after = begun.elapsed();
    // With all that it started: what strace traced would go on without it.
    let group = format!("-{}", child.id());
    let killed = Command::new("kill").args(["-9", "--", &group]).status();
    assert!(killed.expect("kill starts").success());
    child.wait().expect("a child can be waited for");
    assert!(
        first.contains("recordings looked at") && first.contains("left"),
        "{first}"
    );
    assert!(after < Duration::from_secs(20), "{after:?}");
}
