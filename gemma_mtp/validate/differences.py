"""What two models have in common and what not: keys, tensors, types, and whose bytes differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gemma_mtp.files.gguf_reader import TensorInfo
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.sources.model import OpenModel
from gemma_mtp.sources.opening import open_model

#: Bytes that are compared at once.
PIECE = 4 << 20
#: Characters of a value that are shown.
SHOWN = 80


@dataclass(frozen=True)
class Difference:
    """One of them. what: "key" or "tensor". left, right: what stands there, None for nothing."""

    what: str
    name: str
    left: str | None
    right: str | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Differences:
    """keys, tensors: how many are the same. not_compared: tensors whose data is not at hand."""

    left: str
    right: str
    found: tuple[Difference, ...]
    keys: int
    tensors: int
    not_compared: int = 0

    def to_dict(self) -> dict[str, Any]:
        own = {"left": self.left, "right": self.right, "same_keys": self.keys, "same_tensors": self.tensors}
        return own | {"not_compared": self.not_compared, "differences": [one.to_dict() for one in self.found]}


def differences(left: str, right: str) -> Differences:
    """Compare two models, wherever they stand. Of one on the Hub only the header is read: its bytes are not compared.

    Raises what `open_model` raises.
    """
    with open_model(left) as a, open_model(right) as b:
        keys = list(_keys(a.metadata, b.metadata))
        tensors, unseen = _tensors(a, b)
        same_keys = len(a.metadata.keys() & b.metadata.keys()) - sum(map(_is_in_both, keys))
        same = len(a.tensors.keys() & b.tensors.keys()) - unseen - sum(map(_is_in_both, tensors))
        return Differences(a.place, b.place, (*keys, *tensors), same_keys, same, unseen)


def _is_in_both(one: Difference) -> bool:
    return one.left is not None and one.right is not None


def _keys(left: Mapping[str, Value], right: Mapping[str, Value]) -> list[Difference]:
    names = [*left, *(key for key in right if key not in left)]
    return [
        Difference("key", key, shown(left.get(key)), shown(right.get(key)))
        for key in names
        if left.get(key) != right.get(key)
    ]


def _tensors(left: OpenModel, right: OpenModel) -> tuple[list[Difference], int]:
    found, unseen = [], 0
    for name in [*left.tensors, *(name for name in right.tensors if name not in left.tensors)]:
        a, b = left.tensors.get(name), right.tensors.get(name)
        if a is None or b is None or (a.shape, a.type) != (b.shape, b.type):
            found.append(Difference("tensor", name, _kind(a), _kind(b)))
        elif left.read is None or right.read is None:
            unseen += 1
        elif count := _bytes_that_differ(left, a, right, b):
            found.append(Difference("tensor", name, _kind(a), f"{_kind(b)}, {count:,} of {b.nbytes:,} bytes differ"))
    return found, unseen


def _bytes_that_differ(left: OpenModel, a: TensorInfo, right: OpenModel, b: TensorInfo) -> int:
    assert left.read is not None
    assert right.read is not None
    count = 0
    for start in range(0, a.nbytes, PIECE):
        stop = min(start + PIECE, a.nbytes)
        count += int(np.count_nonzero(left.read(a, start, stop) != right.read(b, start, stop)))
    return count


def _kind(tensor: TensorInfo | None) -> str | None:
    return None if tensor is None else f"{tensor.type.name} {' x '.join(map(str, tensor.shape))}"


def shown(value: Value | None) -> str | None:
    """A value on one line, with its type, cut where it is long; None for none."""
    if value is None:
        return None
    if value.type is ValueType.ARRAY:
        assert value.item_type is not None
        return f"{value.count:,} x {value.item_type.name}"
    text = " ".join(str(value.decode()).split())
    return f"{value.type.name} {text if len(text) <= SHOWN else f'{text[:SHOWN]}... ({len(text):,} characters)'}"
