"""What was measured, kept as JSON, and the tables made of it."""

import datetime
import importlib.metadata
import json
import platform
import re
import statistics
from pathlib import Path

PACKAGES = ["torch", "transformers", "openvino", "onnxruntime"]
NAMES = {
    "w2vc": "w2vc",
    "w2vc-int8": "w2vc --precision int8",
    "openvino": "OpenVINO, from ONNX",
    "openvino-torch": "OpenVINO, from PyTorch",
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch eager",
    "torch-compile": "PyTorch torch.compile",
}
PROGRAMS = {
    "transcribe": "Inference",
    "pretrain": "Pretraining step (all losses, dropout, Gumbel noise, AdamW)",
    "finetune": "CTC fine-tuning step (convolutions frozen, dropout, masks, AdamW)",
}


def cpu():
    """{what: value} of the processor."""
    text = Path("/proc/cpuinfo").read_text()
    field = lambda name: re.search(rf"^{name}\s*: (.*)$", text, re.M)
    flags = field("flags")[1].split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "less than AVX2"
    model = f"{field('model name')[1].strip()}, family {field('cpu family')[1]} model {field('model')[1]}"
    return {"model": model, "vectors": vectors, "cores": len(re.findall(r"^processor", text, re.M))}


def cpu_name():
    found = cpu()
    return re.sub(r"[^a-z0-9]+", "-", f"{found['model']} {found['vectors']} {found['cores']} cores".lower()).strip("-")


