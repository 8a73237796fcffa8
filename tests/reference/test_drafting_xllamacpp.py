"""Our loop against llama.cpp's own C++ engine: the same tokens, the same numbers of drafted and accepted tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.drafting_prompts import PROMPTS
from helpers.xllamacpp_oracle import ask_xllamacpp

from gemma_mtp.mtp_runtime import ContextSettings, Drafting, MtpEngine, Sampling

GGUFFactory = Callable[[str], Path]
CONTEXT, TOKENS = 512, 24


@pytest.fixture(scope="module")
def engine(target_gguf: GGUFFactory, assistant_gguf: GGUFFactory) -> Iterator[MtpEngine]:
    settings = ContextSettings(size=CONTEXT, threads=1)
    with MtpEngine(target_gguf("F32"), assistant_gguf("F32"), context=settings) as engine:
        yield engine


def ours(
    engine: MtpEngine, prompt: list[int], drafting: Drafting, max_tokens: int = TOKENS, **options: object
) -> dict[str, object]:
    generation = engine.generate(prompt, max_tokens=max_tokens, drafting=drafting, ignore_end=True, **options)
    for _ in generation:
        pass
    counts = generation.statistics
    return {"tokens": generation.tokens, "drafted": counts.drafted, "accepted": counts.accepted}


@pytest.mark.parametrize("draft_max", range(1, 7))
def test_tokens_and_counts_equal_the_cpp_engine(
    engine: MtpEngine, target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, draft_max: int
):
    prompts = [engine.tokenize(prompt) for prompt in PROMPTS]
    theirs = ask_xllamacpp(
        target_gguf("F32"), assistant_gguf("F32"), prompts, draft_max=draft_max, max_tokens=TOKENS, context=CONTEXT
    )
    for prompt, wanted in zip(prompts, theirs, strict=True):
        del wanted["seconds"]
        assert ours(engine, prompt, Drafting(draft_max)) == wanted


def test_a_prompt_beyond_the_sliding_window(engine: MtpEngine, target_gguf: GGUFFactory, assistant_gguf: GGUFFactory):
    prompt = engine.tokenize("".join(PROMPTS))[:300]
    assert len(prompt) > 4 * engine.target.sliding_window
    (wanted,) = ask_xllamacpp(
        target_gguf("F32"), assistant_gguf("F32"), [prompt], draft_max=4, max_tokens=100, context=CONTEXT
    )
    del wanted["seconds"]
    assert ours(engine, prompt, Drafting(4), 100) == wanted


def test_plain_decoding_equals_the_cpp_engine(engine: MtpEngine, target_gguf: GGUFFactory):
    prompts = [engine.tokenize(prompt) for prompt in PROMPTS[::5]]
    theirs = ask_xllamacpp(target_gguf("F32"), None, prompts, max_tokens=TOKENS, context=CONTEXT)
    assert [ours(engine, prompt, Drafting(0))["tokens"] for prompt in prompts] == [
        wanted["tokens"] for wanted in theirs
    ]


@pytest.mark.parametrize(("draft_min", "p_min"), [(0, 0.3), (0, 0.75), (2, 0.5), (3, 0.0)])
def test_drafts_end_where_the_cpp_engine_ends_them(
    engine: MtpEngine, target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, draft_min: int, p_min: float
):
    """But in a last round: there the C++ engine drafts past the text's end to see whether draft_min is reached."""
    prompts = [engine.tokenize(prompt) for prompt in PROMPTS[::3]]
    control = {"draft_min": draft_min, "p_min": p_min}
    theirs = ask_xllamacpp(
        target_gguf("F32"), assistant_gguf("F32"), prompts, draft_max=5, max_tokens=40, context=CONTEXT, **control
    )
    for prompt, wanted in zip(prompts, theirs, strict=True):
        del wanted["seconds"]
        assert ours(engine, prompt, Drafting(5, draft_min, p_min), 40) == wanted


@pytest.mark.parametrize("draft_max", [0, 4])
def test_penalties_give_the_cpp_engines_text(
    engine: MtpEngine, target_gguf: GGUFFactory, assistant_gguf: GGUFFactory, draft_max: int
):
    prompts = [engine.tokenize(prompt) for prompt in PROMPTS[::5]]
    penalties = {"repeat_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.1, "repeat_last_n": 20}
    theirs = ask_xllamacpp(
        target_gguf("F32"),
        assistant_gguf("F32") if draft_max else None,
        prompts,
        draft_max=draft_max,
        max_tokens=40,
        context=CONTEXT,
        options=penalties,
    )
    sampling = Sampling(**penalties)
    mine = [ours(engine, prompt, Drafting(draft_max), 40, sampling=sampling)["tokens"] for prompt in prompts]
    assert mine == [wanted["tokens"] for wanted in theirs]
