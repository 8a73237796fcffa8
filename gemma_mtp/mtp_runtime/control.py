"""How many tokens to draft in a round: always as many (`Fixed`), or what pays on this machine and this text (`Auto`).

`Auto` takes the length with the most tokens a second, by what rounds cost (`Costs`) and how many tokens they would have
given in the text so far (`Chances`). Another length costs: llama.cpp builds its graph anew, and on a GPU captures it: a
length is left only for one that gains more than that soon. Where plain rounds pay, drafts are tried now and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Protocol

import numpy as np

from gemma_mtp.mtp_runtime.experience import MEASUREMENTS, Experience


class Control(Protocol):
    """draft_max: the longest draft."""

    draft_max: int

    def plan(self, room: int) -> int:
        """How many tokens to draft in the round that begins, at most `room`."""

    def learn(self, accepted: int, seconds: float) -> None:
        """The planned round accepted so many drafts, and drafting and verification took so long together."""


class Fixed:
    """Always the same length."""

    def __init__(self, draft_max: int):
        self.draft_max = draft_max

    def plan(self, room: int) -> int:
        return min(self.draft_max, room)

    def learn(self, accepted: int, seconds: float) -> None:
        pass


#: Lengths that `Auto` chooses from. Between them little is to be gained.
LENGTHS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
#: Beliefs before anything is known. In plain rounds: what a draft adds, another length than the last; how unsure it is
#: what a plain round takes, what drafts add, what the first adds beside (with experts in main memory a whole round and
#: more), and what one adds more or less than its neighbour. How many tokens the share of drafts that held weighs.
DRAFT, CHANGE, UNSURE_PLAIN, UNSURE_DRAFT, UNSURE_FIRST, UNSURE_NEIGHBOUR, BELIEF = 0.25, 0.15, 0.3, 0.2, 0.2, 0.08, 3.0
#: The share by which a round's time is off at first, how fast that is learned, and the least that a median is off.
NOISE, NOISE_SHARE, LEAST_NOISE = 0.15, 0.04, 0.02
#: The machine's pace drifts by so much a round. A surprise counts as at most so many times what was to be expected; a
#: median is believed more, with its number of rounds: this many are as one.
DRIFT, SURPRISING, AS_ONE = 0.02, 2.0, 3
#: Two memories of the text fade by these factors a token: of some 20 tokens, and of all of it. The share of the trust
#: in them that is dealt out anew after each round, so that one can come back.
FADING, SHARED_TRUST = (0.95, 0.999), 0.004
#: How many tokens the drafts' common share weighs beside what a length would have given in this text.
COMMON = 40.0
#: A length is left for one that is better by this share and by the cost of the change over so many rounds.
MARGIN, HORIZON = 0.06, 10
#: Rounds until a length is judged, again and again; for which drafting is tried where plain rounds pay. Between tries
#: so many are plain, at least and at most, that what a try loses is this share of their time.
SETTLE, TRY, SHORTEST_REST, LONGEST_REST, TRIES = 2, 2, 20, 128, 0.015


class Costs:
    """Seconds of a round by its length: a line, from which neighbours depart together (a Gaussian process over the
    lengths: mean and covariance, the change of length as last place). So a round tells of all lengths, and of the pace
    of the machine, which is not always the same. What rounds took is kept as shares of what was expected."""

    def __init__(self, longest: int, known: Experience):
        lengths = np.arange(longest + 1.0)
        self._mean, self._unsure = np.append(1 + DRAFT * lengths, CHANGE), np.diag([0.0] * (longest + 1) + [CHANGE**2])
        line = UNSURE_PLAIN**2 + UNSURE_DRAFT**2 * np.outer(lengths, lengths)
        line += UNSURE_FIRST**2 * np.outer(lengths > 0, lengths > 0)
        self._unsure[:-1, :-1] = line + UNSURE_NEIGHBOUR**2 * np.minimum.outer(lengths, lengths)
        self._noise, self._last, self._begun = NOISE, -1, False
        medians = {one: median_low(times) for one, times in known.costs.items() if times and one <= longest}
        self._surprises = {one: deque(np.divide(known.costs[one], medians[one]), MEASUREMENTS) for one in medians}
        off = [abs(one - 1) for found in self._surprises.values() if len(found) > 1 for one in found]
        noise = 1.5 * sum(off) / len(off) if off else NOISE
        for length, median in medians.items():
            rounds = len(self._surprises[length])
            most = SURPRISING * max(rounds / AS_ONE, 1.0) ** 0.5
            self._see(length, median, max(noise / rounds**0.5, LEAST_NOISE), most, changed=False)
        if medians and known.change:
            self._mean[-1], self._unsure[-1, -1] = known.change, (0.3 * known.change) ** 2

    def of(self, length: int) -> float:
        """-1: what another length than the last takes more."""
        return float(self._mean[length])

    def add(self, length: int, seconds: float) -> None:
        changed, self._last = length != self._last, length
        self._unsure += np.multiply.outer(DRIFT**2 * self._mean, self._mean)
        surprise = self._see(length, seconds, self._noise, SURPRISING, changed=changed)
        self._noise += NOISE_SHARE * (min(1.25 * abs(surprise - 1), 0.3) - self._noise)
        if not changed:
            self._surprises.setdefault(length, deque(maxlen=MEASUREMENTS)).append(surprise)

    def _see(self, length: int, seconds: float, noise: float, most: float, *, changed: bool) -> float:
        """The seconds as a share of what was expected, from which all lengths learn (a step of Kalman's filter)."""
        if not self._begun:
            scale, self._begun = seconds / (self._mean[length] + changed * self._mean[-1]), True
            self._mean, self._unsure = self._mean * scale, self._unsure * scale**2
        expected = float(self._mean[length] + changed * self._mean[-1])
        along = self._unsure[length] + changed * self._unsure[-1]
        variance = float(along[length] + changed * along[-1]) + (noise * expected) ** 2
        limit = most * variance**0.5
        self._mean += along * (min(max(seconds - expected, -limit), limit) / variance)
        self._unsure -= np.multiply.outer(along / variance, along)
        np.maximum.accumulate(np.maximum(self._mean[:-1], 1e-9), out=self._mean[:-1])  # more drafts are never cheaper
        self._mean[-1] = max(self._mean[-1], 0.0)
        return seconds / expected

    def experience(self) -> dict[int, tuple[float, ...]]:
        """Rounds of each measured length, as they would be at the pace of now."""
        return {one: tuple(self.of(one) * each for each in found) for one, found in self._surprises.items()}


class Chances:
    """Tokens that a round of each length would have given in the text so far, by one memory of it.

    Each length has a round of its own going, which every token of the text takes on: a draft that held, if the round
    has room for it, or the round's end. So loops with which a length is in step are seen. The token after drafts that
    all held was not drafted: it counts as held as often as drafts did. What a length gave is mixed with what drafts
    that hold by their common share would give."""

    def __init__(self, lengths: Sequence[int], share: float, fading: float):
        self._lengths, self._fading, self._owed = lengths, fading, 0.5
        self._tokens, self._judged, self._held = BELIEF, BELIEF, BELIEF * share
        self._rounds = [BELIEF / _tokens(length, self.share) for length in lengths]
        self._place = [0] * len(lengths)  # how far each length's round has come

    @property
    def share(self) -> float:
        """Of drafts that held."""
        return min(max(self._held / self._judged, 0.001), 0.999)

    def add(self, planned: int, accepted: int) -> float:
        """How likely this round of so many drafts was. One that ended earlier by itself counts as its end."""
        likely = 1.0
        for held in [True] * accepted + [False] * (accepted < planned):
            self._go_on(held)
            likely *= self.share if held else 1 - self.share
            self._held, self._judged = self._held + held, self._judged + 1
        if accepted == planned:
            self._owed += self.share
            self._go_on(self._owed >= 1)
            self._owed %= 1
        return likely

    def _go_on(self, held: bool) -> None:
        fading = self._fading
        self._tokens = fading * self._tokens + 1
        self._held, self._judged = fading * self._held, fading * self._judged
        for number, length in enumerate(self._lengths):
            inside = held and self._place[number] < length
            self._place[number] = self._place[number] + 1 if inside else 0
            self._rounds[number] = fading * self._rounds[number] + (not inside)

    def tokens(self) -> list[float]:
        """Tokens that a round of each length gives, its own one included."""
        tokens, each = self._tokens + COMMON, zip(self._rounds, self._lengths, strict=True)
        return [tokens / (rounds + COMMON / _tokens(length, self.share)) for rounds, length in each]


class Memories:
    """The chances in a short and in a long memory. Each is trusted as far as it foretold the drafts of late: the long
    one in an even text, the short one after a turn. trust: in the short one."""

    def __init__(self, lengths: Sequence[int], share: float):
        self._short, self._long = (Chances(lengths, share, fading) for fading in FADING)
        self.trust = 0.5

    @property
    def share(self) -> float:
        return self._mixed(self._short.share, self._long.share)

    def add(self, planned: int, accepted: int) -> None:
        short, long = (one.add(planned, accepted) for one in (self._short, self._long))
        trust = self.trust * short / self._mixed(short, long)
        self.trust = SHARED_TRUST / 2 + (1 - SHARED_TRUST) * trust

    def tokens(self) -> list[float]:
        return [self._mixed(*both) for both in zip(self._short.tokens(), self._long.tokens(), strict=True)]

    def _mixed(self, short: float, long: float) -> float:
        return self.trust * short + (1 - self.trust) * long


class Auto:
    """What pays, between no drafting and draft_max. It goes on learning over all generations that it is used for."""

    def __init__(self, draft_max: int, draft_min: int = 0, known: Experience | None = None):
        """draft_min: no shorter drafts but none."""
        self.draft_max = draft_max
        self._lengths = sorted({0, draft_max, *(one for one in LENGTHS if max(draft_min, 1) <= one <= draft_max)})
        self.begin(known or Experience())

    def begin(self, known: Experience) -> None:
        self.knows = bool(known.costs)
        self._costs, self._chances = Costs(self.draft_max, known), Memories(self._lengths, known.share)
        self._rest, self._stay, self._planned = 0, SETTLE, 0
        self._length = self._best_draft(self._rates())

    def plan(self, room: int) -> int:
        self._planned = min(self._length, room)
        return self._planned

    def learn(self, accepted: int, seconds: float) -> None:
        self._costs.add(self._planned, seconds)
        if self._planned:
            self._chances.add(self._planned, accepted)
        self._stay -= 1
        if self._stay <= 0:
            (self._rest_on if self._rest else self._judge)()

    def _judge(self) -> None:
        rates, self._stay = self._rates(), SETTLE
        best = max(rates, key=rates.__getitem__)
        change = self._costs.of(-1) / (HORIZON * self._costs.of(self._length))
        if rates[best] <= (1 + MARGIN + change) * rates[self._length]:
            return
        if best == 0:
            self._rest = self._rest_after(rates)
        self._length = best

    def _rest_after(self, rates: Mapping[int, float]) -> int:
        """Plain rounds until drafting is tried again, by what that costs."""
        tried = self._best_draft(rates)
        lost = TRY * self._costs.of(tried) * (1 - rates[tried] / rates[0])
        return int(min(max(lost / (TRIES * self._costs.of(0)), SHORTEST_REST), LONGEST_REST))

    def _rest_on(self) -> None:
        self._rest -= 1
        if not self._rest:
            self._chances.trust = 0.5  # what comes now may be another text
            self._length, self._stay = self._best_draft(self._rates()), TRY

    def _rates(self) -> dict[int, float]:
        """Tokens a second by length."""
        tokens = zip(self._lengths, self._chances.tokens(), strict=True)
        return {length: given / self._costs.of(length) for length, given in tokens}

    def _best_draft(self, rates: Mapping[int, float]) -> int:
        """The best length but none; 0 if there is no other."""
        return max(self._lengths[1:], key=rates.__getitem__, default=0)

    def experience(self) -> Experience:
        """What the next control may begin with."""
        return Experience(self._costs.experience(), self._costs.of(-1), self._chances.share)


def _tokens(length: int, share: float) -> float:
    """Tokens of a round whose drafts hold with this chance each, below 1."""
    return (1 - share ** (length + 1)) / (1 - share)
