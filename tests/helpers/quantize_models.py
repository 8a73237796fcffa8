"""Random GGUFs of every Gemma 4 family: real names, layer counts and hyper-parameters, but only two rows a tensor.

Which type a tensor gets depends on names, counts and widths, and its bytes on one row at a time, so that two rows show
all there is to see. llama_model_quantize doesn't ask that a model could be loaded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from helpers.tiny_pairs import TARGET

from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import MAINLINE, TARGET_ARCHITECTURE
from gemma_mtp.model.family import slots
from gemma_mtp.model.gguf_keys import written_keys
from gemma_mtp.model.part import Part

ROWS, EXPERTS_STORED = 2, 3


def sliding_pattern(layers: int, period: int = 6) -> tuple[bool, ...]:
    return tuple((layer + 1) % period != 0 and layer + 1 < layers for layer in range(layers))


def model_of(part: Part, layers: int, **changes: object) -> Hyperparameters:
    drafts = part is Part.ASSISTANT
    basis = replace(
        TARGET,
        part=part,
        architecture="",
        layers=layers,
        hidden=256,
        intermediate=512,
        kv_heads_full=None,
        head_dim_sliding=64,
        head_dim_full=128,
        sliding=sliding_pattern(layers),
        sliding_window=16,
        context=512,
        vocabulary=64,
        logit_softcap=None if drafts else 30.0,
        shared_kv_layers=layers if drafts else 0,
        backbone=512 if drafts else 0,
    )
    return replace(basis, **changes)


MOE = {"experts": 128, "experts_used": 8, "expert_intermediate": 256}

FAMILIES: dict[str, Hyperparameters] = {
    "assistant": model_of(Part.ASSISTANT, 4),
    "assistant with one KV head": model_of(Part.ASSISTANT, 4, kv_heads_sliding=1),
    "assistant, width 320": model_of(Part.ASSISTANT, 4, hidden=320, intermediate=192, backbone=160),
    "assistant, width 100": model_of(Part.ASSISTANT, 4, hidden=100, intermediate=72, backbone=52, head_dim_sliding=20),
    "E2B": model_of(
        Part.TARGET, 35, kv_heads_sliding=1, shared_kv_layers=20, per_layer_input=256, double_wide_mlp=True,
        sliding=sliding_pattern(35, 5),
    ),
    "E4B": model_of(
        Part.TARGET, 42, shared_kv_layers=18, per_layer_input=256, hidden=512, intermediate=1024,
    ),
    "E2B, width 320": model_of(Part.TARGET, 35, hidden=320, shared_kv_layers=20, per_layer_input=96),
    "12B": model_of(Part.TARGET, 48, kv_heads_full=1, values_are_keys=True),
    "26B-A4B": model_of(Part.TARGET, 30, kv_heads_full=1, values_are_keys=True, **MOE),
    "26B-A4B, width 704": model_of(Part.TARGET, 30, **{**MOE, "expert_intermediate": 704}),
    "8 experts": model_of(Part.TARGET, 18, **{**MOE, "experts": 8, "experts_used": 2}),
    "31B": model_of(Part.TARGET, 60, heads=8, kv_heads_full=2, values_are_keys=True),
    "untied 12B": model_of(Part.TARGET, 48),
}  # fmt: skip


def tensor_plans(family: str, kind: GGMLType = GGMLType.BF16) -> list[TensorPlan]:
    """The family's tensors, of at most two rows; vectors, norms and scales in F32."""
    plans = plans_of(FAMILIES[family], kind)
    if family.startswith("untied"):
        plans += untied(FAMILIES[family], kind)
    return plans


def plans_of(model: Hyperparameters, kind: GGMLType = GGMLType.BF16) -> list[TensorPlan]:
    plans = [TensorPlan("rope_freqs.weight", (model.head_dim_full // 2,), GGMLType.F32)]
    for slot in slots(model):
        shape = slot.shape(model)
        small = (*(EXPERTS_STORED,) * (len(shape) - 2), *(ROWS,) * (len(shape) > 1), shape[-1])
        plans.append(TensorPlan(slot.mainline_name, small, GGMLType.F32 if slot.role.plain else kind))
    return plans


def untied(model: Hyperparameters, kind: GGMLType = GGMLType.BF16) -> list[TensorPlan]:
    """An output matrix of its own, and a layer whose queries, keys and values are one matrix."""
    return [TensorPlan(name, (ROWS, model.hidden), kind) for name in ("output.weight", "blk.3.attn_qkv.weight")]


def metadata(family: str) -> dict[str, gv.Value]:
    return {**keys_of(FAMILIES[family]), "general.name": gv.string(family)}


def keys_of(model: Hyperparameters) -> dict[str, gv.Value]:
    architecture = MAINLINE.architecture if model.part is Part.ASSISTANT else TARGET_ARCHITECTURE
    return {
        "general.architecture": gv.string(architecture),
        "general.file_type": gv.u32(32),
        "general.name": gv.string("random"),
        "general.quantization_version": gv.u32(2),
        **written_keys(model),
        "tokenizer.ggml.model": gv.string("gemma4"),
        "tokenizer.ggml.tokens": gv.strings(["<pad>", "ü", ""]),
    }


def random_numbers(shape: tuple[int, ...], kind: GGMLType, generator: np.random.Generator) -> np.ndarray:
    """Normal numbers with the wild rows that real weights have: an outlier, a zero row, tiny ones."""
    numbers = generator.standard_normal(shape, np.float32) * np.float32(0.03)
    if len(shape) > 1:
        numbers[..., 0, ::17] *= 30
        numbers[..., -1, : shape[-1] // 2] *= np.float32(10) ** generator.integers(-9, 1)
    if kind is GGMLType.BF16:
        return (numbers.view(np.uint32) >> 16).astype(np.uint16)
    return numbers.astype(np.float16) if kind is GGMLType.F16 else numbers


def write_model(path: Path, family: str, kind: GGMLType = GGMLType.BF16) -> Path:
    """A seeded file of that family; names in the order of the roles, not in llama.cpp's."""
    return write_plans(path, metadata(family), tensor_plans(family, kind), sum(family.encode()))


def write_plans(path: Path, keys: dict[str, gv.Value], plans: list[TensorPlan], seed: int) -> Path:
    generator = np.random.default_rng(seed)
    with GGUFWriter(path, keys, plans) as writer:
        for tensor in writer.tensors:
            writer.write_next([random_numbers(tensor.shape, tensor.type, generator).tobytes()])
    return path
