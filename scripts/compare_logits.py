#!/usr/bin/env python3
"""How far two executables' logits are apart: usage compare_logits.py A.safetensors B.safetensors, each written by
`OUT transcribe --logits FILE`. Prints the share of frames with the same arg-max, and the distance relative to A."""

import sys

import numpy as np
from safetensors.numpy import load_file

a, b = map(load_file, sys.argv[1:3])
if a.keys() != b.keys():
    sys.exit(f"the files hold different clips: {sorted(a.keys() ^ b.keys())[:5]}")
frames = same = 0
distance = size = 0.0
changed = []
for name in sorted(a):
    x, y = a[name].astype(np.float64), b[name].astype(np.float64)
    agree = x.argmax(-1) == y.argmax(-1)
    frames, same = frames + agree.size, same + agree.sum()
    distance, size = distance + np.square(x - y).sum(), size + np.square(x).sum()
    # How clear the choice was where it changed: the gap between the two best logits.
    best = np.sort(x[~agree], axis=-1)
    changed += list(best[:, -1] - best[:, -2]) if len(best) else []
print(f"arg-max unchanged on {100 * same / frames:.2f} % of {frames} frames of {len(a)} clips")
print(f"relative distance {np.sqrt(distance / size):.2e}")
if changed:
    print(f"where it changed, the best logit led by {np.median(changed):.3f} (median), {max(changed):.3f} at most")
