"""The adaptive draft length where the best length is known: in made-up worlds, and on what the demo pair really drafts.

Costs are given and chance is seeded: nothing here looks at the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest

from gemma_mtp.mtp_runtime import MtpEngine
from gemma_mtp.mtp_runtime.control import Auto, Control, Fixed, Guess, Round
from gemma_mtp.mtp_runtime.estimates import ENOUGH, LONGEST_REST, REMEMBERED, Verdicts
from gemma_mtp.mtp_runtime.prompts import BUILT_IN
from gemma_mtp.mtp_runtime.sampler import Greedy

MAXIMUM = 8
NUMBERS = count()


def guesses(confidences: Sequence[float]) -> list[Guess]:
    """Drafts that were never seen before."""
    return [Guess((next(NUMBERS), 0, 0), confidence) for confidence in confidences]


@dataclass(frozen=True)
class Machine:
    """step: seconds of a draft step. verify: seconds of a verification by draft length.

    stretches: it is half as quick again for so many rounds of every twice as many.
    """

    step: float
    verify: Callable[[int], float]
    noise: float = 0.05
    stretches: int = 0

    def cost(self, drafted: int, verified: int) -> float:
        return drafted * self.step + self.verify(verified)

    def play(
        self, control: Control, draft: Sequence[Guess], holds: int, chance: np.random.Generator, number: int = 0
    ) -> tuple[int, int, int]:
        """The `number`-th round, on a text where the first `holds` drafts would hold.

        Returns the numbers of drafted, verified and accepted tokens.

        Measurements are disturbed, mostly a little, seldom much.
        """
        drafted = 0
        while drafted < MAXIMUM and control.plan(draft[:drafted]) > drafted:
            drafted += 1
        verified = min(drafted, control.plan(draft[:drafted]))
        accepted = min(holds, verified)
        pace = 1.5 if self.stretches and number // self.stretches % 2 else 1.0
        slow = pace * (1 + self.noise * chance.exponential(2)) * np.where(chance.random(2) < 0.02, 4, 1)
        control.learn(
            Round(
                draft[:drafted],
                verified,
                accepted,
                min(holds, drafted, verified + 1) if accepted == verified else accepted,
                drafted * self.step * slow[0],
                self.verify(verified) * slow[1],
            )
        )
        return drafted, verified, accepted


@dataclass(frozen=True)
class World:
    """accept: chance by position; the drafter's confidence says nothing about it."""

    machine: Machine
    accept: Callable[[int], float]

    def best_speed(self) -> float:
        return max(self.speed(length) for length in range(MAXIMUM + 1))

    def speed(self, length: int) -> float:
        """Expected tokens a second with one length."""
        tokens = 1 + sum(np.prod([self.accept(position) for position in range(n + 1)]) for n in range(length))
        return float(tokens / self.machine.cost(length, length))

    def play(self, control: Control, rounds: int, chance: np.random.Generator) -> Iterator[tuple[int, float, int]]:
        """Tokens, seconds and verified drafts of each round."""
        for number in range(rounds):
            holds = 0
            while holds < MAXIMUM and chance.random() < self.accept(holds):
                holds += 1
            drafted, verified, accepted = self.machine.play(
                control, guesses(chance.random(MAXIMUM)), holds, chance, number
            )
            yield accepted + 1, self.machine.cost(drafted, verified), verified


def decreasing(first: float, by: float = 0.04) -> Callable[[int], float]:
    return lambda position: max(0.05, first - by * position)


WORLDS = {
    "cheap drafts, well accepted": World(Machine(0.02, lambda length: 1 + 0.02 * length), decreasing(0.92, 0.01)),
    "as on the heavy demo pair": World(Machine(0.04, lambda length: 1 + 0.25 * length), decreasing(0.85)),
    "verification jumps at four": World(Machine(0.05, lambda length: 1.0 if length < 4 else 1.9), decreasing(0.8)),
    "badly accepted": World(Machine(0.1, lambda length: 1 + 0.05 * length), decreasing(0.3)),
    "drafting loses": World(Machine(0.4, lambda length: 1 + 0.5 * length), decreasing(0.5)),
    "drafting loses by a hair": World(Machine(0.3, lambda length: 1 + 0.55 * length), decreasing(0.8)),
    "nothing is accepted": World(Machine(0.2, lambda length: 1 + 0.1 * length), lambda position: 0.0),
}


def shares_of_the_best(world: World, seeds: int) -> list[float]:
    """What `Auto` gives of the best fixed length's speed."""
    shares = []
    for seed in range(seeds):
        played = list(world.play(Auto(MAXIMUM), 600, np.random.default_rng(seed)))
        tokens, seconds, _ = (sum(column) for column in zip(*played, strict=True))
        shares.append(tokens / seconds / world.best_speed())
    return shares


