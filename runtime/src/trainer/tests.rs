//! Whole trainings of the fake model on generated recordings.

use super::*;
use crate::fake::FakeSession;
use crate::session::AdamStep;
use std::path::{Path, PathBuf};

/// The trainings of the fake model.
pub(super) fn pretrain(session: &mut dyn Session, options: &Options) -> Result<u64, Error> {
    train(session, "pretrain", options)
}

pub(super) fn finetune(session: &mut dyn Session, options: &Options) -> Result<u64, Error> {
    train(session, "finetune", options)
}

/// `count` clips of 0.05 s and more with texts, as a table.
pub(super) fn data(dir: &Path, count: usize) -> PathBuf {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut table = String::new();
    for i in 0..count {
        let name = format!("{i}.wav");
        let mut w = hound::WavWriter::create(dir.join(&name), spec).unwrap();
        (0..800 + 90 * i).for_each(|s| w.write_sample(((s * (7 * i + 13)) % 20_011) as i16 - 10_000).unwrap());
        w.finalize().unwrap();
        table += &format!("{name}\tone two\n");
    }
    let path = dir.join("data.tsv");
    std::fs::write(&path, table).unwrap();
    path
}

pub(super) fn options(dir: &Path, run: &str, set: &[&str]) -> Options {
    let common = [
        "min_samples=100",
        "max_tokens=3000",
        "save_every=3",
        "validate_every=4",
        "log_every=1",
        "warmup=2",
    ];
    Options {
        data: vec![data(dir, 11)],
        out: dir.join(run),
        set: common.iter().chain(set).map(|s| s.to_string()).collect(),
        signals: Some(Signals::default()),
        ..Options::default()
    }
}

pub(super) fn bits(session: &mut FakeSession) -> Vec<u32> {
    let params = session.params().to_vec();
    let (first, second) = session.moments();
    params
        .iter()
        .chain(first.iter())
        .chain(second.iter())
        .map(|v| v.to_bits())
        .collect()
}

