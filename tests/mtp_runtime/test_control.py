"""The adaptive draft length where the best length is known: on cost tables and texts of chance, by the simulator that
the benchmark uses. Chance is seeded: nothing here looks at the clock.
"""

from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gemma_mtp.mtp_runtime.control import FADING, LONGEST_REST, SETTLE, TRY, Auto, Chances, Costs, Fixed, Memories
from gemma_mtp.mtp_runtime.experience import Experience, measured

SIMULATOR = Path(__file__).parents[2] / "benchmarks" / "auto.py"
MAXIMUM = 8


def load_simulator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("auto_simulator", SIMULATOR)
    assert spec
    assert spec.loader
    module = sys.modules["auto_simulator"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


simulator = load_simulator()
MACHINES = list(simulator.MACHINES)


def planned(control: Auto, accept: int, rounds: int, seconds: list[float]) -> list[int]:
    """The lengths of so many rounds in which the first `accept` drafts hold; seconds: of a round by its length."""
    lengths = []
    for _ in range(rounds):
        lengths.append(control.plan(MAXIMUM))
        control.learn(min(accept, lengths[-1]), seconds[lengths[-1]])
    return lengths


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("text", ["0.4", "0.8", "0.9, then 0.4", "0.6, then a loop of nine"])
def test_with_known_costs_it_is_nearly_as_fast_as_the_best_fixed_length(machine: str, text: str):
    found = simulator.cell(simulator.MACHINES[machine], text, range(6), 256)
    assert found["known"] > 0.93
    assert found["probed"] > 0.88


def test_the_best_fixed_length_of_each_machine_is_another_one():
    """Else the test above could be passed by a control that always says the same."""
    best = {
        (machine, text): simulator.cell(simulator.MACHINES[machine], text, range(3), 128)["best"]
        for machine in MACHINES
        for text in ("0.4", "0.9")
    }
    assert best["experts in RAM", "0.4"] == 0
    assert best["dense, GPU", "0.9"] > 4
    assert len(set(best.values())) > 3


def test_the_simulator_gives_a_fixed_length_its_share_exactly():
    """A text of drafts that all hold, no noise on true costs: 3 tokens a round at 2 drafts."""
    machine = simulator.Machine((10.0, 11.0, 12.0), 5.0)
    world = simulator.World(machine, (simulator.LONGEST,) * 31, 0.2, (0.0, 1e12))
    times = world.play(Fixed(2), 0)
    assert len(times) == 31
    assert times[-1] == pytest.approx(10 * 12.0 + 5.0)


def test_a_length_is_left_seldom():
    world = simulator.world(simulator.MACHINES["GPU"], simulator.TEXTS["0.7"], 512, 1)
    lengths: list[int] = []

    class Watched(Auto):
        def plan(self, room: int) -> int:
            lengths.append(super().plan(room))
            return lengths[-1]

    world.play(Watched(MAXIMUM, known=simulator.measured(simulator.MACHINES["GPU"], 1)), 1)
    changes = sum(one != other for one, other in pairwise(lengths))
    assert changes < len(lengths) / 8


def test_where_drafting_loses_it_rests_and_is_tried_again_seldom():
    seconds = [1.0 + 0.7 * length for length in range(MAXIMUM + 1)]
    lengths = planned(Auto(MAXIMUM), 0, 1500, seconds)
    drafting = [place for place, length in enumerate(lengths) if length]
    assert len(drafting) < 0.06 * len(lengths)
    gaps = np.diff(drafting)
    assert max(gaps) <= LONGEST_REST + SETTLE
    assert len(lengths) - drafting[-1] <= LONGEST_REST + SETTLE
    assert len([place for place in drafting if place > 200]) <= (TRY + 2) * (1 + 1300 // LONGEST_REST)


def test_it_follows_a_text_that_changes():
    control, seconds = Auto(MAXIMUM), [1.0 + 0.1 * length for length in range(MAXIMUM + 1)]
    assert np.mean(planned(control, MAXIMUM, 60, seconds)[-20:]) > 5
    assert np.mean(planned(control, 0, 60, seconds)[-20:]) < 2
    assert np.mean(planned(control, 0, 100, seconds)[-20:]) < 1
    assert np.mean(planned(control, MAXIMUM, 300, seconds)[-20:]) > 5


@pytest.mark.parametrize(("change", "left"), [(0.0, True), (100.0, False)])
def test_a_change_that_costs_much_is_not_made_for_little(change: float, left: bool):
    costs = {length: (1.0 + 0.1 * length,) * 9 for length in (0, 1, 2, 3, 4, 6, 8)}
    control, last = Auto(MAXIMUM, known=Experience(costs, change, 0.7)), None
    start = control.plan(MAXIMUM)
    assert start > 1
    for _ in range(40):
        length = control.plan(MAXIMUM)
        control.learn(min(1, length), 1.0 + 0.1 * length + change * (length != last))
        last = length
    assert (last < start) is left


def test_a_slower_machine_is_not_taken_for_dearer_lengths():
    costs = {length: (1.0 + 0.1 * length,) * 9 for length in (0, 1, 2, 3, 4, 6, 8)}
    control = Auto(MAXIMUM, known=Experience(costs, 0.01, 0.8))
    seconds = [3 * (1.0 + 0.1 * length) for length in range(MAXIMUM + 1)]
    for number in range(60):  # every fourth draft fails: what held before holds on
        length = control.plan(MAXIMUM)
        control.learn(min(3 if number % 2 else MAXIMUM, length), seconds[length])
    assert control.plan(MAXIMUM) >= 3


def test_limits_are_respected():
    control = Auto(MAXIMUM, 3)
    lengths = planned(control, MAXIMUM, 100, [1.0 + 0.1 * length for length in range(MAXIMUM + 1)])
    assert set(lengths) <= {0, 3, 4, 6, 8}
    assert max(lengths) == MAXIMUM
    assert control.plan(2) == 2
    assert control.plan(0) == 0
    assert [Auto(longest).plan(longest) for longest in (0, 1)] == [0, 1]
    assert max(planned(Auto(1), MAXIMUM, 50, [1.0, 1.1])) == 1
    assert max(planned(Auto(5), MAXIMUM, 50, [1.0 + 0.1 * length for length in range(6)])) == 5


LENGTHS = (0, 1, 2, 4, 8)


def test_a_text_in_step_with_a_length_is_seen():
    """Each ninth draft fails. Position by position a draft of 8 seems to fail as often as others; it never does."""
    chances = Chances(LENGTHS, 0.75, FADING[1])
    for _ in range(30):
        chances.add(4, 4)
        chances.add(4, 3)
    tokens = dict(zip(LENGTHS, chances.tokens(), strict=True))
    assert chances.share == pytest.approx(7 / 8, abs=0.02)
    assert tokens[8] > 6
    assert tokens[0] == pytest.approx(1)
    assert tokens[4] < 5


def test_a_draft_that_ended_early_by_itself_counts_as_its_end():
    chances = Chances((0, 4), 0.75, FADING[1])
    for _ in range(100):
        chances.add(4, 2)
    assert chances.tokens()[1] == pytest.approx(3, abs=0.3)
    assert chances.share == pytest.approx(2 / 3, abs=0.01)


def test_an_even_text_is_told_by_the_long_memory_and_a_turn_by_the_short_one():
    random, both = np.random.default_rng(3), Memories(LENGTHS, 0.75)
    shares = []
    for _ in range(800):
        both.add(1, int(random.random() < 0.7))
        shares.append(both.share)
    assert np.std(shares[300:]) < 0.05  # that of the short memory alone is 0.07
    assert both.trust < 0.6
    for _ in range(12):
        both.add(4, 0)
    assert both.share < 0.45  # the long one says 0.67 still
    for _ in range(2000):
        both.add(4, 4)
    assert both.share > 0.98


def test_one_disturbed_round_is_no_cost():
    costs = Costs(MAXIMUM, Experience())
    for seconds in (1.15, *[1.0] * 6, 50.0, *[1.0] * 6):
        costs.add(2, seconds)
    assert costs.of(2) == pytest.approx(1.0, rel=0.1)
    for length, seconds in [(3, 1.75), (3, 1.5), (3, 1.5), (2, 1.25), (2, 1.0)] * 4:
        costs.add(length, seconds)
    assert costs.of(3) == pytest.approx(1.5, rel=0.1)
    assert costs.of(-1) == pytest.approx(0.25, rel=0.3)
    assert costs.of(0) <= costs.of(1) <= costs.of(2) < costs.of(4) < costs.of(8)


def test_a_round_tells_of_its_neighbours_and_of_the_pace():
    known = Experience({length: (1.0 + 0.2 * length,) * 9 for length in (0, 4, 8)})
    costs = Costs(MAXIMUM, known)
    assert [costs.of(length) for length in (0, 2, 6)] == pytest.approx([1.0, 1.4, 2.2], rel=0.02)
    for _ in range(60):
        costs.add(4, 2 * 1.8)
    assert costs.of(4) == pytest.approx(3.6, rel=0.1)
    assert costs.of(8) > 1.6 * 2.6  # the machine is slower, not this length dearer
    again = Costs(MAXIMUM, Experience(costs.experience()))
    assert [again.of(length) for length in (0, 4, 8)] == pytest.approx(
        [costs.of(length) for length in (0, 4, 8)], rel=0.15
    )


def test_what_is_measured_before_the_first_token_is_what_rounds_cost():
    """The first round of each length has more to do, and one that follows another length too."""
    seen: list[int] = []

    def seconds(length: int) -> float:
        took = 0.01 * (1 + length) + 5 * (length not in seen) + 0.002 * (seen[-1:] != [length])
        seen.append(length)
        return took

    found = measured(seconds, (0, 1, 2, 4, 8))
    assert {length: min(times) for length, times in found.costs.items()} == pytest.approx(
        {0: 0.01, 1: 0.02, 2: 0.03, 4: 0.05, 8: 0.09}
    )
    assert found.change == pytest.approx(0.002)
    assert list(measured(lambda length: 0.2 + length, (0, 1, 2, 4)).costs) == [0, 1]  # slow rounds: it ends soon
    assert measured(seconds, ()) == Experience()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_no_doubt_is_doubted(share: float):
    control = Auto(MAXIMUM, known=Experience({0: (1.0,), 8: (2.0,)}, 0.1, share))
    for accepted in (0, MAXIMUM) * 20:
        control.learn(min(accepted, control.plan(MAXIMUM)), 1.5)
    assert 0 < control.experience().share < 1


def test_experience_goes_on_where_it_was():
    first, seconds = Auto(MAXIMUM), [1.0 + 0.05 * length for length in range(MAXIMUM + 1)]
    planned(first, MAXIMUM, 100, seconds)
    again = Auto(MAXIMUM, known=first.experience())
    assert again.plan(MAXIMUM) == first.plan(MAXIMUM) == MAXIMUM
    assert Auto(MAXIMUM).plan(MAXIMUM) < MAXIMUM


def test_a_fixed_length_is_fixed():
    control = Fixed(3)
    control.learn(0, 100.0)
    assert [control.plan(room) for room in (9, 3, 2, 0)] == [3, 3, 2, 0]
