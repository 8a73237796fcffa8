"""The estimate against what llama.cpp says that it allocates."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace

import pytest
from helpers.tiny_pairs import ASSISTANT, TARGET, Model

from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.sources.opening import open_model
from gemma_mtp.validate.memory import pair_memory

MEBIBYTE = 2**20
#: Two lines of the log, with two decimals each.
LOGGED = 2 * 0.005 * MEBIBYTE + 1
BUFFERS = {
    "weights": re.compile(r"model buffer size = +([\d.]+) MiB"),
    "cache": re.compile(r"KV buffer size = +([\d.]+) MiB"),
    "compute": re.compile(r"(?:compute|output) buffer size = +([\d.]+) MiB"),
}


def allocated(target, assistant, settings, monkeypatch) -> dict[str, float]:
    """Bytes by kind, of both models together, from llama.cpp's log."""
    from gemma_mtp.native import llama

    monkeypatch.setattr(llama.LOG, "lines", deque(maxlen=100_000))
    model = ModelSettings(extra_buffers=False)
    with llama.Model(target, model) as one, llama.Model(assistant, model) as other:
        context = llama.Context(one, settings)
        llama.Context(other, replace(settings, batch=1, outputs=1), target=context)
    text = "\n".join(line for _, line in llama.LOG.lines)
    return {kind: MEBIBYTE * sum(map(float, pattern.findall(text))) for kind, pattern in BUFFERS.items()}


def estimated(target, assistant, settings):
    with open_model(target, "target") as one, open_model(assistant, "assistant") as other:
        return pair_memory(one, other, settings)


def compare(target, assistant, settings, monkeypatch):
    found, told = allocated(target, assistant, settings, monkeypatch), estimated(target, assistant, settings)
    assert told.target.weights + told.assistant.weights == pytest.approx(found["weights"], abs=LOGGED)
    assert told.target.cache == pytest.approx(found["cache"], abs=LOGGED)
    assert told.assistant.cache == 0
    assert told.total == pytest.approx(sum(found.values()), rel=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        ContextSettings(2048),
        ContextSettings(2048, batch=64),
        ContextSettings(512),
        ContextSettings(100),
        ContextSettings(2048, cache_k="q8_0", cache_v="q4_0"),
        ContextSettings(2048, cache_k="f32", cache_v="f32"),
        ContextSettings(2048, flash_attention="off"),
    ],
    ids=lambda settings: f"{settings.size}-{settings.batch}-{settings.cache_k}-{settings.flash_attention}",
)
def test_demo_pair(target_gguf, assistant_gguf, settings, monkeypatch):
    compare(target_gguf("BF16"), assistant_gguf("BF16"), settings, monkeypatch)


WIDE = {
    "hidden": 256,
    "intermediate": 1024,
    "heads": 8,
    "layers": 6,
    "sliding": (True, True, False) * 2,
    "head_dim_sliding": 32,
    "head_dim_full": 64,
}
SHAPES = {
    "dense": {},
    "experts": {"experts": 8, "experts_used": 4, "expert_intermediate": 96, "intermediate": 288},
    "per-layer input": {"per_layer_input": 32},
    "shared KV": {"shared_kv_layers": 3, "double_wide_mlp": True},
    "values are keys": {"values_are_keys": True},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(tmp_path, shape, monkeypatch):
    target = replace(TARGET, **(WIDE | SHAPES[shape]))
    heads = {key: WIDE[key] for key in ("heads", "head_dim_sliding", "head_dim_full")}
    assistant = replace(ASSISTANT, backbone=256, **heads)
    paths = Model(target).write(tmp_path / "t.gguf"), Model(assistant).write(tmp_path / "a.gguf")
    compare(*paths, ContextSettings(512, batch=128), monkeypatch)


def test_what_the_drafter_adds(good_pair):
    """Weights and a little room to compute; the KV cache is the target's."""
    told = estimated(*good_pair, ContextSettings(1024))
    more = estimated(*good_pair, ContextSettings(512))
    assert told.assistant.cache == more.assistant.cache == 0
    assert told.assistant.weights == more.assistant.weights
    assert told.target.cache > more.target.cache
    assert told.total == told.target.total + told.assistant.total
