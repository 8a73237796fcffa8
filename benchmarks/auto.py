"""Proves the adaptive draft length without a machine: the real controller on cost tables and on texts of chance.

    python benchmarks/auto.py [--seeds 20] [--first-seed 0] [--tokens 256] [--json] [--check]

A row for each kind of text, a column for each machine. Every figure is a share of what the best fixed length gives, no
drafting included: the length that is best over all seeds of the cell, found by running each of them on the same texts.
First over the whole text, then in the worst stretch of 64 tokens (the same places of all seeds' texts together: what is
left is the controller's doing, not luck). Twice: `known`, with costs as `gemma-mtp bench` leaves them, and `probed`,
where nothing was known of the machine and the probe before the first token measured a few rounds.

- A text of chance says for each of its tokens whether the drafter is right about it, whatever was drafted before.
- Costs are told to the controller with noise: each round's by a lognormal factor, one round of a hundred by four more,
  and the machine's pace drifts by a tenth. Fixed lengths and controller are compared at the true costs.
- A round whose length differs from that of the round before costs the machine's change too: for both.

For texts that turn, `bound` is reached by a rule that is told what none can know: all costs, for each part of the text
the length that is best there (of all pairs of lengths the one that is fastest over the text), and each turn as soon as
its evidence is there. Its worst stretch is the price of hearing of a turn no sooner.

Last come recorded texts: what the demo pair does with the built-in prompts (`benchmarks/traces.py`). Each is there
once, so that a length may be in step with its loops by chance, and is best there and nowhere else: beside the share of
each text's own best stands what the one fixed length reaches that is best for all of these texts.

`--check` exits with 1 unless every cell gives PROMISE over the whole with known costs and FLOOR in the worst stretch.
REACHED names the texts where less is reached; after a probe the promise is 0.94. (On the dense target a stretch of 64
tokens is seven rounds of a loop of nine, of which two periods are over before it can be known.)
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from gemma_mtp.mtp_runtime import experience
from gemma_mtp.mtp_runtime.control import Auto, Control, Fixed
from gemma_mtp.mtp_runtime.experience import Experience

TRACES = Path(__file__).with_name("traces.json")
LONGEST, STRETCH = 8, 64
FIXED = range(LONGEST + 1)
PROMISE, FLOOR = 0.97, 0.9
#: Noise of a round's time (sigma of its logarithm), by seed in turns; how far the pace drifts.
NOISES, DRIFT = (0.1, 0.15, 0.25), 0.1
#: One round of so many takes four times as long.
DISTURBED = 100
#: The bound is found among pairs of these lengths, on the texts of so many seeds.
TOLD, FEW = (0, 1, 2, 3, 4, 6, 8), 10


@dataclass(frozen=True)
class Machine:
    """rounds: milliseconds of a round by its drafts, 0 to LONGEST. change: what another length costs more."""

    rounds: tuple[float, ...]
    change: float


def machine(plain: float, step: float, verifications: Sequence[float], change: float) -> Machine:
    """verifications: of 2, 3, .. tokens. step: of one draft."""
    return Machine((plain, *(step * drafts + ms for drafts, ms in enumerate(verifications, 1))), change)


MACHINES = {
    # The demo pair with 64 inert layers, Q8_0, two cores: from the medians of `benchmarks/runtime.py`.
    "two cores": Machine((12.0, 16.0, 19.2, 21.9, 25.4, 28.5, 31.6, 34.7, 37.8), 2.2),
    # A 26B-A4B target in Q4_0 on an H100, 512 tokens of prompt.
    "GPU": machine(4.47, 0.67, (5.0, 5.4, 6.3, 7.0, 7.6, 8.2, 10.3, 12.5), 1.7),
    # Assumed: a dense target on a GPU.
    "dense, GPU": machine(33, 1.0, (34, 35, 36, 38, 40, 42, 44, 47), 3.0),
    # Assumed: a mixture of experts, half of it in main memory: each token of a batch reads experts of its own.
    "experts in RAM": machine(55, 1.2, [55 * (1 + 0.7 * more) for more in range(1, LONGEST + 1)], 3.0),
    # A 26B-A4B target in Q4_0 on an H100 with 16 cores, the experts of 15 of 30 layers in main memory: up to 4
    # tokens as measured (`benchmarks/gpu.py --only half`), then by what the fourth adds. No draft pays there.
    "half of them": machine(19.9, 0.88, (53.1, 74.8, 82.4, 90, 98, 106, 114, 122), 1.7),
}

#: The chance that the drafter is right about each of so many tokens.
Text = Callable[[int, np.random.Generator], list[float]]


def even(chance: float) -> Text:
    return lambda length, _: [chance] * length


def turning(first: float, second: float, at: int = 128) -> Text:
    return lambda length, _: [first if place < at else second for place in range(length)]


def clustered(hard: float, easy: float, stay: int = 12) -> Text:
    """Stretches of some `stay` tokens, half of them hard and half easy."""

    def text(length: int, random: np.random.Generator) -> list[float]:
        chances = [easy if random.random() < 0.5 else hard]
        while len(chances) < length:
            again = random.random() < 1 / stay
            chances.append((easy if random.random() < 0.5 else hard) if again else chances[-1])
        return chances

    return text


def looping(between: float, stretch: int = 48) -> Text:
    """Every other stretch repeats itself, and all drafts hold."""
    return lambda length, _: [1.0 if place // stretch % 2 else between for place in range(length)]


def ending_in_a_loop(before: float, at: int = 64, period: int = 9) -> Text:
    """A loop in which the drafter is wrong about one token, always: a length of period - 1 is in step with it."""
    return lambda length, _: [before if place < at else float(place % period > 0) for place in range(length)]


TEXTS: dict[str, Text] = {
    **{f"{chance:.1f}": even(chance) for chance in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)},
    "0.2 and 0.8, clustered": clustered(0.2, 0.8),
    "0.4 and 0.9, clustered": clustered(0.4, 0.9),
    "0.6 and 1.0, clustered": clustered(0.6, 0.98),
    "0.9, then 0.4": turning(0.9, 0.4),
    "0.4, then 0.9": turning(0.4, 0.9),
    "0.8, then 0.5": turning(0.8, 0.5),
    "0.5 with loops": looping(0.5),
    "0.6, then a loop of nine": ending_in_a_loop(0.6),
}

#: What is asked for, by figure; of all recorded texts together; and of the texts where less is reached.
FIGURES = ("known", "known, worst", "probed", "probed, worst")
WANTED = (PROMISE, FLOOR, 0.94, 0.89)
RECORDED = 0.95
REACHED = {
    "0.9": (0.96, 0.9, 0.95, 0.9),
    "0.9, then 0.4": (0.97, 0.88, 0.95, 0.83),
    "0.4, then 0.9": (0.97, 0.87, 0.95, 0.87),
    "0.6 and 1.0, clustered": (0.96, 0.9, 0.94, 0.89),
    "0.5 with loops": (0.94, 0.89, 0.93, 0.86),
    "0.6, then a loop of nine": (0.93, 0.68, 0.93, 0.68),
}
#: Where no draft pays, trying costs this much.
NEVER_PAYS = {"half of them": 0.03}


@dataclass(frozen=True)
class Turns:
    """Places where a text becomes another, in turns, and after how many tokens that can be seen: those whose evidence
    makes the new kind twenty times as probable as the old one, all of them drafted; of a loop two periods."""

    places: tuple[int, ...]
    seen_after: tuple[int, ...]


def evidence(old: float, new: float) -> int:
    """Tokens until a new chance is twenty times as probable as the old one."""
    gain = sum(chance * math.log(chance / before) for chance, before in ((new, old), (1 - new, 1 - old)) if chance > 0)
    return math.ceil(math.log(20) / gain)


LOOPS = tuple(range(48, 1024, 48))
TURNS = {
    "0.9, then 0.4": Turns((128,), (evidence(0.9, 0.4),)),
    "0.4, then 0.9": Turns((128,), (evidence(0.4, 0.9),)),
    "0.8, then 0.5": Turns((128,), (evidence(0.8, 0.5),)),
    # Out of a stretch in which all drafts hold, the first that fails is enough.
    "0.5 with loops": Turns(LOOPS, tuple((2, evidence(0.5, 1.0))[place // 48 % 2] for place in LOOPS)),
    "0.6, then a loop of nine": Turns((64,), (18,)),
}


class Told:
    """A length for each kind of text, and the places where another kind is known to have begun."""

    def __init__(self, lengths: tuple[int, int], turns: Turns):
        self.draft_max, self._lengths = max(lengths), lengths
        self._known = [place + late for place, late in zip(turns.places, turns.seen_after, strict=True)]
        self._place = 0

    def plan(self, room: int) -> int:
        kind = sum(known <= self._place for known in self._known) % 2
        return min(self._lengths[kind], room)

    def learn(self, accepted: int, seconds: float) -> None:
        self._place += accepted + 1


@dataclass(frozen=True)
class World:
    """A text on a machine. holds: by place how many drafts made there are right, one after another."""

    machine: Machine
    holds: tuple[int, ...]
    noise: float
    swing: tuple[float, float]  # phase and length, in tokens, of the drift

    def play(self, control: Control, seed: int) -> np.ndarray:
        """True milliseconds until each token was there, float64 [tokens]. seed: of the noise."""
        random, times, last = np.random.default_rng(seed), [0.0], -1
        while len(times) < len(self.holds):
            place = len(times) - 1
            planned = control.plan(min(LONGEST, len(self.holds) - len(times) - 1))
            accepted = min(self.holds[place], planned)
            phase, period = self.swing
            pace = math.exp(DRIFT * math.sin(phase + 2 * math.pi * place / period))
            took = pace * (self.machine.rounds[planned] + self.machine.change * (planned != last))
            control.learn(accepted, took * noise(self.noise, random) / 1000)
            times += [times[-1] + took * part / (accepted + 1) for part in range(1, accepted + 2)]
            last = planned
        return np.array(times)


def noise(sigma: float, random: np.random.Generator) -> float:
    return math.exp(sigma * random.standard_normal()) * (4 if random.integers(DISTURBED) == 0 else 1)


def world(machine: Machine, text: Text, tokens: int, seed: int) -> World:
    random = np.random.default_rng(seed)
    right = [random.random() < chance for chance in text(tokens + LONGEST + 1, random)]
    holds = [next((run for run in range(LONGEST) if not right[place + 1 + run]), LONGEST) for place in range(tokens)]
    return played(machine, holds, random, seed)


def played(machine: Machine, holds: Sequence[int], random: np.random.Generator, seed: int) -> World:
    swing = random.uniform(0, 2 * math.pi), random.uniform(150, 600)
    return World(machine, tuple(holds), NOISES[seed % len(NOISES)], swing)


def measured(machine: Machine, seed: int) -> Experience:
    """What `gemma-mtp bench` leaves: costs within a few percent, and the share of drafts over all of its texts."""
    random = np.random.default_rng(seed)
    costs = {
        drafts: tuple(ms / 1000 * random.lognormal(0, 0.02) * random.lognormal(0, 0.05, 18))
        for drafts, ms in enumerate(machine.rounds)
    }
    return Experience(costs, machine.change / 1000)


def probed(machine: Machine, seed: int) -> Experience:
    """What the probe before the first token finds."""
    random, last = np.random.default_rng([seed, 1]), [-1]

    def seconds(length: int) -> float:
        took = machine.rounds[length] + machine.change * (length != last[0])
        last[0] = length
        return took / 1000 * noise(NOISES[seed % len(NOISES)], random)

    return experience.measured(seconds, experience.PROBED)


KNOWLEDGE: dict[str, Callable[[Machine, int], Experience]] = {"known": measured, "probed": probed}


def cell(machine: Machine, text: str, seeds: Sequence[int], tokens: int) -> dict[str, float]:
    """By knowledge: the share over all, and in the worst stretch; and the length that they are shares of."""
    worlds = {seed: world(machine, TEXTS[text], tokens, seed) for seed in seeds}

    def total(make: Callable[[int], Control]) -> np.ndarray:
        return np.sum([worlds[seed].play(make(seed), seed) for seed in seeds], axis=0)

    fixed = [total(lambda _, length=length: Fixed(length)) for length in FIXED]
    best = min(FIXED, key=lambda length: fixed[length][-1])
    found: dict[str, float] = {"best": best}
    for name, known in KNOWLEDGE.items():
        auto = total(lambda seed, known=known: Auto(LONGEST, known=known(machine, seed)))
        found |= {name: fixed[best][-1] / auto[-1], f"{name}, worst": worst(fixed[best], auto)}
    return found


def recorded(machine: Machine, seeds: Sequence[int], tokens: int) -> dict[str, dict[str, float]]:
    """By recorded text the length that is best for it, and shares of what that gives. "all": of all texts, as shares of
    what each one's own best gives; "one" is that of the length which is best for all."""
    texts = json.loads(TRACES.read_text(encoding="utf-8"))
    took = {text: totals(machine, [int(one) for one in digits[:tokens]], seeds) for text, digits in texts.items()}
    best = {text: min(FIXED, key=row.__getitem__) for text, row in took.items()}
    found = {
        text: {"best": best[text], **{name: row[best[text]] / row[name] for name in KNOWLEDGE}}
        for text, row in took.items()
    }
    whole = sum(row[best[text]] for text, row in took.items())
    together = {name: sum(row[name] for row in took.values()) for name in (*FIXED, *KNOWLEDGE)}
    one = min(FIXED, key=together.__getitem__)
    return found | {"all": {"best": one, **{n: whole / together[n] for n in KNOWLEDGE}, "one": whole / together[one]}}


