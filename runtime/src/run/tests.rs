use super::store::steps_of;
use super::*;
use crate::data::Position;
use crate::digest::Digest;
use crate::fake::FakeSession;
use crate::identity::Identity;
use ir::artifact::{Artifact, SettingValue};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

fn state(update: u64) -> State {
    State {
        command: "pretrain".into(),
        update,
        skips: 0,
        due: false,
        position: Position {
            epoch: 1,
            batch: update,
            part: 0,
        },
        best: Some(vec![0.1 + 0.2, 1e-300]),
        settings: [("lr".to_string(), SettingValue::Number(1.0 / 3.0))].into(),
        identity: Known::Now(Identity::default()),
        constants: BTreeMap::new(),
        graphs: BTreeMap::new(),
        config: String::new(),
    }
}

fn save(run: &Run, update: u64, keep: usize) -> PathBuf {
    let mut session = FakeSession::default();
    session.params()[0] = update as f32 / 3.0;
    session.moments().1[1] = f32::MIN_POSITIVE * update as f32;
    run.save(&mut session, &state(update), keep).unwrap()
}

/// The update gone on from, the first parameter, and what was said.
fn restore(run: &Run) -> (Option<u64>, f32, String) {
    let mut session = FakeSession::default();
    let found = run.restore(&mut session, "pretrain").unwrap();
    (
        found.map(|s| s.update),
        session.params()[0],
        run.take_notes().join("\n"),
    )
}

fn open(dir: &Path, resume: bool) -> Result<Run, Error> {
    Run::open(dir, resume, "pretrain")
}

fn said(outcome: Result<Run, Error>) -> String {
    let error = outcome.err().expect("it is refused");
    assert_eq!(error.exit_code(), 12, "{error}");
    error.to_string()
}

fn listed(dir: &Path) -> Vec<String> {
    let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().to_string_lossy().into_owned();
    let mut all: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
    all.sort();
    all
}

#[test]
fn the_newest_sound_checkpoint_comes_back_to_the_bit() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    (1..=3).for_each(|update| drop(save(&run, update, 2)));
    let mut other = FakeSession::default();
    let back = run.restore(&mut other, "pretrain").unwrap().unwrap();
    assert_eq!(
        (back, other.params()[0], other.moments().1[1]),
        (state(3), 1.0, f32::MIN_POSITIVE * 3.0)
    );
    assert_eq!(listed(&run.place()), ["step-00000002", "step-00000003"]);
    assert!(run.restore(&mut other, "finetune").is_err());
}

/// Every file, at many places, one bit each: what comes back is the checkpoint as it was or the one before, and that is said.
#[test]
fn no_flipped_bit_is_taken_for_what_was_learnt() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let newest = [1, 2].map(|update| save(&run, update, 2))[1].clone();
    let mut passed = 0;
    for name in listed(&newest) {
        let path = newest.join(&name);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 60 + 1) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, bytes).unwrap();
            match restore(&run) {
                (Some(2), value, _) => assert_eq!(value, 2.0 / 3.0, "{name} at {at}"),
                (Some(1), value, notes) => {
                    assert_eq!(value, 1.0 / 3.0);
                    assert!(notes.contains("skipped"), "{notes}");
                    passed += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        for length in [0, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(restore(&run).0, Some(1), "{name} of {length} bytes");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(restore(&run).0, Some(1));
        fs::write(&path, &whole).unwrap();
    }
    assert!(passed > 100, "{passed}");
    assert_eq!(restore(&run).0, Some(2));
}

/// Weights of one checkpoint beside the moments of another are none.
#[test]
fn files_of_two_checkpoints_are_not_mixed() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let [one, two] = [1, 2].map(|update| save(&run, update, 2));
    fs::copy(one.join("weights.safetensors"), two.join("weights.safetensors")).unwrap();
    assert_eq!(restore(&run).0, Some(1));
}

