"""Rows from laps with known figures."""

from __future__ import annotations

import pytest
from bench_laps import lap

from gemma_mtp.bench.results import AUTO, OVERALL, PLAIN
from gemma_mtp.bench.summary import differing_prompts, rows

DRAFTS = {"drafted_at": (60, 60), "accepted_at": (50, 10), "draft_seconds": 1.0}


def test_a_row():
    row = rows([lap("code", PLAIN, 0, 10.0), lap("code", 2, 0, 5.0, **DRAFTS)])[1]
    assert (row.engine, row.category, row.draft) == ("python", OVERALL, 2)
    assert row.tokens_per_second == 20.0
    assert row.speedup == 2.0
    assert (row.tokens, row.rounds, row.drafted, row.accepted) == (101, 40, 120, 60)
    assert row.acceptance == 0.5
    assert row.acceptance_by_position == (50 / 60, 10 / 60)
    assert row.tokens_per_round == 2.5
    assert row.draft_ms == 25.0
    assert row.verify_ms == pytest.approx(90.0)
    assert row.ceiling == 2.5  # 4 of the 5 seconds remain
    assert row.identical


def test_the_speedup_is_the_median_of_ratios_within_a_repeat():
    """A machine that gets three times slower in the second repeat changes rates, but no ratio."""
    seconds = {0: (10.0, 5.0), 1: (30.0, 15.0), 2: (10.0, 4.0)}
    laps = [lap("code", draft, repeat, times[bool(draft)]) for repeat, times in seconds.items() for draft in (PLAIN, 1)]
    plain, drafted = rows(laps)[:2]
    assert plain.tokens_per_second == 10.0
    assert drafted.tokens_per_second == 20.0
    assert drafted.speedup == 2.0
    assert plain.speedup == 1.0


def test_all_prompts_together_are_sums_not_means():
    """A slow prompt weighs as much as the time it takes."""
    laps = [
        *(lap("code", PLAIN, 0, 10.0), lap("code", 1, 0, 5.0)),
        *(lap("math", PLAIN, 0, 90.0), lap("math", 1, 0, 95.0)),
    ]
    found = {(row.category, row.draft): row.speedup for row in rows(laps)}
    assert found == {
        (OVERALL, PLAIN): 1.0,
        (OVERALL, 1): 1.0,
        ("code", PLAIN): 1.0,
        ("code", 1): 2.0,
        ("math", PLAIN): 1.0,
        ("math", 1): pytest.approx(90 / 95),
    }


def test_order_of_rows():
    drafts = (PLAIN, AUTO, 2, 1)
    laps = [lap(category, draft, 0, 1.0, engine=e) for e in ("python", "cpp") for category in "ba" for draft in drafts]
    found = [(row.engine, row.category, row.draft) for row in rows(laps)]
    ordered = (PLAIN, 1, 2, AUTO)
    assert found == [(e, c, d) for e in ("python", "cpp") for c in (OVERALL, "b", "a") for d in ordered]


def test_an_engine_that_does_not_tell_its_times_has_no_ceiling():
    row = rows([lap("code", PLAIN, 0, 10.0, engine="cpp"), lap("code", 1, 0, 5.0, engine="cpp")])[1]
    assert (row.draft_ms, row.verify_ms, row.ceiling) == (None, None, None)
    assert row.speedup == 2.0


def test_outputs_that_differ_are_found():
    laps = [
        *(lap("code", PLAIN, 0, 1.0), lap("code", 1, 0, 1.0)),
        *(lap("math", PLAIN, 0, 1.0), lap("math", 1, 0, 1.0, said=(1, 2, 4))),
    ]
    assert differing_prompts(laps) == ["a prompt of math"]
    identical = {(row.category, row.draft): row.identical for row in rows(laps)}
    assert [key for key, same in identical.items() if not same] == [(OVERALL, 1), ("math", 1)]
