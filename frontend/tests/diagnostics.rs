//! What people are told of their mistakes. Expected texts are in golden/; UPDATE_GOLDEN=1 rewrites them.

mod host;

use host::HOST;
use std::fs;
use std::path::{Path, PathBuf};
use w2vc_frontend::load;

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
    recipes: {},
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
    ("unclosed_string", "export: { \"train\"", "export: { \"train"),
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
    (
        "example_too_small",
        "symbols: [\"B\", \"N\"]",
        "symbols: { \"B\": (0, \"clips\"), \"N\": 100 }",
    ),
    (
        "unknown_in_example",
        "symbols: [\"B\", \"N\"]",
        "symbols: { \"B\": 4, \"N\": \"100 * widht\" }",
    ),
    ("loop_unclosed", "e = y - target", "for k in [1, 2] { e = y - target"),
    (
        "loop_over_a_number",
        "e = y - target",
        "for k in width { e = y - target }",
    ),
    (
        "loop_of_other_parts",
        "e = y - target",
        "for (k, s) in [1, 2] { e = y - target }",
    ),
    (
        "loop_without_in",
        "e = y - target",
        "for k of [1, 2] { e = y - target }",
    ),
    (
        "mistake_in_a_loop",
        "e = y - target",
        "for k in [1, 2] { e = y - k * targte }",
    ),
    ("item_beyond_a_list", "\"layers\": 2", "\"layers\": \"[2, 3][2]\""),
    (
        "lists_of_other_lengths",
        "e = y - target",
        "for (k, s) in zip([1, 2], [3]) { e = y - target }",
    ),
    (
        "choice_unknown",
        "e = y - target",
        "e = pick('mid', low: y, high: target)",
    ),
    (
        "choice_by_a_tensor",
        "e = y - target",
        "e = pick(y, low: y, high: target)",
    ),
    ("prefix_unknown", "y = conv(x) as conv", "y = conv(x) as {widht}.conv"),
    ("prefix_of_a_tensor", "y = conv(x) as conv", "y = conv(x) as {x}.conv"),
    ("fold_without_step", "(N - 4) / 2 + 1", "fold n = N for k in [4]"),
];

/// A model with tasks; each case spoils one line of it.
const TASKS: &str = r#"(
    name: "net",
    constants: { "width": 8 },
    run_sizes: { "classes": (4, "labels") },
    symbols: ["B", "N", "M"],
    sizes: { "T": "(N - 4) / 2 + 1" },
    blocks: {
        "network": (
            args: ["wave"],
            params: {
                "conv.weight": (shape: ["width", 1, 4], init: KaimingNormal),
                "head.weight": (shape: ["classes", "width"], init: XavierUniform),
            },
            body: "
                h = gelu(conv1d(reshape(wave, shape: [B, N, 1]), conv.weight, stride: 2))
                y = linear(sum(h, axes: [1], keep: false), head.weight)
            ",
            returns: ["h", "y"],
        ),
    },
    programs: {
        "learn": (
            inputs: {
                "wave": "f32[B, N]", "lengths": "i32[B]", "label": "i32[B]",
                "mask": "i32[B, T]", "index": "i32[B, M]", "seed": "i32[2]", "drop": "f32[1]",
            },
            body: "
                (h, logits) = network(wave)
                hit = equal(reshape(label, shape: [B, 1]), iota(size: classes))
                loss = -sum(cast(hit, dtype: f32) * log_softmax(logits), axes: [0, 1], keep: false)
                usage = sum(h, axes: [0, 1], keep: false)
            ",
            outputs: ["loss", "logits", "usage"],
            loss: "loss",
            trains: ["*"],
        ),
        "check": (
            like: "learn",
            inputs: { "wave": "f32[B, N]", "label": "i32[B]" },
            trains: [],
        ),
        "states": (
            inputs: { "wave": "f32[B, N]", "keep": "f32[2]" },
            body: "(h, y) = network(wave)",
            outputs: ["h", "y"],
        ),
    },
    tasks: {
        "learn": Train(
            about: "Learn.",
            settings: {
                "updates": 100,
                "on_nan": "stop",
                "lr": Number(1e-3, "peak learning rate"),
                "prob": Share(0.5, "share that is hidden"),
                "drop": Rate(0.1, "dropout"),
            },
            feeds: {
                "wave": Wave(frames: "T"),
                "lengths": Lengths,
                "label": Class(classes: "classes"),
                "mask": Spans(prob: "prob", length: 4, least: "width"),
                "index": SpanIndex(of: "mask"),
                "seed": DropoutKey,
            },
            phases: [(program: "learn", until: 10), (program: "learn")],
            validates: "check",
            data: (min: 1, max: 0, longer: Dropped, drop_silent: true),
            schedule: Constant(peak: "lr"),
            divide_by: Clips,
            report: { "loss_bits": Bits("loss"), "usage": Each("usage") },
            judge: Label(logits: "logits"),
            best: [Greatest("accuracy"), Least("loss")],
            warn: [(name: "idle", when: Below(output: "usage", least: 0.1), remedy: "wait")],
            may_lack: ["head.*"],
            exports: ["*", "!head.*"],
        ),
        "look": Predict(
            about: "Look inside.",
            feeds: { "wave": Wave(frames: "T"), "keep": FirstLayers },
            program: "states",
            gives: States(states: "h", keep: "keep"),
        ),
    },
    recipes: { "learn": { "lr": 2e-3 } },
)
"#;

