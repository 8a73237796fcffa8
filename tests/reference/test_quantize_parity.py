"""Every type on offer, every family: the same file, byte for byte, as llama_model_quantize makes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers.llama_quantize import Refused, llama_quantize
from helpers.quantize_models import FAMILIES, tensor_plans, write_model

from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.ggml import GGMLType
from gemma_mtp.quantize import FILE_TYPES, ImportanceMatrix, Output, parse_override, quantize_file

KINDS = list(FILE_TYPES)
WITHOUT_IMATRIX = [name for name, kind in FILE_TYPES.items() if not kind.needs_importance]
#: The families whose types depend on more than an assistant's, so that an importance matrix is tried on each of them.
LARGE = ["26B-A4B", "E2B", "untied 12B", "8 experts"]

#: The families with a matrix whose rows are no multiple of Q1_0's 128.
NARROW = ["assistant, width 320", "assistant, width 100", "E2B, width 320", "26B-A4B, width 704"]


@pytest.fixture(scope="session")
def family_gguf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("families")

    @cache
    def make(family: str, kind: GGMLType = GGMLType.BF16) -> Path:
        return write_model(folder / f"{family}-{kind.name}.gguf", family, kind)

    return make


def describe(path: Path) -> dict[str, object]:
    """Keys and types in order, for a readable difference."""
    with GGUFFile(path) as file:
        keys = [(key, value.encode()[:64]) for key, value in file.metadata.items()]
        return {"keys": keys, "tensors": [(name, tensor.type.name) for name, tensor in file.tensors.items()]}


def assert_same(ours: Path, theirs: Path) -> None:
    if ours.read_bytes() != theirs.read_bytes():
        assert describe(ours) == describe(theirs)
        with GGUFFile(ours) as one, GGUFFile(theirs) as other:
            different = [
                f"{name} ({tensor.type.name})"
                for name, tensor in one.tensors.items()
                if not np.array_equal(one.data(tensor), other.data(other.tensors[name]))
            ]
        pytest.fail(f"different bytes in {different or 'the padding'}")


def made_by_both(source: Path, folder: Path, name: str) -> tuple[Path, Path]:
    theirs = llama_quantize(source, folder / "theirs.gguf", FILE_TYPES[name].number)
    quantize_file(source, [Output(folder / "ours.gguf", name)], threads=2)
    return folder / "ours.gguf", theirs


@pytest.mark.parametrize("name", WITHOUT_IMATRIX)
@pytest.mark.parametrize("part", ["assistant", "target"])
def test_demo_pair(name: str, part: str, request: pytest.FixtureRequest, tmp_path: Path):
    assert_same(*made_by_both(request.getfixturevalue(f"{part}_gguf")("BF16"), tmp_path, name))


@pytest.mark.parametrize("source", ["F16", "F32", "Q8_0"])
@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K_M", "Q6_K"])
def test_other_source_types(name: str, source: str, assistant_gguf: Callable[[str], Path], tmp_path: Path):
    """From F16, F32 and, allowed explicitly, from an already quantized file."""
    path = assistant_gguf(source)
    theirs = llama_quantize(path, tmp_path / "theirs.gguf", FILE_TYPES[name].number, allow_requantize=True)
    quantize_file(path, [Output(tmp_path / "ours.gguf", name)], allow_requantize=True, threads=2)
    assert_same(tmp_path / "ours.gguf", theirs)


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family in FAMILIES for name in WITHOUT_IMATRIX if name != "Q1_0" or family not in NARROW],
)
def test_families(family: str, name: str, family_gguf: Callable[[str], Path], tmp_path: Path):
    assert_same(*made_by_both(family_gguf(family), tmp_path, name))


@pytest.mark.parametrize("family", NARROW)
def test_q1_0_has_no_replacement_for_odd_widths(family: str, family_gguf: Callable[[str], Path], tmp_path: Path):
    with pytest.raises(Refused, match="no tensor type fallback"):
        llama_quantize(family_gguf(family), tmp_path / "theirs.gguf", FILE_TYPES["Q1_0"].number)
    with pytest.raises(UsageError, match="no multiple"):
        quantize_file(family_gguf(family), [Output(tmp_path / "ours.gguf", "Q1_0")])


def random_importance(family: str) -> dict[str, np.ndarray]:
    """For every matrix but the embeddings, as llama-imatrix leaves them out."""
    generator = np.random.default_rng(7)
    return {
        plan.name: generator.random(plan.shape[-1] * (plan.shape[0] if len(plan.shape) == 3 else 1), np.float32)
        for plan in tensor_plans(family)
        if len(plan.shape) > 1 and "token_embd" not in plan.name
    }


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("family", ["assistant", *LARGE])
def test_with_importance_matrix(family: str, name: str, family_gguf: Callable[[str], Path], tmp_path: Path):
    source, entries = family_gguf(family), random_importance(family)
    matrix = ImportanceMatrix(Path("/a/long/folder/" * 10 + "imatrix.gguf"), entries, ("wiki", "code"), 120)
    keys = {
        "quantize.imatrix.file": str(matrix.path),
        "quantize.imatrix.dataset": "wiki",
        "quantize.imatrix.entries_count": len(entries),
        "quantize.imatrix.chunks_count": 120,
    }
    number = FILE_TYPES[name].number
    theirs = llama_quantize(source, tmp_path / "theirs.gguf", number, imatrix=entries, keys=keys)
    quantize_file(source, [Output(tmp_path / "ours.gguf", name)], importance=matrix, threads=2)
    assert_same(tmp_path / "ours.gguf", theirs)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in WITHOUT_IMATRIX])
@pytest.mark.parametrize("family", LARGE)
def test_types_that_need_an_importance_matrix(
    family: str, name: str, family_gguf: Callable[[str], Path], tmp_path: Path
):
    source = family_gguf(family)
    with pytest.raises(Refused, match="imatrix"):
        llama_quantize(source, tmp_path / "theirs.gguf", FILE_TYPES[name].number)
    with pytest.raises(UsageError, match="importance matrix"):
        quantize_file(source, [Output(tmp_path / "ours.gguf", name)])
    assert not (tmp_path / "ours.gguf").exists()


def test_overrides_are_llama_quantizes_tensor_types(family_gguf: Callable[[str], Path], tmp_path: Path):
    """Same types and bytes as --tensor-type gives; only our keys come on top."""
    source = family_gguf("26B-A4B, width 704")
    patterns = {"^token_embd": GGMLType.Q4_0, "ffn_down_exps": GGMLType.Q3_K, r"attn_(q|k|v|output)\.": GGMLType.Q5_1}
    overrides = [parse_override(text) for text in ("head=q4_0", "ffn_down_exps=Q3_K", "attention=Q5_1")]
    theirs = llama_quantize(source, tmp_path / "theirs.gguf", FILE_TYPES["Q4_K_M"].number, tensor_types=patterns)
    quantize_file(source, [Output(tmp_path / "ours.gguf", "Q4_K_M")], overrides=overrides)
    with GGUFFile(tmp_path / "ours.gguf") as one, GGUFFile(theirs) as other:
        assert [(t.name, t.type) for t in one.tensors.values()] == [(t.name, t.type) for t in other.tensors.values()]
        for name, tensor in one.tensors.items():
            assert np.array_equal(one.data(tensor), other.data(other.tensors[name])), name
        assert list(one.metadata)[:-2] == list(other.metadata)
        assert one.metadata["quantize.overrides"].decode() == ["head=Q4_0", "ffn_down_exps=Q3_K", "attention=Q5_1"]
