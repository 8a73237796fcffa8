"""A checkpoint, seen as the GGUF that it converts to: what the checks and `inspect` look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.files.gguf_reader import GGUFHeader, TensorInfo, planned_header
from gemma_mtp.files.gguf_writer import TensorPlan
from gemma_mtp.ggml import GGMLType, widened
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.gguf_keys import written_keys
from gemma_mtp.model.roles import HEAD_ROLES, ROPE_FREQS_NAME, Slot
from gemma_mtp.sources.borrowed import tokenizer_keys
from gemma_mtp.sources.checkpoint import Checkpoint, source_type, unquantized_type
from gemma_mtp.sources.experts import SourceTensor
from gemma_mtp.sources.metadata import general_metadata
from gemma_mtp.sources.model import OpenModel, ReadData
from gemma_mtp.sources.token_ids import token_ids


def converted_header(
    model: Hyperparameters,
    stored: Mapping[Slot, SourceTensor],
    folder: Path,
    name: str,
    target: OpenModel | None = None,
) -> GGUFHeader:
    """The header of the GGUF that `convert` makes of a checkpoint, without its centroid head.

    stored: its tensors by slot. folder: where its config, tokenizer and card are. name: the model's. target: whose
    tokenizer a drafter borrows that has none.
    """
    plans = []
    if model.proportional_rope:
        plans.append(TensorPlan(ROPE_FREQS_NAME, (len(model.rope_factors()),), GGMLType.F32))
    for slot, tensor in stored.items():
        if slot.role.name not in HEAD_ROLES:
            plans.append(TensorPlan(slot.mainline_name, tensor.shape, unquantized_type(slot, tensor)))
    written = {
        **general_metadata(model, folder, name, plans),
        **written_keys(model),
        **tokenizer_keys(model, folder, target),
    }
    return planned_header(written, plans, folder)


def reader_of(checkpoint: Checkpoint) -> ReadData:
    """Reads tensors by their names in a GGUF; norms and scales as the F32 that they become."""
    slots = {slot.mainline_name: slot for slot in checkpoint.tensors}

    def numbers(tensor: SourceTensor) -> np.ndarray[Any, Any]:
        data = checkpoint.data(tensor)
        return widened(data) if source_type(tensor) is GGMLType.BF16 else data.astype("<f4")

    def read(tensor: TensorInfo, start: int, stop: int) -> np.ndarray[Any, Any]:
        if tensor.name == ROPE_FREQS_NAME:
            return np.array(checkpoint.model.rope_factors(), "<f4").view(np.uint8)[start:stop]
        slot = slots[tensor.name]
        source = checkpoint.tensors[slot]
        if slot.role.integers:
            return token_ids(checkpoint, source).view(np.uint8)[start:stop]
        if slot.role.plain:
            return numbers(source).reshape(-1).view(np.uint8)[start:stop]
        return checkpoint.stored_bytes(source, start, stop)

    return read