/// Whatever bears a checkpoint's name and is none is passed over, said, and left alone, and never costs a sound one.
#[test]
fn strays_cost_no_sound_checkpoint() {
    type Stray = fn(&Path);
    let strays: [(&str, Stray); 6] = [
        ("an empty folder", |p| fs::create_dir(p).unwrap()),
        ("a file", |p| fs::write(p, "precious").unwrap()),
        ("a link to a checkpoint", |p| symlink("step-00000002", p).unwrap()),
        ("a link to nowhere", |p| symlink("nowhere", p).unwrap()),
        ("a copy of an earlier one", |p| {
            fs::create_dir(p).unwrap();
            for name in ["state", "weights.safetensors", "moments.safetensors"] {
                fs::copy(p.with_file_name("step-00000002").join(name), p.join(name)).unwrap();
            }
        }),
        ("a checkpoint of a later version", |p| {
            fs::create_dir(p).unwrap();
            fs::write(p.join("state"), "w2vc checkpoint 9 version 7.0.0 blake3 0\n{}").unwrap();
        }),
    ];
    for (what, make) in strays {
        let tmp = tempfile::tempdir().unwrap();
        let run = open(tmp.path(), false).unwrap();
        (1..=2).for_each(|update| drop(save(&run, update, 2)));
        // In the way of the next one, far beyond, and between.
        for name in ["step-00000003", "step-99999998", "step-99999999"] {
            make(&run.place().join(name));
        }
        drop(run);
        let run = open(tmp.path(), true).unwrap();
        let (update, value, notes) = restore(&run);
        assert_eq!((update, value), (Some(2), 2.0 / 3.0), "{what}");
        assert!(notes.contains("step-99999999"), "{what}: {notes}");
        (3..=5).for_each(|update| drop(save(&run, update, 1)));
        let left = listed(&run.place());
        let expected = [
            "step-00000003.damaged",
            "step-00000005",
            "step-99999998",
            "step-99999999",
        ];
        assert_eq!(left, expected, "{what}");
        assert_eq!(restore(&run).0, Some(5), "{what}");
    }
}

#[test]
fn a_damaged_checkpoint_takes_no_place_of_a_sound_one() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let newest = [1, 2, 3].map(|update| save(&run, update, 3))[2].clone();
    let weights = newest.join("weights.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    drop(run);
    let run = open(tmp.path(), true).unwrap();
    assert_eq!(restore(&run).0, Some(2));
    // In its way, and then past it.
    save(&run, 3, 2);
    assert_eq!(
        listed(&run.place()),
        ["step-00000002", "step-00000003", "step-00000003.damaged"]
    );
    assert!(run.take_notes().join("").contains("damaged"));
}

#[test]
fn where_nothing_sound_is_left_that_is_an_error() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let path = save(&run, 1, 2);
    fs::write(path.join("state"), "").unwrap();
    let error = run.restore(&mut FakeSession::default(), "pretrain").unwrap_err();
    assert_eq!(error.exit_code(), 11, "{error}");
}

#[test]
fn the_same_update_can_be_saved_again() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    for _ in 0..2 {
        save(&run, 4, 1);
        assert_eq!(listed(&run.place()), ["step-00000004"]);
    }
    // Killed between the two renames: nothing but the one put by is left.
    fs::rename(
        run.place().join("step-00000004"),
        run.place().join(".step-00000004.abcdef.old"),
    )
    .unwrap();
    drop(run);
    let run = open(tmp.path(), true).unwrap();
    assert_eq!(restore(&run).0, Some(4));
    assert_eq!(listed(&run.place()), ["step-00000004"]);
}

#[test]
fn what_killed_writes_left_goes_and_what_others_put_there_stays() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    save(&run, 1, 2);
    drop(run);
    let at = |name: &str| tmp.path().join(name);
    for ours in [".tmpAb3dEf", ".model.safetensors.tmp", ".w2vc-abcdefABCDEF.tmp"] {
        fs::write(at(ours), "half").unwrap();
    }
    for ours in [
        "checkpoints/.step-00000002.tmp",
        "checkpoints/.step-00000002.Ab3dEf.tmp",
    ] {
        fs::create_dir(at(ours)).unwrap();
        fs::write(at(ours).join("weights.safetensors"), "half").unwrap();
    }
    fs::write(at("precious"), "of another").unwrap();
    symlink(at("precious"), at(".tmpLinked")).unwrap();
    fs::write(at(".notes.tmp"), "of another").unwrap();
    fs::create_dir(at("checkpoints/.step-2.tmp")).unwrap();
    symlink(at("precious"), at("checkpoints/.step-00000007.tmp")).unwrap();
    open(tmp.path(), true).unwrap();
    assert_eq!(
        listed(tmp.path()),
        [
            ".lock",
            ".notes.tmp",
            ".tmpLinked",
            "checkpoints",
            "precious",
            "run.json"
        ]
    );
    assert_eq!(
        listed(&at("checkpoints")),
        [".step-00000007.tmp", ".step-2.tmp", "step-00000001"]
    );
    assert_eq!(fs::read_to_string(at("precious")).unwrap(), "of another");
}

