"""A model's weights as numbers: what a stranger's file may hold in the place of numbers is told, by tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_pairs import ASSISTANT, Model, weights

from gemma_mtp.adapt.weights import open_weights
from gemma_mtp.errors import BadFileError
from gemma_mtp.ggml import GGMLType, row_bytes
from gemma_mtp.model.part import Part

F16, MXFP4, Q8_0, Q4_0 = GGMLType.F16, GGMLType.MXFP4, GGMLType.Q8_0, GGMLType.Q4_0
UP = "blk.1.ffn_up.weight"


def written(path: Path, kind: GGMLType, data: np.ndarray) -> Path:
    return Model(ASSISTANT, tensors={UP: (kind, data)}).write(path)


@pytest.mark.parametrize("kind", [F16, Q8_0, Q4_0, MXFP4])
def test_numbers_of_a_sound_tensor(kind: GGMLType, tmp_path: Path):
    path = written(tmp_path / "sound.gguf", kind, weights(ASSISTANT, UP, kind))
    with open_weights(path, Part.ASSISTANT) as opened:
        assert np.allclose(opened.whole(UP), 1, rtol=1e-3)
        assert opened.rows(UP, [3, 1]).shape == (2, ASSISTANT.hidden)


@pytest.mark.parametrize(
    ("kind", "begin"),
    [
        (GGMLType.F32, np.float32(np.nan).tobytes()),
        (F16, np.float16(np.inf).tobytes()),
        (Q8_0, np.float16(np.inf).tobytes() + b"\0"),  # the scale of a block, and infinity times 0
        (Q4_0, np.float16(np.nan).tobytes()),
        (MXFP4, b"\xfe\x77"),  # a power of two too large for float32 with the numbers that it is for
    ],
    ids=lambda value: value.name if isinstance(value, GGMLType) else "",
)
def test_what_is_no_number_is_told_without_a_warning(kind: GGMLType, begin: bytes, tmp_path: Path):
    data = np.ascontiguousarray(weights(ASSISTANT, UP, kind)).view(np.uint8).copy()
    data[2, : len(begin)] = np.frombuffer(begin, np.uint8)
    path = written(tmp_path / "bad.gguf", kind, data.view(np.float32) if kind is GGMLType.F32 else data)
    with open_weights(path, Part.ASSISTANT) as opened:
        assert np.isfinite(opened.rows(UP, [0, 1])).all()
        for read in (lambda: opened.whole(UP), lambda: opened.rows(UP, [0, 2])):
            with pytest.raises(BadFileError, match=f"tensor {UP} holds NaN or Inf") as told:
                read()
            assert told.value.where == str(path)
            assert "download or convert it again" in (told.value.hint or "")


def test_a_type_that_is_not_decoded_is_told(tmp_path: Path):
    down = "blk.1.ffn_down.weight"  # as wide as a block
    rows, columns = weights(ASSISTANT, down).shape
    data = np.zeros((rows, row_bytes(GGMLType.Q1_0, columns)), np.uint8)
    path = Model(ASSISTANT, tensors={down: (GGMLType.Q1_0, data)}).write(tmp_path / "bits.gguf")
    with open_weights(path, Part.ASSISTANT) as opened, pytest.raises(BadFileError, match="Q1_0, which is not decoded"):
        opened.whole(down)
