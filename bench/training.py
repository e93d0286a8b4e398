"""The training steps of PyTorch: forward, backward, norm of the gradients, AdamW."""

from contextlib import contextmanager
from unittest import mock

import torch
from transformers.models.wav2vec2 import modeling_wav2vec2

import model as base


def pretrain(case, work, **changes):
    """(model, loss function): Wav2Vec2ForPreTraining on masks and negatives made beforehand."""
    network = base.load(work / "pretrain", "pretrain", **changes).train()
    network.set_gumbel_temperature(2.0)
    wave = base.clips(case.batch, case.seconds)
    mask, _, negatives = base.masks(network, *wave.shape)

    def loss(forward):
        return forward(wave, mask_time_indices=mask, sampled_negative_indices=negatives).loss

    return network, loss


def finetune(case, work, masked=True, **changes):
    """(model, loss function): Wav2Vec2ForCTC, convolutions frozen, SpecAugment masks made beforehand."""
    network = base.load(work / "ctc", "ctc", **changes).train()
    network.freeze_feature_encoder()
    wave = base.clips(case.batch, case.seconds)
    mask, _, _ = base.masks(network, *wave.shape)
    labels = base.labels(case.batch, mask.shape[1])
    channel_mask = base.channel_masks(case.batch, network.config.hidden_size)
    inner = network.wav2vec2
    network.config.mask_time_prob = 0.0
    if masked:
        # The model would draw masks in Python at every step; ours are made beforehand too. Fixed, they are parts of the
        # step: frames take the learned vector, channels become 0.
        def mask_hidden_states(hidden, **_):
            hidden = torch.where(mask[..., None], inner.masked_spec_embed.to(hidden.dtype), hidden)
            return hidden.masked_fill(channel_mask[:, None], 0)

        inner._mask_hidden_states = lambda hidden, *_, **__: mask_hidden_states(hidden)
    else:
        inner._mask_hidden_states = lambda hidden, *_, **__: hidden

    def loss(forward):
        return forward(wave, labels=labels).loss

    return network, loss


PROGRAMS = {"pretrain": pretrain, "finetune": finetune}


def step(case, work, compiled=False):
    """A function that makes one update and returns its loss."""
    torch.manual_seed(1)
    torch.set_num_threads(case.threads)
    network, loss = PROGRAMS[case.program](case, work)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=True)
    if compiled:
        import torch._inductor.config as inductor

        inductor.compile_threads = 1
    forward = torch.compile(network) if compiled else network

    def update():
        optimizer.zero_grad(set_to_none=True)
        value = loss(forward)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return value.item()

    return update


@contextmanager
def gumbel(noise):
    """transformers with the given Gumbel noise [B*T*G, V] in place of its own."""

    def given(logits, tau=1, hard=False, **_):
        soft = torch.softmax((logits + noise) / tau, dim=-1)
        one = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        return one - soft.detach() + soft

    with mock.patch.object(modeling_wav2vec2.nn.functional, "gumbel_softmax", given):
        yield