@pytest.mark.parametrize("name", WORLDS)
def test_it_is_nearly_as_fast_as_the_best_fixed_length(name: str):
    shares = shares_of_the_best(WORLDS[name], 5)
    assert np.mean(shares) > 0.95
    assert min(shares) > 0.85


def test_a_machine_whose_pace_changes_is_not_taken_for_a_dearer_length():
    """0.94 of the best length's speed; if the pace is left out of the account, 0.91."""
    machine = Machine(0.04, lambda length: 1 + 0.25 * length, stretches=40)
    assert np.mean(shares_of_the_best(World(machine, decreasing(0.85)), 12)) > 0.925


def test_where_drafting_loses_it_stops_and_tries_again_now_and_then():
    played = list(WORLDS["drafting loses"].play(Auto(MAXIMUM), 1200, np.random.default_rng(1)))
    drafting = [number for number, (_, _, drafted) in enumerate(played) if drafted]
    assert len([number for number in drafting if number < 600]) < 0.1 * 600
    assert len(drafting) < 0.1 * len(played)
    # A try is a few rounds, of which some may verify nothing.
    assert np.diff([*drafting, len(played)]).max() <= LONGEST_REST + ENOUGH


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("badly accepted", "cheap drafts, well accepted"),
        ("nothing is accepted", "as on the heavy demo pair"),
        ("cheap drafts, well accepted", "drafting loses"),
    ],
)
def test_it_follows_when_the_world_changes(first: str, second: str):
    control, chance = Auto(MAXIMUM), np.random.default_rng(2)
    list(WORLDS[first].play(control, 400, chance))
    list(WORLDS[second].play(control, 200, chance))
    tokens, seconds, _ = (sum(column) for column in zip(*WORLDS[second].play(control, 400, chance), strict=True))
    assert tokens / seconds / WORLDS[second].best_speed() > 0.93


def test_long_without_room_for_drafts_it_goes_on_where_it_was():
    """As over many generations of two tokens."""
    control, chance, world = Auto(MAXIMUM), np.random.default_rng(10), WORLDS["cheap drafts, well accepted"]
    list(world.play(control, 200, chance))
    for _ in range(600):
        control.learn(Round((), 0, 0, 0, 0.0, world.machine.verify(0)))
    tokens, seconds, _ = (sum(column) for column in zip(*world.play(control, 200, chance), strict=True))
    assert tokens / seconds / world.best_speed() > 0.9


def test_a_shortest_draft_is_respected():
    played = list(WORLDS["badly accepted"].play(Auto(MAXIMUM, draft_min=3), 300, np.random.default_rng(3)))
    assert not {verified for _, _, verified in played} & {1, 2}


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_few_lengths_to_choose_from(longest: int):
    played = list(WORLDS["as on the heavy demo pair"].play(Auto(longest), 300, np.random.default_rng(4)))
    assert {verified for _, _, verified in played} <= set(range(longest + 1))
    assert np.mean([verified > 0 for _, _, verified in played]) > 0.5


def test_doubtful_tokens_are_not_verified_and_sure_ones_are():
    """Half of the drafts are hopeless, and their confidence tells."""
    control, chance = Auto(MAXIMUM), np.random.default_rng(5)
    machine, verified = Machine(0.02, lambda length: 1 + 0.2 * length), {True: [], False: []}
    for _ in range(400):
        good = bool(chance.random() < 0.5)
        confidences = list(chance.uniform(0.9, 1.0, MAXIMUM) if good else chance.uniform(0.0, 0.1, MAXIMUM))
        verified[good].append(machine.play(control, guesses(confidences), MAXIMUM if good else 0, chance)[1])
    assert np.mean(verified[True][50:]) > 6
    assert np.mean(verified[False][50:]) < 0.5


def test_a_draft_that_was_cut_is_judged_all_the_same():
    """Doubtful tokens, of which none holds for a while, and then all: nothing but cut drafts can tell."""
    control, chance = Auto(MAXIMUM), np.random.default_rng(8)
    machine = Machine(0.02, lambda length: 1 + 0.5 * length)
    doubtful = [0.5] * MAXIMUM
    for _ in range(60):
        machine.play(control, guesses(doubtful), 0, chance)
    assert control.plan(guesses(doubtful)) == 0
    verified = [machine.play(control, guesses(doubtful), MAXIMUM, chance)[1] for _ in range(300)]
    assert np.mean(verified[-100:]) > 4


def test_blind_it_stays_with_its_plan_whatever_the_confidence():
    control, chance = Auto(MAXIMUM, blind=True), np.random.default_rng(6)
    list(WORLDS["as on the heavy demo pair"].play(control, 100, chance))
    plan = control.plan([])
    assert plan > 0
    assert all(control.plan(guesses(chance.random(length))) == plan for length in range(MAXIMUM))


