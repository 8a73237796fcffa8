"""Whole files: several at once, progress, what is refused, and that nothing half-done is left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gemma_mtp.errors import BadFileError, EnvironmentProblem, UsageError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.quantize import Output, parse_override, quantize_file


@pytest.fixture
def source(assistant_gguf) -> Path:
    return assistant_gguf("BF16")


def changed(source: Path, path: Path, tensor: str, change) -> Path:
    """A copy of a file in which one tensor's bytes were given to `change`."""
    shutil.copy(source, path)
    with GGUFFile(source) as file:
        record = file.tensors[tensor]
        data = file.data(record).copy()
    change(data)
    with path.open("r+b") as out:
        out.seek(record.offset)
        out.write(data.tobytes())
    return path


def test_several_outputs_are_the_single_ones(source: Path, tmp_path: Path):
    """What two files share is encoded once, and both are as if made alone."""
    kinds = ("Q4_0", "Q4_K_M", "Q8_0", "draft-q4", "BF16")
    quantize_file(source, [Output(tmp_path / f"all-{kind}.gguf", kind) for kind in kinds])
    for kind in kinds:
        quantize_file(source, [Output(tmp_path / f"one-{kind}.gguf", kind)], threads=1)
        assert (tmp_path / f"all-{kind}.gguf").read_bytes() == (tmp_path / f"one-{kind}.gguf").read_bytes()


def test_progress_adds_up_to_the_sources_size_for_each_output(source: Path, tmp_path: Path):
    told: list[int] = []
    outputs = [Output(tmp_path / f"{kind}.gguf", kind) for kind in ("Q4_0", "Q4_K_M", "F32")]
    quantize_file(source, outputs, advance=told.append)
    assert sum(told) == 3 * source.stat().st_size
    assert min(told) >= 0


def test_the_report(source: Path, tmp_path: Path):
    report = quantize_file(source, [Output(tmp_path / "a.gguf", "draft-q8")])
    (made,) = report.outputs
    assert made.size == (tmp_path / "a.gguf").stat().st_size
    with GGUFFile(made.path) as file:
        assert sum(made.types.values()) == len(file.tensors)
        assert made.types["Q8_0"] == sum(tensor.type is GGMLType.Q8_0 for tensor in file.tensors.values())
        assert file.metadata["quantize.recipe"].decode() == "draft-q8"
    assert 8.4 < made.bits_per_weight < 9
    assert report.source_size == source.stat().st_size
    assert not report.requantized


def test_a_large_file_goes_past_the_page_cache_unharmed(tmp_path: Path):
    """Larger than the room in which writing collects, so that most of it is written in whole pages."""
    numbers = np.random.default_rng(0).standard_normal((9000, 512), np.float32)
    keys = {"general.architecture": gv.string("gemma4")}
    with GGUFWriter(tmp_path / "in.gguf", keys, [TensorPlan("output.weight", numbers.shape, GGMLType.F32)]) as writer:
        writer.write_next([numbers.data.cast("B")])
    quantize_file(tmp_path / "in.gguf", [Output(tmp_path / "out.gguf", "F32")])
    with GGUFFile(tmp_path / "out.gguf") as file:
        assert np.array_equal(file.data(file.tensors["output.weight"]).view(np.float32), numbers.ravel())
    assert (tmp_path / "out.gguf").stat().st_size == (tmp_path / "in.gguf").stat().st_size + 2 * 32 + 32


def nan(data: np.ndarray) -> None:
    data.view(np.uint16)[5] = 0x7FC0


def test_nan_is_refused_by_file_and_tensor(source: Path, tmp_path: Path):
    bad = changed(source, tmp_path / "bad.gguf", "blk.2.ffn_down.weight", nan)
    outputs = [Output(tmp_path / f"{kind}.gguf", kind) for kind in ("Q4_0", "BF16")]
    with pytest.raises(BadFileError, match="row 0 holds NaN or Inf") as error:
        quantize_file(bad, outputs)
    assert error.value.where == f"{bad}: blk.2.ffn_down.weight"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


def test_a_failure_leaves_an_old_file_as_it_was(source: Path, tmp_path: Path):
    bad = changed(source, tmp_path / "bad.gguf", "token_embd.weight", nan)
    (tmp_path / "out.gguf").write_bytes(b"old")
    with pytest.raises(BadFileError):
        quantize_file(bad, [Output(tmp_path / "out.gguf", "Q8_0")], force=True)
    assert (tmp_path / "out.gguf").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"bad.gguf", "out.gguf"}


