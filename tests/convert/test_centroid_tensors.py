"""A mainline file with a centroid head as tensors fails in llama.cpp; `convert` moves the head into metadata."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gemma_mtp.convert import convert_dialect
from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dialects import DIALECTS, HEAD_SPELLINGS, MAINLINE
from gemma_mtp.validate import verify_pair

COUNT, VOCABULARY, HIDDEN = 64, 2048, 256
PREFIX = MAINLINE.architecture
CENTROIDS = np.random.default_rng(5).standard_normal((COUNT, HIDDEN)).astype("<f2")
ORDERING = np.random.default_rng(6).permutation(VOCABULARY)
CLUSTERS = np.argsort(ORDERING) // (VOCABULARY // COUNT)
#: How a token ordering may be stored: its type, its numbers.
FORMS = {
    "I32": (GGMLType.I32, ORDERING.astype("<i4")),
    "I64": (GGMLType.I64, ORDERING.astype("<i8")),
    "F32": (GGMLType.F32, ORDERING.astype("<f4")),
    "clusters": (GGMLType.I32, CLUSTERS.astype("<i4")),
}
SPELLINGS = [
    ("masked_embd_centroids.weight", "masked_embd_ordering"),
    ("masked_embd_centroids.weight", "masked_embd_ordering.weight"),
    ("mtp.centroids.weight", "mtp.token_ordering.weight"),
    ("mtp_centroids.weight", "mtp_token_ordering.weight"),
    ("masked_embedding.centroids.weight", "masked_embedding.token_ordering"),
]


@pytest.fixture
def stray(assistant_gguf, tmp_path):
    """`stray(tensors, keys)`: the demo assistant with more tensors (name -> type, numbers) and keys."""

    def write(tensors: dict, keys: dict | None = None) -> Path:
        path = tmp_path / "stray.gguf"
        with GGUFFile(assistant_gguf("Q8_0")) as file:
            plans = [TensorPlan(info.name, info.shape, info.type) for info in file.tensors.values()]
            more = [
                TensorPlan(name, (VOCABULARY,) if kind is GGMLType.Q8_0 else data.shape, kind)
                for name, (kind, data) in tensors.items()
            ]
            with GGUFWriter(path, {**file.metadata, **(keys or {})}, plans + more, force=True) as writer:
                for info in file.tensors.values():
                    writer.write_next([file.data(info).data])
                for _, data in tensors.values():
                    writer.write_next([data.tobytes()])
        return path

    return write


def head(names=SPELLINGS[0], form="I32") -> dict:
    return {names[0]: (GGMLType.F16, CENTROIDS), names[1]: FORMS[form]}


def loads(path: Path) -> bool:
    code = "import sys, llama_cpp as l\np = l.llama_model_default_params()\n"
    code += "sys.exit(0 if l.llama_model_load_from_file(sys.argv[1].encode(), p) else 1)"
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False).returncode == 0


def clusters_of(path: Path) -> np.ndarray:
    """The cluster of each token in a file of any dialect."""
    with GGUFFile(path) as file:
        for name in ("mtp_token_ordering.weight", "mtp.token_ordering.weight"):
            if name in file.tensors:
                stored = file.data(file.tensors[name]).view("<i4").copy()
                return stored if name.startswith("mtp_") else np.argsort(stored) // (VOCABULARY // COUNT)
        return np.argsort(file.metadata[f"{PREFIX}.mtp.token_ordering"].decode()) // (VOCABULARY // COUNT)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("form", FORMS)
def test_the_head_becomes_the_dialects_own(stray, tmp_path, dialect, form):
    source, output = stray(head(form=form), {f"{PREFIX}.centroid_top_k": gv.u32(8)}), tmp_path / "new.gguf"
    done = convert_dialect(source, output, DIALECTS[dialect])
    assert done.notes == ()
    with GGUFFile(output) as file:
        own = {name for name in DIALECTS[dialect].tensors.values() if name and ("centroid" in name or "order" in name)}
        assert {name for name in file.tensors if "centroid" in name or "order" in name} == own
        top_k = DIALECTS[dialect].keys.get("mtp.centroid_top_k", "mtp.centroid_top_k")
        assert file.metadata[f"{DIALECTS[dialect].architecture}.{top_k}"] == gv.u32(8)
    assert np.array_equal(clusters_of(output), CLUSTERS)


@pytest.mark.parametrize("names", SPELLINGS)
def test_every_spelling_is_cured(stray, tmp_path, target_gguf, names):
    """The old file fails in llama.cpp and in `verify`, the new one loads and passes."""
    source, output = stray(head(names)), tmp_path / "new.gguf"
    assert not loads(source)
    assert verify_pair(target_gguf("Q8_0"), source).errors
    done = convert_dialect(source, output, MAINLINE)
    assert "32 are assumed" in done.notes[0]
    assert loads(output)
    report = verify_pair(target_gguf("Q8_0"), output, deep=True)
    assert report.ok
    assert {r.status.value for r in report.results if r.id in ("centroids", "token-ordering")} == {"ok"}


def test_the_table_is_of_both_parts():
    assert set(HEAD_SPELLINGS.values()) == {"centroids", "token_ordering"}


BROKEN = {
    "no centroids": ({"masked_embd_ordering": FORMS["I32"]}, "has no token ordering, or its centroids are no matrix"),
    "no ordering": ({"masked_embd_centroids.weight": (GGMLType.F16, CENTROIDS)}, "has no token ordering"),
    "a quantized ordering": (
        head() | {"masked_embd_ordering": (GGMLType.Q8_0, np.zeros(2048 // 32 * 34, "u1"))},
        "is Q8_0, not I32: it was quantized",
    ),
    "an ordering of zeros": (head() | {"masked_embd_ordering": (GGMLType.I32, ORDERING.astype("<i4") * 0)}, "share"),
    "another width": (head() | {"masked_embd_centroids.weight": (GGMLType.F16, CENTROIDS[:, :128])}, "width"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_head_that_is_none_is_left_out(stray, tmp_path, case):
    """Mainline does not use it: the file loads without it, and it is said."""
    tensors, says = BROKEN[case]
    done = convert_dialect(stray(tensors), tmp_path / "new.gguf", MAINLINE)
    assert "left out" in done.notes[0]
    assert says in done.notes[0]
    assert loads(tmp_path / "new.gguf")


def test_two_heads_are_one_too_many(stray, tmp_path):
    with pytest.raises(BadFileError, match="both the assistant's centroids"):
        convert_dialect(stray(head() | head(SPELLINGS[2])), tmp_path / "new.gguf", MAINLINE)
    assert not (tmp_path / "new.gguf").exists()
