//! Ranks that are threads of this process, with the fake model.

use super::super::tests::{events, options as of_pretraining};
use super::super::{Options, train};
use crate::fake::FakeSession;
use crate::ranks::Ranks;
use std::path::Path;

/// Trains with so many ranks; every rank's session.
fn trained(count: usize, task: &str, options: &Options) -> Vec<FakeSession> {
    let one = |ranks: Ranks| {
        let mut session = FakeSession::default();
        let own = Options {
            ranks,
            ..options.clone()
        };
        train(&mut session, task, &own).unwrap_or_else(|e| panic!("{e}"));
        session
    };
    if count == 1 {
        return vec![one(Ranks::default())];
    }
    std::thread::scope(|scope| {
        let all: Vec<_> = Ranks::threads(count)
            .into_iter()
            .map(|r| scope.spawn(|| one(r)))
            .collect();
        all.into_iter().map(|t| t.join().expect("the rank trains")).collect()
    })
}

/// Those of a pretraining; fine-tuning has no `warmup`.
fn options(dir: &Path, run: &str, task: &str, set: &[&str]) -> Options {
    let mut o = of_pretraining(dir, run, set);
    o.set.retain(|s| task == "pretrain" || !s.starts_with("warmup="));
    o
}

/// What a report says that depends on weights and batches, without times.
fn reports(run: &Path, kind: &str) -> Vec<serde_json::Value> {
    let mut all: Vec<serde_json::Value> = events(run).into_iter().filter(|e| e["kind"] == kind).collect();
    for report in &mut all {
        let report = report.as_object_mut().unwrap();
        for name in [
            "time",
            "seconds",
            "samples_per_second",
            "audio_hours_per_hour",
            "ranks",
            "slowest_rank",
            "waiting_share",
        ] {
            report.remove(name);
        }
    }
    all
}

fn of_checkpoint(run: &Path, update: u64) -> Vec<Vec<u8>> {
    let at = run.join(format!("checkpoints/step-{update:08}"));
    let files = ["weights.safetensors", "moments.safetensors"];
    files.iter().map(|f| std::fs::read(at.join(f)).unwrap()).collect()
}

