"""Our drafts against the official implementation's, round by round, in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from drafting_prompts import PROMPTS

from gemma_mtp.demo.pair import PAIR
from gemma_mtp.mtp_runtime.settings import ContextSettings, ModelSettings
from gemma_mtp.validate.comparison import Job
from gemma_mtp.validate.decoding import opened
from gemma_mtp.validate.official import OfficialDrafter, compare_rounds, rounds_of

GGUFFactory = Callable[[str], Path]
LENGTH = 4
#: Logits closer than this are a tie that rounding decides: ggml's GELU on the CPU goes through a float16 table, and
#: the KV cache is float32 here but attention is accumulated in another order.
TIE = 0.02


@pytest.fixture(scope="module")
def official() -> OfficialDrafter:
    torch.set_num_threads(1)
    return OfficialDrafter(PAIR / "target", PAIR / "assistant", LENGTH)


@pytest.mark.parametrize(
    ("prompt_tokens", "prompts", "max_tokens"),
    [pytest.param(20, 6, 40, id="within-the-window"), pytest.param(150, 3, 80, id="beyond-the-window")],
)
def test_drafts_equal_the_official_implementation(
    target_gguf: GGUFFactory,
    assistant_gguf: GGUFFactory,
    official: OfficialDrafter,
    prompt_tokens: int,
    prompts: int,
    max_tokens: int,
):
    context = ContextSettings(size=512, threads=1, cache_k="f32", cache_v="f32")
    files = str(target_gguf("F32")), str(assistant_gguf("F32"))
    job = Job(*files, {}, max_tokens, LENGTH, 300, None, context, ModelSettings(extra_buffers=False))
    found = []
    with opened(job) as pair:
        for first in range(prompts):
            prompt = pair.target.tokenize("".join(PROMPTS[first::6]))[:prompt_tokens]
            rounds = rounds_of(pair, prompt, max_tokens, LENGTH)
            found.append(compare_rounds(official, str(first), rounds, TIE))
    different = sum(one.rounds - one.equal for one in found)
    assert sum(one.rounds for one in found) > 60
    assert different <= 0.01 * sum(one.rounds for one in found), found
    assert all(one.rounds == one.equal + one.near_ties for one in found), found
    assert max(one.difference for one in found) < TIE
