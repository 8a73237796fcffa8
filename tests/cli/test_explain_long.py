"""Long logs: what is passed over by the block says nothing, and lines are counted all the same."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_mtp.native.causes import CAUSES, Cause, may_mean, meaning
from gemma_mtp.native.log_reader import PIECE, read_log

IDLE = "slot update: id 0 | task 17 | n_past = 137, n_tokens = 99\n"
WORDS = "error: missing tensor 'rope_freqs.weight'"


def read(text: str):
    return read_log(io.BufferedReader(io.BytesIO(text.encode())))


def test_an_idle_line_is_passed_over():
    assert not may_mean(IDLE)


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause.words], ids=lambda cause: cause.shown[:40])
def test_nothing_with_the_words_of_a_cause_is_passed_over(cause: Cause):
    """The words are regular expressions: texts that match are made of them."""

    @settings(max_examples=15, database=None)
    @given(st.from_regex(cause.words, alphabet=st.characters(codec="ascii")))
    def look(text: str) -> None:
        assert may_mean(f"before {text} after")

    look()


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("before", [1, PIECE // len(IDLE) - 1, PIECE // len(IDLE), 5 * PIECE // len(IDLE)])
def test_lines_are_counted_over_blocks(before: int, end: str):
    reading = read(IDLE * before + f"{WORDS}\n" + IDLE * 2500 + WORDS + end)
    assert [(one.line, one.times, one.text) for one in reading.found] == [(before + 1, 2, WORDS)]
    assert reading.lines == before + 2502


def test_a_long_line_counts_once():
    """Its words stand in the end of a piece, which is looked at again with the next one."""
    long = "x" * (2 * PIECE - 2 * len(WORDS) - 30) + WORDS + "y" * 3 * PIECE + "\n"
    reading = read(f"{WORDS}\n{long}{IDLE}")
    assert [(one.line, one.times) for one in reading.found] == [(1, 2)]
    assert reading.lines == 3


def test_what_is_passed_over_has_no_meaning():
    assert meaning(IDLE) is None
