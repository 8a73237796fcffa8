"""Drafts that end where the drafter is not sure: measured, summed up and, where they pay most, recommended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.laps import lap

from gemma_mtp.bench.laps import Lap, Pair
from gemma_mtp.bench.measure import Plan
from gemma_mtp.bench.recommendation import recommend
from gemma_mtp.bench.results import PLAIN, ConfidenceRow, Recommendation
from gemma_mtp.bench.summary import confidence_rows, rows
from gemma_mtp.native.settings import ContextSettings, ModelSettings


def sure(one: Lap, p_min: float) -> Lap:
    return replace(one, task=replace(one.task, p_min=p_min))


def laps(seconds: float) -> list[Lap]:
    """Two drafts make it 1.25 times as fast, four 1.11 times; four that end early take `seconds`."""
    return [
        lap("code", PLAIN, 0, 10.0),
        lap("code", 2, 0, 8.0, drafted_at=(50, 50), accepted_at=(40, 10)),
        lap("code", 4, 0, 9.0, drafted_at=(50, 50, 40, 30), accepted_at=(40, 10, 5, 0)),
        sure(lap("code", 4, 0, seconds, drafted_at=(50, 20), accepted_at=(40, 16)), 0.5),
        sure(lap("code", 4, 0, 20.0, drafted_at=(10,), accepted_at=(10,)), 0.9),
    ]


def recommended(measured: list[Lap]) -> Recommendation:
    files = {"target": Path("t.gguf"), "assistant": Path("a.gguf")}
    settings = {"context": ContextSettings(), "model": ModelSettings()}
    return recommend(rows(measured), "python", **files, **settings, confidence=confidence_rows(measured))


def test_they_have_rows_of_their_own():
    assert [(row.draft, row.speedup) for row in rows(laps(5.0)) if row.category == "all"] == [
        (PLAIN, 1.0),
        (2, pytest.approx(1.25)),
        (4, pytest.approx(10 / 9)),
    ]
    found = confidence_rows(laps(5.0))
    assert found == [
        ConfidenceRow("python", 4, 0.5, pytest.approx(20.0), pytest.approx(2.0), pytest.approx(56 / 70)),
        ConfidenceRow("python", 4, 0.9, pytest.approx(5.0), pytest.approx(0.5), pytest.approx(1.0)),
    ]
    assert confidence_rows(laps(5.0)[:3]) == []


def test_the_best_of_them_is_recommended_if_it_is_clearly_better():
    better = recommended(laps(5.0))
    assert (better.draft, better.p_min, better.speedup) == (4, 0.5, pytest.approx(2.0))
    assert "--spec-draft-n-max 4 --spec-draft-p-min 0.5" in better.command
    assert "confidence of 0.5" in better.reasons[0]
    assert better.reasons[1].startswith("without such an end, drafts of 2 pay most")
    same = recommended(laps(7.9))
    assert (same.draft, same.p_min, same.speedup) == (2, 0.0, pytest.approx(1.25))
    assert "p-min" not in same.command


def test_the_longest_draft_is_measured_with_each_confidence_in_turns():
    plan = Plan(Pair(Path("t"), Path("a"), 3), (("code", "x"),), (1, 3), repeats=2, p_mins=(0.5, 0.8))
    turns = [(PLAIN, 0.0), (1, 0.0), (3, 0.0), (3, 0.5), (3, 0.8)]
    assert [(task.draft, task.p_min) for task in plan.tasks()] == turns + turns[::-1]
