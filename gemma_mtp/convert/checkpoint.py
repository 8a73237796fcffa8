"""A checkpoint folder as a model: every tensor in its slot, none missing, none left over, all of the right shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.convert.experts import SourceTensor, fuse_experts
from gemma_mtp.errors import CheckpointError
from gemma_mtp.files.safetensors_file import LORA_REMEDY, SafetensorsCheckpoint, StoredTensor
from gemma_mtp.model.config import Hyperparameters, read_config
from gemma_mtp.model.roles import Slot, slots

#: Where a text model stands in a checkpoint: alone, or inside a multimodal one (two spellings).
PREFIXES = ("model.language_model.", "language_model.model.", "model.", "")

#: Parts of a multimodal checkpoint that a text GGUF leaves out.
OTHER_MODALITIES = re.compile(
    r"(model\.)?(vision_tower|vision_embedder|audio_tower|audio_embedder|embed_vision|embed_audio|multi_modal_projector)\."
)

#: Endings that betray packed weights.
PACKED_ENDINGS = (".scales", ".biases", ".qweight", ".qzeros", ".weight_scale", ".weight_scale_inv", ".weight_packed")

#: Parts of names that a wrapper around the model leaves -> what was saved, what to do.
WRAPPERS = {
    ".lora_": ("a LoRA adapter, not a model", LORA_REMEDY),
    "._orig_mod.": ("a model inside of torch.compile's wrapper", "save what is in it: model._orig_mod.save_pretrained"),
    ".base_model.model.": ("a model inside of peft's wrapper", LORA_REMEDY),
    "._fsdp_wrapped_module.": ("a model inside of FSDP's wrapper", "save its full state, without the wrapper's names"),
    ".module.": ("a model inside of DistributedDataParallel", "save what is in it: model.module.save_pretrained"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is complete. `left_out` names tensors of other modalities."""

    folder: Path
    model: Hyperparameters
    store: SafetensorsCheckpoint
    tensors: dict[Slot, SourceTensor]
    left_out: tuple[str, ...]

    def data(self, tensor: SourceTensor) -> np.ndarray[Any, Any]:
        """The tensor in the dtype of `safetensors_file.DTYPES`: a view, or a copy where parts are joined."""
        parts = [self.store.data(part) for part in tensor.parts]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)).reshape(tensor.shape)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read config and headers and check that they agree.

    Raises CheckpointError with all that is missing, unknown or misshapen, and SafetensorsError for a damaged file.
    """
    if not folder.is_dir():
        raise CheckpointError("there is no such folder", where=folder, hint="name a folder with config.json in it")
    model = read_config(folder)
    store = SafetensorsCheckpoint(folder)
    tensors, left_out = place_tensors(model, folder, store)
    return Checkpoint(folder, model, store, tensors, left_out)


def place_tensors(
    model: Hyperparameters, folder: Path, stored: Mapping[str, StoredTensor]
) -> tuple[dict[Slot, SourceTensor], tuple[str, ...]]:
    """Each tensor in its slot, and the names of those of other modalities. `folder` is for messages.

    Raises CheckpointError with all that is missing, unknown or misshapen.
    """
    _refuse_packed(folder, stored)
    _refuse_wrapped(folder, stored)
    left_out = tuple(name for name in stored if OTHER_MODALITIES.match(name))
    ours = {_strip_prefix(name): tensor for name, tensor in stored.items() if name not in left_out}
    if model.tied_head:
        ours.pop("lm_head.weight", None)  # some tools save the embedding a second time under this name
    by_source = fuse_experts(model, ours)
    places = slots(model)
    tensors = {slot: by_source[slot.source] for slot in places if slot.source in by_source}
    _complain(model, folder, places, by_source, tensors)
    return tensors, left_out


def _refuse_packed(folder: Path, stored: Iterable[str]) -> None:
    packed = next((name for name in stored if name.endswith(PACKED_ENDINGS)), None)
    if packed:
        raise CheckpointError(
            f"tensor {packed} shows that the weights are quantized already",
            where=folder,
            hint="start from the original BF16 checkpoint",
        )


def _refuse_wrapped(folder: Path, stored: Iterable[str]) -> None:
    name, wrapper = next(((name, one) for name in stored for one in WRAPPERS if one in f".{name}"), ("", ""))
    if wrapper:
        what, remedy = WRAPPERS[wrapper]
        raise CheckpointError(f"tensor {name} shows that this is {what}", where=folder, hint=remedy)


def _strip_prefix(name: str) -> str:
    prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    return name[len(prefix) :]


def _complain(
    model: Hyperparameters,
    folder: Path,
    places: list[Slot],
    by_source: dict[str, SourceTensor],
    tensors: dict[Slot, SourceTensor],
) -> None:
    known = {slot.source for slot in places}
    misshapen = [
        f"{tensor.name} is {list(tensor.shape)}, not {list(slot.shape(model))}"
        for slot, tensor in tensors.items()
        if tensor.shape != slot.shape(model)
    ]
    faults = {
        "missing": [slot.source for slot in places if slot.needed(model) and slot not in tensors],
        "unknown": [tensor.name for source, tensor in by_source.items() if source not in known],
        "of the wrong shape": misshapen,
    }
    if any(faults.values()):
        raise CheckpointError(
            f"not a complete {model.architecture}: "
            + "; ".join(f"{len(found)} tensors {what}: {_some(found)}" for what, found in faults.items() if found),
            where=folder,
            hint="download the checkpoint again; tensors and config.json must come from the same repo",
        )


def _some(names: list[str], count: int = 4) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
