//! The executable that `w2vc compile` makes, run as a user runs it: killed and resumed training, fine-tuning, transcription.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A command that `cargo build --workspace --bins` made, beside the folder of this test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let path = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/PROFILE/deps")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace --bins` first",
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

fn compile(to: &Path) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny.ron");
    let mut command = Command::new(built("w2vc"));
    command.arg("compile").arg(model).arg("-o").arg(to);
    command.args(SMALL.iter().flat_map(|s| ["--set", s]));
    assert_ok(command.output().expect("w2vc starts"));
}

fn assert_ok(out: Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Tones of changing pitch, 1.5 to 2.1 s, with a table of made-up texts.
fn recordings(folder: &Path) {
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
            wav.write_sample(((t * pitch * 6.283).sin() * 8000.0) as i16)
                .expect("the disk has room");
        }
        wav.finalize().expect("the disk has room");
        table += &format!("{name}\tA {}\n", ["B", "CAB", "AC"][clip % 3]);
    }
    std::fs::write(folder.join("texts.tsv"), table).expect("the temporary folder is writable");
}

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
    compile(&exe);
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
