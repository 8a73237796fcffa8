"""What a generation cost and gained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any


@dataclass
class Statistics:
    """Counts and times of one generation. Times are seconds.

    rounds: target passes after the prompt's (each verifies the newest token and the drafts, if any).
    tokens: generated tokens. The first comes from the prompt's pass, every other from a round.
    drafted_at, accepted_at: by draft position: how often a token was drafted there, how often it was accepted.
    """

    prompt_tokens: int = 0
    tokens: int = 0
    rounds: int = 0
    drafted_at: list[int] = field(default_factory=list)
    accepted_at: list[int] = field(default_factory=list)
    prompt_seconds: float = 0.0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    generation_seconds: float = 0.0

    def count_round(self, drafted: int, accepted: int) -> None:
        self.rounds += 1
        missing = drafted - len(self.drafted_at)
        self.drafted_at += [0] * missing
        self.accepted_at += [0] * missing
        for position in range(drafted):
            self.drafted_at[position] += 1
            self.accepted_at[position] += position < accepted

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's seconds to the field of this name."""
        start = perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + perf_counter() - start)

    @property
    def drafted(self) -> int:
        return sum(self.drafted_at)

    @property
    def accepted(self) -> int:
        return sum(self.accepted_at)

    @property
    def acceptance(self) -> float | None:
        """The share of drafted tokens that were accepted; None if nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else None

    @property
    def acceptance_by_position(self) -> list[float]:
        return [accepted / drafted for accepted, drafted in zip(self.accepted_at, self.drafted_at, strict=True)]

    @property
    def tokens_per_pass(self) -> float | None:
        """Tokens that a round gave, on average: 1 without drafting, at most 1 + the draft's length."""
        return (self.tokens - 1) / self.rounds if self.rounds else None

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens a second, the prompt's pass and the token that it gave left out."""
        return (self.tokens - 1) / self.generation_seconds if self.rounds and self.generation_seconds else None

    @property
    def prompt_tokens_per_second(self) -> float | None:
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds else None

    def as_dict(self) -> dict[str, Any]:
        """Everything, derived figures included, ready for JSON."""
        derived = ("drafted", "accepted", "acceptance", "acceptance_by_position", "tokens_per_pass")
        rates = ("tokens_per_second", "prompt_tokens_per_second")
        return asdict(self) | {name: getattr(self, name) for name in (*derived, *rates)}