/// (name, a piece of TASKS, what stands there instead)
const TASK_CASES: &[(&str, &str, &str)] = &[
    (
        "amount_without_hours",
        "    tasks: {",
        "    by_hours: { \"learn\": { \"1\": {}, \"much\": {} } },\n    tasks: {",
    ),
    (
        "amount_of_what_decides_the_hours",
        "    tasks: {",
        "    by_hours: { \"learn\": { \"1\": { \"seed\": 2 } } },\n    tasks: {",
    ),
    ("task_kind", "\"learn\": Train(", "\"learn\": Trian("),
    ("task_field", "validates: \"check\"", "validate: \"check\""),
    ("task_without_validates", "            validates: \"check\",\n", ""),
    ("task_without_about", "            about: \"Look inside.\",\n", ""),
    (
        "task_without_gives",
        "            gives: States(states: \"h\", keep: \"keep\"),\n",
        "",
    ),
    (
        "task_without_criterion",
        "[Greatest(\"accuracy\"), Least(\"loss\")]",
        "[]",
    ),
    ("task_empty_about", "\"Look inside.\"", "\"\""),
    ("task_name_reserved", "\"look\": Predict", "\"bench\": Predict"),
    ("task_name_no_command", "\"look\": Predict", "\"--look\": Predict"),
    ("task_unknown_program", "program: \"states\"", "program: \"state\""),
    (
        "task_program_and_phases",
        "validates:",
        "program: \"learn\", validates:",
    ),
    (
        "task_last_phase_ends",
        "(program: \"learn\")]",
        "(program: \"learn\", until: 20)]",
    ),
    (
        "task_phase_never_ends",
        "(program: \"learn\", until: 10)",
        "(program: \"learn\")",
    ),
    ("task_trains_nothing", "(program: \"learn\")]", "(program: \"check\")]"),
    (
        "task_taken_out_of_nothing",
        "\"look\": Predict(",
        "\"lok\": None, \"look\": Predict(",
    ),
    ("feed_unknown", "Spans(prob", "Spanz(prob"),
    ("feed_unknown_argument", "length: 4", "lenght: 4"),
    ("feed_missing_argument", ", length: 4", ""),
    ("feed_argument_among_names", "length: 4", "4"),
    (
        "feed_arguments_without_names",
        "Spans(prob: \"prob\", length: 4, least: \"width\")",
        "Spans(\"prob\", 4, \"width\")",
    ),
    ("feed_argument_twice", "length: 4", "length: 4, length: 5"),
    ("feed_takes_none", "Lengths,", "Lengths(4),"),
    ("feed_name_without_quotes", "prob: \"prob\"", "prob: prob"),
    ("feed_unclosed", "Lengths,\n", "Lengths(\n"),
    ("feed_for_no_input", "\"seed\": DropoutKey", "\"sed\": DropoutKey"),
    ("feed_type", "\"lengths\": Lengths", "\"lengths\": FirstLayers"),
    (
        "feed_rank",
        "\"label\": Class(classes: \"classes\")",
        "\"label\": Letters",
    ),
    ("feed_size", "Class(classes: \"classes\")", "Class(classes: \"clases\")"),
    ("feed_of_unknown_input", "of: \"mask\"", "of: \"masks\""),
    ("feed_of_wrong_input", "of: \"mask\"", "of: \"wave\""),
    (
        "input_without_feed",
        "                \"label\": Class(classes: \"classes\"),\n",
        "",
    ),
    (
        "input_without_setting",
        "                \"drop\": Rate(0.1, \"dropout\"),\n",
        "",
    ),
    ("amount_unknown", "prob: \"prob\"", "prob: \"prop\""),
    ("amount_is_a_word", "prob: \"prob\"", "prob: \"on_nan\""),
    ("amount_negative", "length: 4", "length: -4"),
    ("amount_no_number", "length: 4", "length: \"T\""),
    ("setting_unknown", "\"updates\": 100", "\"updatse\": 100"),
    (
        "setting_of_the_engine",
        "\"updates\": 100",
        "\"updates\": Count(100, \"updates\")",
    ),
    ("setting_kind", "Share(0.5", "Shar(0.5"),
    (
        "setting_without_doc",
        "Share(0.5, \"share that is hidden\")",
        "Share(0.5)",
    ),
    ("setting_out_of_range", "Share(0.5", "Share(1.5"),
    ("setting_no_choice", "\"on_nan\": \"stop\"", "\"on_nan\": \"stpo\""),
    ("setting_no_value", "\"updates\": 100", "\"updates\": [100]"),
    (
        "setting_unread",
        "\"prob\": Share",
        "\"drap\": Rate(0.1, \"dropout\"), \"prob\": Share",
    ),
    ("recipe_unknown_task", "recipes: { \"learn\"", "recipes: { \"lern\""),
    ("recipe_unknown_setting", "\"lr\": 2e-3", "\"lrr\": 2e-3"),
    ("recipe_out_of_range", "\"lr\": 2e-3", "\"lr\": -1"),
    ("output_unknown", "Bits(\"loss\")", "Bits(\"los\")"),
    (
        "output_not_in_validation",
        "like: \"learn\",",
        "like: \"learn\", outputs: [\"loss\", \"logits\"],",
    ),
    ("output_not_single", "Bits(\"loss\")", "Bits(\"usage\")"),
    (
        "output_of_other_rank",
        "Label(logits: \"logits\")",
        "Label(logits: \"usage\")",
    ),
    (
        "output_of_other_rank_to_warn_of",
        "Below(output: \"usage\"",
        "Below(output: \"logits\"",
    ),
    ("schedule_unknown", "Constant(peak", "Konstant(peak"),
    ("divisor_unknown", "divide_by: Clips", "divide_by: Clip"),
    ("report_unknown", "Bits(\"loss\")", "Bit(\"loss\")"),
    ("longer_unknown", "longer: Dropped", "longer: Drop"),
    ("judge_unknown", "judge: Label", "judge: Labels"),
    ("criterion_unknown", "Greatest(\"accuracy\")", "Greatest(\"acuracy\")"),
    ("sign_unknown", "Below(output", "Blow(output"),
    ("may_lack_no_parameter", "[\"head.*\"]", "[\"haed.*\"]"),
    ("exports_no_parameter", "\"!head.*\"", "\"!had.weight\""),
    ("states_unknown_input", "keep: \"keep\"", "keep: \"kept\""),
    ("states_wrong_input", "keep: \"keep\"", "keep: \"wave\""),
];

