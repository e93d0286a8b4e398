//! The published models, as described in models/.

use frontend::{Model, check_report, load};
use std::path::{Path, PathBuf};

fn model(name: &str, sets: &[(&str, &str)]) -> Model {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
    let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    load(&path, &sets).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn base_loads() {
    let m = model("base.ron", &[]);
    println!("{}", check_report(&m));
}
