"""A checkpoint folder as a model: every tensor in its slot, none missing, none left over, all of the right shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.advice import LORA_REMEDY
from gemma_mtp.errors import CheckpointError, some
from gemma_mtp.files.safetensors_file import DTYPES, SafetensorsCheckpoint, StoredTensor
from gemma_mtp.ggml import GGMLType, widened
from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.family import read_model, slots
from gemma_mtp.model.roles import EMBEDDING, Slot
from gemma_mtp.sources.experts import SourceTensor, fuse_experts

#: Where a text model stands inside of a multimodal one, in any place of a name: upstream's converter takes it out
#: (conversion/base.py, `filter_tensors`). What is left begins with `model.` or without.
OUTER, INNER = "language_model.", "model."
#: The head, where a checkpoint has one beside its embedding.
HEAD = "lm_head.weight"

#: Parts of a multimodal checkpoint that a text GGUF leaves out.
OTHER_MODALITIES = re.compile(
    r"(model\.)?(vision_tower|vision_embedder|audio_tower|audio_embedder|embed_vision|embed_audio|multi_modal_projector)\."
)

#: Elements of a matrix that are looked at together.
BLOCK = 1 << 20

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
    """A checkpoint that is complete. `left_out` names tensors of other modalities; notes: what was not heeded."""

    folder: Path
    model: Hyperparameters
    store: SafetensorsCheckpoint
    tensors: dict[Slot, SourceTensor]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def data(self, tensor: SourceTensor) -> np.ndarray[Any, Any]:
        """The tensor in the dtype of `safetensors_file.DTYPES`. Raises as `SafetensorsCheckpoint.data` does."""
        parts = [self.store.data(part) for part in tensor.parts]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)).reshape(tensor.shape)

    def stored_bytes(self, tensor: SourceTensor, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes `start` to `stop` of the tensor as it is stored. Raises as `SafetensorsCheckpoint.data` does."""
        room = np.empty(stop - start, np.uint8)
        begin = 0
        for part in tensor.parts:
            first, last = max(start, begin), min(stop, begin + part.nbytes)
            if first < last:
                self.store.span(part).read_into(room[first - start : last - start], first - begin)
            begin += part.nbytes
        return room


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read config and headers and check that they agree.

    Raises CheckpointError with all that is missing, unknown or misshapen, and SafetensorsError for a damaged file.
    """
    if not folder.is_dir():
        raise CheckpointError("there is no such folder", where=folder, hint="name a folder with config.json in it")
    model = read_model(folder)
    store = SafetensorsCheckpoint(folder)
    tensors, left_out = place_tensors(model, folder, store)
    checkpoint = Checkpoint(folder, model, store, tensors, left_out, (*model.notes, *store.notes))
    _require_tied(checkpoint)
    return checkpoint


def _require_tied(checkpoint: Checkpoint) -> None:
    """A GGUF of Gemma 4 has one table for embedding and head. Raises CheckpointError for a head of its own."""
    store = checkpoint.store
    head = next((tensor for name, tensor in store.items() if _strip_prefix(name) == HEAD), None)
    placed = HEAD in checkpoint.model.copies or any(slot.source == HEAD for slot in checkpoint.tensors)
    if head is None or placed:
        return
    slot = next(slot for slot in checkpoint.tensors if slot.role is EMBEDDING)
    (embedding,) = checkpoint.tensors[slot].parts
    comparable = head.shape == embedding.shape and DTYPES.keys() >= {head.dtype, embedding.dtype}
    if comparable and all(map(np.array_equal, _blocks(store, head), _blocks(store, embedding))):
        return
    raise CheckpointError(
        f"tensor {head.name} differs from {embedding.name}: a head of its own, for which no GGUF of Gemma 4 has room",
        where=head.file,
        hint="tie the two in transformers and save the model, if they were meant to be equal",
    )


def _blocks(store: SafetensorsCheckpoint, tensor: StoredTensor) -> Iterator[np.ndarray[Any, Any]]:
    """A matrix as float32, some of it at a time."""
    span, dtype = store.span(tensor), DTYPES[tensor.dtype]
    step = BLOCK * dtype.itemsize
    for start in range(0, tensor.nbytes, step):
        room = np.empty(min(step, tensor.nbytes - start), np.uint8)
        span.read_into(room, start)
        numbers = room.view(dtype)
        yield widened(numbers) if tensor.dtype == "BF16" else numbers.astype("<f4")


def place_tensors(
    model: Hyperparameters, folder: Path, stored: Mapping[str, StoredTensor]
) -> tuple[dict[Slot, SourceTensor], tuple[str, ...]]:
    """Each tensor in its slot, and the names of those of other modalities. `folder` is for messages.

    Raises CheckpointError with all that is missing, unknown or misshapen.
    """
    _refuse_packed(folder, stored)
    _refuse_wrapped(folder, stored)
    left_out = tuple(name for name in stored if OTHER_MODALITIES.match(name))
    unwanted = {*left_out, *(name for name in stored if _strip_prefix(name) in model.copies)}
    ours = _without_prefixes(folder, {name: stored[name] for name in stored if name not in unwanted})
    own_head = any(slot.source == HEAD for slot in slots(model))
    head = (
        None if own_head else ours.pop(HEAD, None)
    )  # some tools save the embedding a second time under this name: see `_require_tied`
    if head is None and not model.tied_head:
        raise CheckpointError(
            f"tie_word_embeddings is false, and there is no {HEAD}",
            where=folder,
            hint="the checkpoint is incomplete; if embedding and head are one, say so in config.json",
        )
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


def _without_prefixes(folder: Path, stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Raises CheckpointError for two tensors that are the same one but for their prefixes."""
    found: dict[str, StoredTensor] = {}
    for name, tensor in stored.items():
        plain = _strip_prefix(name)
        if plain in found:
            raise CheckpointError(f"tensor {name} is there a second time, as {found[plain].name}", where=folder)
        found[plain] = tensor
    return found


def _strip_prefix(name: str) -> str:
    return name.replace(OUTER, "").removeprefix(INNER)


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
            + "; ".join(f"{len(found)} tensors {what}: {some(found, 4)}" for what, found in faults.items() if found),
            where=folder,
            hint="download the checkpoint again; tensors and config.json must come from the same repo",
        )


#: Dtypes of weights that can be converted.
SOURCE_TYPES = {"F32": GGMLType.F32, "F16": GGMLType.F16, "BF16": GGMLType.BF16}


def source_type(tensor: SourceTensor | StoredTensor) -> GGMLType:
    """The ggml type of a checkpoint's tensor. Raises CheckpointError for what is not plain numbers."""
    if tensor.dtype not in SOURCE_TYPES:
        raise CheckpointError(
            f"tensor {tensor.name} has dtype {tensor.dtype}; F32, F16 and BF16 can be converted",
            where=tensor.file,
            hint="start from the original BF16 checkpoint",
        )
    return SOURCE_TYPES[tensor.dtype]


def unquantized_type(slot: Slot, tensor: SourceTensor) -> GGMLType:
    """What a checkpoint's tensor is in a GGUF that quantizes nothing. Raises CheckpointError as `source_type` does."""
    if slot.role.integers:
        return GGMLType.I64
    return GGMLType.F32 if slot.role.plain else source_type(tensor)
