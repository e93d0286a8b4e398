//! The executable of a program for the GPU as a process: what it says and ends with where no GPU can be had, and the
//! calls that it makes to a driver (`driver.c`, which does nothing).

use ir::artifact::*;
use ir::dim::Dim;
use ir::scalar::DType;
use ir::task::{Arg, Does, Feed, Gives, Prediction, Task};
use ir::tensor_map::{MapSource, TensorMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PTX: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";
/// Launches of one run.
const LAUNCHES: usize = 5;

fn dim(text: &str) -> Dim {
    text.parse().expect("a size")
}

/// `transcribe` copies the wave five times.
fn artifact(gpu: Option<Precision>) -> Artifact {
    let port = |name: &str, dtype, shape: &[&str], buffer| Port {
        name: name.into(),
        dtype,
        shape: shape.iter().map(|d| dim(d)).collect(),
        buffer,
    };
    let buffer = |kind, dtype, elements: &str| Buffer {
        kind,
        dtype,
        elements: dim(elements),
        live: (0, LAUNCHES),
    };
    let at = |buffer| Operand {
        buffer,
        offset: Dim::from(0),
        layer_stride: Dim::from(0),
    };
    let launch = Step::Launch(Launch {
        kernel: 0,
        operands: vec![at(0), at(2)],
    });
    let (f, i) = (DType::F32, DType::I32);
    let feed = |input: &str, kind: &str, args: Vec<Arg>| {
        let kind = kind.to_string();
        (input.to_string(), Feed { kind, args })
    };
    Artifact {
        name: "copies".into(),
        cpu_features: vec![],
        gpu,
        int8: None,
        constants: Default::default(),
        graphs: Default::default(),
        tasks: vec![Task {
            name: "transcribe".into(),
            about: String::new(),
            settings: vec![],
            by_hours: vec![],
            feeds: vec![
                feed("wave", "Wave", vec![Arg::Size(dim("N"))]),
                feed("lengths", "Lengths", vec![]),
            ],
            does: Does::Predict(Prediction {
                program: "transcribe".into(),
                gives: Gives::Text {
                    logits: "logits".into(),
                },
            }),
        }],
        export: Default::default(),
        config: Default::default(),
        run_sizes: vec![],
        params: vec![],
        param_room: 0.into(),
        param_elements: 0,
        symbols: vec![],
        dims: vec![("T".into(), dim("N"))],
        kernels: vec![KernelInfo {
            name: "copy".into(),
            what: String::new(),
            entries: vec![],
            workspace: Dim::from(0),
            scratch: Dim::from(0),
            flops: Dim::from(0),
            factors: ir::artifact::Factors::F32,
            bytes: Dim::from(0),
        }],
        programs: vec![Program {
            name: "transcribe".into(),
            inputs: vec![port("wave", f, &["B", "N"], 0), port("lengths", i, &["B"], 1)],
            outputs: vec![port("logits", f, &["B", "N", "1"], 2)],
            buffers: vec![
                buffer(BufferKind::Input, f, "B*N"),
                buffer(BufferKind::Input, i, "B"),
                buffer(BufferKind::Output, f, "B*N"),
            ],
            requires: vec![],
            prepare: vec![],
            steps: vec![launch; LAUNCHES],
            loss: None,
            reads: vec![],
            trains: vec![],
        }],
    }
}

/// An executable with PTX for sm_80, in a folder of its own.
struct Executable {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Executable {
    fn new(gpu: Option<Precision>, ptx: &str) -> Executable {
        Executable::with_maps(gpu, ptx, vec![])
    }

    fn with_maps(gpu: Option<Precision>, ptx: &str, maps: Vec<TensorMap>) -> Executable {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        let runner = std::fs::read(env!("CARGO_BIN_EXE_w2vc-runner")).unwrap();
        let image = PtxImage {
            arch: "sm_80".into(),
            kernels: vec![PtxKernel {
                text: ptx.into(),
                grids: vec![Grid {
                    function: "copy".into(),
                    blocks: [dim("B"), Dim::from(1), Dim::from(1)],
                    threads: 32,
                    shared: 64,
                    sizes: vec![dim("B*N")],
                    maps,
                    schedule: String::new(),
                }],
                workspace: Dim::from(0),
            }],
        };
        let code = w2vc_runtime::exec::pack_ptx(&[image]).unwrap();
        std::fs::write(
            &path,
            w2vc_runtime::exec::append(&runner, &artifact(gpu), &code).unwrap(),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Executable { dir, path }
    }

    /// Puts a driver where the executable looks first.
    fn with_driver(self) -> Executable {
        self.with_library(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/driver.c"))
    }

    fn with_library(self, source: &Path) -> Executable {
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(self.dir.path().join("libcuda.so"))
            .arg(source)
            .status();
        assert!(built.unwrap().success());
        self
    }

    fn call(&self, line: &str, variables: &[(&str, &str)]) -> (i32, String) {
        let Output { status, stderr, stdout } = Command::new(&self.path)
            .args(line.split(' '))
            .env("LD_LIBRARY_PATH", self.dir.path())
            .env("CALLS", self.dir.path().join("calls"))
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[stderr, stdout].concat()).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        (status.code().unwrap_or(-1), said)
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("calls")).unwrap();
        text.lines().map(str::to_string).collect()
    }
}

#[test]
fn without_a_gpu_an_executable_says_so_and_ends_with_its_code() {
    let model = Executable::new(Some(Precision::Bf16), PTX);
    for line in ["bench", "bench --device auto", "bench --device cuda:1"] {
        let (code, said) = model.call(line, &[("CUDA_VISIBLE_DEVICES", "")]);
        // With a driver but no visible device the message is another.
        let known = match code {
            3 => "no NVIDIA driver was found",
            4 => "update the driver",
            _ => "no suitable GPU",
        };
        assert!(matches!(code, 3..=5) && said.contains(known), "{line}: {code} {said}");
    }
    let (code, said) = model.call("bench --device cpu", &[]);
    assert!(code == 2 && said.contains("auto, cuda:N"), "{code} {said}");
}

#[test]
fn an_executable_for_the_processor_refuses_a_device() {
    let (code, said) = Executable::new(None, PTX).call("--device emulator bench", &[]);
    assert!(code == 2 && said.contains("compiled for the GPU"), "{code} {said}");
}

#[test]
fn every_way_to_be_without_a_gpu_has_its_words_and_its_code() {
    let model = Executable::new(Some(Precision::Fp32), PTX).with_driver();
    let ends = |line: &str, variables: &[(&str, &str)], code: i32, part: &str| {
        let (ended, said) = model.call(line, variables);
        assert!(
            ended == code && said.contains(part),
            "{line} {variables:?}: {ended} {said}"
        );
    };
    ends("bench", &[("INIT", "34")], 3, "no NVIDIA driver");
    ends(
        "bench",
        &[("VERSION", "11080")],
        4,
        "supports CUDA 11.8 and this executable needs 12.0",
    );
    ends("bench", &[("INIT", "803")], 5, "of different versions");
    ends(
        "bench",
        &[("SHARED", "32")],
        5,
        "kernel `copy` needs 64 bytes of shared memory",
    );
    ends("bench", &[("INIT", "100")], 5, "sees none");
    ends("bench", &[("DEVICES", "0")], 5, "sees none");
    ends("bench --device cuda:2", &[("DEVICES", "2")], 5, "the last is cuda:1");
    ends(
        "bench --device cuda:0:sm_90a",
        &[],
        2,
        "this executable has code for sm_80",
    );
    let capability = "cuda:0 (Nothing 0) has compute capability 7.5";
    ends("bench", &[("CAPABILITY", "75")], 5, capability);
    ends(
        "bench --batch 300",
        &[("MIB", "512")],
        6,
        "would fit has 209 of these 300",
    );
    ends("bench", &[("SYNCHRONIZE", "700")], 7, "cuStreamSynchronize");
    let (code, said) = Executable::new(Some(Precision::Fp32), ".version 8.0")
        .with_driver()
        .call("bench", &[]);
    assert!(
        code == 7 && said.contains("kernel `copy`") && said.contains("ptxas: no target"),
        "{code} {said}"
    );
}

#[test]
fn a_library_that_lacks_functions_has_its_words_too() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("empty.c");
    std::fs::write(&source, "int nothing;\n").unwrap();
    let model = Executable::new(Some(Precision::Fp32), PTX).with_library(&source);
    let (code, said) = model.call("bench", &[]);
    assert!(code == 7 && said.contains("cuDriverGetVersion"), "{code} {said}");
}

#[test]
fn runs_after_the_first_replay_a_recording() {
    let model = Executable::new(Some(Precision::Fp32), PTX).with_driver();
    let (code, said) = model.call("bench --seconds 0.1 --batch 2 --runs 3", &[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("memory: ") && said.contains("1.0 GiB are free on Nothing 0"),
        "{said}"
    );
    let (inputs, launches) = (["upload"; 2], |what| vec![what; LAUNCHES]);
    let replayed = [&inputs[..], &["replay", "download"]].concat();
    let want = [
        vec!["alloc", "alloc"],
        inputs.to_vec(),
        vec!["load"],
        launches("launch"),
        vec!["download"],
        inputs.to_vec(),
        launches("record"),
        vec!["replay", "download"],
        replayed.clone(),
        replayed,
        vec!["free", "free", "release"],
    ];
    assert_eq!(model.calls(), want.concat());
}

#[test]
fn tensor_maps_are_made_by_the_driver() {
    let map = TensorMap {
        source: MapSource::Slot(0),
        offset: Dim::from(0),
        dtype: DType::Bf16,
        extents: vec![dim("N"), dim("B")],
        strides: vec![dim("2*N")],
        tile: vec![64, 16],
    };
    let model = Executable::with_maps(Some(Precision::Bf16), PTX, vec![map]).with_driver();
    let line = "bench --seconds 0.1 --batch 2 --runs 1";
    let (code, said) = model.call(line, &[("MAP", "")]);
    assert_eq!(code, 0, "{said}");
    let calls = model.calls();
    let of = |what: &str| calls.iter().filter(|call| *call == what).count();
    assert_eq!(of("encode"), of("launch") + of("record"), "{calls:?}");
    let made = calls
        .iter()
        .filter(|call| call.starts_with("map of"))
        .collect::<Vec<_>>();
    assert!(
        made.iter().all(|m| *m == made[0]) && made.len() == of("encode"),
        "{calls:?}"
    );
    assert_eq!(*made[0], "map of slot 0: 1600 x 2, stride 6400, box 64 x 16");
    let (code, said) = model.call(line, &[("ENCODE", "1")]);
    assert!(
        code == 7 && said.contains("cuTensorMapEncodeTiled: map 0 of `copy`"),
        "{code} {said}"
    );
}

#[test]
fn kernels_are_timed_one_by_one() {
    let model = Executable::new(Some(Precision::Fp32), PTX).with_driver();
    let (code, said) = model.call("bench --seconds 0.1 --runs 1 --profile", &[]);
    let line = said.lines().find(|l| l.contains("copy")).unwrap_or_default();
    assert!(
        code == 0 && line.split_whitespace().next() == Some("10.0000") && line.contains(" 5 "),
        "{said}"
    );
}
