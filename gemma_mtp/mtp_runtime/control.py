"""How many tokens to draft and to verify in a round.

`Fixed` is what the user says. `Auto` finds what pays. Its model of a round in which k drafts are verified:

    tokens(k) = 1 + a1 + a1 a2 + ... + a1 a2 .. ak     ai: the chance that draft i is accepted if those before it were
    cost(k)   = drafting + verification(k)             seconds; verification of k: one target pass over k + 1 tokens,
                                                       and more if the last pass had another number: llama.cpp
                                                       builds a graph anew then

and it takes the k with the largest tokens(k) - rate * cost(k), where rate is the tokens a second of late: what the
same time would give elsewhere. The chance of a draft that exists is the share of drafts of such confidence that held
lately, and how the same token fared when it was drafted before after the same two: text repeats itself, and so do a
drafter's errors. The chance of one that does not exist yet is the share at its position. So a draft goes on as long as
that promises to pay, and is cut, down to nothing, where its tokens are too doubtful to be worth their pass. The first
draft is always made, to see how sure it is, unless rounds that drafted were no quicker of late than plain ones: then
none is made for a while.

Four things keep the model honest: old observations fade, since texts change; costs are corrected for the pace of the
machine, which is not always the same; a length whose cost is unknown, or was measured long ago, is taken to cost no
more than a shorter one, so that it is tried; and what was not done for long, be it drafting or not drafting, is tried
now and then. Plain rounds among themselves are accounted for on their own: a draft leaves the CPU's caches full of the
assistant, which the pass after it pays for, whatever it verifies.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime.estimates import Cost, Pace, Rate, Rest, Shares, Trigram, Verdicts


class Guess(NamedTuple):
    """What is known of a drafted token before it is verified: it and the two tokens before it; the drafter's
    confidence."""

    trigram: Trigram
    confidence: float


class Round(NamedTuple):
    """What a round did and took.

    guesses: of each drafted token (empty if `Control.wants_guesses` is false). verified: so many of them were kept for
    the target, accepted: so many of those held. right: so many drafts are known to be what the target says: those
    accepted and, if all were, the first that was cut. Times are seconds.
    """

    guesses: Sequence[Guess]
    verified: int
    accepted: int
    right: int
    draft_seconds: float
    verify_seconds: float


class Control(Protocol):
    """draft_max: the longest draft."""

    draft_max: int

    @property
    def wants_guesses(self) -> bool:
        """Whether `plan` looks at guesses."""

    def begin(self) -> None:
        """A new text begins."""

    def plan(self, guesses: Sequence[Guess]) -> int:
        """How long this round's draft should be, after these first tokens of it.

        Beyond len(guesses): go on drafting. At the end the draft is cut to it.
        """

    def learn(self, round: Round) -> None:
        """This is how it went."""


class Fixed:
    """Always the same length; a draft ends before a token that the drafter gives less than p_min."""

    def __init__(self, draft_max: int, draft_min: int = 0, p_min: float = 0.0):
        """Raises UsageError."""
        if draft_max and not 0 <= draft_min <= draft_max:
            raise UsageError(f"draft_min is {draft_min}, wanted: 0 to draft_max, which is {draft_max}")
        if not 0 <= p_min <= 1:
            raise UsageError(f"p_min is {p_min}, wanted: 0 to 1")
        self.draft_max, self.draft_min, self.p_min = draft_max, draft_min, p_min

    @property
    def wants_guesses(self) -> bool:
        return self.p_min > 0

    def begin(self) -> None:
        pass

    def plan(self, guesses: Sequence[Guess]) -> int:
        sure = next((place for place, guess in enumerate(guesses) if guess.confidence < self.p_min), self.draft_max)
        return sure if sure >= self.draft_min else 0

    def learn(self, round: Round) -> None:
        pass


#: What the first position accepts as long as nobody knows better.
FIRST_ACCEPTANCE = 0.8
#: Where classes of confidence end.
CONFIDENCES = (0.2, 0.4, 0.6, 0.8, 0.9, 0.96)
#: After so many rounds without a plain one there are two again, and a cost that was not measured is forgotten.
RETRY, FORGET = 256, 256
#: A first measurement this much above what was expected is measured again at once: it may have been disturbed.
SURPRISE = 1.5


class Auto(Fixed):
    """What pays, between no drafting and draft_max. It goes on learning over all generations that it is used for."""

    def __init__(self, draft_max: int, draft_min: int = 0, p_min: float = 0.0, *, blind: bool = False):
        """blind: plan before drafting and stay with it, whatever comes: what the sampling mode `reject` needs.

        Raises UsageError.
        """
        super().__init__(draft_max, draft_min, p_min)
        self._blind, self._rounds = blind, 0
        shortest = min(max(draft_min, 1), draft_max)
        self._trials = [shortest, shortest, 0, 0]  # lengths to try in the next rounds
        self._by_position, self._by_confidence = Shares(draft_max), Shares(len(CONFIDENCES) + 1)
        self._verdicts = Verdicts()
        self._step = Cost(0.0)
        self._verify: dict[int, Cost] = {}  # by length, if the length before was the same
        self._plain, self._plain_at = Cost(), 0  # a plain round after another, and when the last one was
        self._drafted = True  # whether the last round did
        self._change, self._last = Cost(0.0), 0  # what another length costs more; the length before
        self._measured: dict[int, int] = {}  # the last round with this length
        self._prices: list[float] = []  # seconds of verification by length, known or supposed
        self._acceptances: list[float] = []  # the chance of a draft that does not exist yet, by position
        self._late, self._rest, self._pace = Rate(), Rest(), Pace()

    @property
    def wants_guesses(self) -> bool:
        return True

    def begin(self) -> None:
        self._verdicts = Verdicts()

    def plan(self, guesses: Sequence[Guess]) -> int:
        if self._trials:
            return self._trials[0]
        if self._rest.rounds and not guesses:
            return 0
        seen = () if self._blind else guesses
        best = self._best(seen) or int(not seen)
        return min(best, super().plan(guesses)) if self.p_min else best

    def learn(self, round: Round) -> None:
        self._rounds += 1
        plain, self._drafted = not (round.guesses or self._drafted), bool(round.guesses)
        cost = self._learn_plain(round) if plain else self._learn_costs(round)
        self._learn_chances(round)
        self._late.add(round.accepted + 1, cost)
        self._rest.learn(len(round.guesses), round.accepted + 1, cost, self._plain.seconds)
        self._decide_trials()

    def _learn_costs(self, round: Round) -> float:
        """Returns what such a round usually takes, in seconds."""
        drafted, pace = len(round.guesses), self._pace.factor
        if drafted:
            self._step.add(round.draft_seconds / drafted / pace)
        seconds, is_change = round.verify_seconds / pace, round.verified != self._last
        changing = min(self._change.seconds, seconds / 2) if is_change else 0.0
        if round.verified in self._verify:
            usual = self._verify[round.verified].seconds
            self._pace.learn(round.verify_seconds, usual + changing)
            if is_change:
                self._change.add(max(seconds - usual, 0.0))
        self._learn_price(round.verified, seconds - changing)
        self._last = round.verified
        return drafted * self._step.seconds + self._prices[round.verified] + changing

    def _learn_plain(self, round: Round) -> float:
        """The same for a round that did not draft, after one that did not."""
        seconds = round.verify_seconds / self._pace.factor
        if self._plain.seconds:
            self._pace.learn(round.verify_seconds, self._plain.seconds)
        self._plain.add(seconds)
        self._plain_at = self._rounds
        return self._plain.seconds

    def _learn_price(self, length: int, seconds: float) -> None:
        if length not in self._verify:
            if self._prices and not self._trials:
                self._trials = [length] * (1 + (seconds > SURPRISE * self._prices[length]))
            self._verify[length] = Cost()
        self._measured[length] = self._rounds
        if self._verify[length].add(seconds):
            self._prices = self._priced()

    def _learn_chances(self, round: Round) -> None:
        judged = min(round.right + 1, round.verified + 1, len(round.guesses))  # what follows a failure never was
        for place, guess in enumerate(round.guesses[:judged]):
            held = place < round.right
            self._by_position.add(place, held)
            self._by_confidence.add(bisect(CONFIDENCES, guess.confidence), held)
            self._verdicts.add(guess.trigram, held)
        if judged:
            self._by_position.fade()
            self._by_confidence.fade()
        acceptance, self._acceptances = FIRST_ACCEPTANCE, []
        for place in range(self.draft_max):
            acceptance = self._by_position.share(place, acceptance)
            self._acceptances.append(acceptance)

    def _chance(self, guess: Guess) -> float:
        share = self._by_confidence.share(bisect(CONFIDENCES, guess.confidence), guess.confidence)
        return self._verdicts.share(guess.trigram, share)

    def _best(self, guesses: Sequence[Guess]) -> int:
        """The length that promises most: tokens, less those that the same time gives elsewhere."""
        rate, drafted = self._late.rate, len(guesses)
        step, prices = rate * self._step.seconds, [price + self._change.seconds for price in self._prices]
        prices[self._last] = self._prices[self._last]
        best, most = 0, 1 - rate * prices[0]
        tokens = chance = 1.0
        drafting = 0.0
        for place, acceptance in enumerate(self._acceptances):
            if place < drafted:
                chance *= self._chance(guesses[place])
            else:
                chance *= acceptance
                drafting += step
            tokens += chance
            gain = tokens - drafting - rate * prices[place + 1]
            if gain > most and place + 1 >= self.draft_min:
                best, most = place + 1, gain
        return best

    def _priced(self) -> list[float]:
        """Seconds of verification by length. No length costs more than a longer one. Unknown ones are taken to be
        cheap, so that they are tried: as the next shorter known one, and above all known ones with half of the growth
        so far."""
        known: dict[int, float] = {}
        price = math.inf
        for length in sorted(self._verify, reverse=True):
            price = known[length] = min(price, self._verify[length].least)
        shortest, longest = min(known), max(known)
        slope = (known[longest] - known[shortest]) / max(longest - shortest, 1) / 2
        prices = []
        for length in range(self.draft_max + 1):
            price = known.get(length, price + slope * (length > longest))
            prices.append(price)
        return prices

    def _decide_trials(self) -> None:
        """What to try in the next round, if anything."""
        if self._trials:
            del self._trials[0]
            return
        if self._rounds - self._plain_at >= RETRY:
            self._trials = [0, 0]
        if self._drafted and self._rounds - min(self._measured.values()) >= FORGET:
            for length in [length for length, when in self._measured.items() if self._rounds - when >= FORGET]:
                del self._measured[length], self._verify[length]
            self._prices = self._priced()
