//! What people are told of their mistakes. Expected texts are in golden/; UPDATE_GOLDEN=1 rewrites them.

mod host;

use frontend::load;
use std::fs;
use std::path::{Path, PathBuf};

/// A whole model; each case spoils one line of it.
const GOOD: &str = r#"(
    name: "net",
    constants: {
        "width": (8, "channels"),
        "layers": 2,
    },
    symbols: ["B", "N"],
    sizes: { "T": "(N - 4) / 2 + 1" },
    blocks: {
        "dense": (
            args: ["x"], dims: ["I", "O"],
            params: { "weight": (shape: ["O", "I"], init: Normal(0.02)) },
            body: "y = linear(x, weight)",
            returns: ["y"],
        ),
        "conv": (
            args: ["x"],
            params: { "weight": (shape: ["width", 1, 4], init: KaimingNormal) },
            body: "y = gelu(conv1d(x, weight, stride: 2))",
            returns: ["y"],
        ),
        "layer": (
            args: ["x"],
            body: "y = x + dense(x, I: width, O: width) as dense",
            returns: ["y"],
        ),
    },
    programs: {
        "train": (
            inputs: { "x": "f32[B, N, 1]", "target": "f32[B, T, width]" },
            body: "
                y = conv(x) as conv
                y = repeat(layers) layer(y) as layers.{i}
                e = y - target
                loss = sum(e * e, axes: [0, 1, 2], keep: false)
            ",
            outputs: ["loss"],
            loss: "loss",
            trains: ["*"],
        ),
    },
    recipes: { "train": { "lr": (1e-3, "learning rate") } },
    export: { "train": { "width": "$width" } },
)
"#;

/// (name, a piece of GOOD, what stands there instead)
const CASES: &[(&str, &str, &str)] = &[
    ("unknown_op", "gelu(conv1d(", "gleu(conv1d("),
    ("unknown_block", "layer(y) as", "layr(y) as"),
    ("unknown_attribute", "stride: 2", "stride: 2, pading: 1"),
    ("missing_attribute", ", stride: 2", ""),
    ("wrong_attribute_type", "stride: 2", "stride: 'two'"),
    ("shape_mismatch", "[\"O\", \"I\"]", "[\"O\", \"I + 1\"]"),
    (
        "shapes_do_not_match",
        "target\": \"f32[B, T, width]",
        "target\": \"f32[B, N, width]",
    ),
    ("undefined_dim", "[\"O\", \"I\"]", "[\"O\", \"In\"]"),
    ("undefined_size", "f32[B, N, 1]", "f32[B, S, 1]"),
    ("undefined_name", "e = y - target", "e = y - targte"),
    ("wrong_type", "repeat(layers)", "repeat(x)"),
    ("wrong_dtype", "e = y - target", "e = y - cast(target, dtype: i32)"),
    ("fraction_as_size", "[\"width\", 1, 4]", "[\"width / 3\", 1, 4]"),
    ("block_cycle", "y = linear(x, weight)", "y = layer(x)"),
    (
        "constant_cycle",
        "\"layers\": 2",
        "\"layers\": \"width / 4\", \"depth\": \"depth * 2\"",
    ),
    ("missing_comma", "\"layers\": 2,\n    },\n", "\"layers\": 2,\n    }\n"),
    ("missing_comma_in_call", "I: width, O", "I: width O"),
    ("unknown_field", "returns: [\"y\"]", "return: [\"y\"]"),
    ("unknown_init", "KaimingNormal", "KaimingNorml"),
    ("missing_field", "shape: [\"width\", 1, 4], ", ""),
    ("missing_block_dim", "I: width, O: width", "I: width"),
    ("wrong_number_of_arguments", "conv(x) as", "conv(x, x) as"),
    ("several_results", "e = y - target", "(e, f) = y - target"),
    (
        "conflicting_parameter",
        "y = conv(x) as conv",
        "z = dense(target, I: width, O: 3) as conv\n                y = conv(x) as conv",
    ),
    ("repeat_without_index", "as layers.{i}", "as layers"),
    ("unclosed_string", "recipes: { \"train\"", "recipes: { \"train"),
    ("not_an_output", "loss: \"loss\"", "loss: \"los\""),
    ("pattern_without_match", "trains: [\"*\"]", "trains: [\"cnv.*\"]"),
    ("defined_twice", "\"layer\": (", "\"conv\": ("),
    ("unknown_in_export", "$width", "$widht"),
    ("parameter_of_a_batch", "[\"O\", \"I\"]", "[\"O\", \"B\"]"),
    (
        "run_size_too_small",
        "    symbols: [",
        "    run_sizes: { \"letters\": (0, \"classes\") },\n    symbols: [",
    ),
    (
        "run_size_named_twice",
        "    symbols: [",
        "    run_sizes: { \"width\": 3 },\n    symbols: [",
    ),
    ("statement_without_value", "e = y - target", "e = y -"),
];

