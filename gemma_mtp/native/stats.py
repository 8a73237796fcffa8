"""What a generation cost and gained."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from time import perf_counter
from typing import Any


@dataclass
class Statistics:
    """Counts and times of one generation. Times are seconds.

    prompt_tokens: all of them; reused_tokens: those that were in the KV cache already.
    rounds: target passes after the prompt's (each verifies the newest token and the drafts, if any).
    tokens: generated tokens. The first comes from the prompt's pass, every other from a round.
    drafted_at, accepted_at: by draft position: how often a token was drafted there, how often it was accepted.
    first_token_seconds: from the start to the first token. generation_seconds: all after it, of which draft_seconds and
        verify_seconds are the two halves of the rounds, decode_seconds what of both llama_decode took.
    sampling_seconds: choosing tokens from logits, in draft, verification and the prompt's pass together.
    peak_memory: bytes of main memory that this process had at most, 0 where the system does not say.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    tokens: int = 0
    rounds: int = 0
    drafted_at: list[int] = field(default_factory=list)
    accepted_at: list[int] = field(default_factory=list)
    prompt_seconds: float = 0.0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    sampling_seconds: float = 0.0
    decode_seconds: float = 0.0
    first_token_seconds: float = 0.0
    generation_seconds: float = 0.0
    peak_memory: int = 0

    def count_round(self, drafted: int, accepted: int) -> None:
        self.rounds += 1
        missing = drafted - len(self.drafted_at)
        self.drafted_at += [0] * missing
        self.accepted_at += [0] * missing
        for position in range(drafted):
            self.drafted_at[position] += 1
            self.accepted_at[position] += position < accepted

    def timed(self, name: str) -> Stopwatch:
        """A `with` block whose seconds are added to the field of this name."""
        return Stopwatch(self, name)

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
        """Prompt tokens that were decoded, a second."""
        return (self.prompt_tokens - self.reused_tokens) / self.prompt_seconds if self.prompt_seconds else None

    @property
    def overhead(self) -> float | None:
        """The share of the generation's time that was spent outside of llama_decode: the loop's own."""
        return 1 - self.decode_seconds / self.generation_seconds if self.rounds and self.generation_seconds else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, derived figures included, ready for JSON."""
        derived = ("drafted", "accepted", "acceptance", "acceptance_by_position", "tokens_per_pass")
        rates = ("tokens_per_second", "prompt_tokens_per_second", "overhead")
        return asdict(self) | {name: getattr(self, name) for name in (*derived, *rates)}


class Stopwatch:
    """A `with` block's time. seconds: after the block, what it took."""

    __slots__ = ("_name", "_start", "_statistics", "seconds")

    def __init__(self, statistics: Statistics, name: str):
        self._statistics, self._name, self.seconds = statistics, name, 0.0

    def __enter__(self) -> Stopwatch:
        self._start = perf_counter()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.seconds = perf_counter() - self._start
        setattr(self._statistics, self._name, getattr(self._statistics, self._name) + self.seconds)


def column_sums(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Of rows that need not be equally long: (1, 2, 3) and (1, 1) -> (2, 3, 3)."""
    return tuple(map(sum, zip_longest(*rows, fillvalue=0)))


def peak_memory() -> int:
    """Bytes of main memory that this process has had at most, mapped files included; 0 where the system doesn't say."""
    try:  # Linux counts what the parent had into a new process's ru_maxrss, but not into this
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
