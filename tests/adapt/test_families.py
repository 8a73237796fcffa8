"""Signals of every kind of target, against the official implementation; with windows crossed and chunks decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.checkpoint_families import FAMILIES, FULL, SLIDING, VOCABULARY, make_checkpoint, text_config
from helpers.lessons import lesson_of

from gemma_mtp.adapt.lesson import CALLBACK, STATE
from gemma_mtp.adapt.teacher import Recorder
from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.native.llama import Model
from gemma_mtp.native.settings import ContextSettings

torch = pytest.importorskip("torch")


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Of the median row: random models amplify what ggml's GELU (a table of F16) rounds, and routers flip at ties."""
    found, wanted = found.reshape(len(found), -1).astype(np.float64), wanted.reshape(len(wanted), -1)
    return float(np.median(np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)))


def official(folder: Path, tokens: list[int]) -> dict[str, np.ndarray]:
    """h, K and V of the donor layers, and the best token, from transformers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    body = getattr(model.model, "language_model", model.model)
    ids = torch.tensor([tokens])
    with torch.no_grad():
        out = body(input_ids=ids, use_cache=False, return_shared_kv_states=True)
        logits = model(input_ids=ids, use_cache=False).logits[0]
    found = {"hidden": out.last_hidden_state[0].numpy(), "best": logits.argmax(-1).numpy()}
    for kind in ("sliding", "full"):
        for name, tensor in zip("kv", out.shared_kv_states[f"{kind}_attention"], strict=True):
            found[f"{kind}_{name}"] = tensor[0].transpose(0, 1).numpy()
    return found


def sharing():
    """Per-layer embeddings and shared KV as E2B has them: of the layers that own theirs, the last is a full one."""
    from transformers import Gemma4ForCausalLM

    inputs = {"hidden_size_per_layer_input": 32, "vocab_size_per_layer_input": VOCABULARY}
    kinds = [SLIDING, SLIDING, SLIDING, FULL, SLIDING, FULL]
    config = text_config(6, **inputs, layer_types=kinds, num_kv_shared_layers=2, use_double_wide_mlp=True)
    return Gemma4ForCausalLM(config)


@pytest.mark.parametrize("family", ["dense", "moe", "sharing", "unified"])
def test_signals_of_a_family(family: str, tmp_path: Path, monkeypatch):
    """100 tokens over a window of 64, in chunks of 40; by the callback, and by the saved state, bit for bit."""
    monkeypatch.setitem(FAMILIES, "sharing", sharing)
    folder, path = make_checkpoint(family, tmp_path / family, torch.float32), tmp_path / "target.gguf"
    convert_checkpoint(folder, [Output(path, "F32")])
    monkeypatch.setattr("gemma_mtp.adapt.teacher.LOGITS", 4 * 2048 * 40)
    tokens = [2, *np.random.default_rng(1).integers(200, 2000, 99).tolist()]
    found = {}
    exact = ContextSettings(threads=1, cache_k="f32", cache_v="f32", flash_attention="off")
    usual = ContextSettings(threads=1)
    for name, via, context in (("exact", CALLBACK, exact), (CALLBACK, CALLBACK, usual), (STATE, STATE, usual)):
        lesson = lesson_of(path, tmp_path, (), length=128, via=via, context=context)
        with Model(path, lesson.model) as model, Recorder(model, lesson) as recorder:
            found[name] = recorder.record(tokens)
    assert all(np.array_equal(found[CALLBACK][name], found[STATE][name]) for name in found[STATE])
    wanted, ours = official(folder, tokens), found["exact"]
    for name in ("hidden", "sliding_k", "sliding_v", "full_k", "full_v"):
        assert ours[name].shape == wanted[name].shape
        assert difference(ours[name], wanted[name]) < 3e-3, name
    assert (ours["top_ids"][:, 0] == wanted["best"]).mean() > 0.9


def test_a_quantized_cache_takes_the_same_keys(target_gguf, tmp_path: Path):
    """They are copied before they enter the cache."""
    rows = {}
    for kind in ("f16", "q8_0"):
        context = ContextSettings(threads=1, cache_k=kind, cache_v=kind)
        lesson = lesson_of(target_gguf("Q8_0"), tmp_path, (), context=context, length=64)
        with Model(lesson.target, lesson.model) as model, Recorder(model, lesson) as recorder:
            assert recorder.via == CALLBACK
            rows[kind] = recorder.record(list(range(2, 40)))
    assert difference(rows["q8_0"]["full_k"], rows["f16"]["full_k"]) < 0.02
