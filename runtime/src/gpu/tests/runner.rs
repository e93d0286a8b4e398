use super::model::{artifact, image};
use crate::Error;
use crate::exec::{append, open, pack_ptx, unpack_ptx};
use crate::gpu::{Choice, Gpu};
use crate::session::Tensor;
use std::path::PathBuf;

/// An executable of the test model for two architectures.
fn executable(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("vectors");
    let code = pack_ptx(&[image("sm_90a"), image("sm_80")]).unwrap();
    std::fs::write(&path, append(b"runner", &artifact(), &code).unwrap()).unwrap();
    path
}

#[test]
fn code_is_packed_and_damage_is_seen() {
    let images = [image("sm_80"), image("sm_90a")];
    let mut packed = pack_ptx(&images).unwrap();
    assert_eq!(unpack_ptx(&packed).unwrap(), images);
    let middle = packed.len() / 2;
    packed[middle] ^= 4;
    assert!(unpack_ptx(&packed).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn devices_are_chosen_by_name() {
    let choice = |text: &str| text.parse::<Choice>();
    assert_eq!(choice("auto").unwrap(), Choice::Auto);
    assert_eq!(choice("cuda:3").unwrap(), Choice::Cuda(3, None));
    assert_eq!(choice("cuda:3:sm_80").unwrap(), Choice::Cuda(3, Some("sm_80".into())));
    assert_eq!(choice("emulator").unwrap(), Choice::Emulator(None));
    assert_eq!(
        choice("emulator:sm_90a").unwrap(),
        Choice::Emulator(Some("sm_90a".into()))
    );
    for slip in [
        "",
        "gpu",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "cuda:0:fast",
        "cuda::sm_80",
        "emulator:fast",
    ] {
        assert!(choice(slip).unwrap_err().to_string().contains("cuda:N"), "{slip}");
    }
}

#[test]
fn an_executable_for_the_gpu_runs_on_the_emulator() {
    let dir = tempfile::tempdir().unwrap();
    let runner = open(&executable(&dir)).unwrap();
    let mut session = runner.open(1, Some("emulator")).unwrap();
    session.params().unwrap()[..4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
    let (wave, keep) = (Tensor::f32(&[1, 4], vec![0.5; 4]), Tensor::f32(&[5], vec![1.0; 5]));
    let inputs = [("wave", &wave), ("keep", &keep)];
    let out = session.run("train", &inputs).unwrap();
    assert_eq!(out[0].1.as_f32().unwrap(), [1.5, 2.5, 3.5, 4.5]);
    assert!(session.device().unwrap().contains("sm_80"));
    // Three launches of `copy` after the loop, one before; the layers; one into the gradients.
    assert_eq!(runner.flops("train", &inputs).unwrap().total(), 4.0 * (4.0 + 5.0 + 1.0));
    let e = runner
        .open(1, Some("emulator:sm_100"))
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(e.contains("sm_90a and sm_80"), "{e}");
}

#[test]
fn without_a_driver_there_is_a_message_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    if super::super::cuda::driver_is_present() {
        return;
    }
    for device in [Choice::Cuda(0, None), Choice::Auto] {
        let e = Gpu::open(&executable(&dir))
            .unwrap()
            .session(&device, 1)
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(e, Error::NoDriver { .. }) && e.exit_code() == 3, "{e}");
        assert!(
            e.to_string().contains("driver") && e.to_string().contains("12.0"),
            "{e}"
        );
    }
}
