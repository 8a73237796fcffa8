"""A heavier target with the same function, for measuring: inert layers inserted before the donor layers.

A tiny target costs so little that drafting for it cannot pay. An inert layer has the weights of a real one, but zeros
where its attention and its MLP end, and an output scale of 1: it adds nothing to what flows through, and costs what a
layer costs. The drafter notices nothing either: the last two layers, whose keys and values it reads, stay the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile, TensorInfo
from gemma_mtp.files.gguf_values import Value
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.ggml import FLOAT_TYPES
from gemma_mtp.model.dialects import TARGET_ARCHITECTURE

DONORS = 2  # the target's last sliding and last full layer
PATTERN = 0  # the layer that inert ones are copies of: a sliding one
SILENT = ("attn_output.weight", "ffn_down.weight")  # zero in an inert layer
SCALE = "layer_output_scale.weight"


@dataclass(frozen=True)
class _Copied:
    """A tensor of the new file and where it comes from."""

    plan: TensorPlan
    source: TensorInfo
    inert: bool


def make_heavier(source: Path, output: Path, layers: int, *, force: bool = False) -> None:
    """Write `source`, a target in F32, F16 or BF16, with `layers` inert layers to `output`.

    Raises BadFileError if `source` is no Gemma 4 target of that kind.
    """
    with GGUFFile(source) as file:
        metadata = file.metadata
        if metadata.architecture != TARGET_ARCHITECTURE:
            raise BadFileError("not a Gemma 4 target", where=source)
        if any(tensor.type not in FLOAT_TYPES for tensor in file.tensors.values()):
            raise BadFileError("the target is quantized", where=source, hint="quantize after inserting layers")
        depth = metadata.number(f"{TARGET_ARCHITECTURE}.block_count")
        copies = list(_copies(file.tensors, depth, layers))
        plans = [copy.plan for copy in copies]
        with GGUFWriter(output, _deeper(metadata, depth, layers), plans, force=force) as writer:
            for copy in copies:
                writer.write_next([_data(file, copy).data])


def _copies(tensors: dict[str, TensorInfo], depth: int, layers: int) -> Iterator[_Copied]:
    """All tensors of the new file: the old ones, those of the donor layers renumbered, and the inert ones."""
    first_donor = depth - DONORS
    for name, tensor in tensors.items():
        plan: TensorPlan = tensor
        layer, tail = _split(name)
        if layer is not None and layer >= first_donor:
            plan = replace(plan, name=f"blk.{layer + layers}.{tail}")
        yield _Copied(plan, tensor, inert=False)
        if layer == PATTERN:
            for number in range(first_donor, first_donor + layers):
                yield _Copied(replace(plan, name=f"blk.{number}.{tail}"), tensor, inert=True)


def _split(name: str) -> tuple[int | None, str]:
    """'blk.3.attn_q.weight' -> (3, 'attn_q.weight'); other names -> (None, name)."""
    if not name.startswith("blk."):
        return None, name
    _, number, tail = name.split(".", 2)
    return int(number), tail


def _data(file: GGUFFile, copy: _Copied) -> np.ndarray[Any, np.dtype[np.uint8]]:
    data = file.data(copy.source)
    tail = _split(copy.plan.name)[1]
    if copy.inert and tail in SILENT:
        return np.zeros_like(data)
    if copy.inert and tail == SCALE:
        return np.ones(1, "<f4").view(np.uint8)
    return data


def _deeper(metadata: Metadata, depth: int, layers: int) -> dict[str, Value]:
    """The metadata with more layers; arrays that have an entry for each layer grow."""
    grown = dict(metadata)
    for key, value in metadata.items():
        if key.startswith(f"{TARGET_ARCHITECTURE}.") and value.item_type is not None and value.count == depth:
            entries = list(value.decode())
            first_donor = depth - DONORS
            entries[first_donor:first_donor] = [entries[PATTERN]] * layers
            grown[key] = gv.array(value.item_type, entries)
    grown[f"{TARGET_ARCHITECTURE}.block_count"] = gv.u32(depth + layers)
    name = metadata.text("general.name")
    grown["general.name"] = gv.string(f"{name}, {layers} inert layers added")
    return grown
