#!/usr/bin/env python3
"""Compares what `step` (or `transcribe --logits`) wrote with the expected tensors of a fixture.

    python3 scripts/check_parity.py GOT.safetensors EXPECTED.safetensors [--worst N]

A gradient passes when ||got - expected|| <= 1e-4 ||expected|| + 1e-6 ||all expected gradients||; every other tensor
when ||got - expected|| <= 1e-4 ||expected||. Needs numpy. Exit code 1 if a tensor fails or is missing.
"""

import argparse
import json
import sys

import numpy as np

RELATIVE, OF_ALL = 1e-4, 1e-6
DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}


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


def norm(array):
    return float(np.sqrt(np.sum(np.square(array, dtype=np.float64))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("got")
    parser.add_argument("expected")
    parser.add_argument("--worst", type=int, default=10, help="how many of the worst tensors to print")
    options = parser.parse_args()
    got, expected = load(options.got), load(options.expected)
    expected = {name: b for name, b in expected.items() if not name.startswith("check.")}
    all_gradients = norm(np.array([norm(b) for name, b in expected.items() if name.startswith("grad.")]))

    rows, failed = [], []
    for name, b in expected.items():
        if name not in got:
            failed.append(f"{name}: missing")
            continue
        a = got[name]
        if a.shape != b.shape and (a.size != b.size or b.size != 1):
            failed.append(f"{name}: shape {list(a.shape)}, expected {list(b.shape)}")
            continue
        allowed = RELATIVE * norm(b) + (OF_ALL * all_gradients if name.startswith("grad.") else 0.0)
        error = norm(a.reshape(b.shape).astype(np.float64) - b)
        # A NaN is a failure: no comparison with it is true.
        share = error / allowed if allowed > 0 else (0.0 if error == 0 else float("inf"))
        if not error <= allowed:
            failed.append(f"{name}: error {error:.3e}, allowed {allowed:.3e}")
        rows.append((float("inf") if share != share else share, error, norm(b), name))
    rows.sort(reverse=True)
    print(f"{'share of allowed':>16}  {'error':>9}  {'norm':>9}  tensor")
    for share, error, size, name in rows[: options.worst]:
        print(f"{share:16.4f}  {error:9.2e}  {size:9.2e}  {name}")
    extra = sorted(name for name in got if name.startswith("grad.") and name not in expected)
    if extra:
        print(f"not in the expected file: {', '.join(extra)}")
    for line in failed:
        print(f"FAILED {line}")
    print(f"{len(expected) - len(failed)} of {len(expected)} tensors agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