#[test]
fn folders_that_are_no_run_are_refused_before_anything_is_written() {
    let tmp = tempfile::tempdir().unwrap();
    let published = tmp.path().join("published");
    fs::create_dir(&published).unwrap();
    for name in ["model.safetensors", "config.json"] {
        fs::write(published.join(name), "weights").unwrap();
    }
    let before = listed(&published);
    assert!(said(open(&published, false)).contains("no run of w2vc"));
    assert!(said(open(&published, true)).contains("no checkpoint to resume from"));
    // Files that look like parts of a run do not make it one.
    fs::create_dir_all(published.join("checkpoints/step-00000001")).unwrap();
    assert!(said(open(&published, false)).contains("no run of w2vc"));
    fs::remove_dir_all(published.join("checkpoints")).unwrap();
    assert_eq!(listed(&published), before);
    assert!(said(open(&tmp.path().join("published/config.json"), false)).contains("is a file"));
    assert!(said(open(&tmp.path().join("nowhere"), true)).contains("no checkpoint to resume from"));
    assert!(!tmp.path().join("nowhere").exists());
    // A later version's folder.
    let later = tmp.path().join("later");
    fs::create_dir(&later).unwrap();
    fs::write(
        later.join("run.json"),
        r#"{"magic": "w2vc run", "format": 2, "w2vc": "9.1"}"#,
    )
    .unwrap();
    assert!(said(open(&later, true)).contains("w2vc 9.1"));
}

#[test]
fn a_run_whose_checkpoints_were_taken_away_keeps_its_model() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    save(&run, 1, 1);
    drop(run);
    fs::write(tmp.path().join("model.safetensors"), "learnt").unwrap();
    fs::remove_dir_all(tmp.path().join("checkpoints")).unwrap();
    for resume in [false, true] {
        assert!(said(open(tmp.path(), resume)).contains("model.safetensors"));
    }
    assert_eq!(
        fs::read_to_string(tmp.path().join("model.safetensors")).unwrap(),
        "learnt"
    );
}

#[test]
fn a_run_killed_at_its_start_begins_anew_and_says_so() {
    for left in [vec![], vec![".lock"], vec![".lock", ".w2vc-abcdefABCDEF.tmp"]] {
        let tmp = tempfile::tempdir().unwrap();
        left.iter()
            .for_each(|name| fs::write(tmp.path().join(name), "").unwrap());
        let run = open(tmp.path(), true).unwrap();
        assert!(run.take_notes().join("").contains("anew"), "{left:?}");
        assert_eq!(listed(tmp.path()), [".lock", "checkpoints", "run.json"]);
    }
}

#[test]
fn links_in_a_run_folder_are_not_followed() {
    for place in [".lock", "checkpoints"] {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, precious) = (tmp.path().join("run"), tmp.path().join("precious"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "of another").unwrap();
        let to = if place == ".lock" {
            "../precious/file"
        } else {
            "../precious"
        };
        symlink(to, dir.join(place)).unwrap();
        assert!(said(open(&dir, false)).contains("link"), "{place}");
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "of another");
        assert_eq!(listed(&precious), ["file"]);
    }
}

#[test]
fn another_model_does_not_go_on_with_a_run() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let mut began = state(1);
    began.constants.insert("heads".into(), 2.0);
    began.config = r#"{"num_attention_heads": 2}"#.into();
    began.graphs = [("pretrain".to_string(), "1".repeat(64))].into();
    let mut same = FakeSession::default();
    same.artifact.constants = began.constants.clone();
    same.artifact.graphs = began.graphs.clone();
    run.save(&mut same, &began, 2).unwrap();
    let refused = |change: &dyn Fn(&mut Artifact)| {
        let mut other = FakeSession::default();
        other.artifact.constants = began.constants.clone();
        other.artifact.graphs = began.graphs.clone();
        change(&mut other.artifact);
        let outcome = run.restore(&mut other, "pretrain");
        outcome.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(&|_| ()), "");
    let error = refused(&|a| a.constants = [("heads".to_string(), 4.0)].into());
    assert!(
        error.contains("`heads` is 2 there and 4 here") && error.contains("--out"),
        "{error}"
    );
    let config = r#"{"num_attention_heads": 4}"#;
    let error = refused(&|a| {
        a.export = [("pretrain".to_string(), config.to_string())].into();
        a.config.defaults = r#"{"num_attention_heads": 12}"#.into();
    });
    assert!(error.contains("num_attention_heads"), "{error}");
    // Fewer layers: all of its own parameters are there.
    let error = refused(&|a| drop(a.params.pop()));
    assert!(error.contains("`lm_head.weight` is absent here"), "{error}");
    let error = refused(&|a| a.params[0].shape = vec![2]);
    assert!(error.contains("[3] there and [2] here"), "{error}");
    // The same parameters and constants, and another computation with them.
    let error = refused(&|a| drop(a.graphs.insert("pretrain".into(), "0".repeat(64))));
    assert!(
        error.contains("`pretrain` computes something else") && error.contains("111111111111 there"),
        "{error}"
    );
    // What another program computes is nothing to this run.
    assert_eq!(
        refused(&|a| drop(a.graphs.insert("finetune".into(), "0".repeat(64)))),
        ""
    );
}

