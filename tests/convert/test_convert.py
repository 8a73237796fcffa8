"""One reading for all types, where a file comes from, and weights that are not finite."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from helpers.bad_checkpoints import edit_tensors, poison
from helpers.commands import command

from gemma_mtp import __version__
from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.convert.provenance import FILES, HASHES, REPO, REVISION, TOOL
from gemma_mtp.errors import BadFileError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.sources.origin import Origin

POISONED = "model.layers.2.mlp.up_proj.weight"


def decoded(path: Path, *keys: str) -> list[object]:
    with GGUFFile(path) as file:
        return [file.metadata[key].decode() if key in file.metadata else None for key in keys]


def test_one_reading_gives_the_files_of_several(assistant_folder, tmp_path):
    kinds = ("F32", "BF16", "Q8_0", "Q4_K_M", "draft-q4")
    heard: list[int] = []
    together = [Output(tmp_path / f"{kind}.gguf", kind) for kind in kinds]
    convert_checkpoint(assistant_folder, together, advance=heard.append)
    for output in together:
        alone = tmp_path / "alone.gguf"
        convert_checkpoint(assistant_folder, [Output(alone, output.kind)], force=True)
        assert output.path.read_bytes() == alone.read_bytes(), output.kind
    weights = (assistant_folder / "model.safetensors").stat().st_size
    assert 0.99 * weights < sum(heard) / len(kinds) <= weights


def test_source_files_are_told_with_their_hashes(assistant_folder, tmp_path):
    (assistant_folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    convert_checkpoint(assistant_folder, [Output(tmp_path / "a.gguf", "Q4_0")])
    tool, repo, names, hashes = decoded(tmp_path / "a.gguf", TOOL, REPO, FILES, HASHES)
    assert (tool, repo) == (__version__, None)
    assert set(names) == {path.name for path in assistant_folder.iterdir()} - {"TRAINING.md", "SHA256SUMS"}
    content = [hashlib.sha256((assistant_folder / name).read_bytes()).hexdigest() for name in names]
    assert hashes == content


def test_known_hashes_are_not_computed_again(assistant_folder, tmp_path):
    known = {"model.safetensors": "ab" * 32, "config.json": "cd" * 20}  # the latter a git hash, which is no sha256
    origin = Origin("google/some-assistant", "0123abcd", known)
    convert_checkpoint(assistant_folder, [Output(tmp_path / "a.gguf", "Q8_0")], origin=origin)
    repo, revision, names, hashes = decoded(tmp_path / "a.gguf", REPO, REVISION, FILES, HASHES)
    assert (repo, revision) == ("google/some-assistant", "0123abcd")
    found = dict(zip(names, hashes, strict=True))
    assert found["model.safetensors"] == "ab" * 32
    assert found["config.json"] == hashlib.sha256((assistant_folder / "config.json").read_bytes()).hexdigest()


def test_the_same_source_gives_the_same_bytes(assistant_folder, tmp_path):
    for name in ("one", "two"):
        convert_checkpoint(assistant_folder, [Output(tmp_path / name, "Q4_K_M")], threads=1 + (name == "two"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_may_be_allowed(value, assistant_folder, tmp_path):
    edit_tensors(assistant_folder, lambda tensors: poison(tensors, value))
    outputs = [Output(tmp_path / f"{kind}.gguf", kind) for kind in ("F32", "BF16", "Q8_0", "Q4_K_M", "IQ4_XS")]
    done = convert_checkpoint(assistant_folder, outputs, allow_nonfinite=True)
    assert done.nonfinite == (POISONED,)
    with GGUFFile(tmp_path / "F32.gguf") as file:
        tensor = file.tensors["blk.2.ffn_up.weight"]
        numbers = file.data(tensor).view("<f4").reshape(tensor.shape)
        assert np.argwhere(~np.isfinite(numbers)).tolist() == [[100, 7]]
        np.testing.assert_equal(numbers[100, 7], np.float32(value))


def test_types_whose_kernels_would_abort_refuse_them_all_the_same(assistant_folder, tmp_path):
    edit_tensors(assistant_folder, lambda tensors: poison(tensors, np.nan))
    with pytest.raises(BadFileError, match="holds NaN or Inf") as caught:
        convert_checkpoint(assistant_folder, [Output(tmp_path / "a.gguf", "IQ3_S")], allow_nonfinite=True)
    assert POISONED in str(caught.value)


def test_the_command_warns_of_them(assistant_folder, tmp_path):
    edit_tensors(assistant_folder, lambda tensors: poison(tensors, np.nan))
    words = ["convert", assistant_folder, "-o", "a.gguf"]
    refused = command(*words, cwd=tmp_path)
    assert refused.returncode == 1
    assert POISONED in refused.stderr
    assert not list(tmp_path.glob("*.gguf"))
    allowed = command(*words, "--allow-nonfinite", cwd=tmp_path)
    assert allowed.returncode == 0
    assert f"1 tensors hold NaN or Inf: {POISONED}" in allowed.stderr