def test_bad_files_are_refused_before_anything_is_written(source: Path, tmp_path: Path):
    whole = source.read_bytes()
    cases = {
        "cut.gguf": whole[: len(whole) // 2],
        "empty.gguf": b"",
        "text.gguf": b"not a model " * 100,
        "other.gguf": whole.replace(b"gemma4-assistant", b"gemma3-assistant"),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFileError) as error:
            quantize_file(tmp_path / name, [Output(tmp_path / "out.gguf", "Q8_0")])
        assert name in str(error.value)
    with pytest.raises(BadFileError, match="no such file"):
        quantize_file(tmp_path / "none.gguf", [Output(tmp_path / "out.gguf", "Q8_0")])
    assert not (tmp_path / "out.gguf").exists()


def test_outputs_that_cannot_be(source: Path, tmp_path: Path):
    (tmp_path / "there.gguf").write_bytes(b"")
    with pytest.raises(UsageError, match="exists already"):
        quantize_file(source, [Output(tmp_path / "there.gguf", "Q8_0")])
    with pytest.raises(UsageError, match="folder does not exist"):
        quantize_file(source, [Output(tmp_path / "none" / "a.gguf", "Q8_0")])
    with pytest.raises(UsageError, match="the same file"):
        quantize_file(source, [Output(source, "Q8_0")], force=True)
    with pytest.raises(UsageError, match="no type Q9"):
        quantize_file(source, [Output(tmp_path / "a.gguf", "Q9")])


def test_no_room_on_the_disk(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(EnvironmentProblem, match="are needed"):
        quantize_file(source, [Output(tmp_path / "a.gguf", "Q8_0")])
    assert not list(tmp_path.iterdir())


def test_requantizing_must_be_allowed(assistant_gguf, tmp_path: Path):
    source = assistant_gguf("Q8_0")
    with pytest.raises(UsageError, match="quantized already") as error:
        quantize_file(source, [Output(tmp_path / "a.gguf", "Q4_0")])
    assert "--allow-requantize" in (error.value.hint or "")
    report = quantize_file(source, [Output(tmp_path / "a.gguf", "Q4_0")], allow_requantize=True)
    assert "token_embd.weight" in report.requantized
    # The same types again are a copy, not a requantization.
    report = quantize_file(source, [Output(tmp_path / "b.gguf", "Q8_0")])
    assert not report.requantized


def test_overrides_reach_the_file(source: Path, tmp_path: Path):
    overrides = [parse_override("head=Q4_0"), parse_override("attn_q=F16")]
    quantize_file(source, [Output(tmp_path / "a.gguf", "Q8_0")], overrides=overrides)
    with GGUFFile(tmp_path / "a.gguf") as file:
        assert file.tensors["token_embd.weight"].type is GGMLType.Q4_0
        assert file.tensors["blk.0.attn_q.weight"].type is GGMLType.F16
        assert file.tensors["blk.0.ffn_up.weight"].type is GGMLType.Q8_0
        assert file.metadata["quantize.overrides"].decode() == ["head=Q4_0", "attn_q=F16"]


PEAK = """
import sys
from pathlib import Path
from gemma_mtp.native.stats import peak_memory
from gemma_mtp.quantize import Output, quantize_file
quantize_file(Path(sys.argv[1]), [Output(Path(sys.argv[1] + kind), kind) for kind in ('Q4_0', 'Q8_0')], threads=2)
print(peak_memory())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell")
def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    """A file four times as large, of 256 MB, takes (nearly) no more memory: pieces are in work, never a tensor."""

    def peak(megabytes: int) -> int:
        path = tmp_path / f"{megabytes}.gguf"
        rows = megabytes * 512
        plans = [TensorPlan("output.weight", (rows, 1024), GGMLType.BF16)]
        block = (np.random.default_rng(0).standard_normal((512, 1024), np.float32).view(np.uint32) >> 16).astype("<u2")
        with GGUFWriter(path, {"general.architecture": gv.string("gemma4")}, plans) as writer:
            writer.write_next(block.data.cast("B") for _ in range(rows // 512))
        done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
        return int(done.stdout)

    small, large = peak(64), peak(256)
    assert large - small < 64 << 20
    assert large < 512 << 20