#[test]
fn a_run_is_not_overwritten_nor_written_by_two() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    assert!(said(open(tmp.path(), true)).contains("another training"));
    // Also where somebody took the lock away.
    fs::remove_file(tmp.path().join(".lock")).unwrap();
    assert!(said(open(tmp.path(), true)).contains("another training"));
    save(&run, 1, 2);
    drop(run);
    assert!(said(open(tmp.path(), false)).contains("--resume"));
    assert!(said(Run::open(tmp.path(), true, "finetune")).contains("a run of `pretrain`"));
    open(tmp.path(), true).unwrap();
}

#[test]
fn a_folder_that_is_moved_or_removed_is_missed() {
    let tmp = tempfile::tempdir().unwrap();
    let (here, there) = (tmp.path().join("here"), tmp.path().join("there"));
    let run = open(&here, false).unwrap();
    save(&run, 1, 2);
    fs::rename(&here, &there).unwrap();
    let save_again = |run: &Run| {
        let outcome = run.save(&mut FakeSession::default(), &state(2), 2);
        outcome.err().expect("it is missed").to_string()
    };
    let error = save_again(&run);
    assert!(error.contains("moved") && error.contains("there"), "{error}");
    // Another folder in its place is not taken for it.
    fs::create_dir(&here).unwrap();
    assert!(save_again(&run).contains("moved"));
    assert_eq!(listed(&here), Vec::<String>::new());
    assert_eq!(listed(&there.join("checkpoints")), ["step-00000001"]);
    fs::remove_dir_all(&there).unwrap();
    assert!(save_again(&run).contains("removed"));
}

#[test]
fn what_nothing_finite_came_from_is_put_aside_if_another_is_left() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let artifact = crate::fake::artifact();
    save(&run, 1, 2);
    let aside = |update| run.put_aside_unless_last(update, &artifact, "pretrain").unwrap();
    assert_eq!(aside(1), None);
    save(&run, 2, 2);
    assert_eq!(
        (aside(7), aside(2)),
        (None, Some(run.place().join("step-00000002.not-finite")))
    );
    assert_eq!(run.newest(), Some(run.place().join("step-00000001")));
    assert_eq!(steps_of(&run), [1]);
}

#[test]
fn the_marker_keeps_what_the_run_is_about() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let digests = BTreeMap::from([("recordings".to_string(), Digest::of(b"x").to_string())]);
    run.describe("pretrain", digests.clone()).unwrap();
    let marker = Marker::read(tmp.path()).unwrap().unwrap();
    assert_eq!((marker.command.as_str(), &marker.digests), ("pretrain", &digests));
}

#[test]
fn of_what_is_put_aside_the_newest_few_stay() {
    let tmp = tempfile::tempdir().unwrap();
    let run = open(tmp.path(), false).unwrap();
    let place = tmp.path().join("checkpoints");
    let path = place.join("step-00000003");
    let put = |mark: &str| {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("state"), mark).unwrap();
        save(&run, 3, 2);
        // What was written is sound, and makes room without a trace.
        fs::remove_dir_all(&path).unwrap();
        run.sound.borrow_mut().clear();
    };
    put("first");
    // Another hand's file in it: it stays, whatever comes after it.
    fs::write(place.join("step-00000003.damaged/notes.txt"), "look").unwrap();
    for mark in ["second", "third", "fourth", "fifth"] {
        put(mark);
    }
    let read = |n: &str| fs::read_to_string(place.join(n).join("state")).unwrap();
    let left = listed(&place);
    assert_eq!(
        left,
        ["", ".3", ".4", ".5"].map(|n| format!("step-00000003.damaged{n}"))
    );
    assert_eq!((read(&left[0]), read(&left[3])), ("first".into(), "fifth".into()));
    assert!(run.take_notes().join("").contains("damaged.2` was removed"));
}
