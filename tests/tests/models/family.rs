//! The relatives of wav2vec 2.0, from folders as transformers writes them: a model file is made from config.json, and what it
//! computes is held against transformers, each clip alone and both in one batch.

use crate::parity::{OF_ALL_GRADIENTS, RELATIVE, norm, values};
use crate::small::{close, output, run};
use compiler::like::{BUILT_IN, describe};
use runtime::exec::Native;
use runtime::session::{Data, Session, Tensor};
use runtime::step::{Options, step};
use runtime::weights::{Folder, TensorFile};
use std::path::{Path, PathBuf};
use w2vc_tests::native::compile;

fn fixtures(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/family").join(kind)
}

/// The model of a folder with every parameter training, compiled with no more programs than are looked at here.
fn compiled(kind: &str) -> Native {
    let config = std::fs::read_to_string(fixtures(kind).join("config.json")).unwrap();
    let made =
        describe(&serde_json::from_str(&config).unwrap(), None, kind, kind).unwrap_or_else(|e| panic!("{kind}: {e}"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    for (name, text) in BUILT_IN.iter().filter(|(name, _)| made.needs.contains(name)) {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let (mut programs, mut tasks) = ("", "");
    if !made.needs.contains(&"models/letters.ron") {
        (programs, tasks) = (
            "\"pretrain\": None, \"validate_pretrain\": None,",
            "\"pretrain\": None,",
        );
    }
    let all = made.text.trim_end().strip_suffix(')').unwrap().to_string()
        + &format!(
            "programs: {{ {programs} \"finetune\": None, \"finetune_head\": None, \"features\": None }},
            tasks: {{ {tasks} \"features\": None, \"finetune\": Train(
                settings: {{ \"freeze_updates\": None }},
                phases: [(program: \"finetune_all\")],
                may_lack: [\"lm_head.*\", \"*masked_spec_embed\"],
                exports: [\"*\"],
            ) }},
            by_hours: {{ \"finetune\": {{}} }})"
        );
    let file = dir.path().join("own.ron");
    std::fs::write(&file, &all).unwrap();
    let model = frontend::load(&file, &[], &runtime::HOST).unwrap_or_else(|e| panic!("{kind}: {e}\n{all}"));
    compile(&model)
}

fn step_of(kind: &str, native: &Native) -> TensorFile {
    let out = tempfile::tempdir().unwrap();
    let options = Options {
        weights: fixtures(kind),
        batch: fixtures(kind).join("batch.safetensors"),
        out: out.path().join("got.safetensors"),
        no_dropout: true,
        ..Options::default()
    };
    step(&mut native.machine(1).unwrap(), &options).unwrap_or_else(|e| panic!("{kind}: {e}"));
    TensorFile::open(&options.out).unwrap()
}

/// Logits of each clip, alone and beside the other.
fn check_logits(kind: &str, native: &Native, want: &TensorFile) {
    let batch = TensorFile::open(&fixtures(kind).join("batch.safetensors")).unwrap();
    let (wave, lengths) = (
        batch.floats("wave").unwrap().unwrap(),
        batch.integers("lengths").unwrap().unwrap(),
    );
    let mut machine = native.machine(2).unwrap();
    let artifact = machine.artifact().clone();
    let task = artifact.task("transcribe").unwrap();
    let folder = Folder::open(&fixtures(kind)).unwrap();
    folder
        .load(&artifact, task, machine.params().unwrap(), None)
        .unwrap_or_else(|e| panic!("{kind}: {e}"));
    let longest = wave.len() / lengths.len();
    let mut hear = |rows: &[usize], samples: usize| {
        let wave = rows
            .iter()
            .flat_map(|r| wave[r * longest..][..samples].to_vec())
            .collect();
        let lengths: Vec<i32> = rows.iter().map(|r| lengths[*r]).collect();
        let inputs = [
            (
                "wave".to_string(),
                Tensor {
                    shape: vec![rows.len(), samples],
                    data: Data::F32(wave),
                },
            ),
            (
                "lengths".to_string(),
                Tensor {
                    shape: vec![rows.len()],
                    data: Data::I32(lengths),
                },
            ),
        ];
        output(&run(&mut machine, "transcribe", &inputs), "logits").clone()
    };
    let together = hear(&[0, 1], longest);
    let row = together.shape[1] * together.shape[2];
    for (i, name) in ["logits.a", "logits.b"].into_iter().enumerate() {
        let want = want.floats(name).unwrap().unwrap();
        let alone = hear(&[i], lengths[i] as usize);
        close(
            &format!("{kind} {name} alone"),
            alone.as_f32().unwrap(),
            &want,
            RELATIVE,
        );
        let beside = &together.as_f32().unwrap()[i * row..][..want.len()];
        close(&format!("{kind} {name} in a batch"), beside, &want, RELATIVE);
    }
}

/// The loss, and the gradient of every parameter.
fn check_gradients(kind: &str, got: &TensorFile, want: &TensorFile) {
    let grads: Vec<String> = want.names().into_iter().filter(|n| n.starts_with("grad.")).collect();
    let all = norm(grads.iter().flat_map(|n| values(want, n)));
    for name in grads.iter().chain([&"loss".to_string()]) {
        let (a, b) = (values(got, name), values(want, name));
        assert_eq!(a.len(), b.len(), "{kind}: elements of {name}");
        let off = norm(a.iter().zip(&b).map(|(a, b)| a - b));
        let allowed = RELATIVE * norm(b.into_iter()) + OF_ALL_GRADIENTS * all;
        assert!(off <= allowed, "{kind}: {name} is off by {off:e}, allowed {allowed:e}");
    }
    // What transformers has no gradient of stays as it is.
    let others = got
        .names()
        .into_iter()
        .filter(|n| n.starts_with("grad.") && !grads.contains(n));
    for name in others {
        assert_eq!(norm(values(got, &name).into_iter()), 0.0, "{kind}: {name}");
    }
}

fn check(kind: &str) {
    let native = compiled(kind);
    let want = TensorFile::open(&fixtures(kind).join("expected.safetensors")).unwrap();
    check_logits(kind, &native, &want);
    check_gradients(kind, &step_of(kind, &native), &want);
}

macro_rules! kinds {
    ($($kind:ident)*) => {
        $(#[test] fn $kind() { check(stringify!($kind)); })*
    };
}

kinds! {
    xlsr mms hubert_base hubert_large wavlm_base wavlm_large unispeech unispeech_sat data2vec conformer_rotary
    conformer_relative sew sew_d
}
