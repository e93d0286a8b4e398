#!/usr/bin/env python3
"""Times the pretraining step of wav2vec 2.0 BASE in PyTorch with transformers, and the bf16 matrix peak, on this machine.

One step: forward and backward of Wav2Vec2ForPreTraining under bf16 autocast, clipping nothing, then fused AdamW. Attention is
SDPA; eager and torch.compile are timed. Masks and negatives are made beforehand, every layer is run (no layerdrop). Writes one
JSON object. `--smoke` runs a tiny configuration on whatever there is, to see that this file works.
"""

import argparse
import json
import statistics
import sys
import time

import torch
import transformers
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

RATE = 16_000
WARM_UP = 3


def settings(smoke):
    """BASE as published; the rates are those of the recipe `pretrain` in models/base.ron."""
    small = dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=[16] * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, num_codevectors_per_group=8, codevector_dim=16,
        proj_codevector_dim=16, num_negatives=10,
    )
    return Wav2Vec2Config(
        layerdrop=0.0, hidden_dropout=0.1, attention_dropout=0.1, activation_dropout=0.0, feat_proj_dropout=0.1,
        feat_quantizer_dropout=0.1, mask_time_prob=0.65, mask_time_length=10, attn_implementation="sdpa",
        **(small if smoke else {}),
    )


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(action, runs, device):
    """Seconds of each run, after a few that do not count."""
    for _ in range(WARM_UP):
        action()
    times = []
    for _ in range(runs):
        synchronise(device)
        start = time.perf_counter()
        action()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return times


def matrix_peak(device, size, runs):
    """TFLOP/s of a bf16 product of two square matrices; the median and the best run."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    b = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    times = timed(lambda: torch.matmul(a, b), runs, device)
    tera = 2 * size**3 / 1e12
    return {"size": size, "median_tflops": tera / statistics.median(times), "best_tflops": tera / min(times)}


def batch(model, config, clips, samples, device):
    """Noise, and masks and negatives as transformers' own recipe draws them."""
    frames = int(model._get_feat_extract_output_lengths(samples))
    mask = _compute_mask_indices((clips, frames), config.mask_time_prob, config.mask_time_length, min_masks=2)
    negatives = _sample_negative_indices((clips, frames), config.num_negatives, mask_time_indices=mask)
    return {
        "input_values": 0.1 * torch.randn(clips, samples, device=device),
        "mask_time_indices": torch.tensor(mask, device=device, dtype=torch.bool),
        "sampled_negative_indices": torch.tensor(negatives, device=device, dtype=torch.long),
    }


def measure(config, mode, clips, seconds, runs, device):
    torch.manual_seed(1)
    model = Wav2Vec2ForPreTraining(config).to(device).train()
    model.set_gumbel_temperature(2.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=True)
    inputs = batch(model, config, clips, int(seconds * RATE), device)
    forward = torch.compile(model) if mode == "compile" else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = forward(**inputs).loss
        loss.backward()
        optimizer.step()
        # The loss is read at every step, as training does.
        return loss.item()

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times = timed(step, runs, device)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    return {"median_s": statistics.median(times), "min_s": min(times), "device_mib": peak, "loss": step()}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", help="file for the JSON; default: standard output")
    args.add_argument("--batches", default="6,48", help="clips of a step, several with commas")
    args.add_argument("--seconds", type=float, default=15.0, help="length of each clip")
    args.add_argument("--runs", type=int, default=20)
    args.add_argument("--modes", default="eager,compile")
    args.add_argument("--smoke", action="store_true", help="tiny sizes, also without a GPU")
    args = args.parse_args()
    if not (torch.cuda.is_available() or args.smoke):
        sys.exit("error: PyTorch sees no GPU; --smoke runs a tiny size on the processor")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    config = settings(args.smoke)
    found = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "smoke": args.smoke,
        "matrix_peak": matrix_peak(device, 256 if args.smoke else 8192, 2 if args.smoke else 50),
        "steps": [],
    }

    def save():
        text = json.dumps(found, indent=1)
        if args.out:
            with open(args.out, "w") as file:
                file.write(text + "\n")
        return text

    for mode in args.modes.split(","):
        for clips in map(int, args.batches.split(",")):
            entry = {"mode": mode, "batch": clips, "seconds": args.seconds, "runs": args.runs}
            try:
                entry.update(measure(config, mode, clips, args.seconds, args.runs, device))
            except Exception as e:  # One that fails (memory, no compiler for torch.compile) leaves the others.
                entry["error"] = f"{type(e).__name__}: {e}".splitlines()[0]
            found["steps"].append(entry)
            print(entry, file=sys.stderr)
            save()
    text = save()
    if not args.out:
        print(text)


if __name__ == "__main__":
    main()
