"""A target with inert layers is the same function at a higher price."""

from __future__ import annotations

import pytest

from gemma_mtp.demo.heavy import make_heavier
from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.demo.race import PLAIN, differing_prompts, run_laps, standings
from gemma_mtp.errors import BadFileError
from gemma_mtp.validate import verify_pair


def test_same_function(target_gguf, assistant_gguf, tmp_path):
    """Same text, same drafts, same acceptance, and still a pair."""
    heavy = tmp_path / "heavy.gguf"
    make_heavier(target_gguf("F32"), heavy, 4)
    assert verify_pair(heavy, assistant_gguf("F32")).ok
    lengths, prompts = (2,), PROMPTS[:2]
    light_laps, heavy_laps = (
        list(run_laps(target, assistant_gguf("F32"), prompts, lengths, 40)) for target in (target_gguf("F32"), heavy)
    )
    assert [lap.tokens for lap in heavy_laps] == [lap.tokens for lap in light_laps]
    assert not differing_prompts(heavy_laps)
    light, heavier = standings(light_laps)[2], standings(heavy_laps)[2]
    assert (light.drafted, light.accepted) == (heavier.drafted, heavier.accepted)
    assert standings(heavy_laps)[PLAIN].drafted == 0


def test_refuses_quantized_target(target_gguf, tmp_path):
    with pytest.raises(BadFileError, match="quantized"):
        make_heavier(target_gguf("Q8_0"), tmp_path / "heavy.gguf", 2)
