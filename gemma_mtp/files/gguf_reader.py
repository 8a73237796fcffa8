"""A GGUF reader for files that come from strangers: everything is checked before it is used or allocated.

Layout (version 2 and 3, little-endian): magic, version, number of tensors, number of key-value pairs; the pairs; for
each tensor its name, dimensions (fastest first), type and offset; padding; the tensors' data. Counts and lengths are
held against the bytes that are left, so that no number in a file can ask for more memory than the file has bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_mtp.errors import GemmaMtpError, GGUFError
from gemma_mtp.files.gguf_values import DTYPES, Value, ValueType
from gemma_mtp.files.metadata import Metadata
from gemma_mtp.files.reading import Bytes, SourceFile, Span
from gemma_mtp.files.signature import HEAD, recognized
from gemma_mtp.ggml import TensorType, block_size, tensor_bytes, tensor_type

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT, DEFAULT_ALIGNMENT = "general.alignment", 32
MAX_DIMENSIONS = 4
MAX_NAME = 63  # ggml's GGML_MAX_NAME, less the closing zero
MAX_ELEMENTS = 2**62
#: Far above any model's; a header of millions of records would only serve to fill the reader's memory.
MAX_TENSORS, MAX_PAIRS = 1 << 17, 1 << 16
#: Bytes that are read at first: a Gemma 4 header is 15.8 MB, nearly all of it vocabulary, a centroid head 3.1 MB more.
FIRST_READ = 24 << 20
#: A header is held in memory.
LARGEST_HEADER = 128 << 20
#: The least bytes that one key-value pair (key length, type, a one-byte value) or tensor record can take.
SMALLEST_PAIR, SMALLEST_TENSOR = 8 + 4 + 1, 8 + 4 + 8 + 4 + 8
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class HeaderIncomplete(GGUFError):
    """The buffer ends before the header does, but the file goes on: read more. `needed` is the buffer size to try."""

    def __init__(self, needed: int):
        self.needed = needed
        super().__init__(f"the header needs at least {needed:,} bytes")


@dataclass(frozen=True)
class TensorPlan:
    """A tensor of a file, wherever it is or will be in it. `shape` is row-major (rows first)."""

    name: str
    shape: tuple[int, ...]
    type: TensorType

    @property
    def nbytes(self) -> int:
        return tensor_bytes(self.type, self.shape)


@dataclass(frozen=True)
class TensorInfo(TensorPlan):
    """A tensor's record. `offset` counts from the start of the file."""

    offset: int


@dataclass(frozen=True)
class GGUFHeader:
    """Everything before the tensors' data.

    data_start: the first byte of that data. size: the whole file's. disorder: a sentence if the tensors do not lie one
    after the other as the header lists them, which llama.cpp wants of a file; empty if they do.
    """

    version: int
    metadata: Metadata
    tensors: dict[str, TensorInfo]
    alignment: int
    data_start: int
    size: int
    disorder: str = ""


def planned_header(metadata: Mapping[str, Value], plans: Iterable[TensorPlan], where: object) -> GGUFHeader:
    """The header of a file that is not written: no tensor has a place in it. where: for errors."""
    tensors = {plan.name: TensorInfo(plan.name, plan.shape, plan.type, 0) for plan in plans}
    size = sum(tensor.nbytes for tensor in tensors.values())
    return GGUFHeader(VERSIONS[-1], Metadata(metadata, str(where)), tensors, DEFAULT_ALIGNMENT, 0, size)


class GGUFFile:
    """A local GGUF file. Use it as a context manager: its data can be read inside only, its header is in memory."""

    def __init__(self, path: str | Path):
        """Raises GGUFError if the file cannot be read or breaks the format, EnvironmentProblem if the disk fails."""
        self.path = Path(path)
        self._file = SourceFile(self.path, GGUFError)
        try:
            self.size = self._file.size
            if not self.size:
                raise GGUFError("the file is empty", hint="download or copy it again")
            self.header = _read_header(self._file)
            self.header.metadata.where = str(path)
        except GGUFError as error:
            self._file.close()
            located = GGUFError(error.what, where=path, hint=error.hint)
            located.offset = error.offset
            raise located from error

    @property
    def metadata(self) -> Metadata:
        return self.header.metadata

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        return self.header.tensors

    def span(self, tensor: TensorInfo) -> Span:
        """The tensor's bytes, to be read."""
        return self._file.span(tensor.offset, tensor.nbytes)

    def data(self, tensor: TensorInfo) -> Bytes:
        """The tensor's bytes: uint8 [nbytes]. Raises as `SourceFile.read_into` does."""
        return self.span(tensor).read()

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.close()


