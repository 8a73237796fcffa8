"""Rows of tensors -> encoded rows, streamed: blocks of rows go through a thread pool and come back in order.

No tensor is ever held in float32 whole. A worker widens one slice of rows at a time into a buffer of its own that fits
the processor's cache, and quantizes it from there. Rows are independent of each other, so the block sizes don't show in
the result. The stream runs across tensors: the next one is begun while the last pieces of this one are in work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from gemma_mtp.cores import available_cores
from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files.reading import Span
from gemma_mtp.ggml import FLOAT_TYPES, GGMLType, row_bytes
from gemma_mtp.progress import Advance
from gemma_mtp.quantize import floats, kernels
from gemma_mtp.quantize.magnitudes import check_finite, is_moderate, is_valid, within_reach

Array = np.ndarray[Any, Any]

#: Elements that a worker takes at once: some milliseconds of work, which hides the cost of handing it out ...
PIECE = 1 << 21
#: ... and that it widens and quantizes at once: 1 MB of float32, which stays in a core's second-level cache.
SLICE = 1 << 18
#: Pieces in work or waiting to be written, for each thread.
AHEAD = 3

#: Types whose scales without an importance matrix are the block's largest number (or its range) over a constant:
#: moderate numbers in, finite scales out. Other scales are fitted, so that what came out is looked at.
BOUNDED_SCALES = FLOAT_TYPES | {GGMLType.Q8_0, GGMLType.Q4_0, GGMLType.Q4_1, GGMLType.Q5_0, GGMLType.Q5_1}


@dataclass(frozen=True)
class Stored:
    """A tensor as it is stored.

    name: for errors. data: in a file, or contiguous in memory, of any dtype (it is taken as bytes of type `type`).
    shape: row-major, [..., rows, columns]; a tensor of experts is [experts, rows, columns].
    importance: float32 [columns], or [experts, columns].
    """

    name: str
    data: Array | Span
    shape: Sequence[int]
    type: GGMLType
    importance: Array | None = None

    @cached_property
    def row_bytes(self) -> int:
        return row_bytes(self.type, self.columns)

    @property
    def columns(self) -> int:
        return self.shape[-1]

    @property
    def count(self) -> int:
        """Of rows."""
        return prod(self.shape[:-1])

    @property
    def rows_per_expert(self) -> int:
        return self.shape[-2] if len(self.shape) > 1 else 1

    @cached_property
    def weights(self) -> Array | None:
        """The importance as float32 [experts, columns]."""
        if self.importance is None:
            return None
        return np.ascontiguousarray(self.importance, np.float32).reshape(-1, self.columns)

    def read_rows(self, first: int, count: int, room: Array) -> Array:
        """Copy rows into the beginning of `room`; returns that part of it. Both are flat uint8.

        Raises BadFileError (the file has become shorter), EnvironmentProblem (its disk fails).
        """
        start, nbytes = first * self.row_bytes, count * self.row_bytes
        if isinstance(self.data, Span):
            self.data.read_into(room[:nbytes], start)
        else:
            room[:nbytes] = self.data.reshape(-1).view(np.uint8)[start : start + nbytes]
        return room[:nbytes]


@dataclass(frozen=True)
class Job:
    """A tensor to be encoded as type `wanted`. `done` is told how many of its stored bytes were just done."""

    tensor: Stored
    wanted: GGMLType
    done: Advance

    @cached_property
    def codec(self) -> ModuleType:
        """What encodes it: plain numbers among each other need no ggml."""
        return floats if floats.is_float(self.tensor.type, self.wanted) else kernels

    @cached_property
    def row_bytes(self) -> int:
        """Of an encoded row."""
        return row_bytes(self.wanted, self.tensor.columns)


class _Piece(NamedTuple):
    """Rows of a job (the `number`-th) in work: `result` has the finished bytes, in `buffer`."""

    number: int
    job: Job
    rows: int
    result: Future[Array]
    buffer: Array


class RowEncoder:
    """A pool of threads that encodes tensors, one after the other. A context manager.

    allow_nonfinite: take NaN and Inf as they come, except for types whose kernels abort the process on them.
    nonfinite: the names of the tensors in which some were found and taken.
    """

    def __init__(self, threads: int | None = None, *, allow_nonfinite: bool = False):
        self.threads = threads or available_cores()
        self.allow_nonfinite = allow_nonfinite
        self.nonfinite: set[str] = set()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="quantize")
        self._own = threading.local()
        self._spare: list[Array] = []

    def __enter__(self) -> RowEncoder:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._pool.shutdown(cancel_futures=True)

    def encode(self, jobs: Iterable[Job]) -> Iterator[Iterator[memoryview]]:
        """The bytes of each job in turn, in pieces. A piece is valid until the next is asked for.

        Raises BadFileError for NaN and Inf, in the source or (too large for the type) in the result; UsageError for a
        type that needs an importance matrix without one.
        """
        for _, pieces in groupby(self._streamed(jobs), key=lambda piece: piece[0]):
            yield (view for _, view in pieces)

    def _streamed(self, jobs: Iterable[Job]) -> Iterator[tuple[int, memoryview]]:
        """Keep some pieces in work, hand out the oldest (with its job's number), use its buffer again."""
        waiting: deque[_Piece] = deque()
        try:
            for number, job in enumerate(jobs):
                _prepare(job)
                for first, count in _pieces(job.tensor):
                    if len(waiting) == AHEAD * self.threads:
                        yield from self._oldest(waiting)
                    waiting.append(self._begun(number, job, first, count))
            while waiting:
                yield from self._oldest(waiting)
        finally:
            for piece in waiting:
                piece.result.cancel()

    def _begun(self, number: int, job: Job, first: int, count: int) -> _Piece:
        buffer = self._buffer(count * job.row_bytes)
        work = self._copied if job.tensor.type == job.wanted else self._encoded
        return _Piece(number, job, count, self._pool.submit(work, job, first, count, buffer), buffer)

    def _buffer(self, size: int) -> Array:
        """A used buffer, whose pages are there already, or a new one that is large enough for most pieces."""
        buffer = self._spare.pop() if self._spare else None
        return buffer if buffer is not None and len(buffer) >= size else np.empty(max(size, 4 * PIECE), np.uint8)

    def _oldest(self, waiting: deque[_Piece]) -> Iterator[tuple[int, memoryview]]:
        piece = waiting.popleft()
        yield piece.number, piece.result.result().data
        self._spare.append(piece.buffer)
        piece.job.done(piece.rows * piece.job.tensor.row_bytes)

    def _encoded(self, job: Job, first: int, count: int, buffer: Array) -> Array:
        """Rows `first` to `first + count` in `buffer`, encoded slice by slice."""
        tensor, wanted = job.tensor, job.wanted
        target = buffer.ctypes.data
        importance = None
        if tensor.weights is not None:
            importance = tensor.weights[first // tensor.rows_per_expert % len(tensor.weights)].ctypes.data
        bounded = importance is None and wanted in BOUNDED_SCALES
        written = 0
        for row, rows in _slices(tensor, first, count):
            raw = tensor.read_rows(row, rows, self._scratch("stored", rows * tensor.row_bytes))
            moderate = self._checked(tensor, row, raw, wanted)
            source = self._widened(job, raw, rows)
            taken = tensor.name in self.nonfinite
            if not (taken or moderate or within_reach(wanted, source, rows * tensor.columns)):
                raise _out_of_range(job, row, rows)
            nbytes = job.codec.quantize(wanted, source, target + written, rows, tensor.columns, importance)
            if not (taken or (moderate and bounded) or is_valid(wanted, target + written, nbytes, source)):
                raise _out_of_range(job, row, rows)
            written += nbytes
        return buffer[:written]

    def _copied(self, job: Job, first: int, count: int, buffer: Array) -> Array:
        """Rows as they are, in `buffer`."""
        tensor, written = job.tensor, 0
        for row, rows in _slices(tensor, first, count):
            raw = tensor.read_rows(row, rows, buffer[written:])
            self._checked(tensor, row, raw, tensor.type)
            written += len(raw)
        return buffer[:written]

    def _checked(self, tensor: Stored, first: int, raw: Array, wanted: GGMLType) -> bool:
        """Whether all numbers in these rows, from row `first` on, are below the limit of MODERATE.

        Raises BadFileError for NaN and Inf; where they may be taken, notes the tensor's name instead.
        """
        if is_moderate(raw, tensor.type):
            return True
        try:
            check_finite(tensor.name, raw, tensor.type, tensor.row_bytes, first)
        except BadFileError:
            if not self.allow_nonfinite or kernels.aborts_on_nonfinite(wanted):
                raise
            self.nonfinite.add(tensor.name)
        return False

    def _widened(self, job: Job, raw: Array, rows: int) -> int:
        """The address of the rows' float32 form: in a buffer of the thread's, or where they are."""
        tensor = job.tensor
        source, elements = int(raw.ctypes.data), rows * tensor.columns
        if tensor.type is GGMLType.F32:
            return source
        address = int(self._scratch("floats", 4 * elements).ctypes.data)
        job.codec.widen(tensor.type, source, address, elements)
        return address

    def _scratch(self, use: str, size: int) -> Array:
        """A buffer of the thread's own for one use, aligned for float32."""
        buffer: Array | None = getattr(self._own, use, None)
        if buffer is None or len(buffer) < size:
            buffer = np.empty(max(size, 4 * SLICE) // 4 + 1, np.float32).view(np.uint8)
            setattr(self._own, use, buffer)
        return buffer


def _out_of_range(job: Job, first: int, count: int) -> BadFileError:
    return BadFileError(
        f"rows {first:,} to {first + count - 1:,} have values that are too large for {job.wanted.name}, or too small",
        where=job.tensor.name,
        hint="choose another type",
    )


def _prepare(job: Job) -> None:
    if job.tensor.type == job.wanted or job.codec is floats:
        return
    if job.tensor.importance is None and kernels.requires_importance(job.wanted):
        raise UsageError(
            f"{job.wanted.name} needs an importance matrix", where=job.tensor.name, hint="add --imatrix FILE"
        )
    kernels.prepare(job.wanted)


def _slices(tensor: Stored, first: int, count: int) -> Iterator[tuple[int, int]]:
    """(first row, number of rows), as many as a worker takes at once."""
    at_once = max(1, SLICE // tensor.columns)
    for row in range(first, first + count, at_once):
        yield row, min(at_once, first + count - row)


def _pieces(tensor: Stored) -> Iterator[tuple[int, int]]:
    """(first row, number of rows); with an importance matrix no piece reaches across experts."""
    rows_at_once = max(1, PIECE // tensor.columns)
    block = tensor.count if tensor.importance is None else tensor.rows_per_expert
    for start in range(0, tensor.count, block):
        for first in range(start, start + block, rows_at_once):
            yield first, min(rows_at_once, start + block - first)
