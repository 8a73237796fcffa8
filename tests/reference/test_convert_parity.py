"""Our GGUFs equal those of upstream's converter, key for key and tensor for tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
from families import FAMILIES, make_checkpoint
from upstream import convert as convert_upstream

from gemma_mtp.convert import OWN_KEYS, Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.files.gguf_reader import GGUFFile


def assert_same_gguf(ours: Path, theirs: Path) -> None:
    """Same keys with the same types and values, same tensors with the same types, shapes and bytes."""
    with GGUFFile(ours) as mine, GGUFFile(theirs) as reference:
        assert {key for key in mine.metadata if key not in OWN_KEYS} == set(reference.metadata)
        different = [key for key in reference.metadata if mine.metadata[key] != reference.metadata[key]]
        assert not different
        assert set(mine.tensors) == set(reference.tensors)
        for name, tensor in mine.tensors.items():
            wanted = reference.tensors[name]
            assert (tensor.type, tensor.shape) == (wanted.type, wanted.shape), name
            assert mine.data(tensor).tobytes() == reference.data(wanted).tobytes(), name


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("part", ["target", "assistant"])
def test_demo_pair(part, type_name, target_gguf, assistant_gguf, tmp_path):
    ours = {"target": target_gguf, "assistant": assistant_gguf}[part](type_name)
    theirs = convert_upstream(PAIR / part, tmp_path / "upstream.gguf", type_name.lower())
    assert_same_gguf(ours, theirs)


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, type_name, tmp_path):
    checkpoint = make_checkpoint(family, tmp_path / family)
    convert_checkpoint(checkpoint, [Output(tmp_path / "ours.gguf", type_name)])
    theirs = convert_upstream(checkpoint, tmp_path / "upstream.gguf", type_name.lower())
    assert_same_gguf(tmp_path / "ours.gguf", theirs)
