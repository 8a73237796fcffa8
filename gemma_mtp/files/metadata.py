"""A GGUF's metadata with types: a key is asked for as a text, a number or an array, and is that or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from gemma_mtp.errors import BadFileError
from gemma_mtp.files.gguf_values import Value, ValueType

T = TypeVar("T")
D = TypeVar("D")
ARCHITECTURE = "general.architecture"

INTEGER_TYPES = frozenset(
    {
        ValueType.UINT8,
        ValueType.INT8,
        ValueType.UINT16,
        ValueType.INT16,
        ValueType.UINT32,
        ValueType.INT32,
        ValueType.UINT64,
        ValueType.INT64,
    }
)


#: Stands for no default: the key must be there.
NEEDED: Any = object()


class Metadata(dict[str, Value]):
    """key -> encoded value, in the file's order, with typed access.

    where: the file, for errors. Each getter raises BadFileError if the key is missing or holds something else; with a
    default it gives that instead.
    """

    def __init__(self, values: Mapping[str, Value] | Iterable[tuple[str, Value]] = (), where: str | None = None):
        super().__init__(values)
        self.where = where

    @property
    def architecture(self) -> str:
        """Empty if the file names none."""
        return self.text(ARCHITECTURE, "")

    @overload
    def text(self, key: str) -> str: ...
    @overload
    def text(self, key: str, default: D) -> str | D: ...
    def text(self, key: str, default: Any = NEEDED) -> Any:
        """A string."""
        return self._typed(key, "a string", _text, default)

    @overload
    def number(self, key: str) -> int: ...
    @overload
    def number(self, key: str, default: D) -> int | D: ...
    def number(self, key: str, default: Any = NEEDED) -> Any:
        """An integer of any width."""
        return self._typed(key, "an integer", _integer, default)

    @overload
    def texts(self, key: str) -> list[str]: ...
    @overload
    def texts(self, key: str, default: D) -> list[str] | D: ...
    def texts(self, key: str, default: Any = NEEDED) -> Any:
        """An array of strings."""
        return self._typed(key, "an array of strings", _texts, default)

    def _typed(self, key: str, wanted: str, read: Callable[[Value], T | None], default: Any) -> Any:
        value = self.get(key)
        found = None if value is None else read(value)
        if found is not None:
            return found
        if default is not NEEDED:
            return default
        fault = "is missing" if value is None else f"is {described(value)}, not {wanted}"
        raise BadFileError(f"{key} {fault}", where=self.where)


def described(value: Value) -> str:
    """A value's type and, if it is short, its content."""
    if value.type is ValueType.ARRAY:
        return f"an array of {value.count:,} {value.item_type.name if value.item_type is not None else ''}"
    return f"{value.type.name} {str(value.decode())[:40]!r}"


def _text(value: Value) -> str | None:
    return str(value.decode()) if value.type is ValueType.STRING else None


def _integer(value: Value) -> int | None:
    return int(value.decode()) if value.type in INTEGER_TYPES else None


def _texts(value: Value) -> list[str] | None:
    return list(value.decode()) if value.is_array_of(ValueType.STRING) else None
