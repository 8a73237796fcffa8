"""Rows from laps with known figures."""

from __future__ import annotations

import pytest
from helpers.laps import lap

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


def test_a_disturbed_lap_is_outvoted():
    """One lap of every repeat is ten times too slow, each time another: no figure moves."""
    drafts, categories = (PLAIN, 1), ("code", "math")
    calm = {(category, draft): 5.0 if draft else 10.0 for category in categories for draft in drafts}
    laps = [
        lap(category, draft, repeat, seconds * (10 if number == repeat else 1))
        for repeat in range(3)
        for number, ((category, draft), seconds) in enumerate(calm.items())
    ]
    found = {(row.category, row.draft): (row.tokens_per_second, row.speedup) for row in rows(laps)}
    assert all(found[category, PLAIN] == (10.0, 1.0) for category in (OVERALL, *categories))
    assert all(found[category, 1] == (20.0, 2.0) for category in (OVERALL, *categories))


def test_a_machine_that_slows_down_keeps_the_speedup():
    laps = [
        lap("code", draft, repeat, seconds * (1 + repeat))
        for repeat in range(3)
        for draft, seconds in ((0, 10.0), (1, 5.0))
    ]
    assert [row.speedup for row in rows(laps)] == [1.0, 2.0, 1.0, 2.0]


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
