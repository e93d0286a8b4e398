//! The process that generates GPU code: reads jobs from its standard input, writes replies to its standard output. MLIR and
//! LLVM may end the process where code generation fails; then only this one is gone, and `w2vc` says which kernel it was.

use ir::codegen::{Job, Reply, greet, greeted, receive, send};
use std::io::{Error, stdin, stdout};
use std::process::ExitCode;
use w2vc_cuda::Generator;

fn main() -> ExitCode {
    // Values of kernels are trees, and MLIR recurses along them too.
    match ir::stack::with_stack(256 << 20, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("w2vc-codegen: {e}; it is run by `w2vc compile --target cuda`");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Error> {
    let (mut jobs, mut replies) = (stdin().lock(), stdout().lock());
    greet(&mut replies)?;
    greeted(&mut jobs)?;
    let generator = Generator::new();
    while let Some(job) = receive::<Job>(&mut jobs)? {
        send(&mut replies, &reply(&generator, &job))?;
    }
    Ok(())
}

fn reply(generator: &Generator, job: &Job) -> Reply {
    let archs: Vec<&str> = job.archs.iter().map(String::as_str).collect();
    let compiled = generator.compile(&job.symbol, &job.kernel, &job.alignment, &archs);
    compiled.map_err(|e| e.to_string())
}
