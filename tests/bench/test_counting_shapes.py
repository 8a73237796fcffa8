"""The pairs of benchmarks/counting.py have the real shapes, and the ones with per-layer embeddings count as well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.real_shapes import SHAPE_12B, SHAPE_26B, SHAPE_31B, SHAPE_E2B, SHAPE_E4B, drafter_of

from benchmarks import counting
from gemma_mtp.model.config import parse_config

SHAPES = {"26b": SHAPE_26B, "31b": SHAPE_31B, "12b": SHAPE_12B, "e4b": SHAPE_E4B, "e2b": SHAPE_E2B}
FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("kind", SHAPES)
def test_the_real_shape(kind):
    """As the hollow files have it, of which llama.cpp's plans are known (tests/validate/test_several_gpus.py)."""
    target, assistant = (parse_config(one, FOLDER) for one in counting.configs(kind, 1, counting.VOCABULARY))
    for found, wanted in ((target, SHAPES[kind]), (assistant, drafter_of(SHAPES[kind]))):
        same = {name: getattr(found, name) for name in ("architecture", "rope_base_full", "rope_base_sliding")}
        unlike = ("values_are_keys", "rotary_share_full", "norm_epsilon", "notes", "logit_softcap")
        same |= {name: getattr(found, name) for name in unlike}
        assert found == replace(wanted, **same)


@pytest.mark.parametrize("shrink", [1, 2, 5, 100])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_smaller_one_keeps_its_donors(kind, shrink):
    """The last two layers, and the last two with a cache of their own, are sliding and full."""
    target = parse_config(counting.configs(kind, shrink, 4096)[0], FOLDER)
    own = target.layers - target.shared_kv_layers
    assert target.sliding[-2:] == target.sliding[own - 2 : own] == (True, False)
    assert bool(target.shared_kv_layers) is (kind in ("e4b", "e2b"))


def test_per_layer_embeddings_count_too(tmp_path):
    pytest.importorskip("llama_cpp")
    from gemma_mtp.mtp_runtime import MtpEngine
    from gemma_mtp.native.settings import ContextSettings, ModelSettings

    pair = counting.make_pair("e2b", tmp_path, miss=0, shrink=24, vocabulary=1024)
    told = command("verify", *pair)
    assert told.returncode == 0, told.stdout
    settings = {"context": ContextSettings(128, threads=1), "model": ModelSettings(extra_buffers=False)}
    with MtpEngine(*pair, draft_max=2, **settings) as engine:
        running = engine.generate(list(range(300, 316)), max_tokens=12, draft_max=2, ignore_end=True)
        assert [token.id for token in running] == list(range(316, 328))
        assert running.statistics.accepted == running.statistics.drafted > 0
