"""What a caller can look at while the loop runs: a sampler of its own, and every round."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.generations import finished

from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime import Drafting, MtpEngine, Round
from gemma_mtp.mtp_runtime.sampler import Greedy

PROMPT = PROMPTS[0]


class Recording(Greedy):
    """Greedy, with what the drafter proposed and what the target was asked for written down."""

    def __init__(self, banned: list[int]):
        super().__init__(banned)
        self.proposed: list[int] = []
        self.asked: list[int] = []

    def propose(self, logits, index: int) -> int:
        self.proposed.append(super().propose(logits, index))
        return self.proposed[-1]

    def choose(self, logits, index: int, draft: int | None = None) -> int:
        self.asked.append(index)
        return super().choose(logits, index, draft)


def test_a_sampler_of_ones_own_and_every_round(engine: MtpEngine):
    usual = finished(engine, PROMPT, draft_max=3)
    rounds: list[Round] = []
    sampler = Recording(engine.target.end_tokens())
    run = engine.generate(PROMPT, max_tokens=60, draft_max=3, sampler=sampler, on_round=rounds.append)
    tokens = [token.id for token in run]
    assert tokens == usual.tokens
    assert sampler.asked == list(range(60))
    assert [draft for one in rounds for draft in one.drafts] == sampler.proposed
    told = run.statistics
    assert (len(rounds), sum(one.accepted for one in rounds)) == (told.rounds, told.accepted)
    whole = [*run.prompt, *tokens]
    for one in rounds:
        begun = len(one.kept)
        assert [*one.kept, one.newest] == whole[: begun + 1]
        assert list(one.drafts[: one.accepted]) == whole[begun + 1 : begun + 1 + one.accepted]


def test_rounds_without_drafts(engine: MtpEngine):
    rounds: list[Round] = []
    run = finished(engine, PROMPT, draft_max=0, max_tokens=9, on_round=rounds.append)
    assert [(one.newest, one.drafts, one.accepted) for one in rounds] == [(token, (), 0) for token in run.tokens[:-1]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"longest": -1}, "the longest draft is -1 tokens; wanted: at least 0"),
        ({"longest": 3, "shortest": 4}, "the shortest draft is 4 tokens; wanted: 0 to 3, the longest"),
        ({"shortest": -1}, "the shortest draft is -1 tokens"),
        ({"p_min": 1.5}, "p_min is 1.5; wanted: 0 to 1"),
    ],
)
def test_a_drafting_that_cannot_be(settings: dict, words: str):
    with pytest.raises(UsageError, match=words):
        Drafting(**settings)


def test_a_drafting_is_a_value():
    assert Drafting(3) == Drafting() == dataclasses.replace(Drafting(3, auto=True), auto=False)
    assert len({Drafting(3), Drafting(), Drafting(4)}) == 2
