"""What runs in the child process of `verify --run`: decode prompts with and without drafting, and compare.

Called by `gemma_mtp.validate.run`. Whatever llama.cpp does to this process, the parent lives on.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from gemma_mtp.mtp_runtime.drafter import Drafter
from gemma_mtp.mtp_runtime.generate import generate
from gemma_mtp.mtp_runtime.llama import Context, Model
from gemma_mtp.mtp_runtime.sampler import Greedy
from gemma_mtp.mtp_runtime.settings import ContextSettings, ModelSettings
from gemma_mtp.mtp_runtime.stats import Statistics
from gemma_mtp.mtp_runtime.verifier import Verifier


@dataclass(frozen=True)
class Job:
    """What the child is to do.

    tokens: to generate for each prompt. seconds: for loading, and again for each prompt; then the process is killed.
    memory: bytes of address space the process may have, None for no limit.
    """

    target: str
    assistant: str
    prompts: Mapping[str, str]
    tokens: int
    draft_max: int
    seconds: int
    memory: int | None
    context: ContextSettings
    model: ModelSettings


@dataclass(frozen=True)
class Choice:
    """A token that the target chose, and its logit, and the next best."""

    token: int
    logit: float
    second: int
    second_logit: float

    @property
    def gap(self) -> float:
        return self.logit - self.second_logit


@dataclass(frozen=True)
class Comparison:
    """One prompt. `different_at`: the first place where the outputs differ, with both choices there."""

    kind: str
    tokens: int
    plain_speed: float
    drafted_speed: float
    drafted_at: tuple[int, ...]
    accepted_at: tuple[int, ...]
    different_at: int | None = None
    plain: Choice | None = None
    drafted: Choice | None = None


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


def compare(job: Job) -> Generator[Comparison]:
    """A comparison for each prompt. Raises LlamaError; may die in any way that llama.cpp can."""
    _limit_memory(job.memory)
    _limit_time(job.seconds)
    with ExitStack() as stack:
        target = stack.enter_context(Model(job.target, job.model))
        # A slot more than in the widest batch, so that the end of the context is never what ends a run.
        context = Context(target, replace(job.context, outputs=job.draft_max + 1))
        verifier = Verifier(stack.enter_context(context))
        assistant = stack.enter_context(Model(job.assistant, job.model))
        drafting = Context(assistant, replace(job.context, batch=1, outputs=1), target=context)
        drafter = Drafter(stack.enter_context(drafting))
        for kind, prompt in job.prompts.items():
            _limit_time(job.seconds)
            tokens = target.tokenize(prompt)[: context.size - job.tokens - job.draft_max - 1]
            banned = target.end_tokens()
            runs = [_decode(verifier, used, tokens, banned, job) for used in (None, drafter)]
            yield _compared(kind, *runs)


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
        verifier, drafter, sampler, prompt, statistics, max_tokens=job.tokens, draft_length=lambda: job.draft_max
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


def _limit_memory(limit: int | None) -> None:
    if limit is not None:
        with suppress(ImportError, ValueError, OSError):  # no such limit on Windows, or a stricter one already
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time(seconds: int) -> None:
    """From now on this process has so long; the signal kills it even inside of native code."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
