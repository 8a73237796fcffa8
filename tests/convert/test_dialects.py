"""The dialects' tables, and the way through all of them: no byte of the weights changes, every key comes back."""

from __future__ import annotations

from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest

from gemma_mtp.convert import convert_dialect
from gemma_mtp.errors import BadFileError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.model.dialects import DIALECTS, MAINLINE
from gemma_mtp.model.roles import ROLES, ROPE_FREQS

CENTROIDS, TOP_K, TOKENS, HIDDEN = 64, 4, 2048, 256


def content(path: Path) -> tuple[dict, dict]:
    with GGUFFile(path) as file:
        tensors = {name: (info.type, info.shape, file.data(info).tobytes()) for name, info in file.tensors.items()}
        return {key: (value.type, value.encode()) for key, value in file.metadata.items()}, tensors


@pytest.fixture(params=["dense", "centroids"])
def mainline(request, assistant_gguf, tmp_path) -> Path:
    """A mainline assistant, without and with a centroid head in its metadata."""
    source = assistant_gguf("Q8_0")
    if request.param == "dense":
        return source
    random = np.random.default_rng(7)
    prefix = f"{MAINLINE.architecture}.mtp"
    centroids = random.standard_normal(CENTROIDS * HIDDEN).astype(np.float32)
    head = {
        f"{prefix}.centroid_count": gv.u32(CENTROIDS),
        f"{prefix}.centroid_top_k": gv.u32(TOP_K),
        f"{prefix}.centroids": gv.array(ValueType.FLOAT32, (centroids.view(np.uint32) & 0xFFFF0000).view(np.float32)),
        f"{prefix}.centroids_type": gv.string("BF16"),
        f"{prefix}.token_ordering": gv.array(ValueType.INT32, random.permutation(TOKENS)),
    }
    path = tmp_path / "with-centroids.gguf"
    with GGUFFile(source) as file:
        plans = [TensorPlan(info.name, info.shape, info.type) for info in file.tensors.values()]
        with GGUFWriter(path, {**file.metadata, **head}, plans) as writer:
            for info in file.tensors.values():
                writer.write_next([file.data(info).data])
    return path


@pytest.mark.parametrize("way", list(permutations(DIALECTS)))
def test_round_trip(way, mainline, tmp_path):
    """Through all dialects in every order and back to mainline: six directions, each more than once."""
    path = mainline
    for number, (before, name) in enumerate(pairwise(("mainline", *way, "mainline"))):
        if name == before:
            continue
        step = tmp_path / f"{number}.gguf"
        convert_dialect(path, step, DIALECTS[name])
        path = step
    assert content(path) == content(mainline)


@pytest.mark.parametrize("name", ["ik", "atomic"])
def test_spelling(name, mainline, tmp_path):
    """Another dialect's file has that dialect's names, and none of mainline's own."""
    dialect = DIALECTS[name]
    convert_dialect(mainline, tmp_path / "a.gguf", dialect)
    keys, tensors = content(tmp_path / "a.gguf")
    assert gv.string(dialect.architecture).encode() == keys["general.architecture"][1]
    assert f"{dialect.architecture}.{dialect.keys['embedding_length_out']}" in keys
    assert not [key for key in keys if key.startswith(f"{MAINLINE.architecture}.") or "nextn" in key]
    assert dialect.tensors["nextn.pre_projection"] in tensors
    assert not [tensor for tensor in tensors if tensor.startswith("nextn")]
    assert ("rope_freqs.weight" in tensors) == (name != "ik")


@pytest.mark.parametrize("mainline", ["centroids"], indirect=True)
def test_clusters_of_a_strangers_ik_file(mainline, tmp_path):
    """Without our metadata the permutation is made from ik's clusters: any order inside a cluster is right."""
    convert_dialect(mainline, tmp_path / "ik.gguf", DIALECTS["ik"])
    with GGUFFile(tmp_path / "ik.gguf") as file:
        clusters = file.data(file.tensors["mtp_token_ordering.weight"]).view(np.int32)
        foreign = {key: value for key, value in file.metadata.items() if not key.endswith("mtp.token_ordering")}
        plans = [TensorPlan(info.name, info.shape, info.type) for info in file.tensors.values()]
        with GGUFWriter(tmp_path / "foreign.gguf", foreign, plans) as writer:
            for info in file.tensors.values():
                writer.write_next([file.data(info).data])
    convert_dialect(tmp_path / "foreign.gguf", tmp_path / "main.gguf", MAINLINE)
    with GGUFFile(tmp_path / "main.gguf") as file:
        ordering = file.metadata[f"{MAINLINE.architecture}.mtp.token_ordering"].decode()
    assert np.array_equal(clusters[ordering], np.repeat(np.arange(CENTROIDS), TOKENS // CENTROIDS))


def test_target_is_refused(target_gguf, tmp_path):
    with pytest.raises(BadFileError, match="gemma4"):
        convert_dialect(target_gguf("BF16"), tmp_path / "a.gguf", MAINLINE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_table(dialect):
    """Names are unique, and only roles and keys that exist are renamed."""
    roles = {role.name for role in ROLES["assistant"]} | {ROPE_FREQS.name}
    assert set(dialect.tensors) <= roles
    for table in (dialect.tensors, dialect.keys):
        names = [name for name in table.values() if name is not None]
        assert len(names) == len(set(names))