pub(super) fn events(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Breaks off in the middle of an update, as a kill would.
struct Killed {
    inner: FakeSession,
    left: usize,
}

impl Session for Killed {
    fn artifact(&self) -> &Artifact {
        self.inner.artifact()
    }
    fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), Error> {
        self.inner.choose(sizes)
    }
    fn params(&mut self) -> Result<&mut [f32], Error> {
        Ok(self.inner.params())
    }
    fn grads(&mut self) -> Result<&mut [f32], Error> {
        Ok(self.inner.grads())
    }
    fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error> {
        Ok(self.inner.moments())
    }
    fn zero_grads(&mut self) -> Result<(), Error> {
        self.inner.zero_grads()
    }
    fn peak_bytes(&self, p: &str, i: &[(&str, &crate::session::Tensor)]) -> Result<usize, Error> {
        self.inner.peak_bytes(p, i)
    }
    fn run(
        &mut self,
        p: &str,
        i: &[(&str, &crate::session::Tensor)],
    ) -> Result<Vec<(String, crate::session::Tensor)>, Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::Usage("killed".into()))?;
        self.inner.run(p, i)
    }
    fn squares(&mut self, range: (usize, usize)) -> Result<Vec<f32>, Error> {
        self.inner.squares(range)
    }
    fn adam_over(&mut self, range: (usize, usize), a: &AdamStep) -> Result<(), Error> {
        self.inner.adam_over(range, a)
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let tmp = tempfile::tempdir().unwrap();
    type Train = fn(&mut dyn Session, &Options) -> Result<u64, Error>;
    for (name, train, set) in [
        (
            "p",
            pretrain as Train,
            ["updates=14", "accumulate=2", "seed=5", "loaders=2", "beta1=0.9"].as_slice(),
        ),
        // `warmup` is a setting of pretraining alone.
        (
            "f",
            finetune as Train,
            ["updates=14", "accumulate=2", "freeze_updates=5", "loaders=1", "lr=0.01"].as_slice(),
        ),
    ] {
        let prepare = |run: &str| {
            let mut o = options(tmp.path(), run, set);
            o.set.retain(|s| name == "p" || !s.starts_with("warmup="));
            o
        };
        let whole = prepare(&format!("{name}-whole"));
        let mut one = FakeSession::default();
        train(&mut one, &whole).unwrap();

        let mut broken = prepare(&format!("{name}-broken"));
        let mut left = 5;
        let mut last = loop {
            let mut session = Killed {
                inner: FakeSession::default(),
                left,
            };
            match train(&mut session, &broken) {
                Ok(updates) => {
                    assert_eq!(updates, 14);
                    break session.inner;
                }
                Err(Error::Usage(_)) => left += 4,
                Err(other) => panic!("{other}"),
            }
            broken.resume = true;
            // A resumed run needs none of the settings again.
            broken.set.retain(|s| s == "loaders=2");
            assert!(left < 400, "resuming makes no progress");
            if !broken.out.join("checkpoints/step-00000003").exists() {
                broken.set = prepare("x").set;
            }
        };
        assert_eq!(bits(&mut last), bits(&mut one), "{name}");
        let model = |o: &Options| std::fs::read(o.out.join("model.safetensors")).unwrap();
        assert!(model(&whole) == model(&broken), "the exported models of {name} differ");
        let updates = |o: &Options| {
            let of = |l: &serde_json::Value| (l["kind"] == "train").then(|| l["update"].as_u64().unwrap());
            events(&o.out).iter().filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!(updates(&whole), (1..=14).collect::<Vec<_>>());
        assert_eq!(updates(&broken), updates(&whole));
    }
}

#[test]
fn the_run_folder_is_what_the_next_command_opens() {
    let tmp = tempfile::tempdir().unwrap();
    let first = options(tmp.path(), "one", &["updates=3"]);
    pretrain(&mut FakeSession::default(), &first).unwrap();
    assert!(
        pretrain(&mut FakeSession::default(), &first)
            .unwrap_err()
            .to_string()
            .contains("--resume")
    );

    let mut second = options(tmp.path(), "two", &["updates=0"]);
    second.set.retain(|s| !s.starts_with("warmup="));
    second.init = Some(first.out.clone());
    let mut session = FakeSession::default();
    finetune(&mut session, &second).unwrap();
    let pretrained = crate::weights::TensorFile::open(&first.out.join("model.safetensors")).unwrap();
    let tuned = crate::weights::TensorFile::open(&second.out.join("model.safetensors")).unwrap();
    let w = "wav2vec2.encoder.w";
    assert_eq!(pretrained.floats(w).unwrap(), tuned.floats(w).unwrap());
    let has = |f: &crate::weights::TensorFile, n: &str| f.shape(n).is_some();
    assert!(has(&pretrained, "quantizer.codevectors") && !has(&pretrained, "lm_head.weight"));
    assert!(!has(&tuned, "quantizer.codevectors") && has(&tuned, "lm_head.weight"));

    let clip = tmp.path().join("0.wav");
    let mut session = FakeSession::default();
    let heard = Transcriber::new(&mut session, &second.out, &[])
        .unwrap()
        .file(&clip)
        .unwrap();
    assert_eq!((heard.frames, heard.classes), (79, 32));
    let error = Transcriber::new(&mut session, &first.out, &[])
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("lm_head.weight"), "{error}");
}

#[test]
fn an_update_that_is_not_finite_is_skipped_and_named_and_too_many_stop() {
    let tmp = tempfile::tempdir().unwrap();
    let o = options(tmp.path(), "nan", &["updates=4", "valid_fraction=0"]);
    let mut session = FakeSession::default();
    session.nan_at = Some(1);
    assert_eq!(pretrain(&mut session, &o).unwrap(), 4);
    let named: Vec<_> = events(&o.out)
        .into_iter()
        .filter(|l| l["event"] == "not finite")
        .collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["update"], 1);
    assert!(session.params().iter().all(|p| p.is_finite()));

    let o = options(
        tmp.path(),
        "stop",
        &["updates=6", "on_nan=stop", "save_every=2", "valid_fraction=0"],
    );
    let mut session = FakeSession::default();
    session.nan_at = Some(3);
    let error = pretrain(&mut session, &o).unwrap_err().to_string();
    assert!(error.contains("update 3") && error.contains("NaN"), "{error}");
    assert!(o.out.join("checkpoints/step-00000002").is_dir());
}