def repeating(good: bool) -> list[Guess]:
    """The same text again and again, one half of it drafted well and one badly, with the same confidence."""
    return [Guess((good, place, 0), 0.7) for place in range(MAXIMUM)]


def test_what_was_drafted_after_the_same_words_before_fares_as_it_did_then():
    control, chance, machine = Auto(MAXIMUM), np.random.default_rng(9), Machine(0.02, lambda length: 1 + 0.2 * length)
    verified: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(100):
        good = bool(chance.random() < 0.5)
        verified[good].append(machine.play(control, repeating(good), MAXIMUM if good else 0, chance)[1])
    assert np.mean(verified[True][10:]) > 6
    assert np.mean(verified[False][10:]) < 1
    before = control.plan(repeating(True)) - control.plan(repeating(False))
    control.begin()
    assert before > 0
    assert control.plan(repeating(True)) == control.plan(repeating(False))


def test_so_many_verdicts_are_remembered_the_latest():
    verdicts, heard = Verdicts(), [(number, 0, 0) for number in range(REMEMBERED + 2)]
    for trigram in (*heard[:-1], heard[1], heard[-1]):
        verdicts.add(trigram, held=True)
    known = [trigram for trigram in heard if verdicts.share(trigram, 0.0)]
    assert known == [heard[1], *heard[3:]]


def test_the_last_verdict_counts_most():
    verdicts, trigram = Verdicts(), (1, 2, 3)
    assert verdicts.share(trigram, 0.3) == 0.3
    shares = []
    for held in (True, True, False):
        verdicts.add(trigram, held)
        shares.append(verdicts.share(trigram, 0.5))
    assert shares == [0.75, 0.8, pytest.approx((0.5 * 1.5 + 0.5) / 2.75)]


def test_a_fixed_length_is_fixed_but_for_p_min():
    assert Fixed(3).plan([]) == Fixed(3).plan(guesses([0.1])) == 3
    assert not Fixed(3).wants_guesses
    assert Fixed(3, p_min=0.5).plan(guesses([0.6, 0.5, 0.4])) == 2
    assert Fixed(3, 3, p_min=0.5).plan(guesses([0.6, 0.5, 0.4])) == 0
    assert Fixed(3, p_min=0.5).wants_guesses


@pytest.fixture(scope="module")
def drafts(engine: MtpEngine) -> dict[str, list[tuple[list[Guess], int]]]:
    """By category: at each place of the demo target's text the guesses of a draft, and how many of them hold."""
    verifier, drafter, sampler = engine._verifier, engine._drafter, Greedy(engine.target.end_tokens())
    assert drafter
    whole = Fixed(MAXIMUM, p_min=1e-9)  # which wants guesses and cuts none
    found = {}
    for category, prompt in BUILT_IN.items():
        text, rows = [verifier.prefill(engine.tokenize(prompt)[:200], sampler)], []
        for place in range(170):
            rows.append(drafter.draft(text[-1], verifier.hidden, verifier.tokens, MAXIMUM, sampler, place + 1, whole))
            text.append(verifier.verify(text[-1], [], sampler, place + 1).newest)
        found[category] = [
            (
                list(draft.guesses),
                next((i for i in range(MAXIMUM) if draft.tokens[i] != text[place + 1 + i]), MAXIMUM),
            )
            for place, draft in enumerate(rows[: 170 - MAXIMUM])
        ]
    return found


MACHINES = {
    "two cores": Machine(0.03, lambda length: 1 + (0.6 + 0.25 * length if length else 0)),
    "memory-bound": Machine(0.05, lambda length: 1 + 0.05 * length),
    "a slow drafter": Machine(0.25, lambda length: 1 + 0.05 * length),
    "verification is dear": Machine(0.3, lambda length: 1 + 0.8 * length),
}


@pytest.mark.parametrize("name", MACHINES)
def test_on_the_categories_it_is_as_fast_as_each_ones_best_length(
    drafts: dict[str, list[tuple[list[Guess], int]]], name: str
):
    machine, chance = MACHINES[name], np.random.default_rng(7)

    def seconds(control: Control, category: str) -> float:
        place, total = 0, 0.0
        control.begin()
        while place < len(drafts[category]):
            drafted, verified, accepted = machine.play(control, *drafts[category][place], chance)
            place, total = place + accepted + 1, total + machine.cost(drafted, verified)
        return total / place

    auto = Auto(MAXIMUM)
    seconds(auto, "code")
    ratios = {
        category: min(seconds(Fixed(length), category) for length in range(MAXIMUM + 1)) / seconds(auto, category)
        for category in drafts
    }
    assert np.mean(list(ratios.values())) > 0.97, ratios
    assert min(ratios.values()) > 0.88, ratios
