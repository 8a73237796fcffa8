"""An ordinary model as drafter in the Python loop: the target's own text, whatever is drawn, kept and cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.demo_files import SETTINGS, GGUFFactory

from gemma_mtp.errors import BadFileError, UsageError
from gemma_mtp.mtp_runtime import Drafting, MtpEngine, Sampling
from gemma_mtp.native.methods import Use

PROMPT = "class Stack:\n\n    def push(self, item):\n"
ORDINARY = Drafting(3, method="draft")


@pytest.fixture(scope="module")
def engine(target_gguf: GGUFFactory) -> Iterator[MtpEngine]:
    """The demo target, and itself in eight bits as its drafter."""
    with MtpEngine(target_gguf("F32"), target_gguf("Q8_0"), context=SETTINGS, method="draft") as engine:
        yield engine


def said(engine: MtpEngine, prompt: str, **options: object) -> tuple[list[int], int, int]:
    """Tokens, and how many were drafted and accepted."""
    running = engine.generate(prompt, max_tokens=24, ignore_end=True, **options)
    for _ in running:
        pass
    return running.tokens, running.statistics.drafted, running.statistics.accepted


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=1.0, seed=3)], ids=["greedy", "drawn"])
def test_the_text_is_that_of_plain_decoding(engine, sampling):
    plain = said(engine, PROMPT, drafting=Drafting(0), sampling=sampling)
    drafted = said(engine, PROMPT, drafting=ORDINARY, sampling=sampling)
    assert plain[1:] == (0, 0)
    assert drafted[0] == plain[0]
    assert drafted[2] > drafted[1] // 2


def test_a_conversation_keeps_what_both_caches_hold(engine):
    said(engine, PROMPT, drafting=ORDINARY)
    longer = f"{PROMPT}        self.items.append(item)\n\n    def pop(self):\n"
    kept = said(engine, longer, drafting=ORDINARY, reuse=True)
    assert kept == said(engine, longer, drafting=ORDINARY)


def test_drafts_end_where_the_drafter_is_not_sure(engine):
    everything = said(engine, PROMPT, drafting=ORDINARY)
    sure = said(engine, PROMPT, drafting=Drafting(3, method="draft", p_min=0.9))
    assert sure[0] == everything[0]
    assert 0 < sure[1] < everything[1]
    assert said(engine, PROMPT, drafting=Drafting(3, method="draft", p_min=0.9, shortest=3))[1] % 3 == 0


def test_rejection_sampling_takes_drafts_of_ngrams_too(engine):
    both = Drafting(3, method="draft", ngrams=(Use("ngram-mod", 4, 2),))
    drawn = Sampling(temperature=0.7, seed=5, mode="reject")
    assert said(engine, PROMPT * 3, drafting=both, sampling=drawn)[2] > 0


def test_what_this_engine_cannot_is_said(engine, target_gguf, assistant_gguf):
    with pytest.raises(UsageError, match="drafts by draft, not by mtp"):
        engine.generate(PROMPT, drafting=Drafting(2))
    with pytest.raises(UsageError, match="no ngram-cache"):
        engine.generate(PROMPT, drafting=Drafting(0, ngrams=(Use("ngram-cache", 8),)))
    with pytest.raises(UsageError, match="longest draft is 64"):
        engine.generate(PROMPT, drafting=Drafting(0, ngrams=(Use("ngram-mod", 64, 24),)))
    with pytest.raises(UsageError, match="does not draft by eagle3"):
        MtpEngine(target_gguf("F32"), target_gguf("Q8_0"), method="eagle3")
    with pytest.raises(BadFileError, match="no file for --method draft"):
        MtpEngine(target_gguf("F32"), assistant_gguf("F32"), method="draft")