#[test]
fn clips_that_cannot_be_used_are_counted_and_told() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "skips", &["updates=3", "freeze_updates=0"]);
    o.set.retain(|s| !s.starts_with("warmup="));
    o.allow_skips = Some(0.5);
    let mut table = std::fs::read_to_string(&o.data[0]).unwrap();
    table = table
        .replace("1.wav\tone two\n", "1.wav\tone 2\n")
        .replacen("3.wav\tone two", "3.wav\t", 1);
    table = table.replacen("4.wav\tone two", &format!("4.wav\t{}", "a".repeat(100)), 1) + "gone.wav\tone\n";
    std::fs::write(&o.data[0], table).unwrap();
    std::fs::write(tmp.path().join("2.wav"), b"RIFF\x04\0\0\0WAVE").unwrap();
    let letters = tmp.path().join("letters.json");
    std::fs::write(&letters, crate::vocab::Vocab::default().to_json()).unwrap();
    o.vocab = Some(letters);
    finetune(&mut FakeSession::default(), &o).unwrap();
    let told: String = events(&o.out)
        .iter()
        .filter(|l| l["event"] == "clips left out")
        .map(|l| l["message"].to_string())
        .collect();
    for part in ["gone.wav", "2.wav", "1.wav", "`2`", "labels longer than frames"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    std::fs::write(&o.data[0], "gone.wav\tone\n").unwrap();
    o.out = tmp.path().join("none");
    let error = finetune(&mut FakeSession::default(), &o).unwrap_err().to_string();
    assert!(error.contains("gone.wav"), "{error}");
}

#[test]
fn accumulated_micro_batches_are_divided_by_what_they_hold_together() {
    // With one update and Adam's first step, only the sign of each gradient shows; so look at the gradients.
    let tmp = tempfile::tempdir().unwrap();
    let o = options(tmp.path(), "acc", &["updates=1", "accumulate=3", "valid_fraction=0"]);
    let mut session = FakeSession::default();
    pretrain(&mut session, &o).unwrap();
    let line = events(&o.out).into_iter().find(|l| l["kind"] == "train").unwrap();
    let masked = line["masked_frames"].as_f64().unwrap() * 3.0;
    let range = 0..11;
    let norm = session.grads()[range]
        .iter()
        .map(|g| (*g as f64 / masked).powi(2))
        .sum::<f64>()
        .sqrt();
    assert!(
        (line["grad_norm"].as_f64().unwrap() / norm - 1.0).abs() < 1e-5,
        "{line} {norm}"
    );
    assert_eq!(session.runs, 3);
}

#[test]
fn a_run_whose_validation_clips_are_all_unusable_still_gives_a_model() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "unscored", &["updates=2", "min_samples=10"]);
    o.set.retain(|s| s != "min_samples=100");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    // Nothing to tell apart, so that every guess is right.
    let valid = tmp.path().join("valid.wav");
    let mut w = hound::WavWriter::create(&valid, spec).unwrap();
    (0..900).for_each(|s| w.write_sample(7 + (s % 2) as i16).unwrap());
    w.finalize().unwrap();
    o.valid = vec![valid];
    pretrain(&mut FakeSession::default(), &o).unwrap();
    assert!(events(&o.out).iter().all(|l| l["kind"] != "valid"));
    assert!(events(&o.out).iter().any(|l| l["event"] == "silent"));
    assert!(o.out.join("model.safetensors").is_file());
}

#[test]
fn settings_changed_on_resuming_are_told() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "run", &["updates=3"]);
    pretrain(&mut FakeSession::default(), &o).unwrap();
    (o.resume, o.set) = (true, vec!["seed=9".into()]);
    let error = pretrain(&mut FakeSession::default(), &o).unwrap_err().to_string();
    assert!(error.contains("settings") && error.contains("and is 9"), "{error}");
    o.set = vec!["lr=0.125".into(), "updates=4".into(), "loaders=2".into()];
    pretrain(&mut FakeSession::default(), &o).unwrap();
    let told: String = events(&o.out)
        .iter()
        .filter(|l| l["event"] == "note")
        .map(|l| l["message"].to_string())
        .collect();
    assert!(told.contains("`lr` was") && told.contains("is 0.125"), "{told}");
    assert!(told.contains("uninterrupted") && !told.contains("loaders"), "{told}");
}