fn render(dir: &Path, file: &str, sets: &[(&str, &str)]) -> String {
    let sets: Vec<(String, String)> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    match load(&dir.join(file), &sets, &HOST) {
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

fn every(good: &str, cases: &[(&str, &str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = vec![];
    fs::write(dir.path().join("net.ron"), good).unwrap();
    load(&dir.path().join("net.ron"), &[], &HOST).unwrap_or_else(|e| panic!("{e}"));
    for (name, piece, bad) in cases {
        assert!(good.contains(piece), "{name}: nothing to spoil");
        fs::write(dir.path().join("net.ron"), good.replacen(piece, bad, 1)).unwrap();
        compare(name, &render(dir.path(), "net.ron", &[]), &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_GOLDEN=1 rewrites the expected texts",
        wrong.join("\n")
    );
}

#[test]
fn every_mistake_is_explained() {
    every(GOOD, CASES);
}

#[test]
fn every_mistake_in_tasks_is_explained() {
    every(TASKS, TASK_CASES);
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
    let places = |text: &'static str, step| (0..text.len()).step_by(step).map(move |i| (text, i));
    for (good, i) in places(GOOD, 7).chain(places(TASKS, 17)) {
        for text in [good[..i].to_string(), format!("{}{}", &good[..i], &good[i + 1..])] {
            fs::write(&path, text).unwrap();
            if let Err(e) = load(&path, &[], &HOST) {
                assert!(e.render(false).contains("net.ron:"), "{e}");
            }
        }
    }
}
