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
#: Stands where a string's length goes. It begins with a byte that is in no UTF-8, 0xFF, as "surrogateescape" spells it.
_ROOM = "\udcff" + "\0" * (_LENGTH.size - 1)


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

    def encode(self) -> tuple[bytes, bytes | memoryview]:
        """The value as it stands in a file, after its type: an array's item type and count, then the payload."""
        return b"" if self.item_type is None else struct.pack("<IQ", self.item_type, self.count), self.payload

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

    def integer(self) -> int | None:
        """The value of an integer type; None for every other type."""
        found = None if self.type in (ValueType.ARRAY, ValueType.BOOL) else self.decode()
        return found if isinstance(found, int) else None

    def text(self) -> str | None:
        """The value of a string; None for every other type."""
        return str(self.decode()) if self.type is ValueType.STRING else None

    def raw_strings(self) -> list[bytes]:
        """The strings of a string array, undecoded."""
        payload, position, found = bytes(self.payload), 0, []
        for _ in range(self.count):
            start = position + 8
            position = start + _LENGTH.unpack_from(payload, position)[0]
            found.append(payload[start:position])
        return found

    def has_string(self, text: str) -> bool:
        """Whether a string array has this one, without decoding it."""
        raw = text.encode("utf-8", "surrogatepass")
        return self.is_array_of(ValueType.STRING) and _LENGTH.pack(len(raw)) + raw in bytes(self.payload)

    def first(self, items: int) -> Value:
        """An array's first items alone; of strings no others are looked at."""
        if self.item_type is None or self.count <= items:
            return self
        if self.item_type is not ValueType.STRING:
            return Value(self.type, self.payload[: items * DTYPES[self.item_type].itemsize], self.item_type, items)
        end = 0
        for _ in range(items):
            end += 8 + _LENGTH.unpack_from(self.payload, end)[0]
        return Value(self.type, self.payload[:end], self.item_type, items)

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
    """Raises UnicodeEncodeError for lone surrogates."""
    return Value(ValueType.STRING, encode_string(text))


def array(item_type: ValueType, items: Sequence[Any] | np.ndarray) -> Value:
    """An array of numbers or booleans."""
    data = np.asarray(items, DTYPES[item_type])
    return Value(ValueType.ARRAY, data.tobytes(), item_type, data.size)


def strings(items: Sequence[str]) -> Value:
    """An array of strings. Raises UnicodeEncodeError for lone surrogates."""
    return Value(ValueType.ARRAY, encode_strings(items), ValueType.STRING, len(items))


def encode_string(text: str) -> bytes:
    """One length-prefixed string. Raises UnicodeEncodeError for lone surrogates."""
    raw = text.encode()
    return _LENGTH.pack(len(raw)) + raw


def encode_strings(items: Sequence[str]) -> bytes:
    """Length-prefixed strings, one after the other. Raises UnicodeEncodeError for lone surrogates.

    A vocabulary and its merges are 777,050 strings: they are encoded as one text, with room for the lengths in it.
    """
    "".join(items).encode()  # so that the only surrogates below are ours
    if not items:
        return b""
    data = np.frombuffer(bytearray((_ROOM + _ROOM.join(items)).encode("utf-8", "surrogateescape")), np.uint8)
    starts = np.flatnonzero(data == 0xFF)
    lengths = np.diff(starts, append=len(data)) - _LENGTH.size
    for byte in range(_LENGTH.size):
        data[starts + byte] = lengths >> 8 * byte & 0xFF
    return data.tobytes()
