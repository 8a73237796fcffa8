"""What every number of a model's output passes through must not be zeros alone; of any other tensor it is no matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, Model, weights

from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.part import Part
from gemma_mtp.validate import Status, verify_file

VITAL = {
    Part.TARGET: ("token_embd.weight", "output_norm.weight", "blk.1.layer_output_scale.weight"),
    Part.ASSISTANT: (
        *("token_embd.weight", "output_norm.weight", "blk.3.layer_output_scale.weight"),
        *("nextn.pre_projection.weight", "nextn.post_projection.weight"),
    ),
}
HYPERS = {Part.TARGET: TARGET, Part.ASSISTANT: ASSISTANT}


def verdict(part: Part, name: str, folder: Path):
    zeros = np.zeros_like(weights(HYPERS[part], name))
    path = Model(HYPERS[part], tensors={name: (GGMLType.F32, zeros)}).write(folder / "zeros.gguf")
    (found,) = (one for one in verify_file(path).results if one.id == f"{part}-zeros")
    return found.finding


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in VITAL.items() for name in names])
def test_zeros_are_told(part: Part, name: str, tmp_path: Path):
    found = verdict(part, name, tmp_path)
    assert found.status is Status.WARNING
    assert f"in the {part} {name} is zeros alone" in found.message


@pytest.mark.parametrize("part", Part)
def test_one_layers_matrix_may_be_zeros(part: Part, tmp_path: Path):
    """It adds nothing to what passes by: layers are cut out of models like that."""
    assert verdict(part, "blk.1.ffn_down.weight", tmp_path).status is Status.OK
