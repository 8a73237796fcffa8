"""Gemma 4 pairs of the real shapes and no weights: headers with all sizes, before a hole as large as the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from helpers.tiny_pairs import ASSISTANT, TARGET, WORDS, model_keys, vocabulary

from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header, padded
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.family import slots
from gemma_mtp.quantize.mixes import mix_types
from gemma_mtp.quantize.types import FILE_TYPES

VOCABULARY = 262_144

SHAPE_26B = replace(
    TARGET,
    layers=30,
    hidden=2816,
    intermediate=2112,
    heads=16,
    kv_heads_sliding=8,
    kv_heads_full=2,
    head_dim_sliding=256,
    head_dim_full=512,
    sliding=tuple(layer % 6 != 5 for layer in range(30)),
    sliding_window=1024,
    context=262_144,
    vocabulary=VOCABULARY,
    logit_softcap=30.0,
    values_are_keys=True,
    experts=128,
    experts_used=8,
    expert_intermediate=704,
)
SHAPE_31B = replace(
    SHAPE_26B,
    layers=60,
    hidden=5376,
    intermediate=21_504,
    heads=32,
    kv_heads_sliding=16,
    kv_heads_full=4,
    sliding=tuple(layer % 6 != 5 for layer in range(60)),
    experts=0,
    experts_used=0,
    expert_intermediate=0,
)
SHAPE_12B = replace(
    SHAPE_31B,
    layers=48,
    hidden=3840,
    intermediate=15_360,
    heads=16,
    kv_heads_sliding=8,
    kv_heads_full=1,
    sliding=tuple(layer % 6 != 5 for layer in range(48)),
)
SHAPE_E4B = replace(
    SHAPE_31B,
    layers=42,
    hidden=2560,
    intermediate=10_240,
    heads=8,
    kv_heads_sliding=2,
    kv_heads_full=None,
    sliding=tuple(layer % 6 != 5 for layer in range(42)),
    sliding_window=512,
    context=131_072,
    values_are_keys=False,
    shared_kv_layers=18,
    per_layer_input=256,
)
SHAPE_E2B = replace(
    SHAPE_E4B,
    layers=35,
    hidden=1536,
    intermediate=6144,
    kv_heads_sliding=1,
    sliding=tuple(layer % 5 != 4 for layer in range(35)),
    shared_kv_layers=20,
    double_wide_mlp=True,
)
#: Whose drafters are small: hidden, intermediate, heads.
SMALL, LARGE = (256, 2048, 4), (1024, 8192, None)


def drafter_of(target: Hyperparameters) -> Hyperparameters:
    hidden, intermediate, heads = SMALL if target.per_layer_input else LARGE
    return replace(
        target,
        part="assistant",
        architecture=ASSISTANT.architecture,
        layers=4,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads or target.heads,
        per_layer_input=0,
        double_wide_mlp=False,
        sliding=(True, True, True, False),
        shared_kv_layers=4,
        backbone=target.hidden,
        experts=0,
        experts_used=0,
        expert_intermediate=0,
        logit_softcap=None,
        values_are_keys=False,
    )


def write_hollow(path: Path, shape: Hyperparameters, kind: str, tokenizer: Mapping[str, Value] | None = None) -> Path:
    """A file of llama.cpp's type `kind`. It takes no room on the disk but for its header.

    tokenizer: its keys; None: a vocabulary of the right size without merges.
    """
    words = (f"<more{number}>" for number in range(shape.vocabulary - len(WORDS)))
    metadata = {**model_keys(shape), **(tokenizer or vocabulary([*WORDS, *words]))}
    plans = [TensorPlan("rope_freqs.weight", (shape.head_dim_full // 2,), GGMLType.F32)]
    plans += [
        TensorPlan(slot.mainline_name, slot.shape(shape), GGMLType.F32)
        for slot in slots(shape)
        if slot.needed(shape) and slot.role.name not in ("centroids", "token_ordering")
    ]
    types = mix_types(FILE_TYPES[kind], metadata, plans)
    plans = [replace(plan, type=given) for plan, given in zip(plans, types, strict=True)]
    with path.open("wb") as file:
        file.write(encode_header(metadata, plans))
        file.truncate(file.tell() + sum(padded(plan.nbytes) for plan in plans))
    return path
