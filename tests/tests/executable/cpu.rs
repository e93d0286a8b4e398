//! An executable for the CPU: killed and resumed training, fine-tuning, transcription.

use crate::commands::{assert_ok, compile, compiler, of_model, recordings};
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

/// Pretrains once in one go, into `whole`, and once killed and resumed, into `cut`; what they leave must be the same bytes.
fn goes_on_to_the_same_bits(exe: &Path, data: &Path, folder: &Path) {
    let at = |name: &str| folder.join(name);
    assert_ok(
        pretrain(exe, data, &at("whole"))
            .output()
            .expect("the executable starts"),
    );
    let mut killed = pretrain(exe, data, &at("cut")).spawn().expect("the executable starts");
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
        pretrain(exe, data, &at("cut"))
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
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits_and_what_it_gives_transcribes() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let at = |name: &str| folder.path().join(name);
    let (exe, data) = (at("model"), at("data"));
    std::fs::create_dir(&data).expect("the temporary folder is writable");
    assert_ok(compile("cpu", &exe));
    recordings(&data);

    goes_on_to_the_same_bits(&exe, &data, folder.path());

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

/// Master weights and moments are f32, so a checkpoint loses nothing of a training in bf16.
#[test]
fn a_killed_run_in_bf16_goes_on_to_the_same_bits() {
    if !std::arch::is_x86_feature_detected!("avx512bf16") {
        eprintln!("not tested: this processor has no instructions for bf16");
        return;
    }
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let (exe, data) = (folder.path().join("model"), folder.path().join("data"));
    std::fs::create_dir(&data).expect("the temporary folder is writable");
    let mut bf16 = compiler("cpu", &exe);
    bf16.args(["--precision", "bf16"]);
    assert_ok(bf16.output().expect("w2vc starts"));
    recordings(&data);
    goes_on_to_the_same_bits(&exe, &data, folder.path());
}

/// What the processor lacks is named before any instruction of it is met; what needs none of them works.
#[test]
fn a_missing_instruction_set_is_named() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let exe = folder.path().join("model");
    assert_ok(
        compiler("cpu", &exe)
            .args(["--cpu", "x86-64-v4"])
            .output()
            .expect("w2vc starts"),
    );
    let call = |line: &str| {
        let out = Command::new(&exe).args(line.split(' ')).output();
        out.expect("the executable starts")
    };
    let page = assert_ok(call("info"));
    assert!(page.contains("avx512f"), "{page}");
    let out = call("bench --seconds 0.2 --runs 1");
    let said = String::from_utf8_lossy(&out.stderr);
    if std::arch::is_x86_feature_detected!("avx512f") {
        assert_ok(out);
    } else {
        assert_eq!(out.status.code(), Some(8), "{said}");
        assert!(said.contains("avx512f") && said.contains("--cpu x86-64-v3"), "{said}");
    }
}

/// As are the instructions for bf16; without them it is refused when compiling.
#[test]
fn bf16_needs_its_instructions() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let exe = folder.path().join("model");
    let compile = |cpu: &str| {
        let mut command = compiler("cpu", &exe);
        command.args(["--precision", "bf16", "--cpu", cpu]);
        command.output().expect("w2vc starts")
    };
    let refused = compile("x86-64-v4");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("x86-64-v4 has no instructions for bf16"), "{said}");
    assert!(!exe.exists());

    assert_ok(compile("x86-64-v4-bf16"));
    let call = |line: &str| {
        let out = Command::new(&exe).args(line.split(' ')).output();
        out.expect("the executable starts")
    };
    let page = assert_ok(call("info"));
    assert!(page.contains("avx512bf16; computes in bf16"), "{page}");
    let out = call("bench --seconds 0.2 --runs 1 --json");
    let said = String::from_utf8_lossy(&out.stderr);
    if std::arch::is_x86_feature_detected!("avx512bf16") {
        let text = assert_ok(out);
        let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(
            found["peak_bf16_gflops"].as_f64() > found["peak_gflops"].as_f64(),
            "{found}"
        );
    } else {
        assert_eq!(out.status.code(), Some(8), "{said}");
        assert!(
            said.contains("avx512bf16") && said.contains("without --precision"),
            "{said}"
        );
    }
}

