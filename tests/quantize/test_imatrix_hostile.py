"""Importance matrices made to hurt: wrong types, lengths, names, numbers, and random damage to both formats.

Whatever the bytes, `read_imatrix` gives finite numbers that are not negative, or a BadFileError that names the file.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import TensorPlan, encode_header
from gemma_mtp.files.reading import SourceFile
from gemma_mtp.ggml import GGMLType
from gemma_mtp.quantize import read_imatrix
from gemma_mtp.quantize.imatrix import ImportanceMatrix
from gemma_mtp.quantize.types import TENSOR_TYPES

GOOD: dict[str, Value] = {
    "general.type": gv.string("imatrix"),
    "imatrix.datasets": gv.strings(["calibration.txt"]),
    "imatrix.chunk_count": gv.u32(33),
    "imatrix.chunk_size": gv.u32(512),
}
PLANS = [
    TensorPlan("blk.0.ffn_up.weight.in_sum2", (2, 32), GGMLType.F32),
    TensorPlan("blk.0.ffn_up.weight.counts", (2, 1), GGMLType.F32),
]
NUMBERS = np.arange(64, dtype="<f4").tobytes() + np.array([7, 0], "<f4").tobytes().ljust(32, b"\0")


def gguf(keys: dict[str, Value], plans: list[TensorPlan] | None = None, data: bytes = NUMBERS) -> bytes:
    return encode_header(keys, PLANS if plans is None else plans) + data


def legacy(name: bytes = b"a.weight", calls: int = 7, values: tuple[float, ...] = (1.0, 2.0), count: int = 1) -> bytes:
    body = struct.pack("<i", len(name)) + name + struct.pack(f"<ii{len(values)}f", calls, len(values), *values)
    return struct.pack("<i", count) + body * count + struct.pack("<ii", 33, 3) + b"txt"


def read(folder: Path, content: bytes) -> ImportanceMatrix | str:
    """What comes of it, without a warning on the way: the matrix, looked at, or what is wrong."""
    path = folder / "imatrix"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            matrix = read_imatrix(path)
    except BadFileError as error:
        return error.what if error.where == str(path) else f"the error does not name the file: {error}"
    assert matrix.entries
    for values in matrix.entries.values():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert matrix.metadata()
    return matrix


def test_good_ones(tmp_path: Path):
    for content in (gguf(GOOD), legacy(), legacy(calls=0)):
        assert isinstance(read(tmp_path, content), ImportanceMatrix)


@pytest.mark.parametrize("key", [key for key in GOOD if key.startswith("imatrix.")])
@pytest.mark.parametrize(
    "value",
    [
        gv.string("x"),
        gv.string("33"),
        gv.f32(float("nan")),
        gv.boolean(True),
        gv.i32(-1),
        gv.scalar(ValueType.UINT64, 2**63),
        gv.array(ValueType.UINT32, [1, 2]),
        gv.array(ValueType.FLOAT32, []),
    ],
)
def test_keys_of_another_type(key: str, value: Value, tmp_path: Path):
    said = read(tmp_path, gguf({**GOOD, key: value}))
    assert isinstance(said, str)
    assert key in said


def test_data_sets_that_have_no_name(tmp_path: Path):
    assert isinstance(read(tmp_path, gguf({**GOOD, "imatrix.datasets": gv.strings([])})), ImportanceMatrix)


LARGE = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (legacy(values=(1.0, -1.0)), "negative at 1"),
        (legacy(values=(1.0, float("inf"))), "NaN or Inf"),
        (legacy(values=()), "without values"),
        (legacy(count=-1), "no importance data"),
        (legacy()[:20], "bytes at byte"),
        (legacy()[:-2], "bytes at byte"),
        (struct.pack("<ii", 1, 2**31 - 1) + bytes(64), "a name of 2,147,483,647 bytes"),
        (struct.pack("<ii", 1, -1) + bytes(64), "bytes at byte"),
        (struct.pack("<i", 2**31 - 1) + bytes(64), "without values"),
        (gguf(GOOD, data=np.array([-1] * 64 + [1] * 8, "<f4").tobytes()), "negative at 0"),
        (gguf(GOOD, data=np.full(72, LARGE, "<f4").tobytes()), None),
        (gguf(GOOD, PLANS[:1]), "lacks F32 sums and counts"),
        (gguf(GOOD, [PLANS[0], TensorPlan(PLANS[1].name, (3, 1), GGMLType.F32)]), "64 sums for 3 counts"),
        (gguf(GOOD, [TensorPlan(PLANS[0].name, (2, 32), GGMLType.F16), PLANS[1]]), "lacks F32 sums and counts"),
        (gguf(GOOD, []), "no importance data"),
        (b"{}", "neither GGUF nor"),
    ],
)
def test_what_is_wrong(content: bytes, says: str | None, tmp_path: Path):
    said = read(tmp_path, content)
    assert isinstance(said, ImportanceMatrix) if says is None else says in said


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text(tmp_path: Path):
    """The file's own name is recorded in what is made with it."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/imatrix-\xff.dat"))
    path.write_bytes(legacy())
    assert read_imatrix(path).metadata()["quantize.imatrix.file"].decode().endswith("imatrix-?.dat")


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (struct.pack("<Q", 1234) + b"{" * 100, "an entry of 2,071,690,107 values"),
        (struct.pack("<ii", 1, 1 << 30), "a name of 1,073,741,824 bytes"),
    ],
)
def test_no_more_is_read_than_makes_sense(tmp_path: Path, monkeypatch, begin: bytes, says: str):
    """Something else given in its place: 40 GB (sparse), refused by its first bytes."""
    path, asked = tmp_path / "model", []
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(40 << 30)
    monkeypatch.setattr(SourceFile, "read", noting(asked, SourceFile.read))
    with pytest.raises(BadFileError, match=f"neither GGUF nor the older .dat: {says}"):
        read_imatrix(path)
    assert 0 < sum(asked) < 1000