def is_gguf(path: Path) -> bool:
    """Whether this is a regular file that begins as a GGUF does."""
    try:
        with SourceFile(path) as file:
            return file.size >= len(MAGIC) and bytes(file.read(0, len(MAGIC))) == MAGIC
    except GemmaMtpError:
        return False


def require_gguf_file(path: Path) -> None:
    """Raises GGUFError, which says what it is instead, unless the file begins as a GGUF does."""
    try:
        with SourceFile(path, GGUFError) as file:
            require_gguf(bytes(file.read(0, min(HEAD, file.size))))
    except GGUFError as error:
        raise GGUFError(error.what, where=path, hint=error.hint) from error


def _read_header(file: SourceFile) -> GGUFHeader:
    """Read as much of the file as its header takes. Raises GGUFError, EnvironmentProblem."""
    wanted = FIRST_READ
    while True:
        buffer = file.read(0, min(wanted, file.size))
        try:
            return parse_header(buffer.data, file.size)
        except HeaderIncomplete as incomplete:
            if incomplete.needed > LARGEST_HEADER:
                raise GGUFError(f"the header needs {incomplete.needed:,} bytes, more than any model's") from None
            wanted = min(max(incomplete.needed, 2 * wanted), LARGEST_HEADER)


def parse_header(buffer: memoryview, file_size: int) -> GGUFHeader:
    """Parse and check the header of a file of `file_size` bytes of which `buffer` holds the first.

    Raises HeaderIncomplete if the buffer is too short, GGUFError if the file breaks the format.
    """
    cursor = _Cursor(buffer, file_size)
    n_tensors, n_pairs, version = _preamble(cursor)
    metadata = Metadata(_pairs(cursor, n_pairs))
    alignment = int(metadata[ALIGNMENT].decode()) if ALIGNMENT in metadata else DEFAULT_ALIGNMENT
    records = list(_records(cursor, n_tensors))
    data_start = _aligned(cursor.position, alignment)
    _check_alignment(records, cursor.position, alignment, file_size)
    tensors = _place(records, data_start, alignment, file_size)
    return GGUFHeader(version, metadata, tensors, alignment, data_start, file_size, _disorder(records, alignment))


def _check_alignment(records: list[_Record], header_end: int, alignment: int, file_size: int) -> None:
    """Raises GGUFError if it is the alignment that puts data behind the file's end: such a file is not cut off."""
    length = max((record.offset + record.nbytes for record in records), default=0)
    start, usual = _aligned(header_end, alignment), _aligned(header_end, DEFAULT_ALIGNMENT)
    if start + length > file_size and start != usual and (usual + length <= file_size or start >= file_size):
        raise GGUFError(
            f"{ALIGNMENT} is {alignment:,}: the data would begin at byte {start:,} of a file of {file_size:,}",
            hint="this key is not what the file was laid out by: convert it again, or download it again",
            offset=header_end,
        )


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def require_gguf(head: bytes) -> None:
    """Raises GGUFError, which says what the file is instead, if these are not the first bytes of a GGUF."""
    if head.startswith(MAGIC) or MAGIC.startswith(head):
        return
    known = recognized(head)
    what = f"it is {known.what}" if known else f"it begins with {head[:4]!r}, not {MAGIC!r}"
    raise GGUFError(f"not a GGUF file: {what}", hint=known.hint if known else None, offset=0)


class _Cursor:
    """A position in the header; every read is checked against the buffer and the file first."""

    def __init__(self, buffer: memoryview, file_size: int):
        self.buffer, self.file_size, self.position = buffer, file_size, 0

    def take(self, count: int, what: str) -> memoryview:
        end = self.position + count
        if end > self.file_size:
            raise GGUFError(f"the file ends inside {what}: {count:,} bytes wanted", offset=self.position)
        if end > len(self.buffer):
            raise HeaderIncomplete(end)
        view = self.buffer[self.position : end]
        self.position = end
        return view

    def u32(self, what: str) -> int:
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack(self.take(8, what))[0])

    def count(self, what: str, smallest: int, most: int | None = None) -> int:
        """A number of things of at least `smallest` bytes each, which must fit into the rest of the file."""
        offset, count = self.position, self.u64(what)
        if most is not None and count > most:
            raise GGUFError(f"{what} is {count:,}, more than {most:,}", offset=offset)
        room = self.file_size - self.position
        if count * smallest > room:
            raise GGUFError(f"{what} is {count:,}, more than the {room:,} bytes that are left can hold", offset=offset)
        return count

    def name(self, what: str) -> str:
        """Of a key or a tensor. A zero byte would end it for llama.cpp: two names could be one."""
        offset = self.position
        raw = self.take(self.count(f"the length of {what}", 1), what)
        try:
            name = str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise GGUFError(f"{what} is not UTF-8", offset=offset) from error
        if "\0" in name:
            raise GGUFError(f"{what} ({name[:80]!r}) holds a zero byte", offset=offset)
        return name