/// Weights that are packed and kept are not held beside those they are made from: memory grows with the number of layers by
/// what their weights take once.
#[test]
fn transcribing_holds_weights_once() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let (hidden, ffn, layers) = (512.0, 2048.0, [2, 5]);
    let held = layers.map(|layers| {
        let exe = folder.path().join(format!("model{layers}"));
        let sets = [
            format!("hidden={hidden}"),
            format!("ffn={ffn}"),
            "channels=64".into(),
            format!("layers={layers}"),
        ];
        let mut compiler = of_model("compile", "cpu");
        compiler
            .args(sets.iter().flat_map(|s| ["--set", s]))
            .arg("-o")
            .arg(&exe);
        assert_ok(compiler.output().expect("w2vc starts"));
        let mut bench = Command::new(&exe);
        bench.args(["bench", "--seconds", "0.3", "--runs", "2", "--threads", "2", "--json"]);
        let found = assert_ok(bench.output().expect("the executable starts"));
        let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
        found["peak_rss_mib"].as_f64().expect("a number")
    });
    let more = (layers[1] - layers[0]) as f64 * (4.0 * hidden * hidden + 2.0 * hidden * ffn) * 4.0 / 1048576.0;
    let grown = held[1] - held[0];
    assert!(
        (0.8..1.25).contains(&(grown / more)),
        "{held:?} MiB, of which {more} are weights"
    );
}

/// The parts of a profile make up the whole, and a training's update has its optimizer in it.
#[test]
fn a_profile_accounts_for_the_whole_run() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let exe = folder.path().join("model");
    assert_ok(compile("cpu", &exe));
    let bench = |arguments: &str| {
        let out = Command::new(&exe)
            .args([
                "bench",
                "--program",
                "pretrain",
                "--seconds",
                "1",
                "--runs",
                "2",
                "--threads",
                "2",
            ])
            .args(arguments.split_whitespace())
            .output();
        assert_ok(out.expect("the executable starts"))
    };
    let launches = |found: &serde_json::Value| {
        let kernels = found["profile"]["kernels"]
            .as_array()
            .expect("a list of kernels")
            .clone();
        kernels
            .iter()
            .map(|k| k["launches"].as_u64().expect("a count"))
            .sum::<u64>()
    };
    let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    let (run, update) = (
        read(bench("--profile --json")),
        read(bench("--profile --json --update")),
    );
    assert!(launches(&update) > launches(&run), "{run} {update}");
    let profile = &run["profile"];
    let number = |v: &serde_json::Value| v.as_f64().unwrap_or(f64::NAN);
    let kernels = profile["kernels"].as_array().expect("a list of kernels");
    let inside: f64 = kernels.iter().map(|k| number(&k["seconds"])).sum();
    let (whole, outside) = (number(&profile["seconds"]), number(&profile["outside_s"]));
    assert!(
        outside >= 0.0 && (inside + outside - whole).abs() < 1e-9 * whole,
        "{profile}"
    );
    for k in kernels {
        let idle = number(&k["imbalance"]);
        assert!((0.0..=0.5).contains(&idle) && number(&k["seconds"]) > 0.0, "{k}");
        let used = [
            number(&k["gflops"]) / number(&profile["peak_gflops"]),
            number(&k["gbs"]) / number(&profile["bandwidth_gbs"]),
        ];
        assert!((number(&k["of_ceiling"]) - used[0].max(used[1])).abs() < 1e-9, "{k}");
    }
    let table = bench("--profile --top 3");
    assert!(
        table.contains("more kernels") && table.contains("outside kernels"),
        "{table}"
    );
    assert!(bench("").lines().count() == 1);
}