def totals(machine: Machine, holds: Sequence[int], seeds: Sequence[int]) -> dict[int | str, float]:
    """Milliseconds of a text over all seeds, by fixed length and by what the controller knew."""
    worlds = {seed: played(machine, holds, np.random.default_rng(seed), seed) for seed in seeds}

    def total(make: Callable[[int], Control]) -> float:
        return float(sum(one.play(make(seed), seed)[-1] for seed, one in worlds.items()))

    fixed = {length: total(lambda _, length=length: Fixed(length)) for length in FIXED}
    return fixed | {
        name: total(lambda seed, known=known: Auto(LONGEST, known=known(machine, seed)))
        for name, known in KNOWLEDGE.items()
    }


def bound(machine: Machine, text: str, best: int, seeds: Sequence[int], tokens: int) -> dict[str, float]:
    """What a rule reaches that is told all but the next turn, as shares of the fixed length `best`."""
    worlds = [world(machine, TEXTS[text], tokens, seed) for seed in seeds[:FEW]]

    def total(make: Callable[[], Control]) -> np.ndarray:
        return np.sum([one.play(make(), 0) for one in worlds], axis=0)

    reference = times = total(lambda: Fixed(best))
    if text in TURNS:
        told = (total(lambda pair=pair: Told(pair, TURNS[text])) for pair in product(TOLD, TOLD))
        times = min(told, key=lambda one: one[-1])
    return {"bound": reference[-1] / times[-1], "bound, worst": worst(reference, times)}


