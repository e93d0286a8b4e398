//! What a training leaves behind, however it ends.

use crate::data::held;
use crate::error::Error;
use crate::fake::FakeSession;
use crate::interrupt::Signals;
use crate::session::{AdamStep, Session, Tensor};
use crate::trainer::Options;
use crate::trainer::tests::{bits, data, events, finetune, options, pretrain};
use ir::artifact::Artifact;
use std::fs;
use std::path::Path;

type Train = fn(&mut dyn Session, &Options) -> Result<u64, Error>;

/// Does something at each run of a program, counted from 0, and after it with what it gave.
struct Watched<F: FnMut(usize, &mut FakeSession)> {
    inner: FakeSession,
    runs: usize,
    before: F,
    /// From this run on the loss is not a number.
    broken_at: usize,
}

impl<F: FnMut(usize, &mut FakeSession)> Watched<F> {
    fn new(before: F) -> Watched<F> {
        Watched {
            inner: FakeSession::default(),
            runs: 0,
            before,
            broken_at: usize::MAX,
        }
    }
}

impl<F: FnMut(usize, &mut FakeSession)> Session for Watched<F> {
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
    fn peak_bytes(&self, p: &str, i: &[(&str, &Tensor)]) -> Result<usize, Error> {
        self.inner.peak_bytes(p, i)
    }
    fn run(&mut self, p: &str, i: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        (self.before)(self.runs, &mut self.inner);
        if self.runs >= self.broken_at {
            self.inner.nan_at = Some(self.inner.runs);
        }
        self.runs += 1;
        self.inner.run(p, i)
    }
    fn squares(&mut self, range: (usize, usize)) -> Result<Vec<f32>, Error> {
        self.inner.squares(range)
    }
    fn adam_over(&mut self, range: (usize, usize), a: &AdamStep) -> Result<(), Error> {
        self.inner.adam_over(range, a)
    }
}

fn steps(run: &Path) -> Vec<String> {
    let list = fs::read_dir(run.join("checkpoints")).expect("the run has checkpoints");
    let mut all: Vec<String> = list
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

fn model(run: &Path) -> Vec<u8> {
    fs::read(run.join("model.safetensors")).unwrap()
}

/// Trainings of both kinds that are ended by a signal at every run of a program, in updates and in validations, and gone on
/// with: the last weights, moments and model are those of a training that nothing ended.
#[test]
fn a_training_ended_by_signals_goes_on_to_the_same_bits() {
    let tmp = tempfile::tempdir().unwrap();
    for (name, train, own) in [
        ("p", pretrain as Train, ["accumulate=2", "warmup=2"]),
        ("f", finetune as Train, ["accumulate=1", "freeze_updates=3"]),
    ] {
        let prepare = |run: &str| {
            let mut o = options(tmp.path(), run, &["updates=9", "valid_fraction=0.3"]);
            o.set.retain(|s| !s.starts_with("warmup="));
            o.set.extend(own.map(String::from));
            o
        };
        let whole = prepare(&format!("{name}-whole"));
        let mut one = FakeSession::default();
        train(&mut one, &whole).unwrap();
        for at in [0, 1, 3] {
            let mut cut = prepare(&format!("{name}-cut-{at}"));
            let mut ends = 0;
            let mut last = loop {
                let signals = Signals::default();
                cut.signals = Some(signals.clone());
                // Not always at the same run: a validation that is ended each time never ends.
                let turn = at + ends % 4;
                let mut session = Watched::new(|run, _| {
                    if run == turn {
                        signals.raise(15);
                    }
                });
                match train(&mut session, &cut) {
                    Ok(updates) => {
                        assert_eq!(updates, 9);
                        break session.inner;
                    }
                    Err(e @ Error::Interrupted { .. }) => {
                        assert_eq!(e.exit_code(), 143);
                        let said = e.to_string();
                        assert!(said.contains("--resume") && said.contains("SIGTERM"), "{said}");
                    }
                    Err(other) => panic!("{other}"),
                }
                (cut.resume, cut.set) = (true, vec![]);
                ends += 1;
                assert!(ends < 60, "no progress");
            };
            assert!(ends > 1, "{name} {at}: {ends} ends");
            assert_eq!(bits(&mut last), bits(&mut one), "{name} {at}");
            assert!(model(&whole.out) == model(&cut.out), "the models of {name} {at} differ");
        }
    }
}

#[test]
fn a_checkpoint_asked_for_is_written_and_changes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let set = ["updates=6", "save_every=100", "keep_checkpoints=5"];
    let plain = options(tmp.path(), "plain", &set);
    let mut one = FakeSession::default();
    pretrain(&mut one, &plain).unwrap();
    let asked = options(tmp.path(), "asked", &set);
    let signals = asked.signals.clone().unwrap();
    let mut session = Watched::new(|run, _| {
        if run == 1 {
            signals.raise(10);
        }
    });
    assert_eq!(pretrain(&mut session, &asked).unwrap(), 6);
    assert!(
        steps(&asked.out).contains(&"step-00000002".into()),
        "{:?}",
        steps(&asked.out)
    );
    assert_eq!(bits(&mut session.inner), bits(&mut one));
    assert!(events(&asked.out).iter().any(|l| l["event"] == "checkpoint"));
}

