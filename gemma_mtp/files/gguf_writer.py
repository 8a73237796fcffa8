"""A GGUF writer: the whole file is planned before its first byte is written, then the data is streamed in order."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gemma_mtp.files.atomic import atomic_output
from gemma_mtp.files.gguf_reader import ALIGNMENT, DEFAULT_ALIGNMENT, MAGIC
from gemma_mtp.files.gguf_reader import TensorPlan as TensorPlan
from gemma_mtp.files.gguf_values import Value, encode_string

VERSION = 3
#: Keys that say how a file is laid out. They are the writer's: where the content comes from, other values may stand.
LAYOUT_KEYS = frozenset({ALIGNMENT, "split.no", "split.count", "split.tensors.count"})
#: A file's first bytes: magic, version, number of tensors, number of keys.
_START = struct.Struct("<4sIQQ")
Buffer = bytes | memoryview


class GGUFWriter:
    """Writes one GGUF file; a context manager whose end puts the complete file in place (see `atomic_output`).

    Files are whole and aligned to GGUF's default, whatever keys about that (`LAYOUT_KEYS`) the metadata bring along.
    Tensors are written in the plan's order, each in one piece or in several. `size` is the finished file's, known from
    the start. Values that are only known at the end can be put in then (`amend`).
    """

    def __init__(
        self, path: str | Path, metadata: Mapping[str, Value], tensors: Sequence[TensorPlan], *, force: bool = False
    ):
        self.path, self.force = Path(path), force
        self.metadata = {key: value for key, value in metadata.items() if key not in LAYOUT_KEYS}
        self.tensors = list(tensors)
        self._header = encode_header(self.metadata, self.tensors)
        self.size = len(self._header) + sum(padded(tensor.nbytes) for tensor in self.tensors)
        self._finished = 0  # tensors
        self._written = 0  # bytes of the next one

    def __enter__(self) -> GGUFWriter:
        with ExitStack() as stack:  # if the header cannot be written, the file vanishes
            self._file = stack.enter_context(atomic_output(self.path, size=self.size, force=self.force))
            self._file.write(self._header)
            stack.push(self._check_complete)
            self._stack = stack.pop_all()
        return self

    @property
    def next(self) -> TensorPlan:
        """The tensor whose turn it is. Raises RuntimeError if there is none left."""
        _hold(self._finished < len(self.tensors), "all planned tensors are written already")
        return self.tensors[self._finished]

    def write(self, piece: Buffer) -> None:
        """The next piece of the tensor whose turn it is; behind its last one comes the padding, and the next's turn.

        Raises EnvironmentProblem, and RuntimeError for more bytes than are planned.
        """
        plan = self.next
        self._written += self._file.write(piece)
        wanted = plan.nbytes
        _hold(self._written <= wanted, f"{plan.name}: {self._written} bytes written, {wanted} planned")
        if self._written == wanted:
            self._file.write(bytes(padded(wanted) - wanted))
            self._written = 0
            self._finished += 1

    def write_next(self, pieces: Iterable[Buffer]) -> None:
        """Write the whole of the next tensor. Raises as `write` does, also for less bytes than are planned."""
        turn = self._finished
        for piece in pieces:
            self.write(piece)
        _hold(self._finished == turn + 1, f"{self._finished - turn} tensors written, 1 expected")

    def amend(self, changes: Mapping[str, Value]) -> None:
        """Put these values in the place of those that stand there, which must be as long. Raises as `write` does."""
        _hold(changes.keys() <= self.metadata.keys(), "only keys that are there can be amended")
        position = _START.size
        for key, value in self.metadata.items():
            length = sum(map(len, _entry(key, value)))
            if key in changes:
                entry = b"".join(_entry(key, changes[key]))
                _hold(len(entry) == length, f"{key} must keep its length")
                self._file.replace(position, entry)
            position += length

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def _check_complete(self, kind: type[BaseException] | None, *_: Any) -> None:
        finished, planned = self._finished, len(self.tensors)
        _hold(kind is not None or finished == planned, f"{finished} of {planned} tensors were written")


def _hold(kept: bool, what: str) -> None:
    """The plan has to be kept, under `python -O` as well: no file may appear that is not what its header says."""
    if not kept:
        raise RuntimeError(what)


def padded(size: int) -> int:
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def encode_header(metadata: Mapping[str, Value], tensors: Sequence[TensorPlan]) -> bytes:
    """Everything before the data, padded to its start."""
    parts: list[Buffer] = [_START.pack(MAGIC, VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += _entry(key, value)
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        parts += [
            encode_string(tensor.name),
            struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.type.value, offset),
        ]
        offset += padded(tensor.nbytes)
    length = sum(map(len, parts))
    return b"".join([*parts, bytes(padded(length) - length)])


def _entry(key: str, value: Value) -> list[Buffer]:
    """A key and its value, in pieces: a vocabulary is copied no oftener than need be."""
    return [encode_string(key), struct.pack("<I", value.type), *value.encode()]
