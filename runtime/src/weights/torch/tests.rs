//! Files that torch wrote (tests/fixtures/make_torch.py), and files that nobody should run.

use super::*;
use crate::weights::TensorFile;
use crate::weights::source::Source;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// Every tensor of one file is the same in the other.
fn same(source: &Source, safetensors: &str) {
    let want = TensorFile::open(&fixture(safetensors)).unwrap();
    let mut seen = 0;
    for name in want.names() {
        let old = name.replace("parametrizations.weight.original0", "weight_g");
        let old = old.replace("parametrizations.weight.original1", "weight_v");
        let own = [&name, &old]
            .into_iter()
            .find(|n| source.shape(n).is_some())
            .expect(&name);
        assert_eq!(source.shape(own).as_deref(), want.shape(&name), "{name}");
        let values = want.floats(&name).unwrap().unwrap();
        let mut read = vec![0.0; values.len()];
        source.floats_into(own, &mut read).unwrap();
        assert!(read == values, "{name}");
        seen += 1;
    }
    assert_eq!(source.names().len(), seen);
}

#[test]
fn a_folder_from_before_safetensors_is_read() {
    same(
        &Source::file(&fixture("torch/base_ctc.bin")).unwrap(),
        "base_like/ctc/model.safetensors",
    );
}

#[test]
fn checkpoints_of_fairseq_are_read_with_what_they_say() {
    let old = Source::file(&fixture("torch/base_pretrain_old.pt")).unwrap();
    same(&old, "base_like/pretrain/model.safetensors");
    let facts = old.facts().unwrap();
    assert_eq!((facts.normalize, &facts.tokens), (Some(false), &None));
    let new = Source::file(&fixture("torch/large_ctc.pt")).unwrap();
    same(&new, "large_like/ctc/model.safetensors");
    let facts = new.facts().unwrap();
    assert_eq!(facts.normalize, Some(true));
    assert_eq!(
        facts.tokens.as_ref().unwrap()[..6],
        ["<s>", "<pad>", "</s>", "<unk>", "|", "E"]
    );
    for (source, folder) in [(&old, "base_like/pretrain"), (&new, "large_like/ctc")] {
        let config: serde_json::Value = crate::weights::json(&fixture(folder).join("config.json")).unwrap();
        let told = &source.facts().unwrap().config;
        assert!(told.len() >= 15, "{told:?}");
        for (field, value) in told {
            assert_eq!(value, &config[field], "{field}");
        }
    }
}

#[test]
fn values_of_every_type_are_read_in_both_forms() {
    for name in ["torch/kinds.bin", "torch/kinds_old.bin"] {
        let file = TorchFile::open(&fixture(name)).unwrap();
        let read = |name: &str| {
            let mut values = vec![0.0; file.shape(name).unwrap().iter().product()];
            file.floats_into(name, &mut values)
                .map(|()| values)
                .map_err(|e| e.to_string())
        };
        for kind in ["half", "brain", "double", "parameter"] {
            assert_eq!(read(kind).unwrap(), [1.0, -2.5], "{kind}");
        }
        assert_eq!(file.shape("parameter"), Some(&[2, 1][..]));
        assert_eq!(
            (read("scalar").unwrap(), read("shared").unwrap()),
            (vec![3.0], vec![2.0, 3.0])
        );
        assert!(read("count").unwrap_err().contains("I64"));
    }
}

/// A file with this pickle and a storage `0` of so many bytes.
fn archive(pickle: &[u8], bytes: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [
        ("archive/data.pkl", pickle.to_vec()),
        ("archive/data/0", vec![0; bytes]),
    ] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn open(bytes: &[u8]) -> Result<TorchFile, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pytorch_model.bin");
    std::fs::write(&path, bytes).unwrap();
    TorchFile::open(&path).map_err(|e| e.to_string())
}

fn refused(pickle: &[u8]) -> String {
    open(&archive(pickle, 64)).err().expect("it is refused")
}

#[test]
fn nothing_that_a_pickle_names_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("witness");
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("__builtin__", "__import__"),
        ("runpy", "_run_code"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy", "load"),
        ("operator", "attrgetter"),
        ("importlib", "import_module"),
        ("fairseq.utils", "import_user_module"),
        ("fairseq_evil", "Class"),
        ("transformers.models.wav2vec2.modeling_wav2vec2", "Wav2Vec2ForCTC"),
    ] {
        let command = format!("touch {}", witness.display());
        // By a line, and by two texts from the stack.
        let plain = [&[0x80, 2, b'c'][..], format!("{module}\n{name}\n").as_bytes()].concat();
        let mut by_stack = vec![0x80, 4, 0x8c, module.len() as u8];
        by_stack.extend(module.as_bytes());
        by_stack.extend([0x8c, name.len() as u8]);
        by_stack.extend(name.as_bytes());
        by_stack.push(0x93);
        for mut pickle in [plain, by_stack] {
            pickle.extend([b'X']);
            pickle.extend((command.len() as u32).to_le_bytes());
            pickle.extend(command.as_bytes());
            pickle.extend([0x85, b'R', b'.']);
            let error = refused(&pickle);
            assert!(
                error.contains(&format!("`{module}.{name}`")) && error.contains("nothing of it was executed"),
                "{error}"
            );
        }
    }
    assert!(!witness.exists());
    // The old instructions for objects, and extensions.
    for code in [b'i', b'o', 0x82, 0x83, 0x84, b'P'] {
        assert!(refused(&[0x80, 2, b'(', code, b'.']).contains("instruction"));
    }
}