/// One table before anything begins, and no run folder with a model in it.
#[test]
fn too_many_clips_left_out_stop_a_training_before_it_begins() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "few", &["updates=3", "min_samples=1200"]);
    o.set.retain(|s| s != "min_samples=100");
    let error = pretrain(&mut FakeSession::default(), &o).unwrap_err();
    let said = error.to_string();
    assert_eq!(error.exit_code(), 9);
    assert!(
        said.contains("5 of 11 clips") && said.contains("--allow-skips"),
        "{said}"
    );
    assert_eq!(
        said.lines().filter(|l| l.contains("min_samples is 1200")).count(),
        1,
        "{said}"
    );
    assert!(!o.out.join("model.safetensors").exists());
    o.allow_skips = Some(1.0);
    o.out = tmp.path().join("allowed");
    pretrain(&mut FakeSession::default(), &o).unwrap();
}

/// Damage that only decoding shows counts too.
#[test]
fn too_many_damaged_clips_stop_a_training_on_the_way() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "damaged", &["updates=30", "valid_fraction=0"]);
    for i in [2, 5, 7] {
        let path = tmp.path().join(format!("{i}.wav"));
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut w = hound::WavWriter::create(&path, spec).unwrap();
        (0..900).for_each(|s| w.write_sample(if s == 500 { f32::NAN } else { 0.1 }).unwrap());
        w.finalize().unwrap();
    }
    let said = pretrain(&mut FakeSession::default(), &o).unwrap_err().to_string();
    assert!(
        said.contains("not a finite number") && said.contains("of 11 clips"),
        "{said}"
    );
    (o.allow_skips, o.out) = (Some(0.3), tmp.path().join("allowed"));
    pretrain(&mut FakeSession::default(), &o).unwrap();
}

/// A file that vanishes or cannot be read while training is no bad clip: leaving it out would give other weights.
#[test]
fn what_the_system_cannot_read_stops_a_training() {
    let tmp = tempfile::tempdir().unwrap();
    let o = options(tmp.path(), "gone", &["updates=30", "valid_fraction=0", "loaders=1"]);
    struct Removing(FakeSession, PathBuf);
    impl Session for Removing {
        fn artifact(&self) -> &Artifact {
            self.0.artifact()
        }
        fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), Error> {
            self.0.choose(sizes)
        }
        fn params(&mut self) -> Result<&mut [f32], Error> {
            Ok(self.0.params())
        }
        fn grads(&mut self) -> Result<&mut [f32], Error> {
            Ok(self.0.grads())
        }
        fn moments(&mut self) -> Result<(&mut [f32], &mut [f32]), Error> {
            Ok(self.0.moments())
        }
        fn zero_grads(&mut self) -> Result<(), Error> {
            self.0.zero_grads()
        }
        fn peak_bytes(&self, p: &str, i: &[(&str, &crate::session::Tensor)]) -> Result<usize, Error> {
            self.0.peak_bytes(p, i)
        }
        fn run(
            &mut self,
            p: &str,
            i: &[(&str, &crate::session::Tensor)],
        ) -> Result<Vec<(String, crate::session::Tensor)>, Error> {
            let _ = std::fs::remove_file(&self.1); // Once is enough.
            self.0.run(p, i)
        }
        fn squares(&mut self, range: (usize, usize)) -> Result<Vec<f32>, Error> {
            self.0.squares(range)
        }
        fn adam_over(&mut self, range: (usize, usize), a: &AdamStep) -> Result<(), Error> {
            self.0.adam_over(range, a)
        }
    }
    let mut session = Removing(FakeSession::default(), tmp.path().join("4.wav"));
    let error = pretrain(&mut session, &o).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.ends_with("4.wav")),
        "{error}"
    );
}

/// The step that is timed beforehand leaves no trace in the weights.
#[test]
fn an_estimate_changes_no_bit() {
    let tmp = tempfile::tempdir().unwrap();
    type Train = fn(&mut dyn Session, &Options) -> Result<u64, Error>;
    for (name, train) in [("p", pretrain as Train), ("f", finetune as Train)] {
        let mut found = vec![];
        for estimate in [true, false] {
            let mut o = options(
                tmp.path(),
                &format!("{name}-{estimate}"),
                &["updates=24", &format!("estimate={estimate}")],
            );
            o.set.retain(|s| name == "p" || !s.starts_with("warmup="));
            if name == "f" {
                o.set.push("freeze_updates=3".into());
            }
            let mut session = FakeSession::default();
            train(&mut session, &o).unwrap();
            let said = events(&o.out).iter().any(|l| l["event"] == "estimate");
            assert_eq!(said, estimate);
            found.push((bits(&mut session), session.runs));
        }
        assert_eq!(found[0].0, found[1].0, "{name}");
        assert!(found[0].1 > found[1].1, "nothing was measured");
    }
}