def worst(reference: np.ndarray, times: np.ndarray) -> float:
    """The share in the worst stretch of STRETCH tokens."""
    return float(((reference[STRETCH:] - reference[:-STRETCH]) / (times[STRETCH:] - times[:-STRETCH])).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0, help="others than those that the rule was made with")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    result = {text: {name: cell(one, text, seeds, options.tokens) for name, one in MACHINES.items()} for text in TEXTS}
    for (text, row), (name, one) in product(result.items(), MACHINES.items()):
        row[name] |= bound(one, text, int(row[name]["best"]), seeds, options.tokens)
    texts = {name: recorded(one, seeds, options.tokens) for name, one in MACHINES.items()}
    if options.json:
        print(json.dumps({**result, "recorded": texts}, indent=2))
    else:
        show(result)
        show_recorded(texts)
    failed = [
        *failures(result),
        *(f"recorded texts on {name}" for name, row in texts.items() if row["all"]["known"] < RECORDED),
    ]
    print("".join(f"less than promised: {one}\n" for one in failed), end="", file=sys.stderr)
    if options.check and failed:
        raise SystemExit(1)


def failures(result: dict[str, dict[str, dict[str, float]]]) -> Iterator[str]:
    for text, row in result.items():
        for (name, one), (figure, wanted) in product(row.items(), zip(FIGURES, REACHED.get(text, WANTED), strict=True)):
            if one[figure] < wanted - NEVER_PAYS.get(name, 0.0):
                yield f"{text} on {name}, {figure}: {one[figure]:.3f}, wanted {wanted}"


