//! What statements mean, by what their graphs compute.

use ir::dim::Env;
use ir::eval::evaluate;
use ir::scalar::DType;
use ir::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use w2vc_frontend::{Model, load_programs};

/// A model of one program that reads x f32[3] and n i32[2].
fn model(body: &str, returns: &[&str]) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.ron");
    let text = format!(
        r#"(
            constants: {{ "two": 2, "half": "1 / two", "four": "two * two" }},
            blocks: {{
                "apply": (args: ["x"], dims: ["f"], body: "y = f(x)", returns: ["y"]),
                "both": (args: ["a", "b"], body: "s = a + b; d = a - b", returns: ["s", "d"]),
                "scaled": (args: ["x"], params: {{ "gain": (shape: [3], init: Ones) }}, body: "y = x * gain", returns: ["y"]),
                "nested": (args: ["x"], body: "y = scaled(x) as inner", returns: ["y"]),
            }},
            programs: {{ "p": (inputs: {{ "x": "f32[3]", "n": "i32[2]" }}, body: "{body}", outputs: {returns:?}) }},
        )"#
    );
    std::fs::write(&path, text).unwrap();
    load_programs(&path, &[]).unwrap_or_else(|e| panic!("{e}"))
}

fn value(body: &str) -> Vec<f64> {
    let m = model(body, &["y"]);
    let mut bound = BTreeMap::from([
        ("x".to_string(), Tensor::new(DType::F32, vec![3], vec![1.0, -2.0, 4.0])),
        ("n".to_string(), Tensor::new(DType::I32, vec![2], vec![7.0, 9.0])),
    ]);
    for p in &m.params {
        let shape: Vec<usize> = p.count.iter().chain(&m.shape(p)).map(|d| *d as usize).collect();
        let mut i = 0.0;
        bound.insert(
            p.name.clone(),
            Tensor::build(DType::F32, shape, |_| {
                i += 1.0;
                i
            }),
        );
    }
    evaluate(&m.program("p").unwrap().graph, &Env::new(), &bound)
        .remove(0)
        .1
        .data
}

#[test]
fn arithmetic_binds_as_usual_and_constants_fold() {
    assert_eq!(value("y = x * 2 + 1"), [3.0, -3.0, 9.0]);
    assert_eq!(value("y = x + 6 / four * 2"), [4.0, 1.0, 7.0]);
    assert_eq!(value("y = -(x - half) * 2"), [-1.0, 5.0, -7.0]);
    assert_eq!(value("y = floor_div(n - 1, 2) + floor_div(7, two)"), [6.0, 7.0]);
    assert_eq!(value("y = x * sqrt(16) - max(1, 3)"), [1.0, -11.0, 13.0]);
    assert_eq!(
        value("y = (x // lines go on inside brackets\n + 1)\n\n ; y = y * 2"),
        [4.0, -2.0, 10.0]
    );
}

#[test]
fn loops_are_written_out_and_lists_have_items() {
    assert_eq!(
        value("y = x; for k in [1, 2] { y = y + k\n z = y }; y = z * 2"),
        [8.0, 2.0, 14.0]
    );
    assert_eq!(
        value("y = x; for (a, b) in [[1, 2], [3, 4]] { y = y * a + b }"),
        [13.0, -0.0 + 4.0, 22.0]
    );
    assert_eq!(
        value("y = x; for (i, k) in zip(range(0, 2), [5, 7]) { y = y + i * k }"),
        [8.0, 5.0, 11.0]
    );
    assert_eq!(
        value("y = x * [1, 2, 3][1] + [[1, 2], [3, 4]][1][-2] + len([1, 1])"),
        [7.0, 1.0, 13.0]
    );
    assert_eq!(
        value("y = x + fold n = 100 for (k, s) in [[10, 5], [3, 2]]: floor_div(n - k, s) + 1"),
        [10.0, 7.0, 13.0]
    );
    assert_eq!(
        value("y = fold s = 1.0 for k in [2, 1]: 1 + x * s * (1 / k)"),
        [2.5, 1.0, 13.0]
    );
    assert_eq!(value("y = x; for (a, b) in [] { y = b }"), [1.0, -2.0, 4.0]);
}

#[test]
fn a_choice_is_made_by_a_word_and_looks_at_nothing_else() {
    assert_eq!(value("y = pick('low', low: x + 1, high: nothing)"), [2.0, -1.0, 5.0]);
    assert_eq!(
        value("y = pick(equal(four, 4), true: x, false: nothing)"),
        [1.0, -2.0, 4.0]
    );
    assert_eq!(value("y = pick('other', low: nothing, otherwise: x)"), [1.0, -2.0, 4.0]);
    assert_eq!(value("f = pick('n', n: neg, a: abs); y = f(x)"), [-1.0, 2.0, -4.0]);
    assert_eq!(
        value("f = none; y = pick(f, none: x, otherwise: nothing)"),
        [1.0, -2.0, 4.0]
    );
}

