//! Says which PTX files the emulator covers: `cargo run -p w2vc-ptx --example check FILE...`.

fn main() {
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        match w2vc_ptx::Module::parse(&text) {
            Ok(module) => println!("{path}: {}", module.kernels().collect::<Vec<_>>().join(" ")),
            Err(error) => println!("{path}: {error}"),
        }
    }
}
