"""What was measured of an assistant. Plain data, for tables and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gemma_mtp.native.stats import column_sums

CHAIN = 3
#: How many standard errors a gain must have to be one.
CERTAIN = 2.0


@dataclass(frozen=True)
class Counts:
    """Drafts by position: how often one was made there, how often it was accepted. rounds: of all texts."""

    drafted_at: tuple[int, ...] = ()
    accepted_at: tuple[int, ...] = ()
    rounds: int = 0

    @property
    def drafted(self) -> int:
        return sum(self.drafted_at)

    @property
    def accepted(self) -> int:
        return sum(self.accepted_at)

    @property
    def acceptance(self) -> float:
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def by_position(self) -> list[float]:
        return [took / made if made else 0.0 for took, made in zip(self.accepted_at, self.drafted_at, strict=True)]

    @property
    def tokens_a_round(self) -> float:
        return 1 + self.accepted / self.rounds if self.rounds else 0.0

    def to_dict(self) -> dict[str, Any]:
        derived = ("drafted", "accepted", "acceptance", "by_position", "tokens_a_round")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def total(parts: Iterable[Counts]) -> Counts:
    """All of them as one."""
    parts = list(parts)
    drafted, accepted = (column_sums(getattr(part, name) for part in parts) for name in ("drafted_at", "accepted_at"))
    return Counts(drafted, accepted, sum(part.rounds for part in parts))


@dataclass(frozen=True)
class Score:
    """An assistant on held-out signals.

    first: the share of positions of texts where the first draft is the target's choice. expected: drafts of a round
    that are, on average. overlap: what is accepted of first drafts at temperature 1. positions: how many.
    greedy, sampled: rounds replayed on the target's own continuations.
    """

    first: float = 0.0
    expected: float = 0.0
    overlap: float = 0.0
    positions: int = 0
    greedy: Counts = field(default_factory=Counts)
    sampled: Counts = field(default_factory=Counts)

    def to_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("first", "expected", "overlap", "positions")}
        return plain | {"greedy": self.greedy.to_dict(), "sampled": self.sampled.to_dict()}


def gain(before: Sequence[Counts], after: Sequence[Counts]) -> tuple[float, float]:
    """The mean gain in tokens a round, over texts that are the same before and after, and its standard error."""
    gains = [new.tokens_a_round - old.tokens_a_round for old, new in zip(before, after, strict=True)]
    if len(gains) < 2:
        return (gains[0] if gains else 0.0), float("inf")
    mean = sum(gains) / len(gains)
    variance = sum((one - mean) ** 2 for one in gains) / (len(gains) - 1)
    return float(mean), float((variance / len(gains)) ** 0.5)


def is_certain(mean: float, error: float) -> bool:
    """Whether a gain is beyond the noise."""
    return mean > 0 and mean > CERTAIN * error
