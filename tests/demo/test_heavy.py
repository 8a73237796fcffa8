"""A target with inert layers is the same function at a higher price."""

from __future__ import annotations

import pytest

from gemma_mtp.bench.laps import Pair
from gemma_mtp.bench.measure import Plan, measure
from gemma_mtp.bench.summary import differing_prompts, rows
from gemma_mtp.demo.heavy import make_heavier
from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.errors import BadFileError
from gemma_mtp.validate import verify_pair


def test_same_function(target_gguf, assistant_gguf, tmp_path):
    """Same text, same drafts, same acceptance, and still a pair."""
    heavy = tmp_path / "heavy.gguf"
    make_heavier(target_gguf("F32"), heavy, 4)
    assert verify_pair(heavy, assistant_gguf("F32")).ok
    prompts = tuple(("code", prompt) for prompt in PROMPTS[:2])
    light_laps, heavy_laps = (
        list(measure(Plan(Pair(target, assistant_gguf("F32"), 2), prompts, (2,), tokens=40, repeats=1)))
        for target in (target_gguf("F32"), heavy)
    )
    assert [lap.tokens for lap in heavy_laps] == [lap.tokens for lap in light_laps]
    assert not differing_prompts(heavy_laps)
    light, heavier = (rows(laps)[:2] for laps in (light_laps, heavy_laps))
    assert [(row.drafted, row.accepted) for row in light] == [(row.drafted, row.accepted) for row in heavier]
    assert heavier[0].drafted == 0
    assert heavier[1].drafted > 0


def test_refuses_quantized_target(target_gguf, tmp_path):
    with pytest.raises(BadFileError, match="quantized"):
        make_heavier(target_gguf("Q8_0"), tmp_path / "heavy.gguf", 2)
