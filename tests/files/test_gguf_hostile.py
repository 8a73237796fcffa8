"""Files made to hurt the reader: each number in the format as a lie, and random damage by hypothesis.

Whatever the bytes, `parse_header` gives a header that lies inside the file and decodes, or a GGUFError with the offset.
"""

from __future__ import annotations

import struct
import sys
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_mtp.errors import GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile, GGUFHeader, HeaderIncomplete, parse_header
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header
from gemma_mtp.ggml import GGMLType

METADATA = {
    "general.architecture": gv.string("gemma4"),
    "general.alignment": gv.u32(32),
    "a.flag": gv.boolean(True),
    "a.flags": gv.array(ValueType.BOOL, [True, False, True]),
    "a.number": gv.scalar(ValueType.FLOAT64, 1.5),
    "a.numbers": gv.array(ValueType.INT32, range(5)),
    "a.texts": gv.strings(["one", "", "drei"]),
    "a.nothing": gv.strings([]),
}
PLANS = [
    TensorPlan("token_embd.weight", (4, 64), GGMLType.Q8_0),
    TensorPlan("blk.0.norm.weight", (64,), GGMLType.F32),
    TensorPlan("blk.0.cube.weight", (2, 3, 32), GGMLType.F16),
]
DATA = sum(-(-plan.nbytes // 32) * 32 for plan in PLANS)
HEADER = encode_header(METADATA, PLANS)
WHOLE = HEADER + bytes(DATA)


def outcome(data: bytes, size: int) -> GGUFHeader | GGUFError:
    """What comes of the first bytes of a file of `size` bytes."""
    try:
        return parse_header(memoryview(data), size)
    except GGUFError as error:
        return error


def check(data: bytes) -> GGUFHeader | None:
    """Parse a whole file; its header if there is one, after a look at everything in it."""
    header = outcome(data, len(data))
    if isinstance(header, GGUFError):
        assert not isinstance(header, HeaderIncomplete)
        assert header.offset is not None
        assert 0 <= header.offset <= len(data)
        return None
    for value in header.metadata.values():
        value.decode()
        assert len(value.encode()) <= len(data)
    spans = sorted((tensor.offset, tensor.offset + tensor.nbytes) for tensor in header.tensors.values())
    assert all(header.data_start <= start < end <= len(data) for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    return header


def test_whole_file():
    header = check(WHOLE)
    assert header is not None
    assert [plan.name for plan in PLANS] == list(header.tensors)
    assert dict(header.metadata) == METADATA
    assert header.data_start == len(HEADER)


def test_cut_off():
    """No beginning of the file is taken for a file."""
    for length in range(len(WHOLE)):
        assert check(WHOLE[:length]) is None


def test_beginning_of_the_header():
    """A beginning of the header asks for more, never for more than the header, and never gives a wrong header."""
    for length in range(len(HEADER)):
        found = outcome(WHOLE[:length], len(WHOLE))
        if isinstance(found, GGUFError):
            assert isinstance(found, HeaderIncomplete)
            assert length < found.needed <= len(HEADER)
        else:
            assert length >= len(HEADER.rstrip(b"\0"))
            assert list(found.tensors) == [plan.name for plan in PLANS]


@pytest.mark.parametrize("number", [0, 2**31, 2**62, 2**64 - 1])
def test_every_field_as_a_lie(number):
    """Each 4- and 8-byte window of the header replaced by a number that is hard to digest."""
    for position in range(4, len(HEADER) - 8):
        for size in (4, 8):
            lie = (number % 2 ** (8 * size)).to_bytes(size, "little")
            check(WHOLE[:position] + lie + WHOLE[position + size :])


def record(name: bytes = b"t", dimensions: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    head = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dimensions))
    return head + struct.pack(f"<{len(dimensions)}QIQ", *dimensions, kind, offset)


def pair(key: bytes, kind: int, payload: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + payload


def file_of(pairs: list[bytes], records: list[bytes], data: int = 4096, version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(records), len(pairs)) + b"".join(pairs) + b"".join(records)
    return head + bytes(-len(head) % 32 + data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ends inside the magic"),
        (b"GGML" + bytes(20), "begins with b'GGML'"),
        (file_of([], [], version=1), "GGUF version 1"),
        (file_of([], [], version=3 << 24), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0), "number of tensors is 1,099,511,627,776"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "number of key-value pairs"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + bytes(13), "key 0 ('') is empty"),
        (file_of([pair(b"k", 0, b"\1")] * 2, []), "stands twice"),
        (file_of([pair(b"\xff", 0, b"\1")], []), "not UTF-8"),
        (file_of([pair(b"k", 13, b"")], []), "type of k is 13"),
        (file_of([pair(b"k", 7, b"\2")], []), "neither 0 nor 1"),
        (file_of([pair(b"k", 9, struct.pack("<IQ", 9, 1))], []), "array of arrays"),
        (file_of([pair(b"k", 9, struct.pack("<IQ", 5, 2**61))], []), "length of k is"),
        (file_of([pair(b"k", 9, struct.pack("<IQQ", 8, 2, 2**64 - 1))], []), "ends inside k"),
        (file_of([pair(b"k", 8, struct.pack("<Q", 2**64 - 1))], []), "ends inside k"),
        (file_of([pair(b"general.alignment", 4, struct.pack("<I", 24))], []), "power of two"),
        (file_of([pair(b"general.alignment", 8, struct.pack("<Q", 0))], []), "power of two"),
        (file_of([], [record(b"")]), "is empty"),
        (file_of([], [record(b"x" * 64)]), "longer than 63"),
        (file_of([], [record(), record(offset=128)]), "stands twice"),
        (file_of([], [record(dimensions=())]), "has 0 dimensions"),
        (file_of([], [record(dimensions=(1,) * 5)]), "has 5 dimensions"),
        (file_of([], [record(dimensions=(0,))]), "impossible shape"),
        (file_of([], [record(dimensions=(2**32, 2**32))]), "impossible shape"),
        (file_of([], [record(kind=4)]), "type 4, which is unknown"),
        (file_of([], [record(dimensions=(33,), kind=8)]), "no multiple of Q8_0's 32"),
        (file_of([], [record(offset=8)]), "not aligned"),
        (file_of([], [record(offset=1 << 20)]), "the file has"),
        (file_of([], [record(dimensions=(2048,))]), "the file has"),
        (file_of([], [record(), record(b"u", offset=96), record(b"v", offset=64)]), "overlaps"),
    ],
)
def test_says_what_is_wrong(data, says):
    with pytest.raises(GGUFError) as error:
        parse_header(memoryview(data), len(data))
    assert says in error.value.what
    assert error.value.offset is not None


def test_last_string_missing_at_the_end_of_the_file():
    """An array that promises one string more than the file has."""
    body = struct.pack("<IQ", 8, 2) + struct.pack("<Q", 60) + bytes(60)
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair(b"k", 9, body)
    with pytest.raises(GGUFError, match="ends inside k"):
        parse_header(memoryview(data), len(data))


def test_error_of_a_file_names_it_and_keeps_the_offset(tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(file_of([], [record(kind=4)]))
    with pytest.raises(GGUFError) as error:
        GGUFFile(path)
    assert error.value.where == str(path)
    assert error.value.offset == 24 + 8 + 1 + 4 + 8


def test_folder_and_empty_and_missing_file(tmp_path):
    (tmp_path / "empty").touch()
    for name, says in (("", "no file"), ("empty", "is empty"), ("missing", "No such file")):
        with pytest.raises(GGUFError, match=says):
            GGUFFile(tmp_path / name)


def crowded(size: int) -> dict[str, bytes]:
    """Files of about `size` bytes with as many things in the header as can be."""
    strings, tensors, pairs, flags = size // 8, size // 50, size // 20, size
    infos = [record(str(index).encode(), dimensions=(1,), offset=32 * index) for index in range(tensors)]
    numbers = [pair(f"{index:x}".encode(), 0, b"\1") for index in range(pairs)]
    return {
        "empty strings": file_of([pair(b"k", 9, struct.pack("<IQ", 8, strings) + bytes(8 * strings))], []),
        "booleans": file_of([pair(b"k", 9, struct.pack("<IQ", 7, flags) + bytes(flags))], []),
        "pairs": file_of(numbers, []),
        "tensors without data": file_of([], infos, data=0),
        "tensors": file_of([], infos, data=32 * tensors),
        "one long string": file_of([pair(b"k", 8, struct.pack("<Q", size) + bytes(size))], []),
        "a string that is too long": file_of([pair(b"k", 8, struct.pack("<Q", 2**50))], [], data=size),
        "too many tensors": b"GGUF" + struct.pack("<IQQ", 3, size // 32, 0) + bytes(size),
    }


def calls_of(data: bytes) -> int:
    """Calls of functions, Python's and built-in ones, that a file costs: its time, on any machine."""
    count = 0

    def on_event(_, event: str, __) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(on_event)
    try:
        check(data)
    finally:
        sys.setprofile(None)
    return count


MEGABYTE = 1_000_000


@pytest.mark.parametrize("kind", crowded(0))
def test_a_megabyte_of_hardly_anything(kind):
    """Whatever 1 MB holds, it is read in time that grows with its size, and in bounded memory."""
    small, large = crowded(MEGABYTE // 4)[kind], crowded(MEGABYTE)[kind]
    calls = calls_of(large)
    assert calls <= 2 * len(large)  # seen: a million of these take 0.2 s
    assert calls <= 4.4 * calls_of(small) + 100
    tracemalloc.start()
    check(large)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64_000_000


MUTATIONS = st.one_of(
    st.tuples(st.just("set"), st.integers(0, len(HEADER)), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("number"), st.integers(0, len(HEADER)), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1)),
    st.tuples(st.just("cut"), st.integers(0, len(HEADER)), st.integers(1, 40)),
    st.tuples(st.just("insert"), st.integers(0, len(HEADER)), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("copy"), st.integers(0, len(HEADER)), st.integers(1, 60), st.integers(0, len(HEADER))),
    st.tuples(st.just("end"), st.integers(0, len(WHOLE))),
)


def mutate(data: bytes, mutation: tuple) -> bytes:
    match mutation:
        case "set", at, raw:
            return data[:at] + raw + data[at + len(raw) :]
        case "number", at, size, number:
            return data[:at] + (number % 2 ** (8 * size)).to_bytes(size, "little") + data[at + size :]
        case "cut", at, count:
            return data[:at] + data[at + count :]
        case "insert", at, raw:
            return data[:at] + raw + data[at:]
        case "copy", at, count, to:
            return data[:to] + data[at : at + count] + data[to:]
        case "end", at:
            return data[:at]
    raise AssertionError(mutation)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MUTATIONS, min_size=1, max_size=4))
def test_mutations(mutations):
    data = WHOLE
    for mutation in mutations:
        data = mutate(data, mutation)
    check(data)


@settings(max_examples=200, deadline=None)
@given(st.lists(MUTATIONS, min_size=1, max_size=2), st.integers(0, len(HEADER)))
def test_a_part_of_a_damaged_file(mutations, length):
    """What is read over HTTP in parts: incomplete, or the same verdict as for the whole file."""
    data = WHOLE
    for mutation in mutations:
        data = mutate(data, mutation)
    whole = check(data)
    found = outcome(data[:length], len(data))
    if isinstance(found, HeaderIncomplete):
        assert length < found.needed <= len(data)
    elif isinstance(found, GGUFError):
        assert whole is None
    else:
        assert whole is not None
        assert (found.tensors, found.metadata) == (whole.tensors, whole.metadata)
