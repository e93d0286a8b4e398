//! Tables of measurements, made of bench/results, so that every figure has one source.

use serde_json::Value;
use std::path::Path;

/// The machine of README's table.
const CPU: &str = "amd-epyc-family-26-model-2-avx-512-2-cores.json";
const GPU: &str = "nvidia-h200.md";

/// Cases in the order of a table.
const CASES: &[(&str, &str)] = &[
    ("transcribe-1x10", "transcribe 1 x 10 s"),
    ("transcribe-4x10", "transcribe 4 x 10 s"),
    ("transcribe-1x30", "transcribe 1 x 30 s"),
    ("pretrain-2x10", "pretraining step, 2 x 10 s"),
    ("finetune-2x10", "CTC fine-tuning step, 2 x 10 s"),
];

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One case of `bench/run.py`: rounds in which every runtime ran once.
struct Case<'a> {
    case: &'a Value,
}

impl Case<'_> {
    fn rounds(&self) -> &Vec<Value> {
        self.case["rounds"].as_array().expect("rounds are a list")
    }

    fn seconds(&self, who: &str) -> Vec<f64> {
        let of = |r: &Value| r[who]["seconds"].as_f64();
        self.rounds().iter().filter_map(of).collect()
    }

    fn fastest(&self, who: &str) -> f64 {
        self.seconds(who).into_iter().fold(f64::INFINITY, f64::min)
    }

    /// The median over rounds of a runtime's time by ours.
    fn ratio(&self, who: &str) -> f64 {
        let ours = self.seconds("w2vc");
        median(self.seconds(who).iter().zip(&ours).map(|(a, b)| a / b).collect())
    }

    /// The peer with the least median ratio.
    fn best_peer(&self) -> String {
        let all = self.rounds()[0].as_object().expect("a round is an object");
        let peers = all.keys().filter(|k| !k.starts_with("w2vc"));
        let best = peers.min_by(|a, b| self.ratio(a).total_cmp(&self.ratio(b)));
        best.expect("there is a peer").clone()
    }

    /// Percent of the multiply-add peak that the fastest time makes, and that peak in GFLOP/s.
    fn of_peak(&self) -> (f64, f64) {
        let peaks = self.rounds().iter().filter_map(|r| r["w2vc"]["peak_gflops"].as_f64());
        let peak = peaks.fold(0.0, f64::max);
        let gflop = self.rounds()[0]["w2vc"]["gflop"]
            .as_f64()
            .expect("our operations are counted");
        (100.0 * gflop / self.fastest("w2vc") / peak, peak)
    }

    fn memory(&self, who: &str) -> f64 {
        self.case["peak_rss_mib"][who].as_f64().expect("memory was measured")
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let n = all.len();
    (all[(n - 1) / 2] + all[n / 2]) / 2.0
}

/// Seconds with three digits below 2, else two.
fn seconds(s: f64) -> String {
    if s < 2.0 {
        format!("{s:.3} s")
    } else {
        format!("{s:.2} s")
    }
}

fn runtime(id: &str) -> &str {
    match id {
        "openvino" | "openvino-torch" => "OpenVINO",
        "onnxruntime" => "ONNX Runtime",
        "torch" => "PyTorch eager",
        "torch-compile" => "torch.compile",
        other => panic!("bench/results names an unknown runtime: {other}"),
    }
}

/// README's table.
pub fn speed(root: &Path) -> String {
    let results = root.join("bench/results");
    let cpu = json(&results.join(CPU));
    let mut out = String::from("| work | w2vc | fastest peer | ratio |\n|-|-|-|-|\n");
    for (id, what) in CASES {
        let case = Case { case: &cpu[*id] };
        let peer = case.best_peer();
        out.push_str(&format!(
            "| {what}, CPU | {} | {} {} | {:.2} |\n",
            seconds(case.fastest("w2vc")),
            runtime(&peer),
            seconds(case.fastest(&peer)),
            case.ratio(&peer)
        ));
    }
    for clips in ["6", "48"] {
        let rows = gpu_rows(&results.join(GPU));
        let of = |by: &str| find(&rows, "pretrain", clips, by).and_then(|r| r.median);
        let ours = of("w2vc bf16").expect("ours was measured");
        let peers = ["PyTorch eager", "PyTorch compile"].map(|by| (by, of(by)));
        let best = peers.into_iter().filter_map(|(by, ms)| Some((by, ms?)));
        let (by, ms) = best.min_by(|a, b| a.1.total_cmp(&b.1)).expect("a peer was measured");
        let by = by.replace("PyTorch compile", "torch.compile");
        let line = format!(
            "| pretraining step, {clips} x 15 s, H200 | {ours:.1} ms | {by} {ms:.1} ms | {:.2} |\n",
            ms / ours
        );
        out.push_str(&line);
    }
    out
}

/// The table of a machine.
pub fn cpu(path: &Path) -> String {
    let all = json(path);
    let first = &all[CASES[0].0];
    let name = |field: &str| first["cpu"][field].as_str().unwrap_or_default();
    let version = |package: &str| first["versions"][package].as_str().unwrap_or_default();
    let mut out = format!(
        "{}, {}, {} cores, {}; OpenVINO {}, PyTorch {}, transformers {}:\n\n",
        name("model"),
        name("vectors"),
        first["cpu"]["cores"],
        first["date"].as_str().unwrap_or_default(),
        version("openvino"),
        version("torch"),
        version("transformers"),
    );
    out.push_str(
        "| | rounds | w2vc | share of peak | fastest peer | PyTorch eager | memory, of eager's | w2vc int8 |\n\
         |-|-|-|-|-|-|-|-|\n",
    );
    for (id, what) in CASES {
        let case = Case { case: &all[*id] };
        let (share, peak) = case.of_peak();
        let peer = case.best_peer();
        let versus = |who: &str| format!("{} ({:.2})", seconds(case.fastest(who)), case.ratio(who));
        let best = match peer.as_str() {
            "torch" => "eager".to_string(),
            _ => format!("{} {}", runtime(&peer), versus(&peer)),
        };
        let int8 = case.seconds("w2vc-int8");
        let int8 = int8.into_iter().reduce(f64::min).map_or_else(String::new, seconds);
        out.push_str(&format!(
            "| {what} | {} | {} | {share:.0} % of {peak:.0} GFLOP/s | {best} | {} | {:.0} % | {int8} |\n",
            case.rounds().len(),
            seconds(case.fastest("w2vc")),
            versus("torch"),
            100.0 * case.memory("w2vc") / case.memory("torch"),
        ));
    }
    out
}

