"""Importance matrices, in both formats: read, recorded, used, and refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.quantize import Output, quantize_file, read_imatrix

COUNT = 7.0


@pytest.fixture
def source(assistant_gguf) -> Path:
    return assistant_gguf("BF16")


@pytest.fixture
def sums(source: Path) -> dict[str, np.ndarray]:
    """Sums of squared activations for every matrix but the embedding, seeded."""
    random = np.random.default_rng(5)
    with GGUFFile(source) as file:
        return {
            tensor.name: random.random(tensor.shape[-1], np.float32) * 100
            for tensor in file.tensors.values()
            if len(tensor.shape) > 1 and tensor.name != "token_embd.weight"
        }


def write_gguf(path: Path, sums: dict[str, np.ndarray], *, keys: dict[str, gv.Value] | None = None) -> Path:
    """As llama-imatrix writes it."""
    plans, data = [], []
    for name, values in sums.items():
        plans += [
            TensorPlan(f"{name}.in_sum2", (1, values.size), GGMLType.F32),
            TensorPlan(f"{name}.counts", (1, 1), GGMLType.F32),
        ]
        data += [values.astype("<f4").tobytes(), np.array([COUNT], "<f4").tobytes()]
    about = {
        "general.type": gv.string("imatrix"),
        "imatrix.datasets": gv.strings(["calibration.txt"]),
        "imatrix.chunk_count": gv.u32(33),
        "imatrix.chunk_size": gv.u32(512),
    }
    with GGUFWriter(path, about if keys is None else keys, plans) as writer:
        for piece in data:
            writer.write_next([piece])
    return path


def write_legacy(path: Path, sums: dict[str, np.ndarray]) -> Path:
    """The .dat of older versions: values that still have to be divided by the number of calls."""
    raw = struct.pack("<i", len(sums))
    for name, values in sums.items():
        raw += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", int(COUNT), values.size)
        raw += values.astype("<f4").tobytes()
    raw += struct.pack("<ii", 33, len("calibration.txt")) + b"calibration.txt"
    path.write_bytes(raw)
    return path


WRITERS = {"gguf": write_gguf, "dat": write_legacy}


@pytest.mark.parametrize("form", WRITERS)
def test_both_formats_say_the_same(form: str, sums: dict[str, np.ndarray], tmp_path: Path):
    matrix = read_imatrix(WRITERS[form](tmp_path / f"imatrix.{form}", sums))
    assert matrix.datasets == ("calibration.txt",)
    assert matrix.chunks == 33
    assert matrix.entries.keys() == sums.keys()
    for name, values in sums.items():
        np.testing.assert_allclose(matrix.entries[name], values / COUNT, rtol=1e-6)


@pytest.mark.parametrize("kind", ["Q4_K_M", "IQ2_XS", "Q2_K_S"])
def test_it_is_used_and_recorded(kind: str, source: Path, sums: dict[str, np.ndarray], tmp_path: Path):
    """The same from both formats, other bytes than without."""
    made = {}
    for form, write in WRITERS.items():
        matrix = read_imatrix(write(tmp_path / f"imatrix.{form}", sums))
        made[form] = tmp_path / f"{form}.gguf"
        quantize_file(source, [Output(made[form], kind)], importance=matrix)
    with GGUFFile(made["gguf"]) as one, GGUFFile(made["dat"]) as other:
        assert one.metadata["quantize.imatrix.file"].decode().endswith("imatrix.gguf")
        assert one.metadata["quantize.imatrix.dataset"].decode() == "calibration.txt"
        assert one.metadata["quantize.imatrix.entries_count"].decode() == len(sums)
        assert one.metadata["quantize.imatrix.chunks_count"].decode() == 33
        for name, tensor in one.tensors.items():
            assert np.array_equal(one.data(tensor), other.data(other.tensors[name])), name
    if kind == "Q4_K_M":
        quantize_file(source, [Output(tmp_path / "without.gguf", kind)])
        with GGUFFile(made["gguf"]) as one, GGUFFile(tmp_path / "without.gguf") as other:
            name = "blk.0.ffn_gate.weight"
            assert not np.array_equal(one.data(one.tensors[name]), other.data(other.tensors[name]))


@pytest.mark.parametrize("kind", ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S"])
def test_types_that_need_one_say_so(kind: str, source: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="needs an importance matrix") as error:
        quantize_file(source, [Output(tmp_path / "a.gguf", kind)])
    assert "--imatrix" in (error.value.hint or "")
    assert not list(tmp_path.iterdir())


def test_one_of_another_model_is_refused(source: Path, sums: dict[str, np.ndarray], tmp_path: Path):
    other = write_gguf(tmp_path / "other.gguf", {f"enc.{name}": values for name, values in sums.items()})
    with pytest.raises(BadFileError, match="names no tensor of"):
        quantize_file(source, [Output(tmp_path / "a.gguf", "Q4_K_M")], importance=read_imatrix(other))
    wider = write_gguf(tmp_path / "wider.gguf", {name: np.tile(values, 2) for name, values in sums.items()})
    with pytest.raises(BadFileError, match="importance values"):
        quantize_file(source, [Output(tmp_path / "a.gguf", "Q4_K_M")], importance=read_imatrix(wider))


def test_damaged_ones_are_refused(sums: dict[str, np.ndarray], tmp_path: Path):
    whole = write_legacy(tmp_path / "whole.dat", sums).read_bytes()
    cases = {
        "cut.dat": whole[: len(whole) // 2],
        "empty.dat": b"",
        "none.dat": struct.pack("<i", 0),
        "absurd.dat": struct.pack("<iii", 1, 2**31 - 1, 0),
        "negative.dat": struct.pack("<iiii", 1, 1, 1, -5),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFileError) as error:
            read_imatrix(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(BadFileError, match=r"imatrix\.datasets is missing"):
        read_imatrix(write_gguf(tmp_path / "model.gguf", sums, keys={"general.type": gv.string("model")}))
    with pytest.raises(BadFileError, match="holds NaN or Inf"):
        read_imatrix(write_legacy(tmp_path / "nan.dat", {"a.weight": np.array([1, np.nan], np.float32)}))


@pytest.mark.parametrize("given", [True, False])
def test_what_is_advised_depends_on_whether_one_was_given(
    given: bool, source: Path, sums: dict[str, np.ndarray], tmp_path: Path
):
    """One that lacks a tensor is not mended by giving it."""
    del sums["blk.0.ffn_up.weight"]
    matrix = read_imatrix(write_gguf(tmp_path / "imatrix.gguf", sums)) if given else None
    with pytest.raises(UsageError) as caught:
        quantize_file(source, [Output(tmp_path / "a.gguf", "IQ2_XXS")], importance=matrix)
    hint = caught.value.hint or ""
    assert ("lacks this tensor" in hint) is given
    assert ("add --imatrix" in hint) is not given
