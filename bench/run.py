#!/usr/bin/env python3
"""Times wav2vec 2.0 BASE in our executable and in other runtimes on this machine.

    bench/venv/bin/python bench/run.py [CASE ...] [--compile] [--rounds N]

Cases: inference (transcribe-1x10, -4x10, -1x30), training (pretrain-2x10, finetune-2x10), growth (ours alone: threads,
batch, length, start-up, compiling). Results are kept in bench/results/NAME.json as they come, so cases can be run one
by one; a case that is run again replaces its old figures. The table is bench/results/NAME.md.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import agree
import growth
import model as base
import results
from peers import Case
from processes import Cores, Ours, Peer

HERE = Path(__file__).parent
GROUPS = {
    "inference": [("transcribe", 1, 10), ("transcribe", 4, 10), ("transcribe", 1, 30)],
    "training": [("pretrain", 2, 10), ("finetune", 2, 10)],
}
INFERENCE_PEERS = ["openvino", "openvino-torch", "onnxruntime", "torch"]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["inference", "training", "growth"])
    parser.add_argument("--rounds", type=int, default=5, help="in each, everybody runs")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compile", action="store_true", help="torch.compile too (minutes of compiling)")
    parser.add_argument("--peers", help="only these, with commas; torch is always there, for it is the reference")
    parser.add_argument("--w2vc", type=Path, default=HERE.parent / "target/release/w2vc", help="the compiler")
    parser.add_argument("--executable", type=Path, help="the compiled base model; by default it is compiled now")
    parser.add_argument("--int8", type=Path, help="the same in int8; by default it is compiled now")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for weights, ONNX and logs")
    parser.add_argument("--name", default=results.cpu_name(), help="of the results' files; default: the processor's")
    parser.add_argument(
        "--locks", nargs=2, metavar=("TURN", "CORES"),
        help="files to lock (flock): shared while preparing, exclusively while timing",
    )
    return parser.parse_args()


def cases(wanted, threads):
    """The cases of names and groups; `growth` is none of them."""
    known = {Case(p, b, s, threads).name: Case(p, b, s, threads) for group in GROUPS.values() for p, b, s in group}
    found = []
    for name in wanted:
        names = [Case(p, b, s, threads).name for p, b, s in GROUPS[name]] if name in GROUPS else [name]
        if name == "growth":
            continue
        if unknown := [n for n in names if n not in known]:
            sys.exit(f"error: there is no case `{unknown[0]}`; there are {', '.join([*GROUPS, *known, 'growth'])}")
        found += [known[n] for n in names]
    return found


def start(names, case, work, cores):
    """The peers that start; one that does not is reported and left out, except the reference."""
    found = []
    for name in names:
        say(f"{case.name}: preparing {name}")
        try:
            found.append(Peer(name, case, work, cores))
        except RuntimeError as e:
            if name == "torch":
                raise
            say(f"{case.name}: left out: {e}")
    return found


def compare(case, executable, int8, given, cores, keep):
    """Checks, then times in round-robin order; after every round, `keep` gets the results so far."""
    names = ["torch", "torch-compile"] if given.compile else ["torch"]
    if case.program == "transcribe":
        names = INFERENCE_PEERS + names[1:]
    if given.peers:
        names = [n for n in names if n == "torch" or n in given.peers.split(",")]
    peers = start(names, case, given.work, cores)
    more = {}
    try:
        with cores.shared():
            if case.program == "transcribe":
                agreement = agree.logits(executable, case, peers, given.work)
                more["int8_distance"] = agree.between(executable, int8, case, given.work)
            else:
                agreement = agree.training_in_process(executable, case, given.work)
        say(f"{case.name}: all agree: " + ", ".join(f"{k} {v:.1e}" for k, v in agreement.items()))
        digest = hashlib.sha256(executable.read_bytes()).hexdigest()[:12]
        everybody = [Ours(executable, case), *peers]
        if case.program == "transcribe":
            everybody.insert(1, Ours(int8, case, "w2vc-int8"))
        rounds = []
        for number in range(given.rounds):
            # Everybody has every place in the order.
            turn = number % len(everybody)
            with cores.alone():
                rounds.append({who.name: who.time() for who in everybody[turn:] + everybody[:turn]})
            times = ", ".join(f"{name} {found['seconds']:.3f} s" for name, found in rounds[-1].items())
            say(f"{case.name}: round {number + 1}: {times}")
            keep(
                {
                    "threads": case.threads,
                    "executable": digest,
                    "agreement": agreement,
                    **more,
                    "rounds": rounds,
                    "peak_rss_mib": {who.name: who.peak_rss_mib for who in everybody},
                    "prepared_s": {who.name: who.prepared_s for who in peers},
                }
            )
    finally:
        for peer in peers:
            peer.close()


def say(text):
    print(text, file=sys.stderr, flush=True)


def ours(executable, given, precision):
    """The executable, which is compiled if it is not given."""
    if executable is None:
        executable = given.work / f"base-{precision}"
        command = [given.w2vc, "compile", HERE.parent / "models/base.ron", "--target", "cpu"]
        subprocess.run(list(map(str, [*command, "--precision", precision, "-o", executable])), check=True)
    executable = executable.resolve()
    # Now, and not after minutes of preparing peers, it should turn out that it does not run here.
    subprocess.run([str(executable), "info"], check=True, stdout=subprocess.DEVNULL)
    return executable


def main():
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that peers are ended too
    wanted = cases(given.cases, given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    given.work = given.work.resolve()
    cores = Cores(given.locks)
    with cores.shared():
        folders = base.folders(given.work)
        base.export(folders["ctc"], given.work / "ctc.onnx")
    executable = ours(given.executable, given, "fp32")
    int8 = ours(given.int8, given, "int8")
    kept = results.Results(HERE / "results", given.name)
    failed = False
    for case in wanted:
        try:
            compare(case, executable, int8, given, cores, lambda found: kept.put(case.name, found))
        except (agree.Disagreement, RuntimeError, subprocess.CalledProcessError) as e:
            failed = True
            traceback.print_exc()
            say(f"error: {case.name} was not measured: {e}")
    if "growth" in given.cases:
        keep = lambda found: kept.put("growth", found)
        growth.measure(executable, given.w2vc, given.work, given.threads, given.rounds, cores, say, keep)
    print(kept.write())
    sys.exit(failed)


if __name__ == "__main__":
    main()
