"""What a GGUF file contains, for `inspect`: metadata and tensors, long arrays by their beginning."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gemma_mtp.files.gguf_reader import GGUFHeader, TensorInfo
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.ggml import bits_per_weight
from gemma_mtp.sources.opening import Place, open_model

#: Items of an array and characters of a string that are shown.
ITEMS, CHARACTERS = 8, 200


@dataclass(frozen=True)
class Entry:
    """A metadata value: `type` is its own or its items' type, `count` is None for a scalar."""

    key: str
    type: str
    count: int | None
    value: Any

    def to_dict(self) -> dict[str, Any]:
        return {"key": self.key, "type": self.type, "count": self.count, "value": self.value}


@dataclass(frozen=True)
class Description:
    """A file's header, decoded as far as people want to see it.

    place: the path or address. note: what a remote header took.
    """

    place: str
    version: int
    size: int
    alignment: int
    data_start: int
    metadata: tuple[Entry, ...]
    tensors: tuple[TensorInfo, ...]
    note: str = ""

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def types(self) -> Mapping[str, int]:
        """Bytes by tensor type, most first."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors:
            sizes[tensor.type.name] += tensor.nbytes
        return dict(sizes.most_common())

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.place,
            "version": self.version,
            "size": self.size,
            "alignment": self.alignment,
            "data_start": self.data_start,
            "parameters": self.parameters,
            "bytes_by_type": dict(self.types),
            "metadata": [entry.to_dict() for entry in self.metadata],
            "tensors": [
                {
                    "name": tensor.name,
                    "shape": list(tensor.shape),
                    "type": tensor.type.name,
                    "offset": tensor.offset,
                    "bytes": tensor.nbytes,
                    "bits_per_weight": bits_per_weight(tensor.type),
                }
                for tensor in self.tensors
            ],
        }


def inspect_model(place: Place) -> Description:
    """Describe a GGUF, or a checkpoint as the GGUF that it converts to. Of one on the Hub only headers are read.

    Of a split model, whose first part is named, the whole is described.
    Raises GGUFError, CheckpointError, UsageError (no place or no file), EnvironmentProblem (the Hub cannot be reached).
    """
    with open_model(place) as model:
        return replace(describe_header(model.header, model.place), note=model.note)


def describe_header(header: GGUFHeader, place: str) -> Description:
    return Description(
        place,
        header.version,
        header.size,
        header.alignment,
        header.data_start,
        tuple(_entry(key, value) for key, value in header.metadata.items()),
        tuple(header.tensors.values()),
    )


def _entry(key: str, value: Value) -> Entry:
    if value.type is not ValueType.ARRAY:
        return Entry(key, value.type.name, None, _plain(value.decode()))
    assert value.item_type is not None
    beginning = value.first(ITEMS).decode()
    items = beginning if isinstance(beginning, list) else beginning.tolist()
    return Entry(key, value.item_type.name, value.count, [_plain(item) for item in items])


def _plain(item: Any) -> Any:
    """A value that JSON can say: no NaN or infinity, no endless text."""
    if isinstance(item, str):
        return item if len(item) <= CHARACTERS else f"{item[:CHARACTERS]}... ({len(item):,} characters)"
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)
    return item
