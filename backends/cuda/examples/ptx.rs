//! Prints the PTX of a sampled kernel, or of a kernel's text: `cargo run -p w2vc-cuda --example ptx -- row 7 sm_80 [mlir]`,
//! `... -- file kernel.txt sm_90a`.

use ir::kernel::Kernel;
use ir::kernel_sample as sample;
use w2vc_cuda::Generator;

/// Bytes that operands of a kernel's text are aligned to; those of samples lie anywhere.
const ALIGNED: u32 = 64;

fn kernel(kind: &str, which: &str) -> (Kernel, u32) {
    if kind == "file" {
        let text = std::fs::read_to_string(which).expect("the file can be read");
        return (ir::kernel_text::parse(&text).expect("it holds a kernel"), ALIGNED);
    }
    let seed = which.parse().expect("the seed is a number");
    let s = match kind {
        "row" => sample::row(seed),
        "column" => sample::column(seed),
        "contract" => sample::contract(seed),
        "attention" => sample::attention(seed),
        "attention_grad" => sample::attention_grad(seed),
        "scatter" => sample::scatter(seed),
        "ctc" => sample::ctc(seed),
        k => panic!("there are no samples of `{k}`"),
    };
    (s.kernel, 4)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, which, arch, rest @ ..] = &args[..] else {
        panic!("usage: ptx KIND SEED|FILE ARCH [mlir|kernel]")
    };
    let (kernel, aligned) = kernel(kind, which);
    let alignment = vec![aligned; kernel.slots.len()];
    if rest.first().is_some_and(|r| r == "kernel") {
        println!("{kernel}");
    }
    match Generator::new().compile("k", &kernel, &alignment, &[arch]) {
        Ok(c) if rest.first().is_some_and(|r| r == "mlir") => println!("{}", c[0].mlir),
        Ok(c) => println!("{}\n// {:?}", c[0].ptx.text, c[0].ptx.grids),
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1);
        }
    }
}
