"""Whether everybody computes the same, before anybody is timed.

Distances are ||a - b|| / ||b||, b from PyTorch in fp32.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import model as base

# Twelve layers of fp32 in another order of summation stay two orders below; a wrong layer is three above.
LOGITS = 1e-4
LOSS = 1e-4
# The gradient as one vector, without the convolutions: our recipe has a penalty on features and scales their gradient.
GRADIENT = 1e-3


class Disagreement(Exception):
    pass


def distance(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise Disagreement(f"shapes {a.shape} and {b.shape}")
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def demand(found, allowed, what):
    # A NaN is a disagreement: no comparison with it is true.
    if not found <= allowed:
        raise Disagreement(f"{what}: distance {found:.2e}, allowed {allowed:.0e}")
    return found


def logits(executable, case, workers, work):
    """{name: distance} of the logits of a case; workers must have one named `torch`."""
    got = {}
    for worker in workers:
        path = work / f"{worker.name}.logits.npy"
        worker.save(path)
        got[worker.name] = np.load(path)
    got["w2vc"] = our_logits(executable, case, work)
    return {
        name: demand(distance(value, got["torch"]), LOGITS, f"logits of {name} on {case.name}")
        for name, value in got.items()
    }


def between(executable, other, case, work):
    """The distance of the other executable's logits from those of the first."""
    reference = our_logits(executable, case, work)
    return distance(our_logits(other, case, work), reference)


def our_logits(executable, case, work):
    """f32 [B, T, V], every clip transcribed alone from a file."""
    paths = []
    for seed in range(1, case.batch + 1):
        paths.append(work / f"clip{seed}-{case.seconds:g}s.wav")
        base.make_hf.write_wav(paths[-1], base.make_hf.speech_like(int(case.seconds * base.RATE), seed))
    out = work / "w2vc.logits.safetensors"
    command = [executable, "transcribe", "--weights", work / "ctc", "--logits", out, *paths]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    found = load_file(out)
    return np.stack([found[str(path)].numpy() for path in paths])


def training(executable, case, work):
    """{what: distance} of loss and gradient of a training program, dropout off, same masks, negatives and noise."""
    import training as steps

    if case.program == "pretrain":
        network, value = steps.pretrain(case, work, **base.NO_DROPOUT)
        batch, noise = _pretrain_batch(network, case)
        with steps.gumbel(noise):
            loss = value(network)
    else:
        network, value = steps.finetune(case, work, **base.NO_DROPOUT)
        batch = _finetune_batch(network, case)
        loss = value(network)
    loss.backward()
    ours = _our_step(executable, case, batch, work)
    our_loss = ours["contrastive"] + 0.1 * ours["diversity"] if case.program == "pretrain" else ours["loss"]
    convolutions = "wav2vec2.feature_extractor."
    names = [n for n, p in network.named_parameters() if p.grad is not None and not n.startswith(convolutions)]
    expected = {n: p.grad for n, p in network.named_parameters()}
    a = torch.cat([ours[f"grad.{n}"].flatten() for n in names])
    b = torch.cat([expected[n].flatten() for n in names])
    return {
        "loss": demand(distance(our_loss.reshape(1), loss.detach().reshape(1)), LOSS, f"loss of {case.name}"),
        "gradient": demand(distance(a, b), GRADIENT, f"gradient of {case.name}"),
    }


def _pretrain_batch(network, case):
    config = network.config
    wave = base.clips(case.batch, case.seconds)
    mask, negatives, _ = base.masks(network, *wave.shape)
    groups, codes = config.num_codevector_groups, config.num_codevectors_per_group
    uniform = torch.rand(*negatives.shape[:2], groups, codes, generator=torch.Generator().manual_seed(11))
    ours = -torch.log(-torch.log(uniform.clamp(1e-6, 1 - 1e-6)))
    theirs = torch.zeros(*mask.shape, groups, codes)
    for row, own in enumerate(mask):
        theirs[row, own] = ours[row, : int(own.sum())]
    batch = {
        "wave": wave,
        "lengths": torch.full((case.batch,), wave.shape[1]),
        "mask": mask.to(torch.uint8),
        "negatives": negatives,
        "gumbel": ours,
        "temperature": torch.tensor([2.0]),
    }
    return batch, theirs.view(-1, codes)


def _finetune_batch(network, case):
    wave = base.clips(case.batch, case.seconds)
    mask, _, _ = base.masks(network, *wave.shape)
    return {
        "wave": wave,
        "lengths": torch.full((case.batch,), wave.shape[1]),
        "labels": base.labels(case.batch, mask.shape[1]),
        "mask": mask.to(torch.uint8),
        "channel_mask": base.channel_masks(case.batch, network.config.hidden_size).to(torch.uint8),
    }


def _our_step(executable, case, batch, work):
    given, out = work / f"{case.program}_batch.safetensors", work / f"{case.program}_step.safetensors"
    save_file(batch, given)
    weights = work / ("pretrain" if case.program == "pretrain" else "ctc")
    command = [executable, "step", "--weights", weights, "--batch", given, "--out", out, "--program", case.program]
    command.append("--no-dropout")
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return load_file(out)


def training_in_process(executable, case, work):
    """`training` in a separate process, whose memory is freed before timing begins."""
    command = [sys.executable, __file__, executable, json.dumps(asdict(case)), work]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Disagreement(f"the check of {case.name} failed, see above")
    return json.loads(done.stdout)


if __name__ == "__main__":
    from peers import Case

    print(json.dumps(training(sys.argv[1], Case(**json.loads(sys.argv[2])), Path(sys.argv[3]))))
