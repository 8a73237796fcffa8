"""Tiny Gemma 4 pairs, made whole or with one thing wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gemma_mtp.convert.spelling import spelled_metadata, spelled_name
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header, padded
from gemma_mtp.ggml import GGMLType, block_size, row_bytes
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import MAINLINE, Dialect
from gemma_mtp.model.family import slots
from gemma_mtp.model.gguf_keys import architecture, written_keys
from gemma_mtp.model.part import Part
from gemma_mtp.model.roles import ROPE_FREQS, Slot

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|tool>"]
LETTERS = ["a", "b", "c", "▁", "\n", "ab", "bc", "abc"]
WORDS = [*SPECIAL, *(f"<0x{value:02X}>" for value in range(256)), *LETTERS, *(f"<unused{n}>" for n in range(18))]

TARGET = Hyperparameters(
    part=Part.TARGET,
    architecture="Gemma4ForCausalLM",
    layers=4,
    hidden=96,
    intermediate=128,
    heads=4,
    kv_heads_sliding=2,
    kv_heads_full=1,
    head_dim_sliding=32,
    head_dim_full=64,
    sliding=(True, False, True, False),
    sliding_window=64,
    context=1024,
    norm_epsilon=1e-6,
    rope_base_sliding=10_000.0,
    rope_base_full=1_000_000.0,
    rotary_share_full=0.25,
    vocabulary=len(WORDS),
    logit_softcap=None,
    shared_kv_layers=0,
    per_layer_input=0,
    double_wide_mlp=False,
    values_are_keys=False,
    experts=0,
    experts_used=0,
    expert_intermediate=0,
)
ASSISTANT = replace(
    TARGET,
    part=Part.ASSISTANT,
    architecture="Gemma4AssistantForCausalLM",
    hidden=64,
    sliding=(True, True, True, False),
    shared_kv_layers=4,
    backbone=TARGET.hidden,
)


@dataclass
class Model:
    """A model to be written. `keys`, `tensors` and `words` change it after everything else; None removes."""

    hyper: Hyperparameters
    keys: Mapping[str, Value | None] = field(default_factory=dict)
    tensors: Mapping[str, tuple[GGMLType, np.ndarray] | None] = field(default_factory=dict)
    words: list[str] = field(default_factory=lambda: list(WORDS))
    dialect: Dialect = MAINLINE
    seed: int = 0

    def write(self, path: Path) -> Path:
        metadata = {**model_keys(self.hyper), **vocabulary(self.words)}
        tensors = model_tensors(self.hyper, self.seed)
        if self.dialect is not MAINLINE:
            metadata = spelled_metadata(metadata, None, self.dialect)
            tensors = {spelled_name(name, self.dialect): tensor for name, tensor in tensors.items()}
            tensors.pop(None, None)
        metadata, tensors = edited(metadata, self.keys), edited(tensors, self.tensors)
        write_gguf(path, metadata, tensors)
        return path


def changed(model: Model, changes: dict) -> Model:
    """The model with fields of `Model` or of its `Hyperparameters` changed."""
    of_model = {key: value for key, value in changes.items() if hasattr(model, key)}
    of_hyper = {key: value for key, value in changes.items() if key not in of_model}
    return replace(model, hyper=replace(model.hyper, **of_hyper), **of_model)


def edited(table: Mapping, changes: Mapping) -> dict:
    return {key: value for key, value in {**table, **changes}.items() if value is not None}


def write_gguf(path: Path, metadata: Mapping[str, Value], tensors: Mapping[str, tuple[GGMLType, np.ndarray]]) -> None:
    """A file with exactly these keys, those about its layout included, which the writer of ours leaves out.

    tensors: name -> type and data, F32 as numbers [rows, columns], other types as bytes [rows, row bytes].
    """
    plans = [plan_of(name, kind, data) for name, (kind, data) in tensors.items()]
    with path.open("wb") as file:
        file.write(encode_header(metadata, plans))
        for plan, (_, data) in zip(plans, tensors.values(), strict=True):
            file.write(np.ascontiguousarray(data).tobytes().ljust(padded(plan.nbytes), b"\0"))


def plan_of(name: str, kind: GGMLType, data: np.ndarray) -> TensorPlan:
    elements = block_size(kind)
    size = row_bytes(kind, elements)
    columns = data.shape[-1] * data.itemsize // size * elements  # what a row has beside its blocks is less than one
    return TensorPlan(name, (*data.shape[:-1], columns), kind)


def model_keys(hyper: Hyperparameters) -> dict[str, Value]:
    general = {"general.architecture": gv.string(architecture(hyper.part)), "general.name": gv.string("Tiny")}
    return {**general, **written_keys(hyper), "general.file_type": gv.u32(0)}


def vocabulary(words: list[str]) -> dict[str, Value]:
    kinds = [3 if index < len(SPECIAL) else 6 if word.startswith("<0x") else 1 for index, word in enumerate(words)]
    return {
        "tokenizer.ggml.model": gv.string("gemma4"),
        "tokenizer.ggml.tokens": gv.strings(words),
        "tokenizer.ggml.scores": gv.array(ValueType.FLOAT32, [-1000.0] * len(words)),
        "tokenizer.ggml.token_type": gv.array(ValueType.INT32, kinds),
        "tokenizer.ggml.merges": gv.strings(["a b", "b c", "ab c"]),
        "tokenizer.ggml.bos_token_id": gv.u32(2),
        "tokenizer.ggml.eos_token_id": gv.u32(1),
        "tokenizer.ggml.add_bos_token": gv.boolean(True),
    }


def model_tensors(hyper: Hyperparameters, seed: int) -> dict[str, tuple[GGMLType, np.ndarray]]:
    random = np.random.default_rng(seed)
    factors = np.array(hyper.rope_factors(), np.float32)
    tensors = {"rope_freqs.weight": (GGMLType.F32, factors)}
    for slot in slots(hyper):
        if slot.needed(hyper) and slot.role.name not in ("centroids", "token_ordering"):
            shape = slot.shape(hyper)
            data = np.ones(shape) if len(shape) == 1 else random.normal(0, shape[-1] ** -0.5, shape)
            tensors[slot.mainline_name] = (GGMLType.F32, data.astype(np.float32))
    return tensors


def weights(hyper: Hyperparameters, name: str, kind: GGMLType = GGMLType.F32) -> np.ndarray:
    """Ones for the tensor `name`, encoded as `kind` (F32: numbers)."""
    from gguf.quants import quantize

    slot = next(slot for slot in (*slots(hyper), Slot(ROPE_FREQS, None)) if slot.mainline_name == name)
    data = np.ones(slot.shape(hyper), np.float32)
    return data if kind is GGMLType.F32 else quantize(data, kind)
