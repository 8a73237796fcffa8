"""How many tokens to draft in the next round.

`Fixed` is what the user says. `Auto` finds what pays, from what it measures. Its model of a round with k drafts:

    tokens(k) = 1 + a1 + a1 a2 + ... + a1 a2 .. ak     ai: the share of accepted drafts at position i, where i - 1 held
    cost(k)   = k * draft step + verification of k     seconds, verification of k: one target pass over k + 1 tokens

and it drafts the k for which tokens(k) / cost(k) is largest; 0 if drafting loses. Three things keep the model honest:
old observations fade, since texts and caches change; a position that is not observed is taken to be as good as the one
before it, so a longer draft is tried again when the memory of its failure has faded; and a length that could be the
best, but whose cost was measured long ago, is tried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gemma_mtp.errors import UsageError


class Round(NamedTuple):
    """What a round did and took, in seconds. asked: the length that `Control.length` gave, drafted: what came of it."""

    asked: int
    drafted: int
    accepted: int
    draft_seconds: float
    verify_seconds: float


class Control(Protocol):
    """draft_max: the longest length. draft_min: a shorter draft is thrown away. p_min: a draft ends where the drafter
    gives its best token less."""

    draft_max: int
    draft_min: int
    p_min: float

    def length(self) -> int:
        """Tokens to draft in the next round; 0: none."""

    def learn(self, round: Round) -> None:
        """This is how it went."""


@dataclass
class Fixed:
    """Always the same length."""

    draft_max: int
    draft_min: int = 0
    p_min: float = 0.0

    def __post_init__(self) -> None:
        """Raises UsageError."""
        check(self.draft_max, self.draft_min, self.p_min)

    def length(self) -> int:
        return self.draft_max

    def learn(self, round: Round) -> None:
        pass


def check(draft_max: int, draft_min: int, p_min: float) -> None:
    """Raises UsageError."""
    if draft_max and not 0 <= draft_min <= draft_max:
        raise UsageError(f"draft_min is {draft_min}, wanted: 0 to draft_max, which is {draft_max}")
    if not 0 <= p_min <= 1:
        raise UsageError(f"p_min is {p_min}, wanted: 0 to 1")


#: Observed acceptance fades by this factor a round: a memory of about thirty rounds.
FADING = 0.97
#: Weight, in observations, of the belief that a position accepts as often as the one before it.
BELIEF = 3.0
#: What the first position accepts as long as nobody knows better.
FIRST_ACCEPTANCE = 0.8
#: A cost is the lower quartile of so many measurements: what disturbs a measurement only adds to it.
MEASUREMENTS = 9
#: A cost is old after so many rounds, and is measured again if its length is within this share of the best one.
OLD, NEAR = 48, 0.06
#: Rounds between two trials of any kind, and between two trials of drafting where it loses.
PAUSE, RETRY = 6, 64


@dataclass
class Auto:
    """The length that pays, between 0 and draft_max. It goes on learning over all generations that it is used for."""

    draft_max: int
    draft_min: int = 0
    p_min: float = 0.0
    _rounds: int = 0
    _tried: int = 0  # the round of the last trial
    _agenda: list[int] = field(default_factory=list)  # lengths to measure before anything is decided
    _step: deque[float] = field(default_factory=lambda: deque(maxlen=MEASUREMENTS))
    _verify: dict[int, deque[float]] = field(default_factory=dict)
    _measured: dict[int, int] = field(default_factory=dict)  # length -> the round of its last measurement
    _seen: list[float] = field(default_factory=list)  # by position: observations, faded
    _held: list[float] = field(default_factory=list)  # by position: accepted ones among them

    def __post_init__(self) -> None:
        """Raises UsageError."""
        check(self.draft_max, self.draft_min, self.p_min)
        self._seen, self._held = [0.0] * self.draft_max, [0.0] * self.draft_max
        middle = max(self.draft_min, (self.draft_max + 1) // 2)
        self._agenda = [*dict.fromkeys((middle, 0, self.draft_max))] * 2

    def length(self) -> int:
        if self._agenda:
            return self._agenda[0]
        speeds = self.speeds()
        best = max(speeds, key=lambda length: speeds[length])
        trial = self._trial(speeds, best)
        if trial is None:
            return best
        self._tried = self._rounds
        return trial

    def learn(self, round: Round) -> None:
        self._rounds += 1
        del self._agenda[:1]
        if round.drafted:
            self._step.append(round.draft_seconds / round.drafted)
        times = self._verify.setdefault(round.drafted, deque(maxlen=MEASUREMENTS))
        times.append(round.verify_seconds)
        self._measured[round.drafted] = self._rounds
        self._measured[round.asked] = self._rounds  # p_min may never let a draft grow so long
        if round.drafted:
            self._seen = [count * FADING for count in self._seen]
            self._held = [count * FADING for count in self._held]
            for position in range(min(round.accepted + 1, round.drafted)):  # what follows a failure was never judged
                self._seen[position] += 1
                self._held[position] += position < round.accepted

    def speeds(self) -> dict[int, float]:
        """Expected tokens a second by length."""
        step = _typical(self._step) if self._step else 0.0
        tokens = chance = acceptance = 1.0
        speeds = {0: 1 / self._verification(0)}
        for length in range(1, self.draft_max + 1):
            acceptance = self._acceptance(length - 1, acceptance)
            chance *= acceptance
            tokens += chance
            if length >= self.draft_min:
                speeds[length] = tokens / (length * step + self._verification(length))
        return speeds

    def _acceptance(self, position: int, before: float) -> float:
        """The share accepted at a position, leaning on `before`, the position before it."""
        belief = before if position else FIRST_ACCEPTANCE
        return (self._held[position] + BELIEF * belief) / (self._seen[position] + BELIEF)

    def _verification(self, length: int) -> float:
        """Seconds, measured or between the measurements of the next shorter and the next longer draft."""
        if length in self._verify:
            return _typical(self._verify[length])
        shorter = max((known for known in self._verify if known < length), default=None)
        longer = min((known for known in self._verify if known > length), default=None)
        if shorter is None or longer is None:
            return _typical(self._verify[longer if shorter is None else shorter])  # type: ignore[index]
        low, high = _typical(self._verify[shorter]), _typical(self._verify[longer])
        return low + (high - low) * (length - shorter) / (longer - shorter)

    def _trial(self, speeds: dict[int, float], best: int) -> int | None:
        """A length to try instead of the best one, if it is time for that."""
        since = self._rounds - self._tried
        if since < PAUSE:
            return None
        old = [
            length
            for length, speed in speeds.items()
            if speed >= (1 - NEAR) * speeds[best] and self._rounds - self._measured.get(length, -OLD) >= OLD
        ]
        if old:
            return max(old, key=lambda length: speeds[length])
        drafting = {length: speed for length, speed in speeds.items() if length}
        if best == 0 and since >= RETRY and drafting:
            return max(drafting, key=lambda length: drafting[length])
        return None


def _typical(seconds: Collection[float]) -> float:
    return sorted(seconds)[(len(seconds) - 1) // 4]
