"""Decode prompts with and without drafting, and compare. Runs in the child process of `verify --run`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from gemma_mtp.mtp_runtime.engine import MtpEngine
from gemma_mtp.mtp_runtime.sampler import Greedy
from gemma_mtp.native.stats import Statistics
from gemma_mtp.validate.comparison import Choice, Comparison, Job

#: Best tokens of each choice that are written down: where several are alike, the runner-up is not who wins elsewhere.
WRITTEN = 8


class RecordingGreedy(Greedy):
    """Greedy, with the best logits of every choice written down: place -> token -> logit, the chosen one first."""

    def __init__(self, banned: list[int]):
        super().__init__(banned)
        self.choices: dict[int, dict[int, float]] = {}

    def choose(self, logits: np.ndarray[Any, Any], index: int, draft: int | None = None) -> int:
        token = super().choose(logits, index, draft)
        best = np.argpartition(logits, -WRITTEN)[-WRITTEN:]
        others = sorted((int(one) for one in best if one != token), key=lambda one: -logits[one])
        self.choices[index] = {one: float(logits[one]) for one in (token, *others)}
        return token


def open_engine(job: Job) -> MtpEngine:
    """The job's pair, loaded. Raises BadFileError, LlamaError."""
    return MtpEngine(job.target, job.assistant, context=job.context, model=job.model, draft_max=job.draft_max)


def prompt_of(engine: MtpEngine, text: str, job: Job) -> list[int]:
    """The text's tokens, as many of them as there is room for. Raises UsageError: there is none."""
    return engine.tokenize(text)[: job.room_for_prompt(engine.context_size, engine.target.trained_context)]


def comparisons(job: Job) -> Iterator[Comparison]:
    """A comparison for each prompt. Raises LlamaError, UsageError; may die in any way that llama.cpp can."""
    with open_engine(job) as engine:
        for kind, text in job.prompts.items():
            prompt = prompt_of(engine, text, job)
            plain, drafted = (_decode(engine, prompt, draft_max, job.tokens) for draft_max in (0, job.draft_max))
            yield _compared(kind, plain, drafted)


@dataclass(frozen=True)
class _Run:
    tokens: list[int]
    choices: dict[int, dict[int, float]]
    statistics: Statistics
    seconds: float

    @property
    def speed(self) -> float:
        return len(self.tokens) / self.seconds


def _decode(engine: MtpEngine, prompt: list[int], draft_max: int, tokens: int) -> _Run:
    sampler, start = RecordingGreedy(engine.target.end_tokens()), perf_counter()
    generation = engine.generate(prompt, max_tokens=tokens, draft_max=draft_max, sampler=sampler)
    for _ in generation:
        pass
    return _Run(generation.tokens, sampler.choices, generation.statistics, perf_counter() - start)


def _compared(kind: str, plain: _Run, drafted: _Run) -> Comparison:
    result = Comparison(
        kind,
        len(plain.tokens),
        plain.speed,
        drafted.speed,
        tuple(drafted.statistics.drafted_at),
        tuple(drafted.statistics.accepted_at),
    )
    pairs = zip(plain.tokens, drafted.tokens, strict=True)
    place = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
    if place is None:
        return result
    one, other = plain.choices[place], drafted.choices[place]
    return replace(result, different_at=place, plain=_choice(one, other), drafted=_choice(other, one))


def _choice(best: dict[int, float], elsewhere: dict[int, float]) -> Choice:
    """What was chosen here, beside what was chosen with the other way of decoding."""
    (token, logit), (second, second_logit) = list(best.items())[:2]
    return Choice(token, logit, second, second_logit, best.get(next(iter(elsewhere))))