def show_recorded(texts: dict[str, dict[str, dict[str, float]]]) -> None:
    """Per machine: the length that is best for the text, then shares with known costs and probed."""

    def line(name: str, cells: Iterator[str]) -> None:
        print(f"{name:26s}" + "".join(f"{cell:>24s}" for cell in cells))

    print()
    for text in next(iter(texts.values())):
        rows = (row[text] for row in texts.values())
        line(text, (f"{row['best']}: " + " ".join(f"{row[name]:.3f}" for name in KNOWLEDGE) for row in rows))
    line("all by one length", (f"{row['all']['best']}: {row['all']['one']:.3f}      " for row in texts.values()))


def show(result: dict[str, dict[str, dict[str, float]]]) -> None:
    """Per machine: the best fixed length, then share (worst stretch) with known costs, probed, and the bound."""
    figures = (*KNOWLEDGE, "bound")
    print(f"{'':26s}" + "".join(f"{name:>42s}" for name in MACHINES))
    for text, row in result.items():
        cells = [
            f"{one['best']:.0f}: " + " ".join(f"{one[name]:.3f} ({one[f'{name}, worst']:.2f})" for name in figures)
            for one in row.values()
        ]
        print(f"{text:26s}" + "".join(f"{figure:>42s}" for figure in cells))
    for name in figures:
        each = [one for row in result.values() for one in row.values()]
        mean, least = float(np.mean([one[name] for one in each])), min(one[name] for one in each)
        stretch = min(one[f"{name}, worst"] for one in each)
        print(f"{name}: {mean:.3f} on average, at least {least:.3f}; in the worst stretch {stretch:.2f}")


if __name__ == "__main__":
    main()
