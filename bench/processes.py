"""Who takes part in a measurement: peers in long-lived processes, and our executable, started once per round."""

import atexit
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent


class Cores:
    """Turns on a machine that several people use: shared while preparing, alone while timing.

    `locks`: two files; the first is held while waiting for the second, so that who measures is not passed over.
    Others take part with flock(1). None: no turns.
    """

    def __init__(self, locks):
        self.locks = locks

    @contextmanager
    def _held(self, how):
        if not self.locks:
            yield
            return
        turn, cores = (open(path, "a") for path in self.locks)
        with turn, cores:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(cores, how)
            if how == fcntl.LOCK_SH:
                fcntl.flock(turn, fcntl.LOCK_UN)
            yield

    def shared(self):
        return self._held(fcntl.LOCK_SH)

    def alone(self):
        return self._held(fcntl.LOCK_EX)

    @contextmanager
    def giving_way(self, group):
        """Meanwhile the process group is stopped whenever somebody measures: for what takes minutes, during which a
        shared lock would keep everybody from measuring."""
        if not self.locks:
            yield
            return
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(group, done))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, group, done):
        with open(self.locks[1], "a") as cores:
            while not done.wait(0.2):
                try:
                    fcntl.flock(cores, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    fcntl.flock(cores, fcntl.LOCK_UN)
                    tell(group, signal.SIGCONT)
                except BlockingIOError:
                    tell(group, signal.SIGSTOP)
        tell(group, signal.SIGCONT)


def tell(group, what):
    """Sends a signal to a process group, if there still is one."""
    try:
        os.killpg(group, what)
    except ProcessLookupError:
        pass


class Peer:
    """A peer in its own process, which is stopped (SIGSTOP) except while it works: no thread of it spins while
    another is measured, and its own waiting policy can stay as it is shipped."""

    def __init__(self, name, case, work, cores):
        self.name = name
        arguments = [sys.executable, str(HERE / "worker.py"), name, json.dumps(asdict(case)), str(work)]
        log = open(work / f"{case.name}-{name}.log", "w")
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        self.log = log.name
        atexit.register(self.close)  # stopped as it is, it would stay for ever
        started = time.monotonic()
        with cores.giving_way(self.process.pid):
            self._answer()
        tell(self.process.pid, signal.SIGSTOP)
        self.prepared_s = time.monotonic() - started
        self.peak_rss_mib = None

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended, code {self.process.wait()}; see {self.log}")
        return json.loads(line)

    def _ask(self, command):
        tell(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        tell(self.process.pid, signal.SIGSTOP)
        return answer

    def time(self):
        """Seconds of one warm run."""
        answer = self._ask("time")
        self.peak_rss_mib = answer["peak_rss_mib"]
        return {"seconds": answer["seconds"]}

    def save(self, path):
        """Runs once and writes what came out."""
        self._ask(f"save {path}")

    def close(self):
        atexit.unregister(self.close)
        if self.process.poll() is None:
            tell(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Ours:
    """Our executable: one process per round, which warms up by one run and times the next."""

    prepared_s = 0.0

    def __init__(self, executable, case, name="w2vc"):
        self.name = name
        self.command = [
            str(executable), "bench", "--json", "--runs", "1", "--program", case.program, "--batch", str(case.batch),
            "--seconds", f"{case.seconds:g}", "--threads", str(case.threads),
        ]
        if case.program != "transcribe":
            self.command.append("--update")
        self.peak_rss_mib = None

    def time(self):
        found = json.loads(subprocess.run(self.command, check=True, capture_output=True, text=True).stdout)
        self.peak_rss_mib = max(found["peak_rss_mib"], self.peak_rss_mib or 0)
        return {
            "seconds": found["median_s"],
            "gflop": found["gflops"] * found["median_s"],
            "peak_gflops": found["peak_gflops"],
        }

    def close(self):
        pass


# A child's ru_maxrss is at least what its parent held at the fork, and this process holds torch: a small process stands
# between.
MEASURER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss / 1024]))
"""


def run_and_measure(command, gives_way=Cores(None)):
    """(seconds by the clock, peak memory in MiB) of a command from its start to its end; `gives_way`: to whom."""
    arguments = [sys.executable, "-S", "-c", MEASURER, *map(str, command)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with gives_way.giving_way(process.pid):
        output, _ = process.communicate()
    code, seconds, mib = json.loads(output)
    if code != 0:
        raise RuntimeError(f"{command[0]} ended with code {code}")
    return seconds, mib
