"""GGUF metadata values, kept in their encoded form.

A value read from one file can be written to another byte for byte, two vocabularies can be compared as memory, and an
array of 262,144 tokens is only decoded if somebody asks. Encoding: little-endian; a string is a u64 length and UTF-8
bytes; an array's item type and count stand before its items (llama.cpp, ggml/include/gguf.h).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf.constants import GGUFValueType

ValueType = GGUFValueType

#: NumPy's dtype of each fixed-size type. A BOOL is a byte.
DTYPES: dict[ValueType, np.dtype] = {
    ValueType.UINT8: np.dtype("u1"),
    ValueType.INT8: np.dtype("i1"),
    ValueType.UINT16: np.dtype("<u2"),
    ValueType.INT16: np.dtype("<i2"),
    ValueType.UINT32: np.dtype("<u4"),
    ValueType.INT32: np.dtype("<i4"),
    ValueType.FLOAT32: np.dtype("<f4"),
    ValueType.BOOL: np.dtype("?"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, eq=False)
class Value:
    """One metadata value.

    type: the scalar's type, or ARRAY.
    payload: the encoded bytes; for an array its items only, without item type and count.
    item_type, count: for an array.
    """

    type: ValueType
    payload: bytes | memoryview
    item_type: ValueType | None = None
    count: int = 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value):
            return NotImplemented
        mine, theirs = (self.type, self.item_type, self.count), (other.type, other.item_type, other.count)
        return mine == theirs and self.payload == other.payload

    __hash__ = None  # type: ignore[assignment]

    def encode(self) -> bytes:
        """The value as it stands in a file, after its type."""
        if self.item_type is None:
            return bytes(self.payload)
        return struct.pack("<IQ", self.item_type, self.count) + self.payload

    def decode(self) -> Any:
        """int, float, bool or str; for an array a list of str or a read-only NumPy array."""
        if self.type is ValueType.STRING:
            return bytes(self.payload[8:]).decode("utf-8", "replace")
        if self.type is not ValueType.ARRAY:
            return np.frombuffer(self.payload, DTYPES[self.type], 1)[0].item()
        if self.item_type is ValueType.STRING:
            return [raw.decode("utf-8", "replace") for raw in self.raw_strings()]
        assert self.item_type is not None
        return np.frombuffer(self.payload, DTYPES[self.item_type], self.count)

    def raw_strings(self) -> list[bytes]:
        """The strings of a string array, undecoded."""
        payload, position, found = bytes(self.payload), 0, []
        for _ in range(self.count):
            start = position + 8
            position = start + _LENGTH.unpack_from(payload, position)[0]
            found.append(payload[start:position])
        return found

    def is_array_of(self, *item_types: ValueType) -> bool:
        return self.type is ValueType.ARRAY and self.item_type in item_types


def scalar(kind: ValueType, value: float | bool) -> Value:
    return Value(kind, np.asarray(value, DTYPES[kind]).tobytes())


def u32(value: int) -> Value:
    return scalar(ValueType.UINT32, value)


def i32(value: int) -> Value:
    return scalar(ValueType.INT32, value)


def f32(value: float) -> Value:
    return scalar(ValueType.FLOAT32, value)


def boolean(value: bool) -> Value:
    return scalar(ValueType.BOOL, value)


def string(text: str) -> Value:
    return Value(ValueType.STRING, encode_strings([text.encode()]))


def array(item_type: ValueType, items: Sequence[Any] | np.ndarray) -> Value:
    """An array of numbers or booleans."""
    data = np.asarray(items, DTYPES[item_type])
    return Value(ValueType.ARRAY, data.tobytes(), item_type, data.size)


def strings(items: Sequence[str] | Sequence[bytes]) -> Value:
    """An array of strings."""
    raw = [item.encode() if isinstance(item, str) else item for item in items]
    return Value(ValueType.ARRAY, encode_strings(raw), ValueType.STRING, len(raw))


def encode_strings(items: Sequence[bytes]) -> bytes:
    """Length-prefixed strings, one after the other."""
    pieces: list[bytes] = [b""] * (2 * len(items))
    pieces[0::2] = [_LENGTH.pack(len(item)) for item in items]
    pieces[1::2] = items
    return b"".join(pieces)
