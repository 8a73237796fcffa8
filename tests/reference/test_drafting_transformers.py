"""Our drafts against the official implementation's, round by round, in float32."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers.drafting_prompts import PROMPTS

from gemma_mtp.convert import Output, convert_checkpoint
from gemma_mtp.demo.pair import PAIR
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.validate.comparison import Job
from gemma_mtp.validate.decoding import open_engine
from gemma_mtp.validate.official import OfficialDrafter, compare_rounds, rounds_of

GGUFFactory = Callable[[str], Path]
LENGTH = 4
#: Logits closer than this are a tie that rounding decides: ggml's GELU on the CPU goes through a float16 table, and
#: the KV cache is float32 here but attention is accumulated in another order.
TIE = 0.02


@dataclass(frozen=True)
class Files:
    """A pair as checkpoints and as GGUFs."""

    checkpoints: tuple[Path, Path]
    ggufs: tuple[Path, Path]

    def official(self) -> OfficialDrafter:
        torch.set_num_threads(1)
        return OfficialDrafter(*self.checkpoints, LENGTH)


def with_window(window: int, folder: Path) -> Files:
    """The demo pair, looking back less far than it was trained to. Drafts worsen, the rule stays the same."""
    checkpoints, ggufs = [], []
    for part in ("target", "assistant"):
        checkpoint = Path(shutil.copytree(PAIR / part, folder / part))
        config = json.loads((checkpoint / "config.json").read_text())
        for level in (config, config.get("text_config", {})):
            if "sliding_window" in level:
                assert level["sliding_window"] != window
                level["sliding_window"] = window
        (checkpoint / "config.json").write_text(json.dumps(config))
        convert_checkpoint(checkpoint, [Output(folder / f"{part}.gguf", "F32")])
        checkpoints.append(checkpoint)
        ggufs.append(folder / f"{part}.gguf")
    return Files((checkpoints[0], checkpoints[1]), (ggufs[0], ggufs[1]))


@pytest.fixture(scope="module")
def pairs(
    target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Files]:
    """By sliding window."""
    return {
        64: Files((PAIR / "target", PAIR / "assistant"), (target_gguf("F32"), assistant_gguf("F32"))),
        16: with_window(16, tmp_path_factory.mktemp("window")),
    }


@pytest.mark.parametrize(
    ("window", "prompt_tokens", "prompts", "max_tokens"),
    [
        pytest.param(64, 20, 6, 40, id="within-the-window"),
        pytest.param(64, 50, 3, 60, id="across-its-edge"),
        pytest.param(64, 150, 3, 80, id="beyond-the-window"),
        pytest.param(16, 10, 3, 40, id="across-a-short-window"),
        pytest.param(16, 200, 3, 40, id="far-beyond-a-short-window"),
    ],
)
def test_drafts_equal_the_official_implementation(
    pairs: dict[int, Files], window: int, prompt_tokens: int, prompts: int, max_tokens: int
):
    official = pairs[window].official()
    assert official.window == window
    context = ContextSettings(size=512, threads=1, cache_k="f32", cache_v="f32")
    files = tuple(map(str, pairs[window].ggufs))
    job = Job(*files, {}, max_tokens, LENGTH, 300, None, context, ModelSettings(extra_buffers=False))
    found = []
    with open_engine(job) as engine:
        for first in range(prompts):
            prompt = engine.tokenize("".join(PROMPTS[first::6]))[:prompt_tokens]
            rounds = rounds_of(engine, prompt, max_tokens, LENGTH)
            found.append(compare_rounds(official, str(first), rounds, TIE))
    different = sum(one.rounds - one.equal for one in found)
    assert sum(one.rounds for one in found) > 30
    assert different <= 0.01 * sum(one.rounds for one in found), found
    assert all(one.rounds == one.equal + one.near_ties for one in found), found
    assert max(one.difference for one in found) < TIE
