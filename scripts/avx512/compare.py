#!/usr/bin/env python3
"""Compares the tensors of two folders and prints rows of a Markdown table, one per file.

    python3 compare.py WHAT GOT EXPECTED BOUND     the rows; exit code 1 if something is beyond BOUND
    python3 compare.py head                        the table's head

Every .safetensors file under EXPECTED must be under GOT, with the same tensors. The distance of a file is that of all
its tensors taken as one vector, ||got - expected|| / ||expected||, and may be BOUND at most; 0 asks for the same bits.
Beside it stands the tensor that is furthest by itself; to the norm of a gradient a hundredth of that of all gradients
is added there, as check_parity.py does, since some are nothing but rounding. Needs numpy.
"""

import json
import sys
from pathlib import Path

import numpy as np

DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "u1", "U32": "<u4", "U64": "<u8"}


def load(path):
    """{name: array} of a safetensors file."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*at["data_offsets"])], DTYPES[at["dtype"]]).reshape(at["shape"])
        for name, at in header.items()
    }


def squares(array):
    return float(np.sum(np.square(array, dtype=np.float64)))


def ratio(error, size):
    """Of two sums of squares. NaN where something is not finite, and no bound is kept then."""
    return np.sqrt(error / size) if size else (0.0 if error == 0 else float("inf"))


def distances(got, expected):
    """How many tensors have the same bits, the distance of all as one vector, and the furthest (distance, name)."""
    same, error, size, furthest = 0, 0.0, 0.0, (0.0, "")
    all_gradients = np.sqrt(sum(squares(b) for name, b in expected.items() if name.startswith("grad.")))
    for name, b in expected.items():
        a = got[name]
        size += squares(b)
        if a.tobytes() == b.tobytes() and np.isfinite(b).all():
            same += 1
            continue
        of_this = squares(a.astype(np.float64) - b)
        error += of_this
        floor = 1e-2 * all_gradients if name.startswith("grad.") else 0.0
        own = ratio(of_this, (np.sqrt(squares(b)) + floor) ** 2)
        if not own <= furthest[0]:
            furthest = (own, name)
    return same, ratio(error, size), furthest


def compare(what, got, expected, bound):
    """Prints a row per file; returns how many are beyond the bound."""
    files = sorted(expected.rglob("*.safetensors"))
    if not files:
        print(f"| {what} | | no file in {expected} | | | |")
        return 1
    failed = 0
    for file in files:
        name = file.relative_to(expected)
        row = [what, str(name.with_suffix(""))]
        if not (got / name).is_file():
            print(f"| {' | '.join(row)} | MISSING | | | |")
            failed += 1
            continue
        a, b = load(got / name), load(file)
        if {k: v.shape for k, v in a.items()} != {k: v.shape for k, v in b.items()}:
            print(f"| {' | '.join(row)} | OTHER TENSORS | | | |")
            failed += 1
            continue
        same, distance, (own, furthest) = distances(a, b)
        kept = distance <= bound and (bound > 0 or same == len(b))
        failed += not kept
        row += [f"{same} of {len(b)}", f"{distance:.1e}" if same < len(b) else "0", f"{own:.1e} {furthest}".strip()]
        if not furthest:
            row[-1] = ""
        print(f"| {' | '.join(row)} | {'' if kept else 'FAILED, '}{bound:g} |")
    return failed


def main():
    if sys.argv[1:] == ["head"]:
        print("| compared | file | same bits | distance of all | furthest tensor | bound |\n|-|-|-|-|-|-|")
        return
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    what, got, expected, bound = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
    sys.exit(1 if compare(what, got, expected, bound) else 0)


if __name__ == "__main__":
    main()
