"""Rows of a tensor -> encoded rows, streamed: blocks of rows go through a thread pool and come back in order.

No tensor is ever held in float32 whole. A worker widens one slice of rows at a time into a buffer of its own that fits
the processor's cache, and quantizes it from there. Rows are independent of each other, so the block sizes don't show in
the result.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.mapped import Done
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType, row_bytes
from gemma_mtp.quantize import kernels

Array = np.ndarray[Any, Any]

#: Elements that a worker takes at once (4 MB in float32 terms: long enough to hide the cost of handing it out) ...
PIECE = 1 << 20
#: ... and that it widens and quantizes at once: 1 MB of float32, which stays in a core's second-level cache.
SLICE = 1 << 18
#: Pieces in work or waiting to be written, for each thread.
AHEAD = 3

#: Signed and unsigned integers of a number's size, and the bits of positive infinity; NaNs lie above it.
INFINITY: dict[GGMLType, tuple[Any, Any, int]] = {
    GGMLType.F32: (np.int32, np.uint32, 0x7F800000),
    GGMLType.F16: (np.int16, np.uint16, 0x7C00),
    GGMLType.BF16: (np.int16, np.uint16, 0x7F80),
}
#: Types that hold no real numbers, so that nothing can be wrong with them.
INTEGER_TYPES = frozenset({GGMLType.I8, GGMLType.I16, GGMLType.I32, GGMLType.I64})


def default_threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Job:
    """What is the same for all pieces of a tensor.

    data: uint8, flat; address: of its first byte. importance: float32 [experts, columns].
    """

    name: str
    data: Array
    source: GGMLType
    wanted: GGMLType
    columns: int
    rows_per_expert: int
    importance: Array | None
    address: int
    done: Done

    @property
    def source_row(self) -> int:
        return row_bytes(self.source, self.columns)

    @property
    def wanted_row(self) -> int:
        return row_bytes(self.wanted, self.columns)


class _Piece(NamedTuple):
    """Some rows in work: the future number of their bytes in `buffer`."""

    encoded: Future[int]
    buffer: Array
    rows: int


class RowEncoder:
    """A pool of threads that encodes tensors, one after the other. A context manager.

    allow_nonfinite: take NaN and Inf as they come, except for types whose kernels abort the process on them.
    nonfinite: the names of the tensors in which some were found and taken.
    """

    def __init__(self, threads: int | None = None, *, allow_nonfinite: bool = False):
        self.threads = threads or default_threads()
        self.allow_nonfinite = allow_nonfinite
        self.nonfinite: set[str] = set()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="quantize")
        self._scratch = threading.local()

    def __enter__(self) -> RowEncoder:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._pool.shutdown(cancel_futures=True)

    def encode(
        self,
        name: str,
        data: Array,
        shape: Sequence[int],
        source: GGMLType,
        wanted: GGMLType,
        importance: Array | None = None,
        done: Done = lambda _: None,
    ) -> Iterator[memoryview]:
        """The tensor's bytes in the type `wanted`, in pieces, in order. A piece is valid until the next is asked for.

        data: the tensor as it is stored, contiguous, of any dtype (it is taken as bytes of type `source`).
        shape: row-major, [..., rows, columns]; a tensor of experts is [experts, rows, columns].
        importance: float32 [columns], or [experts, columns].
        done: told how many bytes of `data` were just done with, in order.

        Raises BadFileError for NaN and Inf, in the source or (too large for the type) in the result; UsageError for a
        type that needs an importance matrix without one.
        """
        raw = data.reshape(-1).view(np.uint8)
        columns = shape[-1]
        if source == wanted:
            yield from self._copied(name, raw, source, columns, done)
            return
        if importance is None and kernels.requires_importance(wanted):
            raise UsageError(f"{wanted.name} needs an importance matrix", where=name, hint="add --imatrix FILE")
        kernels.prepare(wanted)
        rows_per_expert = shape[-2] if len(shape) > 1 else 1
        if importance is not None:
            importance = np.ascontiguousarray(importance, np.float32).reshape(-1, columns)
        job = _Job(name, raw, source, wanted, columns, rows_per_expert, importance, raw.ctypes.data, done)
        yield from self._streamed(job, prod(shape[:-1]))

    def _streamed(self, job: _Job, rows: int) -> Iterator[memoryview]:
        """Keep some pieces in work, hand out the oldest, use its buffer again."""
        waiting: deque[_Piece] = deque()
        rows_at_once = max(1, PIECE // job.columns)
        spare: list[Array] = []
        try:
            for first, count in _pieces(job, rows, rows_at_once):
                if len(waiting) == AHEAD * self.threads:
                    yield from _oldest(job, waiting, spare)
                buffer = spare.pop() if spare else np.empty(min(rows, rows_at_once) * job.wanted_row, np.uint8)
                encoded = self._pool.submit(self._encode_piece, job, first, count, buffer)
                waiting.append(_Piece(encoded, buffer, count))
            while waiting:
                yield from _oldest(job, waiting, spare)
        finally:
            for piece in waiting:
                piece.encoded.cancel()

    def _encode_piece(self, job: _Job, first: int, count: int, buffer: Array) -> int:
        """Rows `first` to `first + count` into `buffer`, slice by slice. Returns the bytes."""
        rows_at_once = max(1, SLICE // job.columns)
        source_row, target = job.source_row, buffer.ctypes.data
        importance = None
        if job.importance is not None:
            importance = job.importance[first // job.rows_per_expert % len(job.importance)].ctypes.data
        written = 0
        for row in range(first, first + count, rows_at_once):
            rows = min(rows_at_once, first + count - row)
            raw = job.data[row * source_row : (row + rows) * source_row]
            self._check(job.name, raw, job.source, source_row, row, job.wanted)
            floats = self._widened(job, row * source_row, rows * job.columns)
            nbytes = kernels.quantize(job.wanted, floats, target + written, rows, job.columns, importance)
            if job.name not in self.nonfinite and not kernels.is_valid(job.wanted, target + written, nbytes):
                raise BadFileError(
                    f"values in rows {row:,} to {row + rows - 1:,} are too large for {job.wanted.name}", where=job.name
                )
            written += nbytes
        return written

    def _copied(self, name: str, raw: Array, kind: GGMLType, columns: int, done: Done) -> Iterator[memoryview]:
        """The tensor as it is, checked."""
        size = row_bytes(kind, columns)
        step = max(1, PIECE // columns) * size
        for start in range(0, len(raw), step):
            piece = raw[start : start + step]
            self._check(name, piece, kind, size, start // size, kind)
            yield piece.data
            done(len(piece))

    def _check(self, name: str, raw: Array, kind: GGMLType, size: int, first_row: int, wanted: GGMLType) -> None:
        """See `check_finite`; where it may be, make a note instead."""
        try:
            check_finite(name, raw, kind, size, first_row)
        except BadFileError:
            if not self.allow_nonfinite or kernels.aborts_on_nonfinite(wanted):
                raise
            self.nonfinite.add(name)

    def _widened(self, job: _Job, offset: int, elements: int) -> int:
        """The address of the float32 form of the elements at byte `offset`: the thread's buffer, or where they are."""
        source = job.address + offset
        if job.source is GGMLType.F32 and source % 4 == 0:
            return source
        buffer = getattr(self._scratch, "floats", None)
        if buffer is None or len(buffer) < elements:
            buffer = self._scratch.floats = np.empty(max(elements, SLICE), np.float32)
        address = int(buffer.ctypes.data)
        if job.source is GGMLType.F32:
            ctypes.memmove(address, source, 4 * elements)
        else:
            kernels.widen(job.source, source, address, elements)
        return address


