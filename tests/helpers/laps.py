"""Laps with known figures."""

from __future__ import annotations

from gemma_mtp.bench.laps import Lap, Task
from gemma_mtp.native.stats import Statistics


def lap(
    category: str,
    draft: int,
    repeat: int,
    seconds: float,
    *,
    tokens: int = 101,
    drafted_at: tuple[int, ...] = (),
    accepted_at: tuple[int, ...] = (),
    draft_seconds: float = 0.0,
    engine: str = "python",
    said: tuple[int, ...] = (1, 2, 3),
    method: str = "mtp",
    memory: int = 0,
) -> Lap:
    """A lap of `tokens` tokens, of which all but the first took `seconds`."""
    statistics = Statistics(
        tokens=tokens,
        rounds=tokens - 1 - sum(accepted_at),
        drafted_at=list(drafted_at),
        accepted_at=list(accepted_at),
        draft_seconds=draft_seconds,
        verify_seconds=(seconds - draft_seconds) * 0.9 if engine == "python" else 0.0,
        generation_seconds=seconds,
    )
    task = Task(engine, category, f"a prompt of {category}", draft, repeat, tokens, method=method)
    return Lap(task, "", said, statistics, memory)