fn render(dir: &Path, file: &str, sets: &[(&str, &str)]) -> String {
    let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    match load(&dir.join(file), &sets) {
        Ok(_) => panic!("{file} {sets:?}: a mistake was not seen"),
        Err(e) => e.render(false).replace(&format!("{}/", dir.display()), ""),
    }
}

fn compare(name: &str, got: &str, wrong: &mut Vec<String>) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, got).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    if want != got {
        wrong.push(format!("{name}: expected\n{want}got\n{got}"));
    }
}

#[test]
fn every_mistake_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = vec![];
    fs::write(dir.path().join("net.ron"), GOOD).unwrap();
    load(&dir.path().join("net.ron"), &[]).unwrap_or_else(|e| panic!("{e}"));
    for (name, good, bad) in CASES {
        assert!(GOOD.contains(good), "{name}: nothing to spoil");
        fs::write(dir.path().join("net.ron"), GOOD.replacen(good, bad, 1)).unwrap();
        compare(name, &render(dir.path(), "net.ron", &[]), &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_GOLDEN=1 rewrites the expected texts",
        wrong.join("\n")
    );
}

#[test]
fn mistakes_between_files_and_in_set_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = vec![];
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("net.ron", GOOD);
    compare(
        "set_unknown",
        &render(dir.path(), "net.ron", &[("widht", "4")]),
        &mut wrong,
    );
    compare(
        "set_malformed",
        &render(dir.path(), "net.ron", &[("width", "4 +")]),
        &mut wrong,
    );
    compare(
        "set_too_small",
        &render(dir.path(), "net.ron", &[("width", "0")]),
        &mut wrong,
    );
    write("a.ron", "(extends: \"b.ron\")");
    write("b.ron", "(extends: \"a.ron\")");
    compare("extends_cycle", &render(dir.path(), "a.ron", &[]), &mut wrong);
    write("c.ron", "(extends: \"nett.ron\")");
    compare("extends_missing", &render(dir.path(), "c.ron", &[]), &mut wrong);
    write(
        "d.ron",
        "(\n    extends: \"net.ron\",\n    constants: { \"layers\": \"widths\" },\n)\n",
    );
    compare("mistake_over_base", &render(dir.path(), "d.ron", &[]), &mut wrong);
    compare("no_such_file", &render(dir.path(), "e.ron", &[]), &mut wrong);
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_GOLDEN=1 rewrites the expected texts",
        wrong.join("\n")
    );
}

/// No text at all makes the loader panic: every prefix of a good file, and every file with one character gone.
#[test]
fn broken_files_are_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.ron");
    for i in (0..GOOD.len()).step_by(7) {
        for text in [GOOD[..i].to_string(), format!("{}{}", &GOOD[..i], &GOOD[i + 1..])] {
            fs::write(&path, text).unwrap();
            if let Err(e) = load(&path, &[]) {
                assert!(e.render(false).contains("net.ron:"), "{e}");
            }
        }
    }
}
