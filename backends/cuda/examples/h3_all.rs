//! Temporary: PTX of all kernels of a listing.
use cuda::Generator;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = std::fs::read_to_string(&args[0]).unwrap();
    let out = &args[1];
    let arch = &args[2];
    let kinds: Vec<&str> = args[3].split(',').collect();
    let g = Generator::new();
    for part in text.split("\n// ").filter(|p| !p.trim().is_empty()) {
        let part = part.trim_start_matches("// ");
        let (name, body) = part.split_once('\n').unwrap();
        if !kinds.iter().any(|k| name.starts_with(&format!("{k}_"))) {
            continue;
        }
        let kernel = ir::kernel_text::parse(body).unwrap();
        let alignment = vec![256; kernel.slots.len()];
        let start = std::time::Instant::now();
        match g.compile(name, &kernel, &alignment, &[arch]) {
            Ok(c) => {
                std::fs::write(format!("{out}/{name}.ptx"), &c.ptx[0]).unwrap();
                std::fs::write(format!("{out}/{name}.kernel"), body).unwrap();
                println!("{name} {} {:?} {}", c.ptx[0].len(), start.elapsed(), body.lines().next().unwrap());
            }
            Err(e) => println!("{name} FAILED {e}"),
        }
    }
}
