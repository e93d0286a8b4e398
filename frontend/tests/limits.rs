//! Model files that are made to break what reads them: each is refused with its place, in little time and memory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use w2vc_frontend::load_programs;

const HEAD: &str = r#"name: "x", symbols: ["B"]"#;

/// A program over `x` with a body.
fn program(body: &str) -> String {
    format!("({HEAD}, {})", programs(body))
}

fn programs(body: &str) -> String {
    format!(r#"programs: {{ "p": (inputs: {{ "x": "f32[B, 4]" }}, body: "{body}", outputs: ["y"]) }}"#)
}

/// What is said of a file, which must not take long.
fn said(dir: &Path, text: &[u8], sets: &[(&str, &str)]) -> String {
    let path = dir.join("hostile.ron");
    fs::write(&path, text).unwrap();
    let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let start = Instant::now();
    let said = load_programs(&path, &sets).map(|_| ()).unwrap_err().render(false);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(said.len() < 20_000, "{} bytes", said.len());
    said
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, what: &str) {
    let dir = tempfile::tempdir().unwrap();
    let said = said(dir.path(), text.as_ref(), &[]);
    assert!(said.contains(what) && said.contains("hostile.ron:"), "{what}: {said}");
}

#[test]
fn deep_and_long_expressions() {
    let deep =
        |open: &str, inside: &str, close: &str| format!("y = {}{inside}{}", open.repeat(5000), close.repeat(5000));
    for body in [
        deep("(", "x", ")"),
        deep("[", "x", "]"),
        deep("-", "x", ""),
        deep("gelu(", "x", ")"),
        deep("x + (", "x", ")"),
        format!("y = x{}", " + x".repeat(60_000)),
        format!("y = x{}", " * 2.0 / 2.0".repeat(60_000)),
    ] {
        refused(program(&body), "within each other in one expression");
    }
    let dir = tempfile::tempdir().unwrap();
    let text = format!(r#"({HEAD}, constants: {{ "c": 4 }}, {})"#, programs("y = x * c"));
    for value in ["(".repeat(5000), format!("1{}", "+1".repeat(60_000)), "-".repeat(5000)] {
        let said = said(dir.path(), text.as_bytes(), &[("c", &value)]);
        assert!(said.contains("one expression") && said.contains("--set:1:"), "{said}");
    }
    for value in ["1e999", "inf", "0/0", "1/0", "1e308*10"] {
        let said = said(dir.path(), text.as_bytes(), &[("c", value)]);
        assert!(said.contains("--set:1:"), "{value}: {said}");
    }
    refused(program(&"y = gelu(x)\n".repeat(6000)), "statements in one body");
}

#[test]
fn expansion() {
    let doubling = |last: &str| {
        let block = |i: usize, body: &str| format!(r#""b{i}": (args: ["x"], body: "{body}", returns: ["y"])"#);
        let mut all: Vec<String> = (0..40)
            .map(|i| block(i, &format!("z = b{n}(x); y = b{n}(z)", n = i + 1)))
            .collect();
        all.push(block(40, last));
        format!("({HEAD}, blocks: {{ {} }}, {})", all.join(", "), programs("y = b0(x)"))
    };
    refused(doubling("y = x + 1.0"), "ops, with its blocks written out");
    // Blocks without ops expand too.
    refused(doubling("y = x"), "with its blocks written out");
    let chain: Vec<String> = (0..100)
        .map(|i| format!(r#""b{i}": (args: ["x"], body: "y = b{}(x)", returns: ["y"])"#, i + 1))
        .collect();
    refused(
        format!(
            "({HEAD}, blocks: {{ {} }}, {})",
            chain.join(", "),
            programs("y = b0(x)")
        ),
        "call each other",
    );
    let lists: String = (0..40).map(|i| format!("l{} = [l{i}, l{i}]; ", i + 1)).collect();
    refused(program(&format!("l0 = [1, 1]; {lists} y = x")), "a list of more than");
    let constants: Vec<String> = (0..1000).map(|i| format!(r#""c{i}": "c{} + 1""#, i + 1)).collect();
    refused(
        format!(
            r#"({HEAD}, constants: {{ {}, "c1000": 1 }}, {})"#,
            constants.join(", "),
            programs("y = x * c0")
        ),
        "lead on to each other",
    );
    let many: Vec<String> = (0..5000).map(|i| format!(r#""c{i}": 1"#)).collect();
    refused(
        format!("({HEAD}, constants: {{ {} }})", many.join(", ")),
        "entries in one map",
    );
}

#[test]
fn sizes() {
    let squares = |first: &str, step: &str| {
        let all: Vec<String> = (1..40)
            .map(|i| format!(r#""s{i}": "{}""#, step.replace('#', &format!("s{}", i - 1))))
            .collect();
        let sizes = format!(r#""s0": "{first}", {}"#, all.join(", "));
        format!("({HEAD}, sizes: {{ {sizes} }}, {})", programs("y = x"))
    };
    refused(squares("B + 1", "# * #"), "too large");
    refused(squares("B + 2", "(# * # + 1) / 3"), "too large");
    refused(
        squares("B / 9223372036854775807", "(# - 2) / 9223372036854775807"),
        "too large",
    );
    for (shape, what) in [
        ("[B, -1]", "below 0"),
        ("[9000000000, B]", "the most is"),
        ("[2000000000, 2000000000, B]", "too many elements"),
        ("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,B]", "axes"),
        ("[B / 0]", "division by zero"),
    ] {
        refused(program(&format!("y = broadcast(1.0, shape: {shape})")), what);
    }
    for (body, what) in [
        ("y = slice(x, axis: 1, start: -1, len: 2)", "0 or more"),
        ("y = slice(x, axis: 1, start: 1, len: -2)", "0 or more"),
        ("y = slice(x, axis: 1, start: 3, len: 2)", "outside"),
        ("y = pad(x, axis: 1, before: -2, after: 0)", "0 or more"),
        ("y = reshape(x, shape: [B, -1, -4])", "below 0"),
        ("y = iota(size: 0 - 5)", "below 0"),
        ("y = unfold(x, size: 9, step: 1)", "below 0"),
        ("y = x * floor_div(7, 0)", "divisor"),
        ("y = x * ((0 - 9223372036854775807 - 1) / (0 - 1))", "too large"),
        ("y = reshape(x, shape: ['((((((((((B']) ", "attributes"),
    ] {
        refused(program(body), what);
    }
    let param = |shape: &str, init: &str, layers: &str| {
        let block = format!(
            r#""b": (args: ["x"], params: {{ "w": (shape: [{shape}], init: {init}) }}, body: "y = x + sum(w, axes: [0, 1], keep: false)", returns: ["y"])"#
        );
        let body = format!("y = repeat({layers}) b(x) as l.{{i}}");
        format!("({HEAD}, blocks: {{ {block} }}, {})", programs(&body))
    };
    refused(param("0, 4", "Zeros", "2"), "at least 1");
    refused(param("4294967296, 4", "Zeros", "2"), "at most");
    refused(param("2000000000, 2000000000", "Zeros", "2"), "all parameters together");
    refused(param("4, 4", "Normal(1e999)", "2"), "1e308");
    refused(param("4, 4", "Normal(\"1e308*10\")", "2"), "finite");
    refused(param("4, 4", "FanIn(0)", "2"), "fan-in");
    refused(param("4, 4", "Uniform(1, -1)", "2"), "lower bound");
    refused(param("4, 4", "Zeros", "0"), "at least 1");
    refused(param("4, 4", "Zeros", "1000000000000"), "at most");
    refused(
        format!(r#"(name: "x", symbols: ["layer"], {})"#, programs("y = x")),
        "is reserved",
    );
}

#[test]
fn files() {
    refused(b"(name: \"a\xff\xfe\")", "UTF-8");
    refused(b"(name: \"a\0b\")", "control character");
    refused("[".repeat(100_000), "");
    refused("/*".repeat(100_000), "");
    refused(vec![b' '; 2 << 20], "larger than");
    refused("", "");
    refused("(name: \"x\", programms: {})", "did you mean `programs`?");
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let said_of = |name: &str| load_programs(&at(name), &[]).map(|_| ()).unwrap_err().render(false);
    fs::create_dir(at("folder.ron")).unwrap();
    assert!(said_of("folder.ron").contains("folder"));
    let pipe = std::process::Command::new("mkfifo").arg(at("pipe.ron")).status();
    assert!(pipe.is_ok_and(|s| s.success()));
    assert!(said_of("pipe.ron").contains("no regular file"));
    std::os::unix::fs::symlink("/dev/zero", at("zero.ron")).unwrap();
    for base in [
        "pipe.ron",
        "zero.ron",
        "folder.ron",
        "/dev/zero",
        "/etc/passwd",
        "gone.ron",
        "../../../../etc/hostname",
    ] {
        fs::write(at("a.ron"), format!("(extends: \"{base}\")")).unwrap();
        let said = said_of("a.ron");
        assert!(said.contains("a.ron:1:12"), "{base}: {said}");
        assert!(!said.contains("root:"), "{said}");
    }
    for i in 0..40 {
        fs::write(at(&format!("e{i}.ron")), format!("(extends: \"e{}.ron\")", i + 1)).unwrap();
    }
    assert!(said_of("e0.ron").contains("files extend each other"));
}

#[test]
fn a_constant_that_nothing_reads_is_a_slip() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("base.ron"),
        format!(
            r#"({HEAD}, constants: {{ "vocab": 4 }}, {})"#,
            programs("y = x * vocab")
        ),
    )
    .unwrap();
    fs::write(
        at("own.ron"),
        "(\n  extends: \"base.ron\",\n  constants: { \"vocabs\": 50 },\n)",
    )
    .unwrap();
    let said = load_programs(&at("own.ron"), &[])
        .map(|_| ())
        .unwrap_err()
        .render(false);
    assert!(
        said.contains("own.ron:3:17") && said.contains("did you mean `vocab`?"),
        "{said}"
    );
    // One that another reads is no slip, and neither is one that takes the place of the model's own.
    fs::write(
        at("own.ron"),
        "(extends: \"base.ron\", constants: { \"half\": 25, \"vocab\": \"2 * half\" })",
    )
    .unwrap();
    load_programs(&at("own.ron"), &[]).unwrap();
}
