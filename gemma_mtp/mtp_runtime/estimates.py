"""What rounds that went by say about the next one: costs, the machine's pace, the chances of drafts, whether they pay.

`control.Auto` decides by it.
"""

from __future__ import annotations

from collections import deque

Trigram = tuple[int, int, int]

#: Observations fade by this factor a round: a memory of some fifty rounds.
FADING = 0.98
#: Weight, in observations, of what is believed without any.
BELIEF = 2.0
#: How much a guess's first verdict still counts at the next one; so many guesses are remembered.
VERDICT_LASTS, REMEMBERED = 0.5, 4096
#: A cost is the median of so many measurements. From n of them it may be less by this share / n: what seems dear for a
#: disturbed measurement is measured again.
MEASUREMENTS, DOUBT = 25, 0.1
#: How much of a round's surprise is put down to the machine's pace, what a single round may say of it, and how much of
#: it lasts. Seen on a shared machine: rounds vary by a quarter, mostly many rounds in a row alike.
PACE_SHARE, PACE_LIMIT, PACE_LASTS = 0.25, 1.5, 0.9
#: Rounds with drafts after which is judged whether they pay; rounds without, when they don't, doubled up to the last.
ENOUGH, FIRST_REST, LONGEST_REST = 6, 8, 192


class Rate:
    """Tokens a second of late."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self._tokens, self._seconds = FADING * self._tokens + tokens, FADING * self._seconds + seconds

    def halve(self) -> None:
        """What comes now counts twice as much against what was."""
        self._tokens, self._seconds = self._tokens / 2, self._seconds / 2

    @property
    def rate(self) -> float:
        return self._tokens / self._seconds


class Rest:
    """How long to leave drafting alone. rounds: so many more."""

    def __init__(self) -> None:
        self.rounds = 0
        self._next, self._judged, self._drafting = FIRST_REST, 0, Rate()

    def learn(self, drafted: int, tokens: int, seconds: float, plain_seconds: float) -> None:
        """A round's tokens and seconds, and what a plain one takes."""
        if not drafted:
            self.rounds = max(self.rounds - 1, 0)
            return
        self._drafting.add(tokens, seconds)
        self._judged += 1
        if self._judged >= ENOUGH and self._drafting.rate < 1 / plain_seconds:
            self.rounds, self._next, self._judged = self._next, min(2 * self._next, LONGEST_REST), 0
            self._drafting.halve()
        elif self._judged >= 2 * ENOUGH:
            self._next = FIRST_REST


class Pace:
    """How slow the machine is at the moment. factor: 1 is usual, 2 is half as quick."""

    def __init__(self) -> None:
        self.factor = 1.0

    def learn(self, seconds: float, usual: float) -> None:
        """Something took `seconds` that usually takes `usual` seconds."""
        surprise = min(max(seconds / (usual * self.factor), 1 / PACE_LIMIT), PACE_LIMIT)
        self.factor = (self.factor * surprise**PACE_SHARE) ** PACE_LASTS


class Cost:
    """What something takes, at the machine's usual pace. seconds: 0 as long as nothing is known."""

    def __init__(self, *supposed: float):
        """supposed: counts as a measurement until it is forgotten like one."""
        self.seconds = 0.0
        self._measured = deque(supposed, maxlen=MEASUREMENTS)

    def add(self, seconds: float) -> bool:
        """Another measurement. Says whether anything changed by it."""
        before = self.seconds
        self._measured.append(seconds)
        self.seconds = sorted(self._measured)[(len(self._measured) - 1) // 2]
        return self.seconds != before or len(self._measured) < MEASUREMENTS

    @property
    def least(self) -> float:
        """What it may be at best, for all that is known."""
        return self.seconds * (1 - DOUBT / len(self._measured))


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


class Verdicts:
    """How the guesses of a text fared: the last token of a trigram, drafted after the other two."""

    def __init__(self) -> None:
        self._known: dict[Trigram, tuple[float, float]] = {}  # seen and held, the latest last

    def add(self, trigram: Trigram, held: bool) -> None:
        seen, had = self._known.pop(trigram, (0.0, 0.0))
        self._known[trigram] = VERDICT_LASTS * seen + 1, VERDICT_LASTS * had + held
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def share(self, trigram: Trigram, belief: float) -> float:
        """belief: the share that counts as much as the last verdict, and alone as long as there is none."""
        seen, held = self._known.get(trigram, (0.0, 0.0))
        return (held + belief) / (seen + 1)
