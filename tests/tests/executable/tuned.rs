//! A model that was fine-tuned for a few updates, with twelve recordings.

use crate::commands::{assert_ok, built, compile, recordings};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A model with weights.
pub struct Case {
    pub dir: PathBuf,
}

impl Case {
    /// The same for all tests of this process, since it takes a while to make. Tests write to folders of their own.
    pub fn shared() -> &'static Case {
        static MADE: OnceLock<Case> = OnceLock::new();
        MADE.get_or_init(Case::new)
    }

    fn new() -> Case {
        // A static is never dropped: what an earlier run left is removed here.
        let dir = built("w2vc").with_file_name("tests-tuned-model");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("the folder of what was built is writable");
        std::fs::create_dir(dir.join("data")).expect("the temporary folder is writable");
        recordings(&dir.join("data"));
        assert_ok(compile("cpu", &dir.join("model")));
        let case = Case { dir };
        let mut train = Command::new(case.dir.join("model"));
        train.args([
            "finetune",
            "--set",
            "updates=60",
            "--set",
            "freeze_updates=0",
            "--set",
            "lr=5e-3",
            "--data",
        ]);
        train
            .arg(case.dir.join("data/texts.tsv"))
            .arg("--out")
            .arg(case.dir.join("run"));
        assert_ok(train.output().expect("the executable starts"));
        case
    }

    pub fn transcribe(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("transcribe");
        command.args(arguments);
        command
    }

    /// A command with these weights, which computes with one thread.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.dir.join("model"));
        command
            .current_dir(&self.dir)
            .args([name, "--threads", "1", "--weights", "run"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Each recording's text.
    pub fn texts(&self) -> Vec<String> {
        let names: Vec<String> = (0..12).map(|i| format!("data/{i}.wav")).collect();
        let lines = self.lines(&names.iter().map(String::as_str).collect::<Vec<_>>());
        lines.into_iter().map(|(_, text)| text).collect()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.transcribe(arguments).output().expect("the executable starts")
    }

    pub fn lines(&self, arguments: &[&str]) -> Vec<(String, String)> {
        lines(&assert_ok(self.run(arguments)))
    }
}

/// Recordings with their texts.
pub fn lines(out: &str) -> Vec<(String, String)> {
    let pair = |l: &str| l.split_once('\t').map(|(a, b)| (a.to_string(), b.to_string()));
    out.lines()
        .map(|l| pair(l).unwrap_or_else(|| panic!("no tab in `{l}`")))
        .collect()
}
