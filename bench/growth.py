"""How our executable's time and memory grow: with threads, batch and length; and what starting and compiling cost."""

import statistics
from pathlib import Path

import model as base
from peers import Case
from processes import Cores, Ours, run_and_measure

BATCHES = [1, 2, 4, 8]
LENGTHS = [10, 20, 40, 80]
# Memory alone is looked at here: attention's time grows with the square, which no one should wait for twice.
LONG = [150, 300, 600]


def measure(executable, compiler, work, threads, rounds, cores, say, keep):
    """`keep` gets all that was found so far after every part: seconds of every round, and MiB."""
    found = {"threads_used": threads}

    def in_turns(what, everybody):
        times = {name: [] for name in everybody}
        for _ in range(rounds):
            with cores.alone():
                for name, one in everybody.items():
                    times[name].append(one.time())
        found[what] = {
            name: {
                "seconds": [t["seconds"] for t in times[name]],
                "gflop": times[name][0]["gflop"],
                "peak_rss_mib": one.peak_rss_mib,
            }
            for name, one in everybody.items()
        }
        say(f"{what}: " + ", ".join(f"{n}: {min(v['seconds']):.3f} s" for n, v in found[what].items()))
        keep(found)

    for program, batch in [("transcribe", 1), ("pretrain", 2)]:
        counts = sorted({1, threads})
        in_turns(f"threads {program}", {str(n): Ours(executable, Case(program, batch, 10, n)) for n in counts})
    in_turns("batch", {str(n): Ours(executable, Case("transcribe", n, 10, threads)) for n in BATCHES})
    in_turns("length", {str(n): Ours(executable, Case("transcribe", 1, n, threads)) for n in LENGTHS})
    found["long"] = {}
    for seconds in LONG:
        _, rss = transcribe(executable, work, seconds, threads, cores)
        found["long"][str(seconds)] = rss
        say(f"long: {seconds} s: {rss:.0f} MiB")
        keep(found)
    starts = []
    for _ in range(rounds):
        with cores.alone():
            starts.append(transcribe(executable, work, 1, threads))
    found["start"] = {"seconds": [s for s, _ in starts], "peak_rss_mib": statistics.median(m for _, m in starts)}
    say(f"start: {min(s for s, _ in starts):.3f} s")
    compiles = found["compile"] = []
    if compiler.exists():
        for _ in range(min(rounds, 3)):
            with cores.alone():
                model = Path(__file__).parent.parent / "models/base.ron"
                command = [compiler, "compile", model, "--target", "cpu", "-o", work / "compiled"]
                compiles.append(run_and_measure(command)[0])
        say(f"compile: {min(compiles):.3f} s")
    found["executable_mb"] = executable.stat().st_size / 1e6
    found["weights_mib"] = (work / "ctc" / "model.safetensors").stat().st_size / 2**20
    keep(found)


def transcribe(executable, work, seconds, threads, gives_way=Cores(None)):
    """(seconds by the clock, peak MiB) of `OUT transcribe` of one clip, from start to end."""
    path = work / f"long{seconds}.wav"
    if not path.exists():
        base.make_hf.write_wav(path, base.make_hf.speech_like(seconds * base.RATE, 1))
    return run_and_measure([executable, "transcribe", "--threads", threads, "--weights", work / "ctc", path], gives_way)
