//! Writes what the bundle for a real GPU carries into a folder: `make-gpu-bundle FOLDER RUNNER`. See scripts/gpu_bundle.sh.

use std::path::PathBuf;
use std::process::ExitCode;
use w2vc_tests::bundle;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(runner)) = (args.next(), args.next()) else {
        eprintln!("usage: make-gpu-bundle FOLDER RUNNER");
        return ExitCode::from(2);
    };
    let quiet = |_, _| ();
    let made = bundle::kernels(&folder, &quiet).and_then(|kernels| {
        println!("{kernels} kernels");
        bundle::tiny(&folder, &quiet)?;
        println!("models/tiny.ron in fp32 and bf16");
        bundle::base(&folder, &runner, &quiet)?;
        println!("models/base.ron in fp32 and bf16");
        Ok(())
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
