"""What is written for a model reads back as the same model: one table, both ways."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gemma_mtp.model.config import Hyperparameters
from gemma_mtp.model.dialects import DIALECTS, MAINLINE, Dialect
from gemma_mtp.model.gguf_keys import architecture, hyperparameters, read_keys, written_keys
from gemma_mtp.model.part import Part

COUNTS = st.integers(1, 1 << 20)
REALS = st.floats(2.0**-20, 2.0**20, width=32)


@st.composite
def models(draw: st.DrawFn) -> Hyperparameters:
    part = draw(st.sampled_from(Part))
    is_target = part is Part.TARGET
    layers = draw(st.integers(3, 40))
    experts = draw(st.sampled_from([0, 8, 128])) if is_target else 0
    shared = draw(st.integers(0, layers - 2)) if is_target else layers
    sliding = tuple(draw(st.lists(st.booleans(), min_size=layers, max_size=layers)))
    return Hyperparameters(
        part=part,
        architecture="",
        layers=layers,
        hidden=draw(COUNTS),
        intermediate=draw(COUNTS),
        heads=draw(COUNTS),
        kv_heads_sliding=(heads := draw(COUNTS)),
        kv_heads_full=draw(COUNTS) if any(sliding) and not all(sliding) else heads,
        head_dim_sliding=2 * draw(COUNTS),
        head_dim_full=2 * draw(COUNTS),
        sliding=sliding,
        sliding_window=draw(COUNTS),
        context=draw(COUNTS),
        norm_epsilon=draw(REALS),
        rope_base_sliding=draw(REALS),
        rope_base_full=draw(REALS),
        rotary_share_full=math.nan,
        vocabulary=262_144,
        logit_softcap=draw(st.none() | REALS),
        shared_kv_layers=shared,
        per_layer_input=draw(st.integers(0, 512)),
        double_wide_mlp=is_target and shared > 0 and draw(st.booleans()),
        values_are_keys=draw(st.booleans()),
        experts=experts,
        experts_used=draw(st.integers(1, experts)) if experts else 0,
        expert_intermediate=draw(COUNTS) if experts else 0,
        backbone=0 if is_target else draw(COUNTS),
    )


@given(models())
def test_a_written_model_reads_back_as_the_same(model):
    dialect = MAINLINE if model.part is Part.ASSISTANT else Dialect("target", architecture(Part.TARGET), "")
    keys = read_keys(written_keys(model), dialect, model.part)
    assert keys.faults == ()
    read = hyperparameters(keys, model.part, model.vocabulary, model.values_are_keys)
    assert isinstance(read, Hyperparameters), read
    assert math.isnan(read.rotary_share_full)
    assert replace(read, rotary_share_full=0.0) == replace(model, rotary_share_full=0.0)


def test_dialects_are_spelled_from_mainlines_keys():
    """What a dialect renames is a key of the table."""
    from gemma_mtp.model import dialects
    from gemma_mtp.model.keys import MODEL_KEYS

    known = {key.name for key in MODEL_KEYS} | {dialects.CENTROIDS, dialects.CENTROIDS_TYPE, dialects.TOKEN_ORDERING}
    for dialect in DIALECTS.values():
        assert set(dialect.keys) <= known, dialect.name
