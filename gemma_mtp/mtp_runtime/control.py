"""How many tokens to draft and to verify in a round.

`Fixed` is what the user says. `Auto` finds what pays. Its model of a round in which k drafts are verified:

    tokens(k) = 1 + a1 + a1 a2 + ... + a1 a2 .. ak     ai: the chance that draft i is accepted if those before it were
    cost(k)   = drafting + verification(k)             seconds; verification of k: one target pass over k + 1 tokens

and it takes the k with the largest tokens(k) - rate * cost(k), where rate is the tokens a second of late: what the
same time would give elsewhere. The best k is 0 if drafting loses. The chance of a draft that exists is the share of
drafts of such confidence that were accepted lately; of one that does not exist yet, the share at its position. So a
draft goes on as long as that promises to pay, and is cut where its tokens are too doubtful to be worth their pass.

Three things keep the model honest: old observations fade, since texts change; a length whose cost is unknown, or was
measured long ago, is taken to cost no more than a shorter one, so that it is tried; and what was not done for long, be
it drafting or not drafting, is tried now and then.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from gemma_mtp.errors import UsageError


class Round(NamedTuple):
    """What a round did and took.

    confidences: the drafter's, of each drafted token (empty if `Control.wants_confidence` is false). verified: so many
    of them were kept for the target, accepted: so many held. Times are seconds.
    """

    confidences: Sequence[float]
    verified: int
    accepted: int
    draft_seconds: float
    verify_seconds: float


class Control(Protocol):
    """draft_max: the longest draft."""

    draft_max: int

    @property
    def wants_confidence(self) -> bool:
        """Whether `plan` looks at confidences."""

    def plan(self, confidences: Sequence[float]) -> int:
        """How long this round's draft should be, its first tokens having these confidences.

        Beyond len(confidences): go on drafting. At the end the draft is cut to it.
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
    def wants_confidence(self) -> bool:
        return self.p_min > 0

    def plan(self, confidences: Sequence[float]) -> int:
        sure = next((place for place, share in enumerate(confidences) if share < self.p_min), self.draft_max)
        return sure if sure >= self.draft_min else 0

    def learn(self, round: Round) -> None:
        pass


#: Observations fade by this factor a round: a memory of some fifty rounds.
FADING = 0.98
#: Weight, in observations, of what is believed without any.
BELIEF = 2.0
#: What the first position accepts as long as nobody knows better.
FIRST_ACCEPTANCE = 0.8
#: Classes of confidence, equally wide.
CLASSES = 5
#: A cost is the lower quartile of so many measurements: what disturbs a measurement only adds to it.
MEASUREMENTS = 9
#: After so many rounds what was not done is tried again, and a cost that was not measured is forgotten.
RETRY, FORGET = 64, 256
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
        self._trials = [min(max(draft_min, 1), draft_max), 0] * 2  # lengths to try in the next rounds
        self._by_position, self._by_confidence = Shares(draft_max), Shares(CLASSES)
        self._step: deque[float] = deque([0.0], maxlen=MEASUREMENTS)  # seconds of a draft step
        self._verify: dict[int, deque[float]] = {}  # seconds by length
        self._measured: dict[int, int] = {}  # the last round with this length
        self._prices: list[float] = []  # seconds by length, as far as they are known
        self._tokens = self._seconds = 0.0  # of late

    @property
    def wants_confidence(self) -> bool:
        return True

    def plan(self, confidences: Sequence[float]) -> int:
        if self._trials:
            return self._trials[0]
        known = () if self._blind else confidences
        return min(self._best(known), super().plan(confidences))

    def learn(self, round: Round) -> None:
        self._rounds += 1
        if round.confidences:
            self._step.append(round.draft_seconds / len(round.confidences))
        if self._verify and round.verified not in self._verify and not self._trials:
            expected = self._verification(round.verified)
            self._trials = [round.verified] * (1 + (round.verify_seconds > SURPRISE * expected))
        self._verify.setdefault(round.verified, deque(maxlen=MEASUREMENTS)).append(round.verify_seconds)
        self._measured[round.verified] = self._rounds
        judged = min(round.accepted + 1, round.verified)  # what follows a failure was never judged
        for place in range(judged):
            self._by_position.add(place, place < round.accepted)
            self._by_confidence.add(_class_of(round.confidences[place]), place < round.accepted)
        if judged:
            self._by_position.fade()
            self._by_confidence.fade()
        self._prices = [self._verification(length) for length in range(self.draft_max + 1)]
        cost = len(round.confidences) * _typical(self._step) + self._prices[round.verified]
        self._tokens, self._seconds = FADING * self._tokens + round.accepted + 1, FADING * self._seconds + cost
        self._decide_trials()

    def _best(self, confidences: Sequence[float], least: int = 0) -> int:
        """The length of at least `least` that promises most: tokens, less those that the same time gives elsewhere."""
        rate, step = self._tokens / self._seconds, _typical(self._step)
        best, most = 0, -math.inf if least else 1 - rate * self._prices[0]
        tokens = chance = acceptance = 1.0
        for length in range(1, self.draft_max + 1):
            acceptance = self._by_position.share(length - 1, acceptance if length > 1 else FIRST_ACCEPTANCE)
            missing = length - len(confidences)
            if missing <= 0:
                confidence = confidences[length - 1]
                chance *= self._by_confidence.share(_class_of(confidence), confidence)
            else:
                chance *= acceptance
            tokens += chance
            gain = tokens - rate * (max(missing, 0) * step + self._prices[length])
            if gain > most and length >= max(least, self.draft_min):
                best, most = length, gain
        return best

    def _verification(self, length: int) -> float:
        """Seconds. No length costs more than a longer one. Unknown ones are taken to be cheap, so that they are tried:
        as the next shorter known one, and above all known ones with half of the growth so far."""
        longest, shortest = max(self._verify), min(self._verify)
        if length > longest:
            growth = (self._verification(longest) - self._verification(shortest)) / max(longest - shortest, 1)
            return self._verification(longest) + growth / 2 * (length - longest)
        shorter = max((known for known in self._verify if known <= length), default=shortest)
        return min(_typical(times) for known, times in self._verify.items() if known >= shorter)

    def _decide_trials(self) -> None:
        """What to try in the next round, if anything."""
        if self._trials:
            del self._trials[0]
            return
        last = {drafting: self._last(drafting) for drafting in (False, True)}
        if self._rounds - last[False] >= RETRY:
            self._trials = [0]
        elif self._rounds - last[True] >= RETRY:
            self._trials = [self._best((), least=1)]
        for length in [length for length, when in self._measured.items() if self._rounds - when >= FORGET]:
            del self._measured[length], self._verify[length]

    def _last(self, drafting: bool) -> int:
        return max((when for length, when in self._measured.items() if bool(length) == drafting), default=0)


class Shares:
    """Running shares of accepted drafts by class."""

    def __init__(self, classes: int):
        self._seen, self._held = [0.0] * classes, [0.0] * classes

    def add(self, place: int, held: bool) -> None:
        self._seen[place] += 1
        self._held[place] += held

    def fade(self) -> None:
        self._seen = [count * FADING for count in self._seen]
        self._held = [count * FADING for count in self._held]

    def share(self, place: int, belief: float) -> float:
        """belief: the share that counts as long as little was seen."""
        return (self._held[place] + BELIEF * belief) / (self._seen[place] + BELIEF)


def _class_of(confidence: float) -> int:
    return min(int(confidence * CLASSES), CLASSES - 1)


def _typical(seconds: Collection[float]) -> float:
    return sorted(seconds)[(len(seconds) - 1) // 4]
