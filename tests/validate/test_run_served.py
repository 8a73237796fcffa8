"""`verify --run` through the C++ engine: what it can tell, and what it says to be unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_mtp.errors import LlamaError, UsageError
from gemma_mtp.native.child import in_child
from gemma_mtp.native.settings import ContextSettings
from gemma_mtp.validate import Status
from gemma_mtp.validate.comparison import Comparison
from gemma_mtp.validate.run import PROBE, RunOptions, acceptance, judged, make_job

PROMPTS = (("code", "class Stack:\n    def push(self, item):\n"), ("text", "It was a dark night"))


def compared(pair: tuple[Path, Path], engine: str, size: int = 512, **more) -> list[Comparison]:
    options = RunOptions(PROMPTS, tokens=24, engine=engine, **more)
    return list(in_child(PROBE, make_job(*pair, ContextSettings(size, threads=1), options)))


@pytest.fixture(scope="module")
def pair(target_gguf, assistant_gguf) -> tuple[Path, Path]:
    return target_gguf("F32"), assistant_gguf("F32")


def test_it_finds_what_the_loop_finds(pair: tuple[Path, Path]):
    ours, theirs = compared(pair, "python"), compared(pair, "cpp")
    assert [one.kind for one in theirs] == [kind for kind, _ in PROMPTS]
    for one, other in zip(ours, theirs, strict=True):
        assert (other.tokens, other.drafts, other.different_at) == (one.tokens, one.drafts, None)
        assert judged(other).status is Status.OK
        assert "by position" not in judged(other).assistant
    assert acceptance(theirs).target == acceptance(ours).target


def test_a_difference_is_unknown_not_an_error():
    found = judged(Comparison("code", 24, 10.0, 12.0, (), (), different_at=3, engine="cpp", totals=(9, 6)))
    assert found.status is Status.WARNING
    assert "from token 4 of code" in found.message
    assert "unknown whether this is a near-tie or a fault" in found.message
    assert "--engine python" in found.remedy


def test_acceptance_counts_totals():
    broken = Comparison("code", 24, 10.0, 12.0, (), (), engine="cpp", totals=(100, 1))
    assert acceptance([broken]).status is Status.ERROR
    assert acceptance([broken]).target == "100 drafted"


def test_no_room_is_said_with_what_to_do(pair: tuple[Path, Path]):
    with pytest.raises(UsageError, match="the context has 20 tokens, 24 are to be generated") as caught:
        compared(pair, "cpp", 20)
    assert "--ctx" in caught.value.hint


def test_a_full_context_is_no_difference(pair: tuple[Path, Path]):
    """A prompt that leaves less room than is to be generated: drafts end a full context some tokens early or late."""
    options = RunOptions((("long", PROMPTS[0][1] * 12),), tokens=120, engine="cpp")
    (found,) = in_child(PROBE, make_job(*pair, ContextSettings(256, threads=1), options))
    assert 0 < found.tokens < 120
    assert found.different_at is None


def test_its_memory_is_limited(pair: tuple[Path, Path]):
    """Little more than the interpreter has with the library loaded: the error says that it was memory."""
    with pytest.raises(LlamaError) as caught:
        compared(pair, "cpp", memory=400_000_000)
    assert "memory" in f"{caught.value} {caught.value.hint}"
    assert caught.value.exit_code == 3


def test_a_prompt_that_is_too_long(pair: tuple[Path, Path]):
    options = RunOptions((("long", PROMPTS[0][1] * 40),), tokens=24, engine="cpp")
    with pytest.raises(UsageError, match="exceeds the available context size") as caught:
        list(in_child(PROBE, make_job(*pair, ContextSettings(256, threads=1), options)))
    assert "--ctx" in caught.value.hint
