"""What rounds cost is found out before the first token, where nothing is known, and changes nothing of the text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.demo_files import PROMPT, SETTINGS, GGUFFactory
from helpers.generations import finished

from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.mtp_runtime.experience import PROBED, ROUNDS
from gemma_mtp.mtp_runtime.probe import probe
from gemma_mtp.native.settings import Drafting, ModelSettings


def test_a_probe_measures_and_leaves_the_cache_as_it_was(
    target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GEMMA_MTP_CACHE", str(tmp_path))
    pair, auto = (target_gguf("F32"), assistant_gguf("F32")), Drafting(4, auto=True)
    with MtpEngine(*pair, context=replace(SETTINGS, size=128), model=ModelSettings(), draft_max=4) as engine:
        text = finished(engine, PROMPT, draft_max=3, max_tokens=12).tokens
        assert finished(engine, PROMPT, drafting=auto, max_tokens=1).tokens == text[:1]
        assert not engine._adapting(auto).knows  # one token needs no drafts
        assert finished(engine, PROMPT, drafting=auto, max_tokens=12).tokens == text
        known = engine._adapting(auto).experience()
        assert set(PROBED) - {8} <= set(known.costs)
        assert all(len(known.costs[length]) >= ROUNDS for length in (0, 1, 2, 4))

        verifier, drafter = engine._verifier, engine._drafter
        before, hidden = list(verifier.tokens), np.array(verifier.hidden)
        assert set(probe(verifier, drafter, text[-1], 2).costs) == {0, 1, 2}
        assert verifier.tokens == before
        assert np.array_equal(verifier.hidden, hidden)

        nearly_full = (before * 99)[: engine.context_size - 2]
        auto = replace(auto, p_min=0.01)  # of which nothing is known yet
        assert len(finished(engine, nearly_full, drafting=auto, max_tokens=2).tokens) == 2
        assert set(engine._adapting(auto).experience().costs) <= {0, 1}
