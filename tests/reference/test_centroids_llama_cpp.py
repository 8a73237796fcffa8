"""A centroid head in a mainline file, and what llama.cpp makes of its two forms: tensors, and metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.checkpoint_families import make_checkpoint

from gemma_mtp.convert import Output, convert_checkpoint, convert_dialect
from gemma_mtp.errors import LlamaError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_reader import GGUFFile
from gemma_mtp.files.gguf_values import Value, ValueType
from gemma_mtp.files.gguf_writer import GGUFWriter, TensorPlan
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dialects import DIALECTS
from gemma_mtp.mtp_runtime import ModelSettings, MtpEngine
from gemma_mtp.native.llama import Model

TOKENS, HIDDEN, CENTROIDS = 2048, 256, 64
SETTINGS = ModelSettings(extra_buffers=False)


def with_more(source: Path, output: Path, keys: dict[str, Value], tensors: dict[str, np.ndarray] | None = None) -> Path:
    """The file with further keys, and with further tensors in F32 or I32."""
    tensors = tensors or {}
    kinds = {name: GGMLType.F32 if array.dtype == np.float32 else GGMLType.I32 for name, array in tensors.items()}
    with GGUFFile(source) as file:
        plans = [TensorPlan(info.name, info.shape, info.type) for info in file.tensors.values()]
        plans += [TensorPlan(name, array.shape, kinds[name]) for name, array in tensors.items()]
        with GGUFWriter(output, {**file.metadata, **keys}, plans) as writer:
            for info in file.tensors.values():
                writer.write_next([file.data(info).data])
            for array in tensors.values():
                writer.write_next([array.tobytes()])
    return output


def head() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(11)
    ordering = random.permutation(TOKENS).astype(np.int32)
    return random.standard_normal((CENTROIDS, HIDDEN)).astype(np.float32), ordering


def drafting(target: Path, assistant: Path) -> tuple[list[int], list[bool]]:
    """Generated tokens, and which of them were drafted."""
    with MtpEngine(target, assistant, model=SETTINGS) as engine:
        tokens = list(engine.generate("class Config:\n    def __init__(self", max_tokens=60))
    return [token.id for token in tokens], [token.drafted for token in tokens]


def test_as_metadata_it_loads_and_drafts_unchanged(target_gguf, assistant_gguf, tmp_path):
    centroids, ordering = head()
    keys = {
        "gemma4-assistant.mtp.centroid_count": gv.u32(CENTROIDS),
        "gemma4-assistant.mtp.centroid_top_k": gv.u32(4),
        "gemma4-assistant.mtp.centroids": gv.array(ValueType.FLOAT32, centroids.ravel()),
        "gemma4-assistant.mtp.centroids_type": gv.string("F32"),
        "gemma4-assistant.mtp.token_ordering": gv.array(ValueType.INT32, ordering),
    }
    plain, target = assistant_gguf("Q8_0"), target_gguf("Q8_0")
    carrying = with_more(plain, tmp_path / "carrying.gguf", keys)
    wanted = drafting(target, plain)
    assert any(wanted[1])
    assert drafting(target, carrying) == wanted


@pytest.mark.parametrize("name", ["masked_embd_centroids.weight", "masked_embd_ordering"])
def test_as_tensors_of_mainline_it_does_not_load(name, assistant_gguf, tmp_path):
    array = dict(zip(("masked_embd_centroids.weight", "masked_embd_ordering"), head(), strict=True))[name]
    path = with_more(assistant_gguf("Q8_0"), tmp_path / "a.gguf", {}, {name: array})
    with pytest.raises(LlamaError), Model(path, SETTINGS):
        pass


@pytest.mark.parametrize("kind", ["BF16", "Q4_0"])
def test_a_checkpoint_s_head_gets_to_every_dialect(kind, tmp_path):
    """Straight from the checkpoint or by way of mainline: the same tensors, and never one that mainline refuses."""
    checkpoint = make_checkpoint("centroid-assistant", tmp_path / "checkpoint")
    mainline = tmp_path / "mainline.gguf"
    convert_checkpoint(checkpoint, [Output(mainline, kind)])
    with GGUFFile(mainline) as file:
        assert not [name for name in file.tensors if "masked" in name or "centroid" in name]
    with Model(mainline, SETTINGS):
        pass
    for name in ("ik", "atomic"):
        direct, respelled = tmp_path / f"{name}.gguf", tmp_path / f"{name}-respelled.gguf"
        convert_checkpoint(checkpoint, [Output(direct, kind)], dialect=DIALECTS[name])
        convert_dialect(mainline, respelled, DIALECTS[name])
        with GGUFFile(direct) as one, GGUFFile(respelled) as other:
            assert set(one.tensors) == set(other.tensors)
            assert sum("centroids" in tensor or "ordering" in tensor for tensor in one.tensors) == 2
            for tensor in one.tensors.values():
                same = other.tensors[tensor.name]
                assert (tensor.type, tensor.shape) == (same.type, same.shape)
                assert one.data(tensor).tobytes() == other.data(same).tobytes()
            assert {key: value.encode() for key, value in one.metadata.items()} == {
                key: value.encode() for key, value in other.metadata.items()
            }