#[test]
fn what_does_not_fit_is_named_before_training() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "run", &["updates=3"]);
    o.set.retain(|s| !s.starts_with("warmup="));
    finetune(&mut FakeSession::default(), &o).unwrap();
    let log = events(&o.out);
    let told: Vec<&str> = log
        .iter()
        .filter(|l| l["event"] == "warning")
        .filter_map(|l| l["message"].as_str())
        .collect();
    for part in ["without --init", "never runs", "one clip is all"] {
        assert!(told.iter().any(|t| t.contains(part)), "{part} in {told:?}");
    }
    for kind in ["settings", "sample", "histogram"] {
        assert!(log.iter().any(|l| l["kind"] == kind), "{kind}");
    }
}

/// A fine-tuned fake model in a folder, and the clips that it was tuned on.
pub(crate) fn tuned(dir: &Path) -> PathBuf {
    let mut o = options(dir, "tuned", &["updates=2"]);
    o.set.retain(|s| !s.starts_with("warmup="));
    finetune(&mut FakeSession::default(), &o).unwrap();
    o.out
}

#[test]
fn recordings_heard_together_are_heard_as_alone() {
    let tmp = tempfile::tempdir().unwrap();
    let weights = tuned(tmp.path());
    let mut session = FakeSession::default();
    let mut transcriber = Transcriber::new(&mut session, &weights, &[]).unwrap();
    let mut waves: Vec<Vec<f32>> = [800, 5, 1_300, 801]
        .map(|n| (0..n).map(|i| ((i * 7 % 19) as f32 - 9.0) / 20.0).collect())
        .to_vec();
    waves[1].truncate(3);
    let name = Path::new("x");
    let clips: Vec<(&Path, &[f32])> = waves.iter().map(|w| (name, w.as_slice())).collect();
    let together = transcriber.together(&clips).unwrap();
    for (clip, outcome) in clips.iter().zip(together) {
        let alone = transcriber.together(&[*clip]).unwrap().pop().unwrap().unwrap();
        assert_eq!(outcome.unwrap(), alone);
    }
    assert_eq!(
        transcriber.together(&clips[1..2]).unwrap()[0].as_ref().unwrap().text,
        ""
    );
}

#[test]
fn a_recording_longer_than_memory_needs_windows_and_a_limit_holds() {
    let tmp = tempfile::tempdir().unwrap();
    let weights = tuned(tmp.path());
    let path = tmp.path().join("long.wav");
    let frames = 2 * 3600 * 16_000u64;
    let mut header =
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
    header.extend((2 * frames as u32).to_le_bytes());
    std::fs::write(&path, header).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Sparse: it takes no room on the disk.
    file.set_len(44 + 2 * frames).unwrap();
    for (set, said) in [
        (vec!["window_seconds=0"], "window_seconds=30"),
        (vec!["max_hours=1.5"], "max_hours"),
    ] {
        let set: Vec<String> = set.into_iter().map(String::from).collect();
        let mut session = FakeSession::default();
        let mut transcriber = Transcriber::new(&mut session, &weights, &set).unwrap();
        let error = transcriber.file(&path).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("long.wav"), "{error}");
    }
}

#[test]
fn logits_that_are_no_numbers_are_an_error_and_no_text() {
    let tmp = tempfile::tempdir().unwrap();
    let weights = tuned(tmp.path());
    let mut session = FakeSession::default();
    session.nan_logits = true;
    let mut transcriber = Transcriber::new(&mut session, &weights, &[]).unwrap();
    let error = transcriber.file(&tmp.path().join("0.wav")).unwrap_err();
    assert_eq!(error.exit_code(), 9);
    assert!(
        error.to_string().contains("not a number") && error.to_string().contains("0.wav"),
        "{error}"
    );
}
