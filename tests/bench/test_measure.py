"""Laps are run in turns, and two independent engines say and accept the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from gemma_mtp.bench.laps import Pair, answer
from gemma_mtp.bench.measure import Plan, measure
from gemma_mtp.bench.results import AUTO, PLAIN
from gemma_mtp.errors import BadFileError, MissingExtra, UsageError
from gemma_mtp.mtp_runtime.prompts import BUILT_IN, choose_prompts
from gemma_mtp.native.child import in_child

PROMPTS = (("code", "class Stack:\n\n    def __init__(self):\n"), ("more", "def main(argv):\n"))


def test_tasks_are_in_turns_and_every_other_repeat_goes_backwards(pair: Pair):
    tasks = Plan(pair, PROMPTS, (1, 2), repeats=2).tasks()
    first = [(task.category, task.draft) for task in tasks if task.repeat == 0]
    assert first == list(product(("code", "more"), (PLAIN, 1, 2)))
    assert [(task.category, task.draft) for task in tasks if task.repeat == 1] == first[::-1]


def test_an_engine_that_loads_anew_for_a_length_does_so_once_a_repeat(pair: Pair):
    tasks = Plan(pair, PROMPTS, (1, AUTO), engines=("python", "cpp"), repeats=2).tasks()
    drafts = [task.draft for task in tasks if task.engine == "cpp"]
    assert drafts == [PLAIN, PLAIN, 1, 1, 1, 1, PLAIN, PLAIN]
    first, second = ([task.engine for task in tasks if task.repeat == n and task.draft == 1] for n in (0, 1))
    assert first == ["python", "cpp"] * 2
    assert second == ["cpp", "python"] * 2


def test_both_engines_agree_token_for_token_and_draft_for_draft(pair: Pair):
    laps = list(measure(Plan(pair, PROMPTS, (1, 3, AUTO), engines=("python", "cpp"), tokens=40, repeats=1)))
    ours, theirs = (
        {(lap.task.category, lap.task.draft): lap for lap in laps if lap.task.engine == e} for e in ("python", "cpp")
    )
    assert set(ours) - set(theirs) == {("code", AUTO), ("more", AUTO)}
    for key, lap in theirs.items():
        assert lap.tokens == ours[key].tokens
        assert lap.text == ours[key].text
        counts = [(s.tokens, s.rounds, s.drafted, s.accepted) for s in (lap.statistics, ours[key].statistics)]
        assert counts[0] == counts[1]
        assert (lap.statistics.drafted > 0) is (key[1] != PLAIN)
    for category in ("code", "more"):
        assert ours[category, AUTO].tokens == ours[category, PLAIN].tokens


def test_what_cannot_be_loaded_is_an_error_of_the_measurement(pair: Pair):
    swapped = replace(pair, target=pair.assistant, assistant=pair.target)
    for engine in ("python", "cpp"):
        with pytest.raises(BadFileError, match="where the target is expected"):
            list(measure(Plan(swapped, PROMPTS, (1,), engines=(engine,), tokens=4)))


def without_xllamacpp(pair: Pair):
    """Runs in a child, where the package cannot be imported."""
    import sys

    sys.modules["xllamacpp"] = None  # type: ignore[assignment]
    talk = answer("cpp", pair)
    next(talk)
    task = Plan(pair, PROMPTS, (1,), engines=("cpp",)).tasks()[0]
    yield talk.send(task)


def test_a_missing_extra_is_named(pair: Pair):
    with pytest.raises(MissingExtra, match="xllamacpp") as caught:
        list(in_child(f"{__name__}:without_xllamacpp", pair))
    assert caught.value.hint == 'install it with: pip install "gemma-mtp[serve]"'


def test_choosing_prompts(tmp_path):
    assert choose_prompts(None) == BUILT_IN
    assert list(BUILT_IN) == ["code", "JSON", "prose", "copying", "editing", "translation", "math"]
    assert list(choose_prompts(None, ["math", "code"])) == ["code", "math"]
    with pytest.raises(UsageError, match="'poem' is unknown"):
        choose_prompts(None, ["poem"])
    (tmp_path / "own").write_text("a\n---\nb\n")
    assert choose_prompts(tmp_path / "own") == {"prompt 1": "a", "prompt 2": "b"}
    with pytest.raises(UsageError, match="no categories"):
        choose_prompts(tmp_path / "own", ["code"])
