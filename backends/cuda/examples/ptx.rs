//! Prints the PTX of a sampled kernel: `cargo run -p w2vc-cuda --example ptx -- row 7 sm_80 [mlir]`.

use cuda::Generator;
use ir::kernel_sample as sample;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, seed, arch, rest @ ..] = &args[..] else {
        panic!("usage: ptx KIND SEED ARCH [mlir|kernel]")
    };
    let seed = seed.parse().expect("the seed is a number");
    let s = match kind.as_str() {
        "row" => sample::row(seed),
        "column" => sample::column(seed),
        "contract" => sample::contract(seed),
        "attention" => sample::attention(seed),
        "attention_grad" => sample::attention_grad(seed),
        "scatter" => sample::scatter(seed),
        "ctc" => sample::ctc(seed),
        k => panic!("there are no samples of `{k}`"),
    };
    let alignment = vec![4; s.kernel.slots.len()];
    if rest.first().is_some_and(|r| r == "kernel") {
        println!("{}", s.kernel);
    }
    match Generator::new().compile("k", &s.kernel, &alignment, &[arch]) {
        Ok(c) if rest.first().is_some_and(|r| r == "mlir") => println!("{}", c.mlir),
        Ok(c) => println!("{}\n// {:?}", c.ptx[0], c.grids),
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1);
        }
    }
}