/// Recordings that never come: the training waits, and a signal is heard all the same.
#[test]
fn a_signal_is_heard_while_data_are_waited_for() {
    let tmp = tempfile::tempdir().unwrap();
    let o = options(tmp.path(), "stuck", &["updates=500", "valid_fraction=0", "loaders=1"]);
    let (signals, place) = (o.signals.clone().unwrap(), tmp.path().to_path_buf());
    let mut session = Watched::new(|run, _| {
        if run == 0 {
            let signals = signals.clone();
            held::hold(&place, move || signals.raise(2));
        }
    });
    let error = pretrain(&mut session, &o).unwrap_err();
    assert_eq!(error.exit_code(), 130, "{error}");
    assert!(!steps(&o.out).is_empty());
}

/// One update with a rate that ruins the weights, after which nothing is finite: the checkpoint of before is gone on from.
#[test]
fn what_was_learnt_before_the_weights_were_ruined_is_kept() {
    for keep in ["keep_checkpoints=1", "keep_checkpoints=2"] {
        let tmp = tempfile::tempdir().unwrap();
        let mut o = options(tmp.path(), "run", &["updates=4", "valid_fraction=0"]);
        o.set.extend(["save_every=1".into(), keep.into()]);
        pretrain(&mut FakeSession::default(), &o).unwrap();
        // The step that is timed before a training is a run too.
        (o.resume, o.set) = (true, vec!["updates=40".into(), "estimate=false".into()]);
        let mut session = Watched::new(|_, _| ());
        session.broken_at = 1;
        let error = pretrain(&mut session, &o).unwrap_err();
        assert_eq!(error.exit_code(), 13);
        let said = error.to_string();
        assert!(
            said.contains("step-00000004` is kept") && said.contains("step-00000005.not-finite"),
            "{said}"
        );
        assert!(steps(&o.out).contains(&"step-00000004".into()), "{:?}", steps(&o.out));
        o.set = vec!["updates=6".into()];
        assert_eq!(pretrain(&mut FakeSession::default(), &o).unwrap(), 6);
    }
}

/// Killed while nothing was finite any more, and gone on with from the ruined checkpoint: the second try finds the one before.
#[test]
fn a_ruined_checkpoint_is_left_behind_after_a_kill_too() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(
        tmp.path(),
        "run",
        &["updates=5", "valid_fraction=0", "keep_checkpoints=1"],
    );
    o.set.push("save_every=1".into());
    pretrain(&mut FakeSession::default(), &o).unwrap();
    (o.resume, o.set) = (true, vec!["updates=40".into()]);
    let mut session = Watched::new(|_, _| ());
    session.broken_at = 0;
    assert!(pretrain(&mut session, &o).is_err());
    assert_eq!(steps(&o.out), ["step-00000004", "step-00000005.not-finite"]);
    o.set = vec!["updates=6".into()];
    assert_eq!(pretrain(&mut FakeSession::default(), &o).unwrap(), 6);
}

#[test]
fn weights_that_are_not_finite_are_never_written() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "run", &["updates=9", "keep_checkpoints=9"]);
    o.set.extend(["save_every=2", "validate_every=1"].map(String::from));
    // Of a parameter that no loss of pretraining shows.
    let mut session = Watched::new(|run, inner| {
        if run == 5 {
            inner.params()[12] = f32::INFINITY;
        }
    });
    let error = pretrain(&mut session, &o).unwrap_err();
    assert_eq!(error.exit_code(), 13, "{error}");
    assert!(error.to_string().contains("weights are not finite"), "{error}");
    let kept = steps(&o.out);
    assert!(!kept.is_empty() && kept.iter().all(|s| !s.contains('.')), "{kept:?}");
    (o.resume, o.set) = (true, vec![]);
    assert_eq!(pretrain(&mut FakeSession::default(), &o).unwrap(), 9);
}

/// Moved in the middle of a training: it ends, says where its checkpoints are, and makes no second folder.
#[test]
fn a_training_whose_folder_is_moved_ends_and_goes_on_in_the_new_place() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "here", &["updates=30"]);
    let (here, there) = (o.out.clone(), tmp.path().join("there"));
    let mut session = Watched::new(|run, _| {
        if run == 10 {
            fs::rename(&here, &there).unwrap();
        }
    });
    let error = pretrain(&mut session, &o).unwrap_err();
    assert!(
        error.exit_code() == 12 && error.to_string().contains("there"),
        "{error}"
    );
    assert!(!here.exists());
    (o.out, o.resume) = (there.clone(), true);
    pretrain(&mut FakeSession::default(), &o).unwrap();
}