#[test]
fn names_of_parameters_may_hold_words_and_numbers() {
    let m = model(
        "net = 'a.b'; y = x; for i in range(0, 2) { y = scaled(y) as {net}.layers.{i} }",
        &["y"],
    );
    let names: Vec<&str> = m.params.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a.b.layers.0.gain", "a.b.layers.1.gain"]);
    let m = model("net = ''; i = 7; y = repeat(2) scaled(x) as {net}.layers.{i}", &["y"]);
    assert_eq!(m.params[0].name, "layers.{i}.gain");
}

#[test]
fn a_file_takes_out_and_changes_programs_of_the_one_it_extends() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put(
        "base.ron",
        r#"(
            constants: { "kind": "'a'", "twos": "[2, 2]" },
            blocks: { "w": (args: ["x"], params: { "w": (shape: [3], init: Ones), "u": (shape: [3], init: Ones) },
                body: "y = sum(x * w * u, axes: [0], keep: false)", returns: ["y"]) },
            programs: {
                "p": (inputs: { "x": "f32[3]" }, body: "y = w(x) as {kind}", outputs: ["y"], loss: "y", trains: ["*"]),
                "q": (like: "p"),
            },
        )"#,
    );
    put(
        "more.ron",
        r#"(extends: "base.ron", constants: { "kind": "'b'" }, programs: { "p": (like: "p", frozen: ["*u"]), "q": None })"#,
    );
    let m = load_programs(&dir.path().join("more.ron"), &[]).unwrap();
    assert_eq!(m.programs.len(), 1);
    assert_eq!(m.programs[0].trains, ["b.w"]);
    let shown: Vec<String> = m.constants.iter().map(|c| c.value.to_string()).collect();
    assert_eq!(shown, ["'b'", "[2, 2]"]);
    put("wrong.ron", r#"(extends: "base.ron", programs: { "r": None })"#);
    let error = load_programs(&dir.path().join("wrong.ron"), &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("no program `r` to take out"), "{error}");
}

#[test]
fn numbers_take_the_element_type_beside_them() {
    assert_eq!(value("y = select(less(0, n - 8), n, -1)"), [-1.0, 9.0]);
    assert_eq!(value("y = select(less(x, 0), 0, x)"), [1.0, 0.0, 4.0]);
    assert_eq!(value("y = max(x, -inf)"), [1.0, -2.0, 4.0]);
}

#[test]
fn blocks_give_several_values_and_take_ops_and_blocks() {
    assert_eq!(value("(s, d) = both(x, x * 2)\n y = s - d"), [4.0, -8.0, 16.0]);
    assert_eq!(value("(_, y) = both(x, x)"), [0.0; 3]);
    assert_eq!(value("y = apply(x, f: abs)"), [1.0, 2.0, 4.0]);
    assert_eq!(value("y = apply(x, f: scaled)"), [1.0, -4.0, 12.0]);
}

#[test]
fn parameters_have_the_names_of_the_calls_around_them() {
    let m = model("y = nested(nested(x) as a) as b.c\n z = nested(x) as a", &["y", "z"]);
    let names: Vec<&str> = m.params.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a.inner.gain", "b.c.inner.gain"], "one name is one parameter");
}

#[test]
fn a_repeat_stacks_its_parameters_and_skips_layers_that_are_not_kept() {
    // Layer l multiplies by l * 3 + [1, 2, 3].
    assert_eq!(value("y = repeat(2) nested(x) as l.{i}"), [4.0, -20.0, 72.0]);
    assert_eq!(
        value(
            "keep = reshape(cast(slice(n, axis: 0, start: 0, len: 2) - 7, dtype: f32), shape: [2])\n y = repeat(2, keep: keep) nested(x) as l.{i}"
        ),
        [4.0, -10.0, 24.0]
    );
    let m = model("y = repeat(two) nested(x) as l.{i}", &["y"]);
    assert_eq!(
        (m.params[0].name.as_str(), m.params[0].count, m.elements(&m.params[0])),
        ("l.{i}.inner.gain", Some(2), 6)
    );
}

