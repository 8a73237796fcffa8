"""The asking side: which laps are run, and in which order, so that a machine's moods hit all alike."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from gemma_mtp.bench.laps import FIXED, Lap, Pair, Task
from gemma_mtp.bench.results import AUTO, NONE, PLAIN
from gemma_mtp.native.child import converse
from gemma_mtp.native.methods import MTP

Item = TypeVar("Item")

ANSWER = "gemma_mtp.bench.laps:answer"


@dataclass(frozen=True)
class Plan:
    """What is measured. prompts: (category, text). drafts: the assistant's, besides PLAIN, which is always measured.

    p_mins: the longest draft is measured with each of these too. sizes: category -> tokens to which its prompt is cut.
    """

    pair: Pair
    prompts: tuple[tuple[str, str], ...]
    drafts: tuple[int, ...]
    engines: tuple[str, ...] = ("python",)
    tokens: int = 128
    repeats: int = 3
    p_mins: tuple[float, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    def tasks(self) -> list[Task]:
        """All tasks in their order. Every other repeat goes backwards, so that a drift cancels.

        Neighbours differ in the engine, then in the draft length, then in the prompt. An engine of FIXED loads anew for
        each length, and every engine for another drafter, so then all prompts are run before the next length.
        """
        drafts = self._drafts()
        if FIXED.isdisjoint(self.engines) and not self.pair.ways:
            turns = [(prompt, draft) for prompt in self.prompts for draft in drafts]
        else:
            turns = [(prompt, draft) for draft in drafts for prompt in self.prompts]
        return [
            Task(engine, category, text, draft, repeat, self.tokens, p_min, label, self.sizes.get(category, 0))
            for repeat in range(self.repeats)
            for (category, text), (label, draft, p_min) in there_and_back(turns, repeat)
            for engine in there_and_back(self.engines, repeat)
            if self._can(engine, label, draft)
        ]

    def _drafts(self) -> list[tuple[str, int, float]]:
        """(way's label, draft length, p_min): plain decoding first."""
        drafts = [(NONE, PLAIN, 0.0)]
        if self.pair.assistant is not None:
            drafts += [(MTP, draft, 0.0) for draft in self.drafts]
            drafts += [(MTP, self.pair.draft_max, p_min) for p_min in self.p_mins]
        return drafts + [(way.label, length, 0.0) for way in self.pair.ways for length in way.lengths]

    def _can(self, engine: str, label: str, draft: int) -> bool:
        if draft == PLAIN:
            return True
        return engine in self.pair.way(label).engines and not (draft == AUTO and engine in FIXED)


def measure(plan: Plan) -> Iterator[Lap]:
    """The laps as they are run, each engine in a child process; where ways are compared, one for each length of each
    in every repeat: what it takes of memory is its own, and n-grams know nothing of a repeat before.

    Raises what `laps.answer` raises, and NativeCrash.
    """
    children: dict[str, _Child] = {}
    try:
        for task in plan.tasks():
            own = _own(plan.pair, task)
            child = children.get(task.engine)
            if child is None or child.pair != own or (plan.pair.ways and child.turn != task.turn):
                if child is not None:
                    child.answers.close()
                answers = converse(ANSWER, task.engine, own, files=plan.pair.files)
                child = children[task.engine] = _Child(own, task.turn, answers)
                next(answers)
            yield child.answers.send(task)
    finally:
        for child in children.values():
            child.answers.close()


@dataclass(frozen=True)
class _Child:
    """A process with an engine. turn: what it was started for."""

    pair: Pair
    turn: tuple[str, int, float, int]
    answers: Generator[Any, Any, Any]


def _own(pair: Pair, task: Task) -> Pair:
    """What an engine loads for a task: where ways are compared, the target and one drafter at most."""
    if not pair.ways:
        return pair
    if task.draft == PLAIN:
        return replace(pair, assistant=None, ways=(), alone=True)
    way = pair.way(task.method)
    return replace(pair, assistant=None, ways=(way,), alone=True)


def there_and_back(items: Sequence[Item], repeat: int) -> Sequence[Item]:
    return items if repeat % 2 == 0 else items[::-1]