#[test]
fn data_are_known_by_content_and_what_differs_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let mut o = options(tmp.path(), "run", &["updates=3", "freeze_updates=0"]);
    o.set.retain(|s| !s.starts_with("warmup="));
    finetune(&mut FakeSession::default(), &o).unwrap();
    o.resume = true;
    let go_on = |o: &Options, updates: u64| {
        let mut o = o.clone();
        o.set = vec![format!("updates={updates}")];
        let outcome = finetune(&mut FakeSession::default(), &o);
        outcome.map_err(|e| (e.exit_code(), e.to_string()))
    };
    // The same clips elsewhere.
    let moved = tmp.path().join("moved");
    fs::create_dir(&moved).unwrap();
    o.data = vec![data(&moved, 11)];
    assert_eq!(go_on(&o, 4), Ok(4));
    // Another text of the same length.
    let table = fs::read_to_string(&o.data[0]).unwrap();
    fs::write(&o.data[0], table.replacen("one two", "two one", 1)).unwrap();
    let (code, said) = go_on(&o, 5).unwrap_err();
    assert!(code == 12 && said.contains("data") && said.contains("texts"), "{said}");
    fs::write(&o.data[0], table).unwrap();
    // One sample of one clip.
    let clip = moved.join("3.wav");
    let whole = fs::read(&clip).unwrap();
    let mut bytes = whole.clone();
    bytes[500] ^= 1;
    fs::write(&clip, bytes).unwrap();
    let (code, said) = go_on(&o, 5).unwrap_err();
    assert!(code == 12 && said.contains("recordings"), "{said}");
    fs::write(&clip, whole).unwrap();
    // Letters in another order, given by hand or put into the folder.
    let vocab = o.out.join("vocab.json");
    let whole = fs::read_to_string(&vocab).unwrap();
    let mut letters: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let (e, t) = (letters["e"].clone(), letters["t"].clone());
    (letters["e"], letters["t"]) = (t, e);
    fs::write(&vocab, letters.to_string()).unwrap();
    let (code, said) = go_on(&o, 5).unwrap_err();
    assert!(
        code == 12 && said.contains("vocabulary") && said.contains("was `e` and is `t`"),
        "{said}"
    );
    fs::write(&vocab, whole).unwrap();
    assert_eq!(go_on(&o, 5), Ok(5));
}

#[test]
fn a_run_is_not_begun_in_the_folder_of_its_first_weights() {
    let tmp = tempfile::tempdir().unwrap();
    let first = options(tmp.path(), "first", &["updates=1"]);
    pretrain(&mut FakeSession::default(), &first).unwrap();
    for out in ["first", "first/second", "first/deep/er"] {
        let mut o = options(tmp.path(), out, &["updates=1"]);
        o.init = Some(first.out.clone());
        let error = pretrain(&mut FakeSession::default(), &o).unwrap_err();
        assert!(
            error.exit_code() == 12 && error.to_string().contains("--init"),
            "{error}"
        );
        assert!(out == "first" || !o.out.exists());
    }
}

/// Runs of version 0.1, which kept postcard without digests and knew data by their path: they go on, to the bits that an
/// uninterrupted training has.
#[test]
fn runs_of_version_0_1_go_on() {
    let fixtures = Path::new("tests/fixtures/old_runs");
    let tmp = tempfile::tempdir().unwrap();
    for (name, train, own) in [
        ("pretrained", pretrain as Train, "warmup=2"),
        ("tuned", finetune as Train, "freeze_updates=2"),
    ] {
        let set = [
            "min_samples=100",
            "max_tokens=2500",
            "save_every=3",
            "validate_every=4",
            "log_every=1",
            "updates=9",
            "valid_fraction=0.2",
            "seed=3",
            own,
        ];
        let options = |run: &str| Options {
            data: vec![fixtures.join("data/data.tsv")],
            out: tmp.path().join(run),
            signals: Some(Signals::default()),
            ..Options::default()
        };
        let mut whole = options(&format!("{name}-whole"));
        whole.set = set.map(String::from).to_vec();
        let mut one = FakeSession::default();
        train(&mut one, &whole).unwrap();
        let mut old = options(name);
        copy(&fixtures.join(name), &old.out);
        old.resume = true;
        let mut session = FakeSession::default();
        assert_eq!(train(&mut session, &old).unwrap(), 9);
        assert_eq!(bits(&mut session), bits(&mut one), "{name}");
        // From here on it is known by its content.
        let moved = tmp.path().join(format!("{name}-data"));
        copy(&fixtures.join("data"), &moved);
        (old.data, old.set) = (vec![moved.join("data.tsv")], vec!["updates=10".into()]);
        assert_eq!(train(&mut session, &old).unwrap(), 10);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
