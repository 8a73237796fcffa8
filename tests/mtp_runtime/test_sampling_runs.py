"""Whole generations with sampling, drafting control and stop texts, on the demo pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from helpers.demo_files import PROMPT, SETTINGS, GGUFFactory
from helpers.generations import finished

from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime import Drafting, MtpEngine, Sampling
from gemma_mtp.mtp_runtime.sampler import Greedy

WARM = Sampling(temperature=0.8, seed=7)
PENALISED = replace(WARM, repeat_penalty=1.3, presence_penalty=0.2, frequency_penalty=0.1, repeat_last_n=30)


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param(WARM, id="0.8"),
        pytest.param(Sampling(temperature=0.3, top_p=0.7, seed=1), id="0.3"),
        pytest.param(Sampling(temperature=2.0, top_k=0, top_p=1, min_p=0, seed=2), id="2.0-open"),
        pytest.param(PENALISED, id="penalised"),
        pytest.param(Sampling(repeat_penalty=1.5), id="greedy-penalised"),
    ],
)
def test_the_same_seed_gives_the_same_text_with_drafting_on_and_off(engine: MtpEngine, sampling: Sampling):
    for prompt in PROMPTS[:3]:
        plain = finished(engine, prompt, draft_max=0, sampling=sampling)
        for options in (
            {"draft_max": 1},
            {"draft_max": 4},
            {"drafting": Drafting(6, p_min=0.5)},
            {"drafting": Drafting(auto=True)},
        ):
            drafted = finished(engine, prompt, sampling=sampling, **options)
            assert drafted.tokens == plain.tokens
            adapts = getattr(options.get("drafting"), "auto", False)  # and may find that drafting does not pay here
            assert drafted.statistics.drafted > 0 or adapts


def test_another_seed_gives_another_text_and_greedy_is_not_sampled(engine: MtpEngine):
    texts = {finished(engine, PROMPT, sampling=replace(WARM, seed=seed)).text for seed in range(5)}
    texts.add(finished(engine, PROMPT).text)
    assert len(texts) == 6


def test_drafting_with_the_targets_randomness_is_accepted_more_often(engine: MtpEngine):
    """More than by a drafter that draws by itself: the mean over texts of sum(p q) would be far lower."""
    hot = Sampling(temperature=1.0, seed=3)
    runs = [finished(engine, prompt, sampling=hot, draft_max=1, max_tokens=150) for prompt in PROMPTS]
    drafted, accepted = (sum(getattr(run.statistics, name) for run in runs) for name in ("drafted", "accepted"))
    assert accepted / drafted > 0.5


def test_reject_is_repeatable_and_accepts_more(engine: MtpEngine):
    sampling = Sampling(temperature=1.0, seed=5, mode="reject")
    runs = [finished(engine, prompt, sampling=sampling, draft_max=3, max_tokens=100) for prompt in PROMPTS]
    again = [finished(engine, prompt, sampling=sampling, draft_max=3, max_tokens=100) for prompt in PROMPTS]
    assert [run.tokens for run in runs] == [run.tokens for run in again]
    matched = [
        finished(engine, prompt, sampling=replace(sampling, mode="match"), draft_max=3, max_tokens=100)
        for prompt in PROMPTS
    ]
    rounds = [sum(run.statistics.rounds for run in group) for group in (runs, matched)]
    assert rounds[0] < 1.05 * rounds[1]


def test_penalties_prevent_repetition(engine: MtpEngine):
    loop = "self._items = []\nself._items = []\nself._items = []\nself._items ="
    free = finished(engine, loop, max_tokens=40)
    bound = finished(engine, loop, max_tokens=40, sampling=Sampling(repeat_penalty=2.0, repeat_last_n=-1))
    assert len(set(bound.tokens)) > len(set(free.tokens))


def test_a_confident_drafter_drafts_on_and_an_unsure_one_stops(engine: MtpEngine):
    plain = finished(engine, PROMPT, draft_max=0)
    drafted = {}
    for p_min in (0.0, 0.3, 0.7, 1.0):
        run = finished(engine, PROMPT, drafting=Drafting(5, p_min=p_min))
        assert run.tokens == plain.tokens
        drafted[p_min] = run.statistics
    counts = [statistics.drafted for statistics in drafted.values()]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > 0
    assert drafted[0.7].acceptance > drafted[0.0].acceptance


def test_drafts_shorter_than_draft_min_are_dropped(engine: MtpEngine):
    plain = finished(engine, PROMPT, draft_max=0)
    run = finished(engine, PROMPT, drafting=Drafting(5, 3, 0.7))
    assert run.tokens == plain.tokens
    first, _, third = run.statistics.drafted_at[:3]
    assert 0 < third <= first <= third + 1  # the last round has no room for three


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draft_max": 2, "drafting": Drafting(2)}, "give one of them"),
        ({"sampler": Greedy(), "ignore_end": True}, "no room for sampling or ignore_end"),
        ({"stop": ["a", ""]}, "a stop text is empty"),
        ({"drafting": Drafting(3, 2, 0.5), "sampling": Sampling(1.0, mode="reject")}, "bias the sampling mode reject"),
    ],
)
def test_wrong_use_is_told(engine: MtpEngine, options: dict, words: str):
    with pytest.raises(UsageError, match=words):
        engine.generate(PROMPT, **options)


@pytest.mark.parametrize("draft_max", [0, 4])
def test_a_stop_text_ends_it_and_nothing_of_it_is_shown(engine: MtpEngine, draft_max: int):
    whole = finished(engine, PROMPT, draft_max=0, max_tokens=80).text
    for start in range(5, 60, 11):
        stop = whole[start : start + 7]
        run = engine.generate(PROMPT, max_tokens=80, draft_max=draft_max, stop=["never said", stop], ignore_end=True)
        shown = "".join(token.text for token in run)
        assert shown == run.text == whole[: whole.index(stop)]
        assert run.finish == "stop"


def test_a_stop_text_that_never_comes_costs_nothing(engine: MtpEngine):
    whole = finished(engine, PROMPT, max_tokens=80)
    half = whole.text[-3:] + "\0"
    run = finished(engine, PROMPT, max_tokens=80, stop=[half])
    assert run.text == whole.text
    assert run.finish == "length"


@pytest.fixture(scope="module")
def small_cache(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory) -> Iterator[dict[str, MtpEngine]]:
    engines = {
        kind: MtpEngine(
            target_gguf("F32"),
            assistant_gguf("F32"),
            context=replace(SETTINGS, cache_k=kind, cache_v=kind, flash_attention="on"),
        )
        for kind in ("q8_0", "q4_0")
    }
    yield engines
    for engine in engines.values():
        engine.close()


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_quantized_caches_draft_as_well(small_cache: dict[str, MtpEngine], engine: MtpEngine, kind: str):
    for prompt in PROMPTS:
        plain = finished(small_cache[kind], prompt, draft_max=0)
        drafted = finished(small_cache[kind], prompt, draft_max=3)
        assert drafted.tokens == plain.tokens
        assert drafted.statistics.acceptance > finished(engine, prompt, draft_max=3).statistics.acceptance - 0.25
