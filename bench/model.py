"""The model that everybody runs, and what it is run on: one seeded wav2vec 2.0 BASE as transformers has it.

Clips, masks and the writing of folders are those of tests/fixtures/make_hf.py.
"""

import sys
from pathlib import Path

import torch
import transformers
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2ForPreTraining

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fixtures"))
import make_hf  # noqa: E402

RATE = make_hf.RATE
BASE = dict(
    vocab_size=len(make_hf.TOKENS),
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    ctc_loss_reduction="sum",
    ctc_zero_infinity=True,
    num_codevectors_per_group=320,
    num_codevector_groups=2,
    num_negatives=100,
    codevector_dim=256,
    proj_codevector_dim=256,
    mask_time_prob=0.65,
    mask_time_length=10,
    # Every layer runs, on both sides, so that the work is the same.
    layerdrop=0.0,
    attn_implementation="sdpa",
)
# The rates of the recipes in models/base.ron.
PRETRAIN_DROPOUT = dict(
    hidden_dropout=0.1, attention_dropout=0.1, activation_dropout=0.0,
    feat_proj_dropout=0.1, feat_quantizer_dropout=0.1, final_dropout=0.0,
)
FINETUNE_DROPOUT = dict(
    hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.1,
    feat_proj_dropout=0.0, feat_quantizer_dropout=0.0, final_dropout=0.0,
)
NO_DROPOUT = {name: 0.0 for name in PRETRAIN_DROPOUT}
KINDS = {"ctc": (Wav2Vec2ForCTC, FINETUNE_DROPOUT), "pretrain": (Wav2Vec2ForPreTraining, PRETRAIN_DROPOUT)}
CHANNEL_SPAN, CHANNEL_PROB = 64, 0.5


def folders(work):
    """{kind: folder} with weights, made where missing."""
    transformers.utils.logging.disable_progress_bar()
    found = {}
    for seed, (kind, (of, dropout)) in enumerate(KINDS.items()):
        folder = work / kind
        found[kind] = folder
        if (folder / "preprocessor_config.json").exists():  # the last file that is written
            continue
        print(f"making weights in {folder}", file=sys.stderr, flush=True)
        model = of(Wav2Vec2Config(**BASE, **dropout))
        make_hf.randomise(model, seed)
        make_hf.save_model(model, folder, with_vocabulary=kind == "ctc")
    return found


def load(folder, kind, **changes):
    """The model of `kind` from its folder, in fp32."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    of = KINDS[kind][0]
    return of.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", **changes)


def clips(batch, seconds):
    """f32 [batch, samples], zero mean and unit variance, as preprocessor_config.json says."""
    made = [make_hf.as_wave(make_hf.speech_like(int(seconds * RATE), seed)) for seed in range(1, batch + 1)]
    return make_hf.normalised(torch.stack(made)).float()


def masks(model, batch, samples):
    """(mask bool [B, T], negatives i64 [B, M, K] among the masked frames, the same [B, T, K] as flat frames)."""
    frames = int(model._get_feat_extract_output_lengths(samples))
    mask = make_hf.span_mask(batch, frames, seed=7)
    return mask, *make_hf.draw_negatives(mask, model.config.num_negatives, seed=8)


def channel_masks(batch, channels):
    """bool [B, D]: CHANNEL_PROB of the channels, were no spans to overlap."""
    random = torch.Generator().manual_seed(9)
    mask = torch.zeros(batch, channels, dtype=torch.bool)
    for row in mask:
        spans = int(CHANNEL_PROB * channels / CHANNEL_SPAN)
        for start in torch.randperm(channels - CHANNEL_SPAN, generator=random)[:spans]:
            row[start : start + CHANNEL_SPAN] = True
    return mask


def labels(batch, frames):
    """i64 [B, L]: random letters at about the rate of speech, never one twice in a row."""
    random = torch.Generator().manual_seed(10)
    steps = torch.randint(1, 26, (batch, frames // 4), generator=random)
    return 5 + steps.cumsum(1) % 27


def export(folder, path):
    """The CTC model as ONNX with dynamic batch and length; weight norm is folded first."""
    if path.exists():
        return
    print(f"exporting {path}", file=sys.stderr, flush=True)
    model = load(folder, "ctc").eval()
    torch.nn.utils.parametrize.remove_parametrizations(model.wav2vec2.encoder.pos_conv_embed.conv, "weight")
    part = path.with_suffix(".part.onnx")
    torch.onnx.export(
        model, (clips(2, 2.0),), str(part), input_names=["wave"], output_names=["logits"],
        dynamic_shapes={"input_values": {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=RATE)}},
        dynamo=True, external_data=False,
    )
    part.rename(path)