/// As if a run had ended after an update.
fn back_to(run: &Path, update: u64) {
    for entry in std::fs::read_dir(run.join("checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let step: Option<u64> = name.strip_prefix("step-").and_then(|n| n.parse().ok());
        if step.is_some_and(|step| step > update) {
            std::fs::remove_dir_all(&path).unwrap();
        }
    }
}

#[test]
fn an_update_is_the_same_on_any_number_of_ranks() {
    let tmp = tempfile::tempdir().unwrap();
    let set = ["updates=4", "accumulate=4", "validate_every=1", "valid_fraction=0.3"];
    for task in ["pretrain", "finetune"] {
        let run = |count: usize, name: &str| {
            let o = options(tmp.path(), &format!("{task}{count}{name}"), task, &set);
            let mut all = trained(count, task, &o);
            let params: Vec<Vec<f32>> = all.iter_mut().map(|s| s.params().to_vec()).collect();
            assert!(params.iter().all(|p| *p == params[0]), "ranks have drifted");
            (params[0].clone(), o.out)
        };
        let (alone, log) = run(1, "");
        for count in 2..=4 {
            let (params, own) = run(count, "");
            for (a, b) in alone.iter().zip(&params) {
                assert!((a - b).abs() <= 1e-5, "{task}, {count} ranks: {a} and {b}");
            }
            // Before the first step weights are the same, and so are sums in the order of the batches.
            let first = |run: &Path| {
                let mut report = reports(run, "train")[0].clone();
                // The norm is of a sum in the order of the ranks.
                report.as_object_mut().unwrap().remove("grad_norm");
                report
            };
            assert_eq!(first(&log), first(&own), "{task}, {count} ranks");
            assert_eq!(run(count, "again").0, params, "{task}, {count} ranks");
        }
    }
}

#[test]
fn ranks_that_share_the_moments_compute_the_same_bits() {
    let tmp = tempfile::tempdir().unwrap();
    // The trained parameters change on the way, and with them the shares.
    let set = [
        "updates=9",
        "accumulate=3",
        "freeze_updates=4",
        "clip_norm=0.5",
        "keep_checkpoints=9",
    ];
    let run = |name: &str, more: &[&str]| {
        let o = options(tmp.path(), name, "finetune", &[&set[..], more].concat());
        trained(3, "finetune", &o);
        o
    };
    let whole = run("whole", &[]);
    let shared = run("shared", &["shard=true"]);
    assert_eq!(of_checkpoint(&whole.out, 9), of_checkpoint(&shared.out, 9));
    // It goes on without shares.
    back_to(&shared.out, 6);
    let resumed = Options {
        resume: true,
        set: vec!["shard=false".into()],
        ..shared.clone()
    };
    trained(3, "finetune", &resumed);
    assert_eq!(of_checkpoint(&whole.out, 9), of_checkpoint(&shared.out, 9));
}

#[test]
fn another_number_of_ranks_goes_on_with_the_same_plans() {
    let tmp = tempfile::tempdir().unwrap();
    let o = options(tmp.path(), "whole", "pretrain", &["updates=9", "accumulate=3"]);
    let mut whole = trained(1, "pretrain", &o);
    let changing = options(
        tmp.path(),
        "changing",
        "pretrain",
        &["updates=9", "accumulate=3", "keep_checkpoints=9"],
    );
    trained(3, "pretrain", &changing);
    let mut last = vec![];
    for (count, from) in [(2, 3), (1, 6)] {
        back_to(&changing.out, from);
        let on = Options {
            resume: true,
            set: vec![],
            ..changing.clone()
        };
        last = trained(count, "pretrain", &on);
    }
    for (a, b) in whole[0].params().iter().zip(last[0].params().iter()) {
        assert!((a - b).abs() <= 1e-5, "{a} and {b}");
    }
    let masked = |run: &Path| -> Vec<(String, String)> {
        let of = |r: &serde_json::Value| (r["masked_frames"].to_string(), r["epoch"].to_string());
        reports(run, "train").iter().map(of).collect()
    };
    assert_eq!(masked(&o.out), masked(&changing.out));
}

#[test]
fn clips_that_any_rank_leaves_out_are_told_once() {
    let tmp = tempfile::tempdir().unwrap();
    let run = |count: usize| {
        let mut o = options(
            tmp.path(),
            &format!("{count}"),
            "pretrain",
            &["updates=6", "accumulate=2", "max_tokens=1900"],
        );
        // It is as long as its header says, and silent.
        for clip in ["3.wav", "7.wav"] {
            let path = tmp.path().join(clip);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[44..].fill(0);
            std::fs::write(&path, bytes).unwrap();
        }
        o.allow_skips = Some(1.0);
        let mut session = trained(count, "pretrain", &o).remove(0);
        let told: Vec<String> = events(&o.out)
            .iter()
            .filter(|e| e["event"] == "clips left out")
            .map(|e| format!("{} {}", e["update"], e["message"]))
            .collect();
        (session.params().to_vec(), told, reports(&o.out, "train").len())
    };
    let alone = run(1);
    assert!(!alone.1.is_empty());
    for count in [2] {
        let own = run(count);
        assert_eq!((&own.1, own.2), (&alone.1, alone.2), "{count} ranks");
        assert!(own.0.iter().zip(&alone.0).all(|(a, b)| (a - b).abs() <= 1e-5));
    }
}

#[test]
fn fewer_micro_batches_than_ranks_become_as_many() {
    let tmp = tempfile::tempdir().unwrap();
    let o = options(tmp.path(), "few", "pretrain", &["updates=2", "accumulate=1"]);
    trained(3, "pretrain", &o);
    let notes = events(&o.out);
    let note = notes
        .iter()
        .find(|e| e["message"].as_str().is_some_and(|m| m.contains("has 3 micro-batches")));
    assert!(note.is_some());
    let more = options(tmp.path(), "more", "pretrain", &["updates=2", "accumulate=3"]);
    trained(3, "pretrain", &more);
    assert_eq!(of_checkpoint(&o.out, 2), of_checkpoint(&more.out, 2));
}