class Results:
    def __init__(self, folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        self.json, self.table = folder / f"{name}.json", folder / f"{name}.md"

    def read(self):
        return json.loads(self.json.read_text()) if self.json.exists() else {}

    def put(self, name, found):
        """Keeps a case, in the place of an earlier one."""
        about = {
            "date": datetime.date.today().isoformat(),
            "cpu": cpu(),
            "python": platform.python_version(),
            "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
        }
        # Read again, since another run may have added its cases.
        everything = {**self.read(), name: {**about, **found}}
        self.json.write_text(json.dumps(everything, indent=1) + "\n")

    def write(self):
        """Writes the table; returns its path."""
        self.table.write_text(table(self.read()))
        return self.table


def table(found):
    """Markdown of all cases."""
    last = max(found.values(), key=lambda c: c["date"])
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    lines = [
        f"# {last['cpu']['model']}, {last['cpu']['cores']} cores, {last['cpu']['vectors']}",
        "",
        f"{last['date']}, fp32, {versions}, Python {last['python']}.",
        "",
        "Every runtime ran in every round, in round-robin order; `median` and `fastest` are over the rounds. Ratios",
        "are a runtime's time divided by ours: the median over rounds of the ratio within the round, and the ratio of",
        "the fastest times, which noise disturbs least. `of the peak` is the fastest time's share of the multiply-add",
        "peak, the highest that `OUT bench` measured in these rounds; it counts our operations. `memory` is the",
        "process's largest resident size, preparation included.",
    ]
    for name, case in sorted(found.items(), key=lambda entry: order(entry[0])):
        if name != "growth":
            lines += ["", *case_table(name, case)]
    if "growth" in found:
        lines += ["", *growth_table(found["growth"])]
    return "\n".join(lines) + "\n"


def order(name):
    """Programs as in PROGRAMS, small sizes first."""
    program, _, size = name.partition("-")
    return [*PROGRAMS, program].index(program), [int(n) for n in re.findall(r"\d+", size)]


def case_table(name, case):
    program, size = name.split("-")
    batch, seconds = size.split("x")
    rounds = case["rounds"]
    who = sorted(rounds[0], key=lambda n: statistics.median(r[n]["seconds"] for r in rounds))
    gflop = rounds[0]["w2vc"]["gflop"]
    peaks = [r["w2vc"]["peak_gflops"] for r in rounds]
    peak = max(peaks)
    peers = [n for n in who if not n.startswith("w2vc")]
    agreement = max(case["agreement"].values())
    lines = [
        f"## {PROGRAMS[program]}, {batch} x {seconds} s",
        "",
        f"{gflop:.0f} GFLOP, {case['threads']} threads, {len(rounds)} rounds, peak {peak:.0f} GFLOP/s "
        f"({min(peaks):.0f} in the worst round); distance of the results at most {agreement:.0e}.",
        "",
        "| | median, s | fastest, s | ratio | ratio of fastest | of the peak | memory, MiB |",
        "|-|-|-|-|-|-|-|",
    ]
    best = {n: min(r[n]["seconds"] for r in rounds) for n in who}
    for n in who:
        median = statistics.median(r[n]["seconds"] for r in rounds)
        # Multiply-adds are counted in our fp32 program alone.
        share = f"{100 * gflop / best[n] / peak:.0f} %" if n == "w2vc" else ""
        lines.append(
            f"| {NAMES[n]} | {median:.3f} | {best[n]:.3f} | {ratio(rounds, n):.2f} | {best[n] / best['w2vc']:.2f} "
            f"| {share} | {case['peak_rss_mib'][n]:.0f} |"
        )
    fastest = min(peers, key=lambda n: ratio(rounds, n))
    memory = case["peak_rss_mib"]["w2vc"] / case["peak_rss_mib"]["torch"]
    spread = [r[fastest]["seconds"] / r["w2vc"]["seconds"] for r in rounds]
    lines += [
        "",
        f"The fastest peer, {NAMES[fastest]}, takes {ratio(rounds, fastest):.2f} times our time ({min(spread):.2f} to "
        f"{max(spread):.2f} over the rounds). Our memory is {100 * memory:.0f} % of PyTorch eager's.",
    ]
    if "int8_distance" in case:
        faster = statistics.median(r["w2vc"]["seconds"] / r["w2vc-int8"]["seconds"] for r in rounds)
        lines += [
            "",
            f"In int8 ours is {faster:.2f} times as fast as in fp32 (median over the rounds); the logits of these random "
            f"weights are {case['int8_distance']:.0e} away.",
        ]
    return lines


def ratio(rounds, name):
    return statistics.median(r[name]["seconds"] / r["w2vc"]["seconds"] for r in rounds)


def growth_table(g):
    """Ours alone. Parts that were not measured are left out."""
    fastest = lambda entry: min(entry["seconds"])
    lines = [
        "## Growth, w2vc alone",
        "",
        "The fastest of the rounds.",
        "",
        "| | seconds | | memory, MiB |",
        "|-|-|-|-|",
    ]

    def row(what, seconds, note, mib):
        lines.append(f"| {what} | {seconds} | {note} | {mib} |")

    for key in [k for k in g if k.startswith("threads ")]:
        for n, e in g[key].items():
            faster = fastest(g[key]["1"]) / fastest(e)
            plural = "s" if n != "1" else ""
            what = f"{key.split()[1]}, {n} thread{plural}"
            row(what, f"{fastest(e):.3f}", f"{faster:.2f} times as fast as one thread", f"{e['peak_rss_mib']:.0f}")
    for key, text in [("batch", "{} x 10 s"), ("length", "1 x {} s")]:
        entries = g.get(key, {})
        for n, e in entries.items():
            first = next(iter(entries))
            per = fastest(e) / int(n) / (fastest(entries[first]) / int(first))
            note = f"{per:.2f} times the first per second of audio"
            row(text.format(n), f"{fastest(e):.3f}", note, f"{e['peak_rss_mib']:.0f}")
    for n, mib in g.get("long", {}).items():
        row(f"`OUT transcribe` of {n} s", "", "", f"{mib:.0f}")
    if start := g.get("start"):
        row("`OUT transcribe` of 1 s, from start to end", f"{fastest(start):.3f}", "", f"{start['peak_rss_mib']:.0f}")
    if compiles := g.get("compile"):
        row("`w2vc compile models/base.ron --target cpu`", f"{min(compiles):.2f}", "", "")
    if "executable_mb" in g:
        lines += ["", f"Weights {g['weights_mib']:.0f} MiB; executable {g['executable_mb']:.1f} MB."]
    return lines
