#!/usr/bin/env bash
# Makes bench/venv with the peers at pinned versions. Needs python3 (3.11 or newer) with venv and pip:
# on Debian `apt install python3-venv`; torch.compile needs a C++ compiler too (`apt install g++ python3-dev`).
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}
torch=$(grep '^torch==' requirements.txt)

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $("$python" --version) is too old, 3.11 or newer is needed; set PYTHON to a newer one" >&2
    exit 1
}
[ -x venv/bin/python ] || "$python" -m venv venv || {
    echo "setup: no venv could be made; on Debian: apt install python3-venv" >&2
    rm -rf venv
    exit 1
}
# The CPU build is a fraction of the size (the other brings gigabytes for GPUs). Where that index cannot be reached, the
# ordinary build computes the same on a CPU.
venv/bin/pip install --quiet --index-url https://download.pytorch.org/whl/cpu "$torch" ||
    venv/bin/pip install --quiet "$torch"
venv/bin/pip install --quiet -r requirements.txt
command -v c++ >/dev/null || echo "setup: there is no C++ compiler, so --compile (torch.compile) will not work" >&2
echo "ready: bench/venv/bin/python bench/run.py"
