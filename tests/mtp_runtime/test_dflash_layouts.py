"""A DFlash drafter with a head of its own, for some tokens: both engines draft the same, and those tokens alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.demo_files import SETTINGS
from helpers.dflash_checkpoints import in_speculators_layout
from helpers.drafting_prompts import PROMPTS
from helpers.xllamacpp_oracle import ask_xllamacpp

from gemma_mtp import MtpEngine
from gemma_mtp.convert import convert_model
from gemma_mtp.demo.dflash import DRAFTER

TOKENS, LONGEST = 40, 7
#: Two of three tokens.
CHOSEN = torch.tensor([token for token in range(2048) if token % 3])


@pytest.fixture(scope="module")
def drafter(target_gguf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained one, as speculators would have saved it."""
    folder = tmp_path_factory.mktemp("speculators")
    in_speculators_layout(DRAFTER, folder / "demo-speculator.dflash", CHOSEN)
    convert_model(folder / "demo-speculator.dflash", folder / "drafter.gguf", types="F32", target=target_gguf("F32"))
    return folder / "drafter.gguf"


def test_counts_equal_the_cpp_engine(target_gguf, drafter: Path):
    rounds, ours = [], []
    with MtpEngine(target_gguf("F32"), drafter, context=SETTINGS, draft_max=LONGEST) as engine:
        prompts = [engine.tokenize(prompt) for prompt in PROMPTS[::8]]
        for prompt in prompts:
            generation = engine.generate(
                prompt, max_tokens=TOKENS, draft_max=LONGEST, ignore_end=True, on_round=rounds.append
            )
            for _ in generation:
                pass
            counts = generation.statistics
            ours.append({"tokens": generation.tokens, "drafted": counts.drafted, "accepted": counts.accepted})
    theirs = ask_xllamacpp(
        target_gguf("F32"), drafter, prompts, kind="DRAFT_DFLASH", draft_max=LONGEST, max_tokens=TOKENS
    )
    for wanted in theirs:
        del wanted["seconds"]
    assert ours == theirs
    drafted = {token for one in rounds for token in one.drafts}
    assert drafted
    assert drafted <= set(CHOSEN.tolist())
    assert sum(one["accepted"] for one in theirs) > 0
