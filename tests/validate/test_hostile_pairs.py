"""Files that keep to the format and lie in every other way: the checks say so, and never fall over them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, Model, model_keys, model_tensors, vocabulary, write_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_mtp.errors import GGUFError
from gemma_mtp.files import gguf_values as gv
from gemma_mtp.files.gguf_values import ValueType
from gemma_mtp.ggml import GGMLType
from gemma_mtp.model.dialects import CENTROID_COUNT, CENTROID_TOP_K, CENTROIDS, CENTROIDS_TYPE, TOKEN_ORDERING
from gemma_mtp.sources.describe import inspect_model
from gemma_mtp.validate import Status, parse_host, verify_pair

HYPERS = {"target": TARGET, "assistant": ASSISTANT}
CENTROID_KEYS = (CENTROID_COUNT, CENTROID_TOP_K, CENTROIDS, CENTROIDS_TYPE, TOKEN_ORDERING)
KEYS = {
    part: [
        *model_keys(hyper),
        *vocabulary(["<a>"] * 8),
        "general.finetune",
        "split.count",
        *(f"gemma4-assistant.{key}" for key in CENTROID_KEYS),
    ]
    for part, hyper in HYPERS.items()
}
NAMES = {part: [*model_tensors(hyper, 0), "masked_embd_ordering", "v.x"] for part, hyper in HYPERS.items()}
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 64, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
VALUES = st.one_of(
    st.none(),
    NUMBERS.map(gv.u32),
    st.integers(-(2**31), 2**31 - 1).map(gv.i32),
    st.floats(width=32).map(gv.f32),
    st.booleans().map(gv.boolean),
    st.text(max_size=8).map(gv.string),
    st.sampled_from(["gemma4", "gemma4-assistant", "gemma4_mtp", "gemma4_assistant", "Q4_K", "BF16"]).map(gv.string),
    st.lists(st.sampled_from([0, 1, 2, 2**31 - 1]), max_size=8).map(lambda items: gv.array(ValueType.INT32, items)),
    st.lists(st.booleans(), max_size=8).map(lambda items: gv.array(ValueType.BOOL, items)),
    st.lists(st.text(max_size=3), max_size=8).map(gv.strings),
    st.lists(st.floats(width=32), max_size=8).map(lambda items: gv.array(ValueType.FLOAT32, items)),
)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)
TENSORS = st.one_of(
    st.none(),
    SHAPES.map(lambda shape: (GGMLType.F32, np.full(shape, np.nan, "f4"))),
    SHAPES.map(lambda shape: (GGMLType.I32, np.full(shape, -1, "i4"))),
    SHAPES.map(lambda shape: (GGMLType.BF16, np.zeros(shape, "<u2"))),
    SHAPES.map(lambda shape: (GGMLType.Q4_0, np.full((*shape[:-1], 18 * shape[-1]), 255, "u1"))),
)


@st.composite
def changes(draw, part: str) -> tuple[dict, dict]:
    keys = draw(st.dictionaries(st.sampled_from(KEYS[part]), VALUES, max_size=3))
    return keys, draw(st.dictionaries(st.sampled_from(NAMES[part]), TENSORS, max_size=2))


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes("target"), changes("assistant"), st.sampled_from(["llama.cpp", "ik", "atomic@b10017"]))
def test_any_header_gets_a_verdict(tmp_path: Path, target, assistant, runtime):
    paths = []
    for part, (keys, tensors) in zip(HYPERS, (target, assistant), strict=True):
        paths.append(Model(HYPERS[part], keys, tensors).write(tmp_path / f"{part}.gguf"))
        json.dumps(inspect_model(paths[-1]).to_dict(), allow_nan=False)
    try:
        report = verify_pair(*paths, deep=True, host=parse_host(runtime, "-sm tensor -np 2", "GTX 1060"))
    except GGUFError:  # not the parts of a split model that it says it is
        return
    json.dumps(report.to_dict(), allow_nan=False)
    for result in report.results:
        assert result.finding.message or result.status is Status.OK
        assert result.finding.remedy or result.status not in (Status.ERROR, Status.WARNING)


HUGE = 2**31 - 1


@pytest.mark.parametrize("key", ["embedding_length", "attention.key_length", "context_length", "feed_forward_length"])
def test_a_number_asks_for_no_memory(tmp_path: Path, key):
    """Widths of two thousand million cost nothing until tensors are that large."""
    paths = [
        Model(hyper, {f"{prefix}.{key}": gv.u32(HUGE)}).write(tmp_path / f"{part}.gguf")
        for (part, hyper), prefix in zip(HYPERS.items(), ("gemma4", "gemma4-assistant"), strict=True)
    ]
    tracemalloc.start()
    report = verify_pair(*paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not report.ok or key == "context_length"
    assert peak < 16_000_000


def test_as_many_layers_as_can_be(tmp_path: Path):
    """A header that names 512 layers and has none of them."""
    layers = {
        "gemma4.block_count": gv.u32(512),
        "gemma4.attention.sliding_window_pattern": gv.array(ValueType.BOOL, [True, False] * 256),
        "gemma4.attention.head_count_kv": gv.array(ValueType.INT32, [2, 1] * 256),
    }
    keys = {**model_keys(TARGET), **vocabulary(["x"] * TARGET.vocabulary), **layers}
    write_gguf(tmp_path / "target.gguf", keys, {"token_embd.weight": (GGMLType.F32, np.ones((288, 96), "f4"))})
    assistant = Model(ASSISTANT).write(tmp_path / "assistant.gguf")
    missing = next(r for r in verify_pair(tmp_path / "target.gguf", assistant).results if r.id == "target-tensors")
    assert missing.status is Status.ERROR
    assert "more; llama.cpp stops" in missing.finding.message
