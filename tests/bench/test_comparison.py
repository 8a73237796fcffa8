"""From turns with known figures to an order, a margin of error and a recommendation."""

from __future__ import annotations

from math import log, sqrt
from pathlib import Path

import pytest
from helpers.laps import lap

from gemma_mtp.bench.comparison import STUDENT_95, Comparison, Visit, compared, least_difference
from gemma_mtp.quantize import Written

#: Kind -> size of its file.
SIZES = {"Q8_0": 800, "Q4_0": 400, "draft-q4": 500}


def visit(kind: str, repeat: int, speedup: float, *, accepted: int = 30, mood: float = 1.0, said=(1, 2)) -> Visit:
    """A turn in which plain decoding took 10 s for 100 tokens; mood: how slow the machine is just then."""
    plain = lap("code", 0, repeat, 10.0 * mood, said=(1, 2))
    seconds = 10.0 * mood / speedup
    drafting = lap(
        "code", 3, repeat, seconds, drafted_at=(20, 20), accepted_at=(accepted, 0), draft_seconds=2 * mood, said=said
    )
    return Visit(kind, repeat, (plain, drafting) if repeat % 2 == 0 else (drafting, plain))


def comparison(speedups: dict[str, list[float]], **options) -> Comparison:
    made = [Written(Path(f"{kind}.gguf"), kind, SIZES[kind], 4.5, {}) for kind in speedups]
    visits = [
        visit(kind, repeat, value, **options) for kind, own in speedups.items() for repeat, value in enumerate(own)
    ]
    return compared(Path("t.gguf"), Path("a.gguf"), made, visits)


def test_the_quickest_comes_first_and_its_figures_are_those_of_the_turns():
    found = comparison({"Q8_0": [1.2, 1.2], "Q4_0": [1.4, 1.4]})
    assert [one.kind for one in found.candidates] == ["Q4_0", "Q8_0"]
    best = found.candidates[0]
    assert found.baseline == pytest.approx(10.0)
    assert best.speedup == pytest.approx(1.4)
    assert best.tokens_per_second == pytest.approx(14.0)
    assert best.step_ms == pytest.approx(2000 / 40)
    assert (best.drafted, best.accepted, best.acceptance) == (40, 30, 0.75)
    assert best.acceptance_error == pytest.approx(sqrt(0.75 * 0.25 / 40))
    assert best.identical


def test_a_drifting_machine_changes_no_speedup():
    """Every turn has its own plain decoding."""
    calm = [visit("Q4_0", repeat, 1.3) for repeat in range(3)]
    tired = [visit("Q4_0", repeat, 1.3, mood=1 + repeat) for repeat in range(3)]
    assert [one.speedup for one in tired] == pytest.approx([one.speedup for one in calm])


def test_the_margin_is_students_for_a_difference_of_means():
    """Two candidates, two turns each: two degrees of freedom."""
    turns = [[1.0, 1.1], [1.3, 1.3]]
    variance = 2 * (log(1.1) / 2) ** 2 / 2
    assert log(1 + least_difference(turns)) == pytest.approx(STUDENT_95[1] * sqrt(variance))
    assert least_difference([[1.0, 1.0, 1.0]] * 3) == 0.0
    assert least_difference([[1.0], [1.3]]) is None


def test_of_those_that_cannot_be_told_apart_the_smallest_is_recommended():
    found = comparison({"Q8_0": [1.40, 1.44], "draft-q4": [1.39, 1.43], "Q4_0": [1.0, 1.01]})
    assert found.candidates[0].kind == "Q8_0"
    assert found.recommended == "draft-q4"
    assert found.reasons[0].startswith("draft-q4: ")
    assert "as quick within the noise: Q8_0" in found.reasons[1]


def test_a_certain_winner_is_recommended_whatever_its_size():
    found = comparison({"Q8_0": [1.4, 1.4], "Q4_0": [1.3, 1.3]})
    assert found.recommended == "Q8_0"
    assert not any("within the noise" in reason for reason in found.reasons)


def said(found: Comparison) -> str:
    return "\n".join(found.reasons)


def test_what_a_reader_must_know_is_said():
    assert "drafting gains anything" not in said(comparison({"Q4_0": [1.3, 1.3]}))
    assert "drafting gains anything" in said(comparison({"Q4_0": [0.9, 0.9], "Q8_0": [0.8, 0.8]}))
    assert "does not tell differences from noise" in said(comparison({"Q4_0": [1.3]}))
    assert "here none is certain" in said(comparison({"Q4_0": [1.3, 1.2], "Q8_0": [1.2, 1.3]}))
    assert "is the machine busy" in said(comparison({"Q4_0": [1.3, 0.2]}))
    changed = comparison({"Q4_0": [1.3, 1.3]}, said=(1, 3))
    assert not changed.candidates[0].identical
    assert "Q4_0 some output differs" in said(changed)