def noting(asked: list[int], read: Callable[[SourceFile, int, int], object]) -> Callable[..., object]:
    """The reading, which notes how many bytes it was asked for."""

    def noted(file: SourceFile, offset: int, count: int) -> object:
        asked.append(count)
        return read(file, offset, count)

    return noted


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "number", "cut", "insert", "end"]), st.integers(0, 900), st.integers(0, 2**32 - 1)
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, mutations: list[tuple[str, int, int]]) -> bytes:
    for how, place, number in mutations:
        at = place % (len(data) + 1)
        raw = number.to_bytes(4, "little")
        match how:
            case "set":
                data = data[:at] + raw[:1] + data[at + 1 :]
            case "number":
                data = data[:at] + raw + data[at + 4 :]
            case "cut":
                data = data[:at] + data[at + number % 40 :]
            case "insert":
                data = data[:at] + raw * (number % 5) + data[at:]
            case "end":
                data = data[:at]
    return data


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([gguf(GOOD), legacy(count=3), legacy(values=tuple(range(32)))]), MUTATIONS)
def test_damage(tmp_path: Path, content: bytes, mutations: list[tuple[str, int, int]]):
    read(tmp_path, mutated(content, mutations))


KERNELS = """
import sys
import numpy as np
from gemma_mtp.ggml import GGMLType
from gemma_mtp.quantize import RowEncoder
from gemma_mtp.quantize.rows import Job, Stored
from gemma_mtp.errors import BadFileError
numbers = np.random.default_rng(1).standard_normal((4, 512)).astype(np.float32)
for kind in sys.argv[1].split():
    print(kind, flush=True)
    for scale in (0.0, 1e-30, 1e30):
        importance = np.full((2, 512), scale, np.float32)
        importance[1, ::2] = 0
        tensor = Stored("t", numbers, (2, 2, 512), GGMLType.F32, importance)
        try:
            with RowEncoder(1) as encoder:
                for pieces in encoder.encode([Job(tensor, GGMLType[kind], lambda _: None)]):
                    b"".join(pieces)
        except BadFileError:
            pass
"""


def test_kernels_withstand_what_is_let_through():
    """Zeros and extremes are taken: no kernel may end the process over them (in a child, for they can)."""
    kinds = " ".join(kind.name for kind in TENSOR_TYPES.values())
    done = subprocess.run([sys.executable, "-c", KERNELS, kinds], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout.split()[-1:], done.stderr[-500:])
