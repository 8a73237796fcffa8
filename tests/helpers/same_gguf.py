"""Two files that must be the same."""

from __future__ import annotations

from pathlib import Path

from gemma_mtp.convert import OWN_KEYS
from gemma_mtp.files.gguf_reader import GGUFFile


def assert_same_gguf(ours: Path, theirs: Path) -> None:
    """Same keys with the same types and values, same tensors with the same types, shapes and bytes."""
    with GGUFFile(ours) as mine, GGUFFile(theirs) as reference:
        shared = {key for key in reference.metadata if key not in OWN_KEYS}
        assert {key for key in mine.metadata if key not in OWN_KEYS} == shared
        different = [key for key in shared if mine.metadata[key] != reference.metadata[key]]
        assert not different
        assert set(mine.tensors) == set(reference.tensors)
        for name, tensor in mine.tensors.items():
            wanted = reference.tensors[name]
            assert (tensor.type, tensor.shape) == (wanted.type, wanted.shape), name
            assert mine.data(tensor).tobytes() == reference.data(wanted).tobytes(), name
