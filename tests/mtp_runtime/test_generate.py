"""The loop: what it says is what the target alone says, and it leaves nothing behind."""

from __future__ import annotations

import pytest

from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.errors import BadFileError, GGUFError, UsageError
from gemma_mtp.mtp_runtime import ContextSettings, MtpEngine

SETTINGS = ContextSettings(size=256, threads=1)


@pytest.fixture(scope="module")
def engine(target_gguf, assistant_gguf):
    """The demo pair in Q8_0: one thread, so that a batch's size does not show in the rounding."""
    with MtpEngine(target_gguf("Q8_0"), assistant_gguf("Q8_0"), context=SETTINGS) as engine:
        yield engine


def finished(engine: MtpEngine, prompt, **options):
    run = engine.generate(prompt, ignore_end=True, **options)
    for _ in run:
        pass
    return run


@pytest.mark.parametrize("length", [1, 2, 3, 6])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_drafting_changes_nothing(engine, prompt, length):
    """Token for token the plain continuation, in fewer passes; the counts add up."""
    plain = finished(engine, prompt, max_tokens=96, draft_max=0)
    drafted = finished(engine, prompt, max_tokens=96, draft_max=length)
    assert drafted.tokens == plain.tokens
    assert drafted.text == plain.text
    counted = drafted.statistics
    assert len(drafted.tokens) == 1 + counted.rounds + counted.accepted == 96
    assert counted.rounds < plain.statistics.rounds
    assert plain.statistics.drafted == 0


def test_origin_of_tokens(engine):
    """Tokens marked as drafted are as many as were accepted; the pieces of text make the text."""
    run = engine.generate(PROMPTS[1], max_tokens=60, draft_max=3, ignore_end=True)
    tokens = list(run)
    assert sum(token.drafted for token in tokens) == run.statistics.accepted
    assert "".join(token.text for token in tokens) == run.text


def test_stopping_early_leaves_a_clean_cache(engine):
    """A generation that was broken off does not show in the next one."""
    wanted = finished(engine, PROMPTS[0], max_tokens=40, draft_max=3).tokens
    broken_off = engine.generate(PROMPTS[2], max_tokens=60, draft_max=3)
    for _, _ in zip(range(7), broken_off, strict=False):
        pass
    assert finished(engine, PROMPTS[0], max_tokens=40, draft_max=3).tokens == wanted
    assert broken_off.finish == "stopped"


def test_full_context(engine):
    """A context that is full ends the generation with a word, drafting or not, at the same token."""
    plain = finished(engine, PROMPTS[0], max_tokens=1000, draft_max=0)
    drafted = finished(engine, PROMPTS[0], max_tokens=1000, draft_max=3)
    assert (plain.finish, drafted.finish) == ("context", "context")
    assert drafted.tokens == plain.tokens


def test_mistakes(engine, target_gguf, assistant_gguf, tmp_path):
    """Wrong uses and wrong files are errors with a sentence, raised before llama.cpp can abort."""
    with pytest.raises(UsageError, match="context"):
        finished(engine, PROMPTS[0] * 40, max_tokens=4)
    with pytest.raises(UsageError, match="draft_max"):
        engine.generate(PROMPTS[0], draft_max=99)
    with pytest.raises(GGUFError, match="missing"):
        MtpEngine(tmp_path / "missing.gguf")
    with pytest.raises(BadFileError):
        MtpEngine(assistant_gguf("Q8_0"), target_gguf("Q8_0"))


def test_close_twice_and_two_engines(target_gguf, assistant_gguf):
    """Two engines live side by side; closing one, even twice, does not hurt the other."""
    first = MtpEngine(target_gguf("Q8_0"), assistant_gguf("Q8_0"), context=SETTINGS)
    with MtpEngine(target_gguf("Q8_0"), assistant_gguf("Q8_0"), context=SETTINGS) as second:
        wanted = finished(first, PROMPTS[0], max_tokens=20).tokens
        first.close()
        first.close()
        assert finished(second, PROMPTS[0], max_tokens=20).tokens == wanted


def test_memory_is_flat(engine):
    """Hundreds of rounds after a warm-up leave resident memory where it was, within a megabyte."""
    from pathlib import Path

    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("resident memory is read from /proc")
    sizes = []
    for _ in range(8):
        for prompt in PROMPTS:
            finished(engine, prompt, max_tokens=64, draft_max=2)
        sizes.append(int(status.read_text().split()[1]) * 4096)
    assert sizes[-1] - sizes[2] < 1_000_000
