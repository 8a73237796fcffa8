"""Importance matrices: how strongly each column of a weight is used, as llama.cpp's llama-imatrix measures it.

Two formats. GGUF: for each weight `NAME.in_sum2` (sums of squared activations, [experts, columns]) and `NAME.counts`
([experts, 1]). The legacy .dat, little-endian: the number of entries; for each the length of its name, the name, a
number of calls, a number of values, the values; then, optionally, the number of chunks and the data set's name.
Source: common/imatrix-loader.cpp and tools/quantize/quantize.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile, is_gguf
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.reading import SourceFile
from gemma_mtp.ggml import GGMLType

Array = np.ndarray[Any, Any]

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNKS = "imatrix.datasets", "imatrix.chunk_count"
#: The keys that make a GGUF one, each with what its value has to be (llama.cpp asserts the types).
_KEYS: dict[str, tuple[Callable[[Value], bool], str]] = {
    DATASETS: (lambda value: value.is_array_of(ValueType.STRING), "array of strings"),
    CHUNKS: (lambda value: value.type is ValueType.UINT32, "UINT32"),
    "imatrix.chunk_size": (lambda value: value.type is ValueType.UINT32, "UINT32"),
}
#: llama_model_kv_override holds strings of 127 bytes.
LONGEST_TEXT = 127
#: Values of an entry (all experts' columns: the largest models have ten millions), bytes of a name, and of them all.
MOST_VALUES, LONGEST_NAME, MOST_BYTES = 1 << 26, 1 << 16, 4 << 30


@dataclass(frozen=True)
class ImportanceMatrix:
    """Weight name -> importance, float32 [experts * columns].

    datasets: names of the texts it was measured on. chunks: how much of them; 0: unknown.
    """

    path: Path
    entries: Mapping[str, Array]
    datasets: tuple[str, ...]
    chunks: int

    def metadata(self) -> dict[str, Value]:
        """The keys that llama-quantize records it under."""
        keys = {"quantize.imatrix.file": gv.string(_cut(str(self.path)))}
        if self.datasets:
            keys["quantize.imatrix.dataset"] = gv.string(_cut(self.datasets[0]))
        keys["quantize.imatrix.entries_count"] = gv.u32(len(self.entries))
        if self.chunks > 0:
            keys["quantize.imatrix.chunks_count"] = gv.u32(self.chunks)
        return keys


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:LONGEST_TEXT].decode("utf-8", "ignore")  # a file's name may be no UTF-8


def read_imatrix(path: Path) -> ImportanceMatrix:
    """Read either format.

    Raises BadFileError (GGUFError) if it is damaged or no importance matrix, EnvironmentProblem if the disk fails.
    """
    with np.errstate(all="ignore"):  # what overflows is found below
        matrix = _read_gguf(path) if is_gguf(path) else _read_legacy(path)
    if not matrix.entries:
        raise BadFileError("there is no importance data in it", where=path)
    for name, values in matrix.entries.items():
        if not np.isfinite(values).all():
            raise BadFileError(f"the importance of {name} holds NaN or Inf", where=path)
        if values.min() < 0:  # a mean of squares; kernels take its root
            raise BadFileError(f"the importance of {name} is negative at {int(values.argmin()):,}", where=path)
    return matrix


def _read_gguf(path: Path) -> ImportanceMatrix:
    with GGUFFile(path) as file:
        for key, (fits, wanted) in _KEYS.items():
            value = file.metadata.get(key)
            if value is None or not fits(value):
                fault = "is missing" if value is None else f"is no {wanted}"
                raise BadFileError(f"not an importance matrix: {key} {fault}", where=path)
        datasets, chunks = (file.metadata[key].decode() for key in (DATASETS, CHUNKS))
        return ImportanceMatrix(path, dict(_entries(file)), tuple(datasets), chunks)


def _entries(file: GGUFFile) -> Iterator[tuple[str, Array]]:
    """Sums divided by counts, expert by expert; an expert that was never used counts 1 everywhere."""
    if sum(record.nbytes for record in file.tensors.values()) > MOST_BYTES:
        raise BadFileError(f"more than {MOST_BYTES >> 30} GiB are no importance matrix", where=file.path)
    for record in sorted(file.tensors.values(), key=lambda record: record.name):
        if not record.name.endswith(SUMS):
            continue
        name = record.name.removesuffix(SUMS)
        counts = file.tensors.get(name + COUNTS)
        if counts is None or {record.type, counts.type} != {GGMLType.F32}:
            raise BadFileError(f"{name} lacks F32 sums and counts", where=file.path)
        times = np.rint(file.data(counts).view(np.float32)).astype(np.float32)
        sums = file.data(record).view(np.float32)
        if sums.size % times.size:
            raise BadFileError(f"{name} has {sums.size} sums for {times.size} counts", where=file.path)
        sums = sums.reshape(times.size, -1)
        used = times[:, None] > 0
        yield name, np.where(used, sums / np.where(used, times[:, None], 1), np.float32(1)).astype(np.float32).ravel()


def _read_legacy(path: Path) -> ImportanceMatrix:
    """The older .dat, entry by entry: whatever is named instead of one, no more of it is read than makes sense."""
    entries: dict[str, Array] = {}
    with SourceFile(path) as file:
        cursor = _Cursor(file)
        try:
            (count,) = cursor.unpack("<i")
            for _ in range(count):
                name = cursor.text()
                calls, size = cursor.unpack("<ii")
                if size < 1:
                    raise ValueError("an entry without values")
                if size > MOST_VALUES:
                    raise ValueError(f"an entry of {size:,} values")
                values = cursor.take(4 * size).view("<f4")
                entries[name] = values / np.float32(calls) if calls > 0 else values
            datasets: list[str] = []
            chunks = 0
            if cursor.position < file.size:
                (chunks,) = cursor.unpack("<i")
                name = cursor.text()
                datasets = [name] if name else []
        except ValueError as error:
            what = f"not an importance matrix, neither GGUF nor the older .dat: {error}"
            raise BadFileError(what, where=path) from error
    return ImportanceMatrix(path, entries, tuple(datasets), chunks)


class _Cursor:
    """A position in a file; what lies behind its end is a ValueError."""

    def __init__(self, file: SourceFile):
        self.file, self.position = file, 0

    def take(self, count: int) -> Array:
        if not 0 <= count <= self.file.size - self.position:
            raise ValueError(f"{count:,} bytes at byte {self.position:,} of {self.file.size:,}")
        self.position += count
        if self.position > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES >> 30} GiB")
        return self.file.read(self.position - count, count)

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)).data)

    def text(self) -> str:
        (length,) = self.unpack("<i")
        if length > LONGEST_NAME:
            raise ValueError(f"a name of {length:,} bytes")
        return bytes(self.take(length)).decode("utf-8", "replace")