/// Precisions on one thread, and 8 bits beside a peer.
pub fn precisions(path: &Path) -> String {
    let all = json(path);
    let mut out = format!(
        "{}; OpenVINO {} in its default precision (bf16):\n\n\
         | | rounds | fp32 | bf16 | fp32 / bf16 | share of bf16 peak | OpenVINO bf16 | OpenVINO / ours |\n\
         |-|-|-|-|-|-|-|-|\n",
        all["machine"].as_str().expect("the machine has a name"),
        all["openvino"].as_str().expect("the peer has a version"),
    );
    for case in all["cases"].as_array().expect("cases are a list") {
        let number = |field: &str| case[field].as_f64();
        let text = |field: &str, show: &dyn Fn(f64) -> String| number(field).map_or_else(String::new, show);
        let ratio = |v: f64| format!("{v:.2}");
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            case["what"].as_str().unwrap_or_default(),
            case["rounds"],
            text("fp32", &seconds),
            text("bf16", &seconds),
            text("fp32_by_bf16", &ratio),
            text("of_bf16_peak_percent", &|v| format!("{v:.0} %")),
            text("openvino_bf16", &seconds),
            text("openvino_by_bf16", &ratio),
        ));
    }
    let int8 = &all["int8"];
    out.push_str(&format!(
        "\nIn 8 bits, {}, {} rounds:\n\n| | median | fastest |\n|-|-|-|\n",
        int8["what"].as_str().unwrap_or_default(),
        int8["rounds"]
    ));
    let mut rows: Vec<(&String, f64)> = int8["median"]
        .as_object()
        .expect("medians by runtime")
        .iter()
        .filter_map(|(who, s)| Some((who, s.as_f64()?)))
        .collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (who, median) in rows {
        let fastest = int8["fastest"][who].as_f64().expect("the same runtimes");
        out.push_str(&format!("| {who} | {} | {} |\n", seconds(median), seconds(fastest)));
    }
    out
}

/// A line of the table that scripts/gpu/report.py writes.
struct GpuRow {
    program: String,
    clips: String,
    by: String,
    /// `None` where it failed.
    median: Option<f64>,
    of_peak: String,
    memory: String,
}

fn gpu_rows(path: &Path) -> Vec<GpuRow> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().skip_while(|l| !l.starts_with("| program |")).skip(2);
    let row = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|c| c.trim().to_string()).collect();
        GpuRow {
            program: cells[1].clone(),
            clips: cells[2].clone(),
            by: cells[3].clone(),
            median: cells[5].parse().ok(),
            of_peak: cells[9].clone(),
            memory: cells[10].clone(),
        }
    };
    let rows: Vec<GpuRow> = lines.take_while(|l| l.starts_with('|')).map(row).collect();
    assert!(!rows.is_empty(), "{} has no table of programs", path.display());
    rows
}

fn find<'a>(rows: &'a [GpuRow], program: &str, clips: &str, by: &str) -> Option<&'a GpuRow> {
    rows.iter()
        .find(|r| r.program == program && r.clips == clips && r.by == by)
}

/// Ours and PyTorch's on a GPU.
pub fn gpu(path: &Path) -> String {
    let rows = gpu_rows(path);
    let gib = |mib: &str| {
        mib.parse::<f64>()
            .map_or_else(|_| String::new(), |m| format!("{:.1} GiB", m / 1024.0))
    };
    let mut out = String::from(
        "| clips of 15 s | w2vc | share of peak | memory | torch.compile | PyTorch eager |\n|-|-|-|-|-|-|\n",
    );
    for ours in rows.iter().filter(|r| r.by == "w2vc bf16") {
        let median = ours.median.expect("ours was measured");
        let peer = |by: &str| match find(&rows, &ours.program, &ours.clips, by) {
            None => String::new(),
            Some(r) => match r.median {
                Some(ms) => format!("{ms:.1} ms, {} ({:.2})", gib(&r.memory), ms / median),
                None => "failed to compile".into(),
            },
        };
        let share: f64 = ours.of_peak.parse().expect("our share is a number");
        out.push_str(&format!(
            "| {}, {} | {median:.2} ms | {share:.0} % | {} | {} | {} |\n",
            ours.program,
            ours.clips,
            gib(&ours.memory),
            peer("PyTorch compile"),
            peer("PyTorch eager")
        ));
    }
    out
}

#[test]
fn medians_and_ratios() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    let case = serde_json::json!({"rounds": [
        {"w2vc": {"seconds": 1.0}, "torch": {"seconds": 2.0}, "openvino": {"seconds": 1.5}},
        {"w2vc": {"seconds": 2.0}, "torch": {"seconds": 6.0}, "openvino": {"seconds": 2.0}},
    ]});
    let case = Case { case: &case };
    assert_eq!((case.fastest("torch"), case.ratio("torch")), (2.0, 2.5));
    assert_eq!(case.best_peer(), "openvino");
}
