"""What of the target's KV cache a new prompt keeps, and what a round may draft: not too much, not too little."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import llama_cpp.llama_cpp as lib
import pytest
from helpers.demo_files import PROMPT, SETTINGS, GGUFFactory
from helpers.generations import finished

from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.errors import LlamaError
from gemma_mtp.mtp_runtime import Drafting, MtpEngine, Round
from gemma_mtp.mtp_runtime.control import Fixed
from gemma_mtp.mtp_runtime.generate import generate
from gemma_mtp.mtp_runtime.sampler import Greedy
from gemma_mtp.mtp_runtime.verifier import Cached
from gemma_mtp.native.stats import Statistics

#: The demo pair's words; its window is shorter than a few of these prompts together.
OPTIONS = {"draft_max": 3, "max_tokens": 12}


def long_prompt(engine: MtpEngine, length: int) -> list[int]:
    tokens = engine.tokenize("".join(PROMPTS * 3))[:length]
    assert len(tokens) == length
    return tokens


def after(engine: MtpEngine, first: list[int], second: list[int]) -> int:
    """How much of the cache that `first` leaves `second` reuses; its text is what it is in a fresh cache."""
    fresh = finished(engine, second, **OPTIONS)
    assert fresh.statistics.reused_tokens == 0
    finished(engine, first, **OPTIONS)
    again = finished(engine, second, reuse=True, **OPTIONS)
    assert again.tokens == fresh.tokens
    return again.statistics.reused_tokens


def test_a_prompt_that_goes_on_keeps_all(engine: MtpEngine):
    first = long_prompt(engine, 200)
    generated = finished(engine, first, **OPTIONS)
    kept = len(engine._verifier.tokens)
    assert kept >= len(first) + len(generated.tokens) - 1
    assert after(engine, first, [*first, *generated.tokens, 5, 6]) == kept


def test_the_same_prompt_runs_its_last_token_alone(engine: MtpEngine):
    short = engine.tokenize(PROMPT)
    assert after(engine, short, short) == len(short) - 1


def test_a_prompt_that_parts_keeps_what_they_share(engine: MtpEngine):
    """As long as sliding layers have all that they look back on from there."""
    first = engine.tokenize(PROMPT)
    assert len(first) + OPTIONS["max_tokens"] < 2 * engine.target.sliding_window, "the text is in the cache as a whole"
    shared = len(first) - 4
    assert after(engine, first, [*first[:shared], *reversed(first[shared:])]) >= shared


def test_what_is_behind_the_window_is_gone(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    """Small batches: sliding layers keep little more than their window then."""
    settings = replace(SETTINGS, batch=32)
    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=settings) as engine:
        first = long_prompt(engine, 480)
        assert after(engine, first, [*first[:50], *first[60:90]]) == 0


def test_the_first_token_and_the_last_of_the_vocabulary_may_be_asked(engine: MtpEngine):
    for token in (0, engine.target.vocabulary - 1):
        assert len(finished(engine, [2, token], max_tokens=2).tokens) == 2


@pytest.mark.parametrize("most", [1, 2, 7])
def test_as_many_tokens_as_are_asked_for(engine: MtpEngine, most: int):
    """Of the loop itself, whoever stops listening when."""
    drafter = engine._drafter_for(Drafting())
    steps = generate(
        engine._verifier,
        drafter,
        Greedy(),
        engine.tokenize(PROMPT),
        Statistics(),
        max_tokens=most,
        control=Fixed(3),
        drafting=Drafting(),
    )
    assert len(list(steps)) == most


def test_drafts_are_as_long_as_they_are_meant_to_be(engine: MtpEngine):
    """The last rounds draft one token less than is wanted yet: the target adds one."""
    rounds: list[Round] = []
    finished(engine, PROMPT, draft_max=5, max_tokens=20, on_round=rounds.append)
    said = 1
    for one in rounds:
        assert len(one.drafts) == min(5, 20 - said - 1)
        said += one.accepted + 1
    assert said == 20


def test_a_batch_that_fails_leaves_the_cache_as_it_was(engine: MtpEngine):
    tokens = long_prompt(engine, 300)
    usual = finished(engine, tokens, **OPTIONS)
    cache: Cached = engine._verifier
    before = list(cache.tokens)
    too_many = [5] * (engine.context_size - len(before) + 1)
    with pytest.raises(LlamaError):
        cache.extend(too_many, 1)
    assert cache.tokens == before
    longer = [*tokens, *usual.tokens, 7]
    again = finished(engine, longer, reuse=True, **OPTIONS)
    assert again.statistics.reused_tokens == len(before)
    assert again.tokens == finished(engine, longer, **OPTIONS).tokens


def test_a_batch_that_fails_in_its_midst_leaves_nothing(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    """llama.cpp is told to abort when the first half is in the cache; another batch must not stand behind that."""
    settings = replace(SETTINGS, batch=64, ubatch=32)
    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=settings) as engine:
        cache, tokens = engine._verifier, long_prompt(engine, 90)
        asked, limit = count(), 2**31

        @lib.ggml_abort_callback
        def aborting(_: object) -> bool:
            return next(asked) >= limit

        lib.llama_set_abort_callback(cache.context.handle, aborting, None)
        cache.extend(tokens[:26], 1)
        asked = count()
        cache.extend(tokens[26:], 1)
        usual, limit = cache.context.logits().copy(), next(asked) * 3 // 4
        cache.rewind(26)
        asked = count()
        with pytest.raises(LlamaError, match=r"aborted \(64 tokens at position 26"):
            cache.extend(tokens[26:], 1)
        limit = 2**31
        cache.extend(tokens[26:], 1)
        assert (cache.context.logits() == usual).all()