/// The pickle of `{'w': tensor}` with this shape, strides and offset, of a storage `0` of so many values.
fn tensor(shape: &[u64], stride: &[u64], offset: u64, values: u64) -> Vec<u8> {
    fn int(out: &mut Vec<u8>, n: u64) {
        out.extend([0x8a, 9]);
        out.extend(n.to_le_bytes());
        out.push(0);
        let at = out.len() - 10;
        // Eight bytes where they hold it with its sign.
        if n < 1 << 63 {
            out[at] = 8;
            out.pop();
        }
    }
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend([0x8c, text.len() as u8]);
        out.extend(text.as_bytes());
    }
    let mut p = vec![0x80, 2, b'}'];
    text(&mut p, "w");
    p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(&mut p, "storage");
    p.extend(b"ctorch\nFloatStorage\n");
    text(&mut p, "0");
    text(&mut p, "cpu");
    int(&mut p, values);
    p.extend(b"tQ");
    int(&mut p, offset);
    for sizes in [shape, stride] {
        p.push(b'(');
        sizes.iter().for_each(|n| int(&mut p, *n));
        p.push(b't');
    }
    p.extend([0x89, b'}', b't', b'R', b's', b'.']);
    p
}

#[test]
fn tensors_lie_in_their_storages() {
    let file = open(&archive(&tensor(&[2, 3], &[3, 1], 10, 16), 64)).unwrap();
    assert_eq!(file.shape("w"), Some(&[2, 3][..]));
    let huge = u64::MAX / 4;
    for (shape, stride, offset, values) in [
        (&[2, 3][..], &[3, 1][..], 11, 16),
        (&[17], &[1], 0, 16),
        (&[2], &[huge], 0, 16),
        (&[huge], &[0], 0, 16),
        (&[huge, huge], &[1, 1], 0, 16),
        (&[2], &[1], huge, 16),
        (&[2], &[1], u64::MAX, 16),
        (&[2, 3], &[1], 0, 16),
    ] {
        let error = refused(&tensor(shape, stride, offset, values));
        assert!(error.contains("tensor"), "{shape:?} {stride:?} {offset}: {error}");
    }
    // A storage that the pickle says is longer than it is.
    assert!(refused(&tensor(&[2], &[1], 0, 17)).contains("cut off"));
    assert!(refused(&tensor(&[2], &[1], 0, huge)).contains("cut off"));
}

#[test]
fn what_would_fill_the_memory_or_the_stack_is_refused_or_harmless() {
    let deep: Vec<u8> = [b")".to_vec(), vec![0x85; 3_000_000], b".".to_vec()].concat();
    assert!(refused(&deep).contains("no tensors"));
    let many: Vec<u8> = [b"N".to_vec(), vec![b'2'; 5_000_000], b".".to_vec()].concat();
    assert!(refused(&many).contains("more than"));
    let marks: Vec<u8> = vec![b'('; 5_000_000];
    assert!(refused(&marks).contains("more than"));
    // A list in itself.
    assert!(refused(b"]q\0h\0a.").contains("no tensors"));
    for odd in [
        &b"."[..],
        b"",
        b"R.",
        b"(.",
        b"h\x07.",
        b"X\xff\xff\xff\xff",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"K\x01K\x01R.",
    ] {
        refused(odd);
    }
}

#[test]
fn what_is_no_file_of_torch_is_named() {
    assert!(open(b"pickle").err().unwrap().contains("no file of torch"));
    assert!(open(b"").err().unwrap().contains("no file of torch"));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert!(open(pointer).err().unwrap().contains("git lfs pull"));
    assert!(open(b"PK\x03\x04nothing").err().unwrap().contains("zip"));
    // Any other pickle.
    assert!(open(&[0x80, 2, b'N', b'.']).err().unwrap().contains("no file of torch"));
    assert!(open(b"\x80\x02cos\nsystem\n.").err().unwrap().contains("`os.system`"));
}

/// Opens damaged bytes and reads all there is.
fn survive(bytes: &[u8]) {
    let Ok(file) = open(bytes) else { return };
    for name in file.names() {
        let count: usize = file.shape(&name).unwrap().iter().product();
        assert!(count <= bytes.len());
        let _ = file.floats_into(&name, &mut vec![0.0; count]);
    }
    let _ = crate::weights::fairseq::facts(&file);
}

#[test]
fn files_cut_anywhere_are_refused() {
    for name in ["torch/kinds.bin", "torch/kinds_old.bin"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for len in (0..whole.len()).step_by(7) {
            assert!(open(&whole[..len]).is_err(), "{name} cut to {len}");
        }
    }
}

proptest! {
    #[test]
    fn damaged_files_end_nothing(form in 0usize..2, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = std::fs::read(fixture(["torch/kinds.bin", "torch/kinds_old.bin"][form])).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survive(&bytes);
    }
}
