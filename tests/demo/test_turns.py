"""The demo's lengths take turns, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

from gemma_mtp.bench.laps import Pair
from gemma_mtp.demo.demo import REPEATS, _race
from gemma_mtp.demo.prompts import PROMPTS
from gemma_mtp.native.engines import PYTHON
from gemma_mtp.native.settings import ContextSettings


def test_lengths_take_turns_and_every_other_round_runs_backwards(target_gguf, assistant_gguf):
    told: list[str] = []
    pair = Pair(target_gguf("Q8_0"), assistant_gguf("Q8_0"), 2, ContextSettings(size=512, threads=1))
    laps = _race(pair, (1, 2), told.append, PYTHON)
    assert [words.strip() for words in told] == [f"round {number + 1} of {REPEATS} done" for number in range(REPEATS)]
    rounds = [[lap.task.draft for lap in laps if lap.task.repeat == repeat] for repeat in range(REPEATS)]
    assert rounds[0] == [0, 1, 2] * len(PROMPTS)
    assert rounds[1] == [2, 1, 0] * len(PROMPTS)
    assert len(rounds) >= 3  # a median of two is one of them at its worst
