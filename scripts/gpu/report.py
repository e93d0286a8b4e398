#!/usr/bin/env python3
"""Prints what run.sh measured as Markdown, for docs/benchmarks.md. Usage: report.py OUT_FOLDER

Prints only what is in the files: a measurement that was not made is not in the tables.
"""

import json
import re
import sys
from pathlib import Path

RATE = 16_000
KERNELS = 15


def read(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def row(cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def table(head, rows):
    return "\n".join([row(head), "|" + "-|" * len(head), *map(row, rows), ""])


def number(x, form="{:.1f}"):
    return "" if x is None else form.format(x)


def machine(folder):
    """nvidia-smi's CSV: the head, and the first GPU."""
    try:
        lines = (folder / "gpu.txt").read_text().splitlines()[:2]
    except OSError:
        return ""
    head, *gpus = [[cell.strip() for cell in line.split(",")] for line in lines]
    return table(head, gpus)


def checks(folder):
    found = read(folder / "check.json")
    if found is None:
        return "No checks were run.\n"
    line = f"{found['passed']} checks passed, {found['failed']} failed, {found['not_run']} not run, on {found['device']}."
    failed = [f"- {c['name']}: {c['detail']}" for c in found["checks"] if not c["passed"]]
    return "\n".join([line, "", *failed, ""])


def benches(folder):
    """(precision, measurement), those of pretraining first."""
    found = []
    for path in sorted(folder.glob("bench-*.json")):
        precision, m = re.match(r"bench-base-([a-z0-9]+)-", path.name), read(path)
        if precision and m:
            found.append((precision.group(1), m))
    order = ["pretrain", "finetune", "transcribe"]
    return sorted(found, key=lambda f: (order.index(f[1]["program"]), f[1]["batch"], f[0]))


def samples(m):
    return m["batch"] * m["seconds"] * RATE


def steps(folder, torch):
    """Everything that was timed, ours and PyTorch's; the share is of the bf16 matrix peak of the same run."""
    peak = torch and 1e3 * torch["matrix_peak"]["best_tflops"]
    rows, gflop = [], {}
    for precision, m in benches(folder):
        work = m["gflops"] * m["median_s"]
        gflop[m["program"], m["batch"]] = work
        share = 100 * m["gflops"] / peak if peak and precision == "bf16" else None
        what = "update" if m.get("update") else "run"
        name = f"w2vc {precision}"
        rows.append([m["program"], m["batch"], name, what, *figures(m, m["gflops"], share)])
    for m in torch["steps"] if torch else []:
        if "error" in m:
            rows.append(["pretrain", m["batch"], f"PyTorch {m['mode']}", m["error"].replace("|", "/"), *[""] * 6])
            continue
        # The floating-point operations of our program stand for the step, so that shares compare times.
        work = gflop.get(("pretrain", m["batch"]))
        rate = work and work / m["median_s"]
        share = 100 * rate / peak if rate and peak else None
        rows.append(["pretrain", m["batch"], f"PyTorch {m['mode']}", "update", *figures(m, rate, share)])
    head = ["program", "clips of 15 s", "by", "timed", "median ms", "min ms", "samples/s", "TFLOP/s", "% of peak", "MiB"]
    return table(head, rows)


def figures(m, gflops, share):
    return [
        number(1e3 * m["median_s"], "{:.2f}"),
        number(1e3 * m["min_s"], "{:.2f}"),
        number(samples(m) / m["median_s"], "{:.3g}"),
        number(gflops and gflops / 1e3),
        number(share),
        number(m.get("device_mib"), "{:.0f}"),
    ]


def ratios(folder, torch):
    """How many times faster the bf16 update is than the best of PyTorch's."""
    lines = []
    for precision, m in benches(folder):
        if m["program"] != "pretrain" or precision != "bf16" or not torch:
            continue
        others = [s["median_s"] for s in torch["steps"] if s["batch"] == m["batch"] and "median_s" in s]
        if others:
            lines.append(f"{m['batch']} clips: {min(others) / m['median_s']:.2f} times the speed of the best of PyTorch.")
    return "\n".join([*lines, ""])


def kernels(m):
    total = sum(k["seconds"] for k in m["profile"]["kernels"])
    rows = [
        [
            k["kernel"],
            k["launches"],
            number(1e3 * k["seconds"], "{:.3f}"),
            number(100 * k["seconds"] / total),
            number(k["flops"] / k["seconds"] / 1e12),
            number(k["bytes"] / k["seconds"] / 1e9, "{:.0f}"),
        ]
        for k in m["profile"]["kernels"][:KERNELS]
        if k["seconds"] > 0
    ]
    return table(["kernel", "launches", "ms", "% of all", "TFLOP/s", "GB/s"], rows)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: report.py OUT_FOLDER")
    folder = Path(sys.argv[1])
    torch = read(folder / "torch.json")
    print(machine(folder))
    print(checks(folder))
    if torch:
        peak = torch["matrix_peak"]
        print(f"bf16 matrix peak (torch.matmul of {peak['size']}^3): {peak['best_tflops']:.0f} TFLOP/s at best, "
              f"{peak['median_tflops']:.0f} in the median; PyTorch {torch['torch']}, transformers {torch['transformers']}"
              f"{', a smoke test of tiny sizes' if torch['smoke'] else ''}.\n")
    if torch or benches(folder):
        print(steps(folder, torch))
        print(ratios(folder, torch))
    for precision, m in benches(folder):
        if m.get("profile") and precision == "bf16":
            print(f"Kernels of {m['program']}, {precision}, {m['batch']} clips (the {KERNELS} that take longest):\n")
            print(kernels(m))


if __name__ == "__main__":
    main()
