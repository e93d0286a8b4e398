#!/usr/bin/env python3
"""Transcribing base in every precision, beside OpenVINO at its default precision, in fp32 and quantised to int8 by NNCF.

Needs openvino, and nncf for int8, but no PyTorch: the model is built from OpenVINO's own operations, with random weights. So
nothing is compared here but time; run.py compares results too.

    bench/precisions.py fp32=./base bf16=./base-bf16 int8=./base-int8 --seconds 10 --threads 2

Every round runs everybody once, in an order that rotates; ratios are taken within a round, to the first executable named.
"""

import argparse
import json
import statistics
import subprocess
import time

import numpy as np
import openvino as ov
import openvino.opset13 as op

CONVOLUTIONS = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
HIDDEN, HEADS, WIDTH, FFN, LAYERS, CHANNELS, CLASSES = 768, 12, 64, 3072, 12, 512, 32

# Of everybody in a round; the fastest counts.
RUNS = 3


class Base:
    """wav2vec 2.0 BASE with a CTC head for clips of one shape."""

    def __init__(self, batch, samples):
        self.random = np.random.default_rng(0)
        self.batch = batch
        self.frames = (samples - 400) // 320 + 1
        wave = op.parameter([batch, samples], np.float32)
        self.model = ov.Model([self.network(wave)], [wave])

    def draw(self, *shape, scale):
        return op.constant((scale * self.random.standard_normal(shape)).astype(np.float32))

    @staticmethod
    def integers(*values):
        return op.constant(np.array(values, np.int64))

    def transposed(self, x, *order):
        return op.transpose(x, self.integers(*order))

    def norm(self, x, axis, shape):
        y = op.mvn(x, self.integers(axis), True, 1e-5, "inside_sqrt")
        gain = op.add(op.constant(np.float32(1)), self.draw(*shape, scale=0.1))
        return op.add(op.multiply(y, gain), self.draw(*shape, scale=0.1))

    def layer_norm(self, x, width=HIDDEN):
        return self.norm(x, -1, [1, 1, width])

    def linear(self, x, outputs, inputs):
        product = op.matmul(x, self.draw(outputs, inputs, scale=inputs**-0.5), False, True)
        return op.add(product, self.draw(1, 1, outputs, scale=0.02))

    def heads(self, x):
        parts = op.reshape(x, self.integers(self.batch, self.frames, HEADS, WIDTH), False)
        return self.transposed(parts, 0, 2, 1, 3)

    def features(self, wave):
        x, inputs = op.unsqueeze(wave, self.integers(1)), 1
        for number, (taps, stride) in enumerate(CONVOLUTIONS):
            weight = self.draw(CHANNELS, inputs, taps, scale=1.4 * (inputs * taps) ** -0.5)
            x, inputs = op.convolution(x, weight, [stride], [0], [0], [1]), CHANNELS
            if number == 0:
                x = self.norm(x, 2, [1, CHANNELS, 1])
            x = op.gelu(x, "ERF")
        return self.transposed(x, 0, 2, 1)

    def positions(self, x):
        weight = self.draw(16, HIDDEN // 16, HIDDEN // 16, 128, scale=(HIDDEN * 8) ** -0.5)
        y = op.group_convolution(self.transposed(x, 0, 2, 1), weight, [1], [64], [63], [1])
        y = op.gelu(op.add(y, self.draw(1, HIDDEN, 1, scale=0.02)), "ERF")
        return self.transposed(y, 0, 2, 1)

    def layer(self, x):
        q, k, v = (self.heads(self.linear(x, HIDDEN, HIDDEN)) for _ in range(3))
        mixed = self.transposed(op.scaled_dot_product_attention(q, k, v, causal=False), 0, 2, 1, 3)
        mixed = op.reshape(mixed, self.integers(self.batch, self.frames, HIDDEN), False)
        x = self.layer_norm(op.add(x, self.linear(mixed, HIDDEN, HIDDEN)))
        wide = op.gelu(self.linear(x, FFN, HIDDEN), "ERF")
        return self.layer_norm(op.add(x, self.linear(wide, HIDDEN, FFN)))

    def network(self, wave):
        x = self.linear(self.layer_norm(self.features(wave), CHANNELS), HIDDEN, CHANNELS)
        x = self.layer_norm(op.add(x, self.positions(x)))
        for _ in range(LAYERS):
            x = self.layer(x)
        return self.linear(x, CLASSES, HIDDEN)


def clips(batch, samples):
    return (0.1 * np.random.default_rng(1).standard_normal((batch, samples))).astype(np.float32)


def openvino(model, wave, threads, precision=None):
    """Seconds of a run; the precision is OpenVINO's own choice where none is given."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()

    def once():
        start = time.perf_counter()
        request.infer([wave], share_inputs=True, share_outputs=True)
        return time.perf_counter() - start

    for _ in range(2):
        once()
    # The first after a pause is slower.
    return lambda: min(once() for _ in range(RUNS))


def quantised(model, wave):
    import nncf

    data = nncf.Dataset([wave])
    return nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=1)


def ours(path, args):
    command = [path, "bench", "--json", "--runs", str(RUNS), "--program", "transcribe", "--batch", str(args.batch)]
    command += ["--seconds", f"{args.seconds:g}", "--threads", str(args.threads)]

    def run():
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(found.stdout)["min_s"]

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("executables", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nncf", action="store_true", help="also OpenVINO in int8; quantising takes minutes")
    args = parser.parse_args()
    samples = int(args.seconds * 16000)
    wave = clips(args.batch, samples)
    base = Base(args.batch, samples).model
    named = [e.split("=", 1) for e in args.executables]
    runs = {f"w2vc {name}": ours(path, args) for name, path in named}
    runs["OpenVINO, default"] = openvino(base, wave, args.threads)
    runs["OpenVINO, fp32"] = openvino(base, wave, args.threads, "f32")
    if args.nncf:
        runs["OpenVINO, NNCF int8"] = openvino(quantised(base, wave), wave, args.threads)
    names = list(runs)
    rounds = []
    for number in range(args.rounds):
        order = names[number % len(names):] + names[: number % len(names)]
        times = {name: runs[name]() for name in order}
        rounds.append(times)
    print(f"{args.batch} x {args.seconds:g} s, {args.threads} threads, {args.rounds} rounds\n")
    print("| | median, s | fastest, s | ratio |\n|-|-|-|-|")
    for name in sorted(names, key=lambda n: statistics.median(r[n] for r in rounds)):
        times = [r[name] for r in rounds]
        ratio = statistics.median(r[name] / r[names[0]] for r in rounds)
        print(f"| {name} | {statistics.median(times):.3f} | {min(times):.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
