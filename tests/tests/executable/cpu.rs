//! An executable for the CPU: killed and resumed training, fine-tuning, transcription.

use crate::commands::{assert_ok, compile, recordings};
use std::path::Path;
use std::process::{Command, Stdio};

fn pretrain(exe: &Path, data: &Path, out: &Path) -> Command {
    let mut command = Command::new(exe);
    command
        .args(["pretrain", "--threads", "1", "--data"])
        .arg(data)
        .arg("--out")
        .arg(out);
    let settings = [
        "updates=30",
        "save_every=5",
        "validate_every=10",
        "warmup=5",
        "max_tokens=70000",
        "dropout=0.1",
        "layerdrop=0.2",
    ];
    command.args(settings.iter().flat_map(|s| ["--set", s]));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits_and_what_it_gives_transcribes() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let at = |name: &str| folder.path().join(name);
    let (exe, data) = (at("model"), at("data"));
    std::fs::create_dir(&data).expect("the temporary folder is writable");
    assert_ok(compile("cpu", &exe));
    recordings(&data);

    assert_ok(
        pretrain(&exe, &data, &at("whole"))
            .output()
            .expect("the executable starts"),
    );
    let mut killed = pretrain(&exe, &data, &at("cut"))
        .spawn()
        .expect("the executable starts");
    // As soon as there is a checkpoint: in the middle of whatever comes after it.
    while !at("cut/checkpoints/step-00000005").exists() && killed.try_wait().expect("a child can be asked").is_none() {
        std::thread::yield_now();
    }
    killed.kill().expect("a child can be killed");
    killed.wait().expect("a child can be waited for");
    assert!(
        !at("cut/checkpoints/step-00000030").exists(),
        "the run ended before it could be killed"
    );
    assert_ok(
        pretrain(&exe, &data, &at("cut"))
            .arg("--resume")
            .output()
            .expect("the executable starts"),
    );
    for file in [
        "model.safetensors",
        "checkpoints/step-00000030/weights.safetensors",
        "checkpoints/step-00000030/moments.safetensors",
    ] {
        let read = |run: &str| std::fs::read(at(run).join(file)).unwrap_or_else(|e| panic!("{run}/{file}: {e}"));
        assert!(read("whole") == read("cut"), "{file} differs");
    }

    let mut finetune = Command::new(&exe);
    finetune.args([
        "finetune",
        "--threads",
        "2",
        "--set",
        "updates=4",
        "--set",
        "freeze_updates=2",
        "--data",
    ]);
    finetune
        .arg(data.join("texts.tsv"))
        .arg("--init")
        .arg(at("whole"))
        .arg("--out")
        .arg(at("tuned"));
    assert_ok(finetune.output().expect("the executable starts"));
    let mut transcribe = Command::new(&exe);
    transcribe
        .args(["transcribe", "--weights"])
        .arg(at("tuned"))
        .arg(data.join("0.wav"))
        .arg(data.join("5.wav"));
    let text = assert_ok(transcribe.output().expect("the executable starts"));
    let paths: Vec<&str> = text
        .lines()
        .map(|l| l.split_once('\t').expect("path TAB text").0)
        .collect();
    assert_eq!(
        paths,
        [data.join("0.wav").to_str(), data.join("5.wav").to_str()].map(Option::unwrap)
    );
}