/// A network of another kind, in RON alone.
#[test]
fn a_classifier_is_built_and_computes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/classifier.ron");
    let m = load_programs(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
    let train = m.program("train").unwrap();
    assert_eq!(train.trains.len(), 23);
    let fill = |shape: Vec<usize>, step: f64| {
        let mut i = 0.0;
        Tensor::build(DType::F32, shape, |_| {
            i += step;
            f64::sin(i)
        })
    };
    let params: BTreeMap<String, Tensor> = (m.params.iter().enumerate())
        .map(|(i, p)| {
            let shape: Vec<usize> = p.count.iter().chain(&m.shape(p)).map(|d| *d as usize).collect();
            (p.name.clone(), fill(shape, 0.3 + i as f64))
        })
        .collect();
    let outputs = |waves: &[&[f64]], labels: &[f64]| -> BTreeMap<String, Tensor> {
        let (rows, most) = (waves.len(), waves.iter().map(|w| w.len()).max().unwrap());
        let mut wave = Tensor::zeros(DType::F32, vec![rows, most]);
        for (row, w) in waves.iter().enumerate() {
            wave.data[row * most..][..w.len()].copy_from_slice(w);
        }
        let lengths = waves.iter().map(|w| w.len() as f64).collect();
        let mut bound = params.clone();
        bound.insert("wave".into(), wave);
        bound.insert("lengths".into(), Tensor::new(DType::I32, vec![rows], lengths));
        bound.insert("label".into(), Tensor::new(DType::I32, vec![rows], labels.to_vec()));
        let mut env: Env = [("B", rows), ("N", most)].map(|(n, v)| (n.into(), v as i64)).into();
        env.extend(m.run_env());
        evaluate(&train.graph, &env, &bound).into_iter().collect()
    };
    let (long, short) = (fill(vec![1000], 0.7).data, fill(vec![800], 0.2).data);
    let out = outputs(&[&long, &short], &[3.0, 0.0]);
    let row = |i: usize| &out["logits"].data[i * 10..][..10];
    let cross = |row: &[f64], label: usize| row.iter().map(|v| v.exp()).sum::<f64>().ln() - row[label];
    let want = cross(row(0), 3) + cross(row(1), 0);
    assert!((out["loss"].data[0] - want).abs() < 1e-9);
    let best = |row: &[f64]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let right = outputs(&[&long, &short], &[best(row(0)) as f64, best(row(1)) as f64]);
    assert_eq!(right["correct"].data, [2.0]);
    let alone = outputs(&[&short], &[0.0]);
    let off = alone["logits"].data.iter().zip(row(1)).map(|(a, b)| (a - b).abs());
    assert!(off.fold(0.0, f64::max) < 1e-9, "padding counts");
}

/// A size that a run chooses is a symbol in shapes, and its default may be changed by a file that extends and by a set.
#[test]
fn run_sizes_have_defaults_that_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put(
        "base.ron",
        r#"(
            constants: { "width": 4 },
            run_sizes: { "letters": ("2 * width", "classes") },
            blocks: { "head": (
                args: ["x"], params: { "w": (shape: ["letters", "width"], init: XavierUniform) },
                body: "y = linear(x, w)", returns: ["y"],
            ) },
            programs: { "p": (inputs: { "x": "f32[3, width]" }, body: "y = head(x) as head", outputs: ["y"]) },
            export: { "p": { "letters": "$letters" } },
        )"#,
    );
    put("more.ron", r#"(extends: "base.ron", constants: { "letters": 5 })"#);
    let default = |file: &str, sets: &[(&str, &str)]| {
        let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let m = load_programs(&dir.path().join(file), &sets).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(m.params[0].shape[0].to_string(), "letters");
        assert_eq!(m.export["p"], "{\n  \"letters\": \"$letters\"\n}");
        (
            m.shape(&m.params[0])[0],
            m.run_sizes[0].value,
            m.run_sizes[0].doc.clone(),
        )
    };
    assert_eq!(default("base.ron", &[]), (8, 8, "classes".into()));
    assert_eq!(default("base.ron", &[("width", "3")]), (6, 6, "classes".into()));
    assert_eq!(default("more.ron", &[]), (5, 5, "classes".into()));
    assert_eq!(default("more.ron", &[("letters", "7")]), (7, 7, "classes".into()));
}

#[test]
fn sizes_have_examples() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let base = r#"(constants: { "rate": 16000 }, symbols: { "B": (4, "clips"), "N": "10 * rate" }, run_sizes: { "classes": 7 })"#;
    let base = write("base.ron", base);
    let own = write("own.ron", r#"(extends: "base.ron", symbols: { "B": 8, "M": 3 })"#);
    let bare = write("bare.ron", r#"(symbols: ["B"])"#);
    let examples = |path: &Path| {
        let m = load_programs(path, &[]).unwrap_or_else(|e| panic!("{e}"));
        let pairs: Vec<(String, i64)> = m.examples().iter().map(|(n, v)| (n.to_string(), v)).collect();
        (pairs, m.symbols[0].doc.clone())
    };
    let pairs = |list: &[(&str, i64)]| list.iter().map(|(n, v)| (n.to_string(), *v)).collect::<Vec<_>>();
    let classes = ("classes", 7);
    assert_eq!(
        examples(&base),
        (pairs(&[("B", 4), ("N", 160_000), classes]), "clips".into())
    );
    assert_eq!(
        examples(&own),
        (pairs(&[("B", 8), ("M", 3), ("N", 160_000), classes]), "clips".into())
    );
    assert_eq!(examples(&bare), (pairs(&[("B", ir::examples::DEFAULT)]), String::new()));
}
