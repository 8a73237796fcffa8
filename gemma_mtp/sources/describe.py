"""What a GGUF file contains, for `inspect`: metadata and tensors, long arrays by their beginning."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gemma_mtp.advice import ours
from gemma_mtp.errors import UsageError, meant
from gemma_mtp.files.gguf_reader import GGUFHeader, TensorInfo
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.ggml import bits_per_weight
from gemma_mtp.sources.drafting import foreign
from gemma_mtp.sources.opening import Place, open_model

#: Items of an array and characters of a string that are shown.
ITEMS, CHARACTERS = 8, 200
OTHERS = "others"
_LAYER = re.compile(r"blk\.\d+\.")
#: Orders of tensors: as they stand in the file, by name, the largest first.
ORDERS: Mapping[str, Callable[[TensorInfo], Any]] = {
    "file": lambda tensor: tensor.offset,
    "name": lambda tensor: tensor.name,
    "size": lambda tensor: (-tensor.nbytes, tensor.name),
}


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

    place: the path or address. note: what a remote header took, and what a drafter is that `verify` has no checks for.
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

    @property
    def layers(self) -> Mapping[str, int]:
        """Bytes by layer, in their order; those of no layer under "others"."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors:
            layer = _LAYER.match(tensor.name)
            sizes[layer[0].rstrip(".") if layer else OTHERS] += tensor.nbytes
        return dict(sorted(sizes.items(), key=lambda item: (item[0] == OTHERS, len(item[0]), item[0])))

    def sorted_by(self, order: str) -> Description:
        """With its tensors in this order: a key of ORDERS."""
        return replace(self, tensors=tuple(sorted(self.tensors, key=ORDERS[order])))

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.place,
            "version": self.version,
            "size": self.size,
            "alignment": self.alignment,
            "data_start": self.data_start,
            "parameters": self.parameters,
            "bytes_by_type": dict(self.types),
            "bytes_by_layer": dict(self.layers),
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
        other = foreign(model)
        told = f"{other[0]}; {other[1]} measures it" if other else ""
        return replace(describe_header(model.header, model.place), note="; ".join(filter(None, (model.note, told))))


def value_of(place: Place, key: str) -> Entry:
    """One value of the metadata, whole. Raises as `inspect_model`, and UsageError for a key that is not there."""
    with open_model(place) as model:
        value = model.metadata.get(key)
        if value is None:
            hint = meant(key, model.metadata) or f"{ours('inspect', model.place)} shows all keys"
            raise UsageError(f"there is no key {key}", where=model.place, hint=hint)
        found = value.decode()
        if value.type is not ValueType.ARRAY:
            return Entry(key, value.type.name, None, _sayable(found))
        assert value.item_type is not None
        items = found if isinstance(found, list) else found.tolist()
        return Entry(key, value.item_type.name, value.count, [_sayable(item) for item in items])


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
    if isinstance(item, str) and len(item) > CHARACTERS:
        return f"{item[:CHARACTERS]}... ({len(item):,} characters)"
    return _sayable(item)


def _sayable(item: Any) -> Any:
    """NaN and infinity as words: JSON has no numbers for them."""
    return str(item) if isinstance(item, float) and not math.isfinite(item) else item
