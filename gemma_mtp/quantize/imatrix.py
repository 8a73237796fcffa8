"""Importance matrices: how strongly each column of a weight is used, as llama.cpp's llama-imatrix measures it.

Two formats. GGUF: for each weight `NAME.in_sum2` (sums of squared activations, [experts, columns]) and `NAME.counts`
([experts, 1]). The legacy .dat, little-endian: the number of entries; for each the length of its name, the name, a
number of calls, a number of values, the values; then, optionally, the number of chunks and the data set's name.
Source: common/imatrix-loader.cpp and tools/quantize/quantize.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile, is_gguf
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.ggml import GGMLType

Array = np.ndarray[Any, Any]

SUMS, COUNTS = ".in_sum2", ".counts"
#: llama_model_kv_override holds strings of 127 bytes.
LONGEST_TEXT = 127


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
    return text.encode()[:LONGEST_TEXT].decode("utf-8", "ignore")


def read_imatrix(path: Path) -> ImportanceMatrix:
    """Read either format. Raises BadFileError (GGUFError) if it is damaged or no importance matrix."""
    matrix = _read_gguf(path) if is_gguf(path) else _read_legacy(path)
    if not matrix.entries:
        raise BadFileError("there is no importance data in it", where=path)
    for name, values in matrix.entries.items():
        if not np.isfinite(values).all():
            raise BadFileError(f"the importance of {name} holds NaN or Inf", where=path)
    return matrix


def _read_gguf(path: Path) -> ImportanceMatrix:
    with GGUFFile(path) as file:
        keys = {key: file.metadata.get(f"imatrix.{key}") for key in ("datasets", "chunk_count", "chunk_size")}
        missing = [key for key, value in keys.items() if value is None]
        if missing:
            raise BadFileError(f"not an importance matrix: imatrix.{missing[0]} is missing", where=path)
        datasets, chunks = keys["datasets"], keys["chunk_count"]
        assert datasets is not None
        assert chunks is not None
        count = chunks.integer()
        if not datasets.is_array_of(ValueType.STRING) or count is None:
            raise BadFileError("imatrix.datasets or imatrix.chunk_count is of another type", where=path)
        return ImportanceMatrix(path, dict(_entries(file)), tuple(datasets.decode()), count)


def _entries(file: GGUFFile) -> Iterator[tuple[str, Array]]:
    """Sums divided by counts, expert by expert; an expert that was never used counts 1 everywhere."""
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
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadFileError(f"cannot be read: {error.strerror}", where=path) from error
    entries: dict[str, Array] = {}
    try:
        (count,), position = struct.unpack_from("<i", raw), 4
        for _ in range(count):
            name, position = _text(raw, position)
            calls, size = struct.unpack_from("<ii", raw, position)
            position += 8
            if size < 1:
                raise ValueError("an entry without values")
            values = np.frombuffer(raw, "<f4", size, position)
            position += values.nbytes
            entries[name] = values / np.float32(calls) if calls > 0 else values.copy()
        datasets: list[str] = []
        chunks = 0
        if position < len(raw):
            (chunks,) = struct.unpack_from("<i", raw, position)
            name, _ = _text(raw, position + 4)
            datasets = [name] if name else []
    except (struct.error, ValueError) as error:
        raise BadFileError(f"not an importance matrix, neither GGUF nor the older .dat: {error}", where=path) from error
    return ImportanceMatrix(path, entries, tuple(datasets), chunks)


def _text(raw: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<i", raw, position)
    start, end = position + 4, position + 4 + length
    if not 0 <= length <= len(raw) - start:
        raise ValueError(f"a name of {length} bytes at byte {position}")
    return raw[start:end].decode("utf-8", "replace"), end
