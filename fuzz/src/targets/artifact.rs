//! Executables, and what they carry.

use super::Target;
use crate::input::Input;
use ir::artifact::{Artifact, Init, Param, PtxImage};
use runtime::exec::{Bundle, append, pack_ptx, unpack_ptx};
use std::collections::BTreeMap;
use std::path::Path;

pub const TARGET: Target = Target {
    name: "artifact",
    seeds,
    words: &["W2VC-003", "W2VC-"],
    run,
};

fn small() -> Artifact {
    Artifact {
        name: "small".into(),
        cpu_features: vec!["avx2".into()],
        gpu: None,
        int8: None,
        constants: BTreeMap::from([("hidden".into(), 8.0)]),
        tasks: vec![],
        graphs: Default::default(),
        export: BTreeMap::from([("config.json".into(), "{}".into())]),
        config: Default::default(),
        params: vec![Param::fixed("w", &[2, 3], 0, Init::Normal { std: 0.1 })],
        run_sizes: vec![],
        param_room: ir::dim::Dim::from(6),
        param_elements: 6,
        symbols: vec!["B".into(), "T".into()],
        dims: vec![("frames".into(), ir::dim::Dim::sym("T"))],
        kernels: vec![],
        programs: vec![],
    }
}

/// The file, its description and its code, each by itself, since a digest guards the whole.
fn seeds() -> Vec<Input> {
    let images = [PtxImage {
        arch: "sm_80".into(),
        kernels: vec![],
    }];
    let code = pack_ptx(&images).expect("plain data always serialises");
    let file = append(b"runner", &small(), &code).expect("plain data always serialises");
    let description = postcard::to_stdvec(&small()).expect("plain data always serialises");
    vec![Input {
        files: vec![
            ("program".into(), file),
            ("description".into(), description),
            ("code".into(), code),
        ],
    }]
}

fn run(input: &Input, folder: &Path) -> bool {
    let Ok(path) = input.write(folder) else { return false };
    let whole = Bundle::read(&path).is_ok_and(|b| b.code().is_ok());
    let description = postcard::from_bytes::<Artifact>(&input.files[1].1);
    if let Ok(artifact) = &description {
        let _ = postcard::to_stdvec(artifact);
    }
    let code = unpack_ptx(&input.files[2].1);
    whole && description.is_ok() && code.is_ok()
}