def _preamble(cursor: _Cursor) -> tuple[int, int, int]:
    require_gguf(bytes(cursor.buffer[:HEAD]))
    cursor.take(4, "the magic")
    version = cursor.u32("the version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = "a big-endian file" if swapped in VERSIONS else f"GGUF version {version}"
        raise GGUFError(f"{what} is not supported, only little-endian version 2 and 3", offset=4)
    n_tensors = cursor.count("the number of tensors", SMALLEST_TENSOR, MAX_TENSORS)
    n_pairs = cursor.count("the number of key-value pairs", SMALLEST_PAIR, MAX_PAIRS)
    return n_tensors, n_pairs, version


def _pairs(cursor: _Cursor, count: int) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    for index in range(count):
        offset = cursor.position
        key = cursor.name(f"key {index}")
        if not key or key in seen:
            raise GGUFError(f"key {index} ({key!r}) " + ("stands twice" if key else "is empty"), offset=offset)
        seen.add(key)
        value = _value(cursor, key)
        if key == ALIGNMENT and not _is_alignment(value):
            raise GGUFError(f"{key} is no UINT32 that is a power of two", offset=offset)
        yield key, value


def _value(cursor: _Cursor, key: str) -> Value:
    kind = _value_type(cursor, f"the type of {key}")
    if kind is not ValueType.ARRAY:
        return Value(kind, _payload(cursor, kind, 1, key))
    item_type = _value_type(cursor, f"the item type of {key}")
    if item_type is ValueType.ARRAY:
        raise GGUFError(f"{key} is an array of arrays, which no runtime reads", offset=cursor.position - 4)
    smallest = 8 if item_type is ValueType.STRING else DTYPES[item_type].itemsize
    count = cursor.count(f"the length of {key}", smallest)
    return Value(kind, _payload(cursor, item_type, count, key), item_type, count)


def _value_type(cursor: _Cursor, what: str) -> ValueType:
    offset, number = cursor.position, cursor.u32(what)
    try:
        return ValueType(number)
    except ValueError:
        raise GGUFError(f"{what} is {number}, which is no value type", offset=offset) from None


def _payload(cursor: _Cursor, kind: ValueType, count: int, key: str) -> memoryview:
    """The encoded items, stepped over without decoding them."""
    start = cursor.position
    if kind is not ValueType.STRING:
        view = cursor.take(count * DTYPES[kind].itemsize, key)
        if kind is ValueType.BOOL and np.frombuffer(view, np.uint8).max(initial=0) > 1:
            raise GGUFError(f"{key} is a boolean, but neither 0 nor 1", offset=start)
        return view
    return cursor.take(_strings_end(cursor.buffer, start, count) - start, key)


#: Bytes that are looked through together for lengths, and strings that are stepped over where that finds none.
_WINDOW, _STEPS = 1 << 20, 4096


def _strings_end(buffer: memoryview, position: int, count: int) -> int:
    """Where `count` length-prefixed strings end that begin at `position`; behind the buffer's end if it is too short.

    A vocabulary and its merges are 777,050 strings, nearly all of them short and without a zero byte.
    """
    data, limit, unpack = np.frombuffer(buffer, np.uint8), len(buffer), _U64.unpack_from
    while count:
        passed, length = _short_strings(data[position : position + _WINDOW], count)
        if passed:
            position, count = position + length, count - passed
            continue
        for _ in range(min(count, _STEPS)):
            if position + 8 > limit:
                return position + 8  # more is wanted than is there: `take` tells whether file or buffer is too short
            position += 8 + unpack(buffer, position)[0]
        count = max(count - _STEPS, 0)
    return position


def _short_strings(window: Bytes, most: int) -> tuple[int, int]:
    """How many strings at the window's start, of `most`, are shorter than 256 bytes, and how many bytes they take.

    Such a length is one byte and seven zeros. A string counts if it begins where the one before it ends.
    """
    zeros = np.flatnonzero(window == 0)
    runs = zeros[: min(len(zeros) // 7, most) * 7].reshape(-1, 7)
    if not len(runs):
        return 0, 0
    starts = runs[:, 0] - 1
    ends = starts + 8 + window[starts]
    fits = runs[:, 6] - starts == 7
    fits[0] &= starts[0] == 0
    fits[1:] &= starts[1:] == ends[:-1]
    passed = len(fits) if fits.all() else int(fits.argmin())
    return passed, int(ends[passed - 1]) if passed else 0


def _is_alignment(value: Value) -> bool:
    number = int(value.decode()) if value.type is ValueType.UINT32 else 0
    return number > 0 and not number & (number - 1)


@dataclass(frozen=True)
class _Record(TensorPlan):
    """offset: from the data's start. position: of the record itself in the header."""

    offset: int
    position: int


def _records(cursor: _Cursor, count: int) -> Iterator[_Record]:
    seen: set[str] = set()
    for index in range(count):
        position = cursor.position
        name = cursor.name(f"the name of tensor {index}")
        if not name or len(name.encode()) > MAX_NAME or name in seen:
            fault = "is empty" if not name else "stands twice" if name in seen else f"is longer than {MAX_NAME} bytes"
            raise GGUFError(f"the name of tensor {index} ({name[:80]!r}) {fault}", offset=position)
        seen.add(name)
        shape = _shape(cursor, name)
        offset, number = cursor.position, cursor.u32(f"the type of {name}")
        kind = tensor_type(number)
        if kind is None:
            raise GGUFError(
                f"tensor {name} has type {number}, which is unknown to llama.cpp and to ik_llama.cpp",
                hint="the file is damaged, or made by a newer runtime: try a newer gemma-mtp",
                offset=offset,
            )
        if shape[-1] % block_size(kind):
            raise GGUFError(
                f"tensor {name} has rows of {shape[-1]} elements, no multiple of {kind.name}'s {block_size(kind)}",
                offset=position,
            )
        yield _Record(name, shape, kind, cursor.u64(f"the offset of {name}"), position)


def _shape(cursor: _Cursor, name: str) -> tuple[int, ...]:
    offset, count = cursor.position, cursor.u32(f"the number of dimensions of {name}")
    if not 1 <= count <= MAX_DIMENSIONS:
        raise GGUFError(f"tensor {name} has {count} dimensions, 1 to {MAX_DIMENSIONS} are possible", offset=offset)
    shape = tuple(cursor.u64(f"the dimensions of {name}") for _ in range(count))[::-1]
    elements = 1
    for length in shape:
        elements *= length
        if not 0 < elements <= MAX_ELEMENTS:
            raise GGUFError(f"tensor {name} has the impossible shape {list(shape)}", offset=offset)
    return shape


def _place(records: list[_Record], data_start: int, alignment: int, file_size: int) -> dict[str, TensorInfo]:
    """Turn relative offsets into positions in the file; refuse what lies outside, across or upon something else."""
    end = data_start
    for record in sorted(records, key=lambda record: record.offset):
        begin, nbytes = data_start + record.offset, record.nbytes
        if record.offset % alignment:
            raise GGUFError(f"tensor {record.name} is not aligned to {alignment} bytes", offset=record.position)
        if begin + nbytes > file_size:
            raise GGUFError(
                f"tensor {record.name} ends at byte {begin + nbytes:,}, but the file has {file_size:,}",
                hint="the file is cut off: download or copy it again",
                offset=record.position,
            )
        if begin < end:
            raise GGUFError(f"tensor {record.name} overlaps the one before it", offset=record.position)
        end = begin + nbytes
    return {
        record.name: TensorInfo(record.name, record.shape, record.type, data_start + record.offset)
        for record in records
    }


def _disorder(records: list[_Record], alignment: int) -> str:
    """Where the data do not follow each other in the header's order without a gap; empty if they do."""
    wanted = 0
    for record in records:
        if record.offset != wanted:
            return f"tensor {record.name} lies at byte {record.offset:,} of the data, not at {wanted:,}"
        wanted += _aligned(record.nbytes, alignment)
    return ""
