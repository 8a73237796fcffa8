"""Decode prompts with and without drafting, and compare. Runs in the child process of `verify --run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime.control import Fixed
from gemma_mtp.mtp_runtime.drafter import Drafter
from gemma_mtp.mtp_runtime.generate import generate
from gemma_mtp.mtp_runtime.sampler import Greedy
from gemma_mtp.mtp_runtime.verifier import Verifier
from gemma_mtp.native.llama import Context, Model
from gemma_mtp.native.settings import more_context
from gemma_mtp.native.stats import Statistics
from gemma_mtp.validate.comparison import Choice, Comparison, Job


class RecordingGreedy(Greedy):
    """Greedy, with the two best logits of every choice written down."""

    def __init__(self, banned: list[int]):
        super().__init__(banned)
        self.choices: dict[int, Choice] = {}

    def choose(self, logits: np.ndarray[Any, Any], index: int, draft: int | None = None) -> int:
        token = super().choose(logits, index, draft)
        rest = logits.copy()
        rest[token] = -np.inf
        second = int(rest.argmax())
        self.choices[index] = Choice(token, float(logits[token]), second, float(logits[second]))
        return token


@dataclass(frozen=True)
class OpenPair:
    """A loaded pair, ready to decode."""

    target: Model
    verifier: Verifier
    drafter: Drafter

    def prompt(self, text: str, job: Job) -> list[int]:
        """The text's tokens, as many of them as leave room for what is generated. Raises UsageError: no room."""
        size, needed = self.verifier.context.size, job.tokens + job.draft_max + 1
        room = size - needed
        if room < 1:
            raise UsageError(
                f"the context has {size} tokens, {job.tokens} are to be generated",
                hint=f"{more_context(size, self.target.trained_context, needed + 1)}, or fewer --tokens",
            )
        return self.target.tokenize(text)[:room]


@contextmanager
def opened(job: Job) -> Iterator[OpenPair]:
    """The job's pair in llama.cpp. Raises LlamaError."""
    with ExitStack() as stack:
        target = stack.enter_context(Model(job.target, job.model))
        # A slot more than in the widest batch, so that the end of the context is never what ends a run.
        context = Context(target, replace(job.context, outputs=job.draft_max + 1))
        verifier = Verifier(stack.enter_context(context))
        assistant = stack.enter_context(Model(job.assistant, job.model))
        drafting = Context(assistant, replace(job.context, batch=1, outputs=1), target=context)
        yield OpenPair(target, verifier, Drafter(stack.enter_context(drafting)))


def comparisons(job: Job) -> Iterator[Comparison]:
    """A comparison for each prompt. Raises LlamaError, UsageError; may die in any way that llama.cpp can."""
    with opened(job) as pair:
        banned = pair.target.end_tokens()
        for kind, text in job.prompts.items():
            prompt = pair.prompt(text, job)
            plain, drafted = (_decode(pair.verifier, used, prompt, banned, job) for used in (None, pair.drafter))
            yield _compared(kind, plain, drafted)


@dataclass(frozen=True)
class _Run:
    tokens: list[int]
    choices: dict[int, Choice]
    statistics: Statistics
    seconds: float

    @property
    def speed(self) -> float:
        return len(self.tokens) / self.seconds


def _decode(verifier: Verifier, drafter: Drafter | None, prompt: list[int], banned: list[int], job: Job) -> _Run:
    statistics, sampler, start = Statistics(), RecordingGreedy(banned), perf_counter()
    steps = generate(
        verifier, drafter, sampler, prompt, statistics, max_tokens=job.tokens, control=Fixed(job.draft_max)
    )
    tokens = [step.token for step in steps]
    return _Run(tokens, sampler.choices, statistics, perf_counter() - start)


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
    return replace(result, different_at=place, plain=plain.choices[place], drafted=drafted.choices[place])
