"""How many tokens to draft in a round: always as many (`Fixed`), or what pays on this machine and this text (`Auto`).

The loop asks `plan` before a round and tells `learn` after it what the target accepted and what the round took. `Auto`
puts the two together: the length with the most tokens a second, by what rounds of each length cost here (`Costs`) and
how many tokens they would have given in the text so far (`Chances`). Another length costs: llama.cpp builds its graph
anew, and on a GPU captures it. So a length is left only for one that gains more than that soon. Where plain rounds pay,
nothing is learned of drafts: now and then some rounds try them, more and more seldom.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


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


#: Lengths that `Auto` chooses from. Between them little is to be gained, and a length must be measured to be known.
LENGTHS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
#: The share of drafts that holds as long as nobody knows better, and how many tokens that belief weighs.
SHARE, BELIEF = 0.75, 10.0
#: What was seen fades by this factor a token: a memory of some fifty tokens.
FADING = 0.98
#: How many tokens the drafts' common share weighs beside what a length would have given in this text.
COMMON = 60.0
#: A cost is the median of so many measurements, less this share of it divided by their number: a length that was
#: measured once only, and maybe disturbed, is measured again where it may pay.
MEASUREMENTS, DOUBT = 60, 0.1
#: How much of a round's surprise is put down to the machine's pace, and what one round may say of it.
PACE_SHARE, PACE_LIMIT = 0.2, 1.5
#: A length is left for one that is better by this share and by the cost of the change over so many rounds.
MARGIN, HORIZON = 0.03, 24
#: Rounds until a length is judged, again and again; for which drafting is tried; between such tries, doubled up to the
#: last. At a try what was seen before counts less, by the factor.
SETTLE, TRY, FIRST_REST, LONGEST_REST, FORGET = 2, 4, 20, 128, 0.4


@dataclass(frozen=True)
class Experience:
    """What a control knows when it begins, and what it leaves to the next one.

    costs: seconds of rounds by their length, the latest last. change: seconds that a round of another length than the
    one before takes more. share: of drafts that held.
    """

    costs: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    change: float = 0.0
    share: float = SHARE


class Costs:
    """Seconds of a round by its length, at one pace of the machine, which is not always the same.

    change: what another length than the last takes more; 0 as long as nobody knows.
    """

    def __init__(self, known: Experience):
        self._measured = {length: deque(seconds, MEASUREMENTS) for length, seconds in known.costs.items() if seconds}
        self._changes = deque([known.change] if known.change else [], MEASUREMENTS)
        self._usual = {length: _median(measured) for length, measured in self._measured.items()}
        self._known = {length: self._expected(length) for length in self._measured}
        self.change = known.change
        self._pace, self._last, self._first = 1.0, -1, False

    @property
    def longest(self) -> int:
        """The longest length that was measured."""
        return max(self._measured, default=0)

    def add(self, length: int, seconds: float) -> None:
        seconds, changed = seconds / self._pace, length != self._last
        measured, self._last = self._measured.setdefault(length, deque(maxlen=MEASUREMENTS)), length
        if changed and measured:
            self._changes.append(max(seconds - self._usual[length], 0.0))
            self.change = _median(self._changes)
            return
        if self._first:  # the only measurement has the change in it
            measured.clear()
        elif len(measured) > SETTLE:
            surprise = seconds / self._usual[length]
            self._pace *= min(max(surprise, 1 / PACE_LIMIT), PACE_LIMIT) ** PACE_SHARE
        self._first = changed
        measured.append(seconds)
        self._usual[length] = _median(measured)
        self._known[length] = self._expected(length)

    def _expected(self, length: int) -> float:
        return self._usual[length] * (1 - DOUBT / len(self._measured[length]))

    def of(self, length: int) -> float:
        """A known cost, one between those of its neighbours, or one that is cheap enough to be tried."""
        known = self._known
        if length in known or not known:
            return known.get(length, 1.0)
        below = max((one for one in known if one < length), default=None)
        above = min((one for one in known if one > length), default=None)
        if below is not None and above is not None:
            return known[below] + (known[above] - known[below]) * (length - below) / (above - below)
        if above is not None:
            return known[above] / (1 + (above - length) / 2)
        first, last = min(known), max(known)
        slope = (known[last] - known[first]) / (last - first) if last > first else known[last] / 5
        return known[last] + max(slope, 0.0) / 2 * (length - last)

    def experience(self) -> dict[int, tuple[float, ...]]:
        return {length: tuple(seconds) for length, seconds in self._measured.items()}


class Chances:
    """Tokens that a round of each length would have given in the text so far.

    Each length has a round of its own going, which every token of the text takes on: a draft that held, if there is
    room for it in the round, or the round's end. So what belongs together stays together: stretches that are easy, and
    loops with which a length is in step. Nobody drafted the token after a draft that held to its end: it counts as held
    as often as drafts did. What a length gave is mixed with what drafts that hold by their common share would give: a
    few dozen tokens tell little of a length.
    """

    def __init__(self, lengths: Iterable[int], share: float):
        self._lengths, self._owed = tuple(lengths), 0.5
        self._held, self._judged = BELIEF * share, BELIEF
        self._tokens, self._rounds = BELIEF, {one: BELIEF / _tokens(one, share) for one in self._lengths}
        self._place = dict.fromkeys(self._lengths, 0)  # how far each length's round has come

    @property
    def share(self) -> float:
        """Of drafts that held, of late."""
        return self._held / self._judged

    def add(self, planned: int, accepted: int) -> None:
        """A round of so many drafts. One that ended earlier by itself would have done so for every length."""
        for held in [True] * accepted + [False] * (accepted < planned):
            self._go_on(held)
            self._held, self._judged = self._held + held, self._judged + 1
        if accepted == planned:
            self._owed += self.share
            self._go_on(self._owed >= 1)
            self._owed %= 1

    def _go_on(self, held: bool) -> None:
        self._tokens = FADING * self._tokens + 1
        self._held, self._judged = FADING * self._held, FADING * self._judged
        for length in self._lengths:
            inside = held and self._place[length] < length
            self._place[length] = self._place[length] + 1 if inside else 0
            self._rounds[length] = FADING * self._rounds[length] + (not inside)

    def tokens(self, length: int) -> float:
        """Tokens that a round gives, its own one included."""
        return (self._tokens + COMMON) / (self._rounds[length] + COMMON / _tokens(length, self.share))

    def forget(self) -> None:
        """What comes now counts more against what was."""
        self._held, self._judged, self._tokens = FORGET * self._held, FORGET * self._judged, FORGET * self._tokens
        self._rounds = {length: FORGET * rounds for length, rounds in self._rounds.items()}


class Auto:
    """What pays, between no drafting and draft_max. It goes on learning over all generations that it is used for."""

    def __init__(self, draft_max: int, draft_min: int = 0, known: Experience | None = None):
        """draft_min: no shorter drafts but none."""
        known = known or Experience()
        self.draft_max = draft_max
        self._lengths = sorted({0, draft_max, *(one for one in LENGTHS if max(draft_min, 1) <= one <= draft_max)})
        self._costs, self._chances = Costs(known), Chances(self._lengths, known.share)
        self._rest, self._next_rest, self._planned, self._length, self._stay = 0, FIRST_REST, 0, 0, 1
        if known.costs:
            self._length, self._stay = self._best(1), SETTLE if self._best() else TRY

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
        best, self._stay = self._best(), SETTLE
        if best == self._length or not self._pays(best):
            self._next_rest = FIRST_REST if self._length else self._next_rest
            return
        if best == 0:
            self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, LONGEST_REST)
        self._length = best

    def _rest_on(self) -> None:
        self._rest -= 1
        if not self._rest:
            self._chances.forget()
            self._length, self._stay = self._best(1), TRY

    def _rate(self, length: int) -> float:
        return self._chances.tokens(length) / self._costs.of(length)

    def _best(self, shortest: int = 0) -> int:
        """The best length as far as is known: costs of lengths far beyond those that were measured are not."""
        reach = max(2 * self._costs.longest, 2, self._lengths[min(1, len(self._lengths) - 1)])
        return max((one for one in self._lengths if shortest <= one <= reach), key=self._rate, default=0)

    def _pays(self, best: int) -> bool:
        """Whether to leave the present length for this one."""
        change = self._costs.change / (HORIZON * self._costs.of(self._length))
        return self._rate(best) > (1 + MARGIN + change) * self._rate(self._length)

    def experience(self) -> Experience:
        """What the next control may begin with."""
        return Experience(self._costs.experience(), self._costs.change, self._chances.share)


def _tokens(length: int, share: float) -> float:
    """Tokens of a round whose drafts hold with this chance each."""
    return (1 - share ** (length + 1)) / (1 - share) if share < 1 else length + 1.0


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
