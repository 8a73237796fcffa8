"""The loop: what it says is what the target alone says, and it leaves nothing behind."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.demo_files import PROMPT, SETTINGS, GGUFFactory, with_metadata
from helpers.generations import finished

from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.errors import UsageError
from gemma_mtp.files.gguf_values import u32
from gemma_mtp.mtp_runtime import Drafting, MtpEngine, Sampling


@pytest.fixture(scope="module")
def quantized(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory) -> Iterator[MtpEngine]:
    with MtpEngine(target_gguf("Q8_0"), assistant_gguf("Q8_0"), context=SETTINGS) as engine:
        yield engine


@pytest.mark.parametrize("name", ["engine", "quantized"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_drafting_changes_nothing(request: pytest.FixtureRequest, name: str, prompt: str):
    engine = request.getfixturevalue(name)
    plain = finished(engine, prompt, draft_max=0)
    assert plain.statistics.drafted == 0
    for length in (1, 2, 3, 5, 8):
        drafted = finished(engine, prompt, draft_max=length)
        assert drafted.tokens == plain.tokens
        assert drafted.text == plain.text
        assert 0 < drafted.statistics.accepted <= drafted.statistics.drafted
        assert drafted.statistics.rounds < plain.statistics.rounds


def test_beyond_the_sliding_window_and_in_small_batches(
    engine: MtpEngine, target_gguf: GGUFFactory, assistant_gguf: GGUFFactory
):
    prompt = engine.tokenize("".join(PROMPTS * 3))[:300]
    assert len(prompt) > 4 * engine.target.sliding_window
    plain = finished(engine, prompt, draft_max=0, max_tokens=100)
    assert finished(engine, prompt, draft_max=4, max_tokens=100).tokens == plain.tokens
    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=replace(SETTINGS, batch=32)) as other:
        assert finished(other, prompt, draft_max=4, max_tokens=100).tokens == plain.tokens


def test_tokens_tell_their_origin_and_the_statistics_add_up(engine: MtpEngine):
    generation = engine.generate(PROMPT, max_tokens=50, draft_max=3, ignore_end=True)
    tokens = list(generation)
    counts = generation.statistics
    assert generation.finish == "length"
    assert [token.id for token in tokens] == generation.tokens
    assert len(tokens) == counts.tokens == 50
    assert not tokens[0].drafted
    assert sum(token.drafted for token in tokens) == counts.accepted
    assert counts.tokens == 1 + counts.rounds + counts.accepted
    assert counts.drafted == sum(counts.drafted_at)
    assert counts.drafted_at == sorted(counts.drafted_at, reverse=True)
    assert all(accepted <= drafted for accepted, drafted in zip(counts.accepted_at, counts.drafted_at, strict=True))
    assert counts.tokens_per_pass == pytest.approx(49 / counts.rounds)
    assert "".join(token.text for token in tokens) == generation.text
    assert counts.prompt_tokens == len(generation.prompt)
    measured = counts.draft_seconds + counts.verify_seconds
    assert 0 < measured <= counts.generation_seconds
    assert counts.to_dict()["accepted"] == counts.accepted


@pytest.mark.parametrize("stop_after", range(1, 9))
def test_stopping_early_leaves_the_kv_cache_clean(engine: MtpEngine, stop_after: int):
    whole = finished(engine, PROMPT, draft_max=4)
    generation = engine.generate(PROMPT, max_tokens=60, draft_max=4, ignore_end=True)
    for _ in range(stop_after):
        next(generation)
    generation.close()
    assert generation.finish == "stopped"
    assert list(generation) == []
    kept = engine._verifier.tokens
    assert kept in ([*generation.prompt, *generation.tokens], [*generation.prompt, *generation.tokens[:-1]])
    # The cache goes on from there as if nothing had been drafted after it.
    rest = finished(engine, [*generation.prompt, *generation.tokens], draft_max=4, max_tokens=60 - stop_after)
    assert generation.tokens + rest.tokens == whole.tokens


def test_a_new_generation_ends_the_one_before(engine: MtpEngine):
    first = engine.generate(PROMPT, max_tokens=20, draft_max=2)
    next(first)
    second = finished(engine, PROMPT, draft_max=2)
    assert first.finish == "stopped"
    assert second.tokens == finished(engine, PROMPT, draft_max=2).tokens


@pytest.mark.parametrize("draft_max", [0, 3])
def test_a_full_context_ends_the_generation(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, draft_max: int):
    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=replace(SETTINGS, size=256)) as engine:
        prompt = engine.tokenize("".join(PROMPTS * 3))[:230]
        generation = finished(engine, prompt, draft_max=draft_max, max_tokens=100)
        assert generation.finish == "context"
        assert len(generation.tokens) == engine.context_size - 230 + 1
        assert finished(engine, prompt[:100], draft_max=draft_max, max_tokens=10).finish == "length"


def test_an_end_token_ends_it(engine: MtpEngine, target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, tmp_path: Path):
    """The demo target never ends its text, so a token that it does say is declared the end token in a copy."""
    tokens = finished(engine, PROMPT, draft_max=0).tokens
    end = tokens[max(tokens.index(token) for token in tokens)]
    assert tokens.index(end) > 3
    changed = {"tokenizer.ggml.eos_token_id": u32(end)}
    target = with_metadata(target_gguf("F32"), tmp_path / "target.gguf", changed)
    for length in (0, 3, 6):
        with MtpEngine(target, assistant_gguf("F32"), context=SETTINGS) as other:
            stopped = finished(other, PROMPT, draft_max=length, ignore_end=False)
            assert stopped.finish == "end"
            assert stopped.tokens == tokens[: tokens.index(end) + 1]
            ignored = finished(other, PROMPT, draft_max=length)
            assert ignored.finish == "length"
            assert end not in ignored.tokens


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        pytest.param([], {}, "prompt is empty", id="empty"),
        pytest.param([5] * 600, {}, "600 tokens, the context has room for 512", id="longer than the context"),
        pytest.param([10**6], {}, "prompt has token 1000000", id="no such token"),
        pytest.param([5], {"max_tokens": 0}, "0 tokens to generate", id="nothing to generate"),
        pytest.param([5], {"draft_max": 99}, "the longest draft is 99", id="too long a draft"),
    ],
)
def test_wrong_use_is_told(engine: MtpEngine, prompt: list[int], options: dict[str, int], words: str):
    with pytest.raises(UsageError, match=words):
        finished(engine, prompt, **options)
    assert finished(engine, PROMPT, draft_max=2, max_tokens=5).finish == "length"


def resident_bytes() -> int:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@pytest.mark.no_cover
def test_memory_stays_flat_over_thousands_of_rounds(engine: MtpEngine):
    def rounds(**options: object) -> int:
        return finished(engine, PROMPT, max_tokens=450, **options).statistics.rounds

    kinds = [
        {"draft_max": 1},
        {"drafting": Drafting(4, auto=True), "sampling": Sampling(0.8, seed=1)},
        {"draft_max": 2, "sampling": Sampling(0.8, seed=1, mode="reject"), "stop": ["never said"]},
    ]
    for options in kinds:
        rounds(**options)
    before, count = resident_bytes(), 0
    while count < 3_000:
        count += sum(rounds(**options) for options in kinds)
    assert resident_bytes() - before < 1_500_000  # five hundred bytes a round
