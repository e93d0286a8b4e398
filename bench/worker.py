"""One peer with one case in a separate process: prepares, reports that, then runs once for every line it reads.

Answers are JSON lines on what was standard output when it started; what libraries print goes to standard error.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

import peers


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer, case, work = sys.argv[1], peers.Case(**json.loads(sys.argv[2])), Path(sys.argv[3])
    run = peers.prepare(peer, case, work)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        command, *rest = line.split(maxsplit=1)
        if command == "time":
            answer = {"seconds": peers.timed(run)}
        elif command == "save":
            np.save(rest[0].strip(), run())
            answer = {}
        else:
            raise ValueError(f"no such command: {line!r}")
        print(json.dumps({**answer, "peak_rss_mib": peers.peak_rss_mib()}), file=answers)


if __name__ == "__main__":
    main()
