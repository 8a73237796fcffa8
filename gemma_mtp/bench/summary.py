"""From laps to rows: sums over the prompts of a repeat, then medians over the repeats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

from gemma_mtp.bench.laps import Lap
from gemma_mtp.bench.results import OVERALL, PLAIN, Row
from gemma_mtp.mtp_runtime.stats import Statistics

#: (engine, category, draft).
_Key = tuple[str, str, int]


@dataclass
class _Repeat:
    """The laps of one row in one repeat, summed. Times in seconds; draft, verify: 0 if the engine doesn't tell."""

    timed_tokens: int = 0  # all but the first of each lap, which comes from the prompt's pass
    seconds: float = 0.0
    draft: float = 0.0
    verify: float = 0.0
    tokens: int = 0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    drafted_at: tuple[int, ...] = ()
    accepted_at: tuple[int, ...] = ()

    def add(self, lap: Statistics) -> None:
        self.timed_tokens += lap.tokens - 1
        self.seconds += lap.generation_seconds
        self.draft += lap.draft_seconds
        self.verify += lap.verify_seconds
        self.tokens += lap.tokens
        self.rounds += lap.rounds
        self.drafted += lap.drafted
        self.accepted += lap.accepted
        self.drafted_at = column_sums(self.drafted_at, lap.drafted_at)
        self.accepted_at = column_sums(self.accepted_at, lap.accepted_at)

    @property
    def rate(self) -> float:
        return self.timed_tokens / self.seconds

    @property
    def rate_without_drafting(self) -> float:
        """The rate if drafting had taken no time."""
        return self.timed_tokens / (self.seconds - self.draft)


def rows(laps: Iterable[Lap]) -> list[Row]:
    """A row for each engine, category and draft length: OVERALL first, then the categories as they came."""
    laps = list(laps)
    repeats, different = _by_row(laps), _differing_rows(laps)
    return [
        _row(key, repeats[key], repeats[key[0], key[1], PLAIN], identical=key not in different)
        for key in sorted(repeats, key=_order(laps))
    ]


def differing_prompts(laps: Iterable[Lap]) -> list[str]:
    """Prompts whose drafted continuation is not, token for token, the plain one of the same engine."""
    return list(dict.fromkeys(lap.task.prompt for lap in _differing(list(laps))))


def column_sums(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """(1, 2, 3) and (1, 1) -> (2, 3, 3)."""
    return tuple(map(sum, zip_longest(one, other, fillvalue=0)))


def _by_row(laps: Sequence[Lap]) -> dict[_Key, list[_Repeat]]:
    sums: dict[_Key, dict[int, _Repeat]] = defaultdict(lambda: defaultdict(_Repeat))
    for lap in laps:
        for key in _keys(lap):
            sums[key][lap.task.repeat].add(lap.statistics)
    return {key: [repeats[number] for number in sorted(repeats)] for key, repeats in sums.items()}


def _keys(lap: Lap) -> list[_Key]:
    """The rows that a lap counts for."""
    task = lap.task
    return [(task.engine, category, task.draft) for category in (task.category, OVERALL)]


class _order:
    """Engines and categories as they came, AUTO (a negative number) after the lengths."""

    def __init__(self, laps: Sequence[Lap]):
        self._engines = list(dict.fromkeys(lap.task.engine for lap in laps))
        self._categories = [OVERALL, *dict.fromkeys(lap.task.category for lap in laps)]

    def __call__(self, key: _Key) -> tuple[int, int, bool, int]:
        engine, category, draft = key
        return self._engines.index(engine), self._categories.index(category), draft < PLAIN, draft


def _differing(laps: Sequence[Lap]) -> list[Lap]:
    plain = {(lap.task.engine, lap.task.prompt): lap.tokens for lap in laps if lap.task.draft == PLAIN}
    return [lap for lap in laps if lap.tokens != plain[lap.task.engine, lap.task.prompt]]


def _differing_rows(laps: Sequence[Lap]) -> set[_Key]:
    return {key for lap in _differing(laps) for key in _keys(lap)}


def _row(key: _Key, repeats: list[_Repeat], plain: list[_Repeat], *, identical: bool) -> Row:
    engine, category, draft = key
    counts, pairs = repeats[0], list(zip(repeats, plain, strict=True))
    told = counts.verify > 0
    return Row(
        engine=engine,
        category=category,
        draft=draft,
        tokens_per_second=median(one.rate for one in repeats),
        speedup=median(one.rate / base.rate for one, base in pairs),
        tokens=counts.tokens,
        rounds=counts.rounds,
        drafted=counts.drafted,
        accepted=counts.accepted,
        acceptance=counts.accepted / counts.drafted if counts.drafted else None,
        acceptance_by_position=tuple(
            accepted / drafted
            for accepted, drafted in zip(counts.accepted_at, counts.drafted_at, strict=True)
            if drafted
        ),
        tokens_per_round=counts.timed_tokens / counts.rounds if counts.rounds else 1.0,
        draft_ms=median(1000 * one.draft / one.rounds for one in repeats) if told else None,
        verify_ms=median(1000 * one.verify / one.rounds for one in repeats) if told else None,
        ceiling=median(one.rate_without_drafting / base.rate for one, base in pairs) if told else None,
        identical=identical,
    )