def _pieces(job: _Job, rows: int, rows_at_once: int) -> Iterator[tuple[int, int]]:
    """(first row, number of rows); with an importance matrix no piece reaches across experts."""
    block = rows if job.importance is None else job.rows_per_expert
    for start in range(0, rows, block):
        for first in range(start, start + block, rows_at_once):
            yield first, min(rows_at_once, start + block - first)


def _oldest(job: _Job, waiting: deque[_Piece], spare: list[Array]) -> Iterator[memoryview]:
    piece = waiting.popleft()
    yield piece.buffer[: piece.encoded.result()].data
    spare.append(piece.buffer)
    job.done(piece.rows * job.source_row)


def check_finite(name: str, raw: Array, kind: GGMLType, size: int, first_row: int) -> None:
    """Refuse NaN and Inf in rows of `size` bytes, the first of which is row `first_row` of tensor `name`.

    Raises BadFileError.
    """
    if kind in INTEGER_TYPES or _is_finite(raw, kind):
        return
    rows = raw.reshape(-1, size)
    bad = next(row for row in range(len(rows)) if not _is_finite(rows[row], kind))
    raise BadFileError(
        f"row {first_row + bad:,} holds NaN or Inf",
        where=name,
        hint="the file is damaged: download or convert it again",
    )


def _is_finite(raw: Array, kind: GGMLType) -> bool:
    if kind not in FLOAT_TYPES:
        return kernels.is_valid(kind, raw.ctypes.data, len(raw))
    # As signed integers the largest positive number comes out on top, as unsigned ones the largest negative number.
    signed, unsigned, infinity = INFINITY[kind]
    sign = 1 << (8 * np.dtype(signed).itemsize - 1)
    return bool(raw.view(signed).max(initial=0) < infinity and raw.view(unsigned).max(initial=0) < (infinity | sign))
