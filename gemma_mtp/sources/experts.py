"""The experts of a mixture, stored one by one or fused, as the two tensors that a GGUF has for a layer.

Transformers saves `experts.gate_up_proj` [experts, 2 * intermediate, hidden], each expert's gate rows before its up
rows, and `experts.down_proj` [experts, hidden, intermediate]. Other tools save `experts.E.gate_proj.weight`, ... for
each expert, with or without a `moe.` before it; joined in order they are the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gemma_mtp.errors import CheckpointError
from gemma_mtp.files.safetensors_file import StoredTensor
from gemma_mtp.model.config import Hyperparameters

_ONE_EXPERT = re.compile(
    r"(?P<layer>layers\.\d+)\.(?:moe\.)?experts\.(?P<expert>\d{1,9})\.(?P<projection>\w+_proj)\.weight"
)
#: The fused tensor -> which projections it joins, expert by expert.
FUSED = {"experts.gate_up_proj": ("gate_proj", "up_proj"), "experts.down_proj": ("down_proj",)}


@dataclass(frozen=True)
class SourceTensor:
    """What fills a slot: one stored tensor, or several that are joined in this order.

    All parts are of one dtype; `shape` is that of the whole.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[StoredTensor, ...]

    @property
    def dtype(self) -> str:
        return self.parts[0].dtype

    @property
    def file(self) -> Path:
        return self.parts[0].file

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


def fuse_experts(model: Hyperparameters, stored: Mapping[str, StoredTensor]) -> dict[str, SourceTensor]:
    """A checkpoint's tensors (by name without prefix), with experts that are stored one by one joined.

    Raises CheckpointError: an expert's matrix missing, or of another shape or dtype than the first expert's.
    """
    whole: dict[str, SourceTensor] = {}
    single: dict[str, dict[tuple[int, str], StoredTensor]] = {}
    for name, tensor in stored.items():
        match = _ONE_EXPERT.fullmatch(name)
        if match is None or not model.experts:  # a model without experts knows none of them
            whole[name] = SourceTensor(tensor.name, tensor.shape, (tensor,))
        else:
            single.setdefault(match["layer"], {})[int(match["expert"]), match["projection"]] = tensor
    for layer, matrices in single.items():
        for fused, projections in FUSED.items():
            whole[f"{layer}.{fused}"] = _joined(f"{layer}.{fused}", model.experts, projections, matrices)
        for tensor in matrices.values():  # what is left over belongs to no expert that the model has
            whole[tensor.name] = SourceTensor(tensor.name, tensor.shape, (tensor,))
    return whole


def _joined(
    name: str, experts: int, projections: tuple[str, ...], matrices: dict[tuple[int, str], StoredTensor]
) -> SourceTensor:
    """The fused tensor; its parts are taken out of `matrices`."""
    places = [(expert, projection) for expert in range(experts) for projection in projections]
    absent = [place for place in places if place not in matrices]
    if absent:
        expert, projection = absent[0]
        some = next(iter(matrices.values()))
        raise CheckpointError(
            f"{name} lacks {len(absent)} of {len(places)} matrices, first {projection} of expert {expert}",
            where=some.file,
            hint="download the checkpoint again",
        )
    parts = tuple(matrices.pop(place) for place in places)
    first = parts[0]
    odd = next((part for part in parts if (part.shape, part.dtype) != (first.shape, first.dtype)), None)
    if odd is not None or len(first.shape) != 2:
        odd = odd or first
        raise CheckpointError(
            f"tensor {odd.name} is {odd.dtype} {list(odd.shape)}, not a matrix like {first.name}", where=odd.file
        )
    rows, columns = first.shape
    return SourceTensor(name, (experts, rows * len(projections), columns), parts)
