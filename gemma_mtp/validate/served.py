"""The comparisons of `verify --run` through llama.cpp's C++ engine, where the Python loop is not. In its child process.

One engine drafts with one length for its whole life: the pair is loaded twice, one after the other, and all prompts are
decoded plainly before the first is decoded with drafts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from gemma_mtp.native.cpp import CppEngine, Loading
from gemma_mtp.native.engines import CPP
from gemma_mtp.native.settings import NO_DRAFTS, Drafting
from gemma_mtp.sources.drafting import of_file
from gemma_mtp.sources.pairing import check_runnable
from gemma_mtp.validate.comparison import Comparison, Job


@dataclass(frozen=True)
class _Run:
    tokens: list[int]
    finish: str
    drafts: tuple[int, int]
    seconds: float

    @property
    def speed(self) -> float:
        return len(self.tokens) / self.seconds


def comparisons(job: Job, alive: Callable[[], None]) -> Iterator[Comparison]:
    """A comparison for each prompt. alive: called whenever something was loaded or decoded.

    Raises LlamaError, UsageError; may die in any way that llama.cpp can.
    """
    trained = check_runnable(job.target).context
    job.room_for_prompt(min(job.context.size, trained), trained)
    with _engine(job, NO_DRAFTS) as engine:
        alive()
        plain = [_decode(engine, text, job, alive) for text in job.prompts.values()]
    with _engine(job, Drafting(job.draft_max)) as engine:
        alive()
        for (kind, text), one in zip(job.prompts.items(), plain, strict=True):
            yield _compared(kind, one, _decode(engine, text, job, alive))


def _engine(job: Job, drafting: Drafting) -> CppEngine:
    drafting = of_file(drafting, job.assistant)
    loading = Loading(Path(job.target), Path(job.assistant), drafting, context=job.context, model=job.model)
    return CppEngine(loading)


def _decode(engine: CppEngine, text: str, job: Job, alive: Callable[[], None]) -> _Run:
    start = perf_counter()
    result = engine.complete(text, max_tokens=job.tokens, ignore_end=True)
    seconds = perf_counter() - start
    alive()
    return _Run(result.tokens, result.finish, (result.statistics.drafted, result.statistics.accepted), seconds)


def _compared(kind: str, plain: _Run, drafted: _Run) -> Comparison:
    result = Comparison(kind, len(plain.tokens), plain.speed, drafted.speed, (), (), engine=CPP, totals=drafted.drafts)
    pairs = enumerate(zip(plain.tokens, drafted.tokens, strict=False))
    place = next((place for place, (one, other) in pairs if one != other), None)
    # A full context ends a text with drafts some tokens earlier or later than one without.
    full = "context" in (plain.finish, drafted.finish)
    if place is None and not full and len(plain.tokens) != len(drafted.tokens):
        place = min(len(plain.tokens), len(drafted.tokens))
    return replace(result, different_at=place)
