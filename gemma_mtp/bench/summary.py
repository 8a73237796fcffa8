"""From laps to rows: medians over the repeats, then sums over the prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

from gemma_mtp.bench.laps import Lap
from gemma_mtp.bench.results import NONE, OVERALL, PLAIN, ConfidenceRow, Row
from gemma_mtp.native.stats import Statistics, column_sums

#: (engine, category, method, draft).
_Key = tuple[str, str, str, int]


class _Laps:
    """The laps of one row, by prompt.

    A time is the sum over the prompts of its median over the repeats, so that a disturbance costs no row more than one
    lap. Counts are those of the first repeat.
    """

    def __init__(self) -> None:
        self._by_prompt: dict[str, list[Statistics]] = defaultdict(list)
        self._memory: list[int] = []

    def add(self, lap: Lap) -> None:
        self._by_prompt[lap.task.prompt].append(lap.statistics)
        self._memory.append(lap.memory)

    def seconds(self, name: str) -> float:
        return float(sum(median(getattr(lap, name) for lap in laps) for laps in self._by_prompt.values()))

    def count(self, name: str) -> int:
        return int(sum(getattr(laps[0], name) for laps in self._by_prompt.values()))

    def by_position(self, name: str) -> tuple[int, ...]:
        return column_sums(getattr(laps[0], name) for laps in self._by_prompt.values())

    @property
    def timed_tokens(self) -> int:
        """All but the first of each lap, which comes from the prompt's pass."""
        return self.count("tokens") - len(self._by_prompt)

    @property
    def rate(self) -> float:
        return self.timed_tokens / self.seconds("generation_seconds")

    @property
    def prompt_rate(self) -> float | None:
        """Prompt tokens a second."""
        seconds = self.seconds("prompt_seconds")
        return self.count("prompt_tokens") / seconds if seconds else None

    def memory_beyond(self, plain: _Laps) -> int | None:
        """Bytes; None where one engine was loaded for several ways."""
        both = [max(laps._memory, default=0) for laps in (self, plain)]
        return max(both[0] - both[1], 0) if all(both) else None

    @property
    def rate_without_drafting(self) -> float:
        """The rate if drafting had taken no time."""
        return self.timed_tokens / (self.seconds("generation_seconds") - self.seconds("draft_seconds"))


def rows(laps: Iterable[Lap]) -> list[Row]:
    """A row for each engine, category, method and draft length: OVERALL first, then the categories as they came.

    Laps with a p_min are `confidence_rows`'.
    """
    laps = [lap for lap in laps if not lap.task.p_min]
    groups, different = _by_row(laps), {key for lap in _differing(laps) for key in _keys(lap)}
    return [
        _row(key, groups[key], plain=groups[key[0], key[1], NONE, PLAIN], identical=key not in different)
        for key in sorted(groups, key=_order(laps))
    ]


def confidence_rows(laps: Sequence[Lap]) -> list[ConfidenceRow]:
    """A row for each engine and p_min, in the order of `rows`."""
    found = []
    for p_min in sorted({lap.task.p_min for lap in laps if lap.task.p_min}):
        own = [
            replace(lap, task=replace(lap.task, p_min=0.0))
            for lap in laps
            if lap.task.p_min == p_min or lap.task.draft == PLAIN
        ]
        found += [
            ConfidenceRow(row.engine, row.draft, p_min, row.tokens_per_second, row.speedup, row.acceptance)
            for row in rows(own)
            if row.category == OVERALL and row.drafts
        ]
    return found


def differing_prompts(laps: Iterable[Lap]) -> list[str]:
    """Prompts whose drafted continuation is not, token for token, the plain one of the same engine."""
    return list(dict.fromkeys(lap.task.prompt for lap in _differing(list(laps))))


def _by_row(laps: Sequence[Lap]) -> dict[_Key, _Laps]:
    groups: dict[_Key, _Laps] = defaultdict(_Laps)
    for lap in laps:
        for key in _keys(lap):
            groups[key].add(lap)
    return groups


def _keys(lap: Lap) -> list[_Key]:
    """The rows that a lap counts for."""
    task = lap.task
    method = task.method if task.draft != PLAIN else NONE
    return [(task.engine, category, method, task.draft) for category in (task.category, OVERALL)]


class _order:
    """Engines, categories and methods as they came, plain decoding first, AUTO (a negative number) after lengths."""

    def __init__(self, laps: Sequence[Lap]):
        self._engines = list(dict.fromkeys(lap.task.engine for lap in laps))
        self._categories = [OVERALL, *dict.fromkeys(lap.task.category for lap in laps)]
        self._methods = list(dict.fromkeys([NONE, *(lap.task.method for lap in laps)]))

    def __call__(self, key: _Key) -> tuple[int, int, int, bool, int]:
        engine, category, method, draft = key
        places = self._engines.index(engine), self._categories.index(category), self._methods.index(method)
        return *places, draft < PLAIN, draft


def _differing(laps: Sequence[Lap]) -> list[Lap]:
    plain = {(lap.task.engine, lap.task.prompt): lap.tokens for lap in laps if lap.task.draft == PLAIN}
    return [lap for lap in laps if lap.tokens != plain[lap.task.engine, lap.task.prompt]]


def _row(key: _Key, laps: _Laps, *, plain: _Laps, identical: bool) -> Row:
    engine, category, method, draft = key
    rounds, drafted, accepted = (laps.count(name) for name in ("rounds", "drafted", "accepted"))
    told = laps.seconds("verify_seconds") > 0 and rounds > 0  # the C++ engine keeps the times of its rounds to itself
    positions = zip(laps.by_position("accepted_at"), laps.by_position("drafted_at"), strict=True)
    return Row(
        engine=engine,
        category=category,
        draft=draft,
        tokens_per_second=laps.rate,
        speedup=laps.rate / plain.rate,
        tokens=laps.count("tokens"),
        rounds=rounds,
        drafted=drafted,
        accepted=accepted,
        acceptance=accepted / drafted if drafted else None,
        acceptance_by_position=tuple(taken / tried for taken, tried in positions if tried),
        tokens_per_round=laps.timed_tokens / rounds if rounds else 1.0,
        draft_ms=1000 * laps.seconds("draft_seconds") / rounds if told else None,
        verify_ms=1000 * laps.seconds("verify_seconds") / rounds if told else None,
        ceiling=laps.rate_without_drafting / plain.rate if told else None,
        identical=identical,
        method=method,
        prompt_tokens_per_second=laps.prompt_rate,
        memory=laps.memory_beyond(plain) if draft != PLAIN else None,
    )
