"""The asking side: which laps are run, and in which order, so that a machine's moods hit all alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TypeVar

from gemma_mtp.bench.laps import FIXED, Lap, Pair, Task
from gemma_mtp.bench.results import AUTO, PLAIN
from gemma_mtp.native.child import converse

Item = TypeVar("Item")

ANSWER = "gemma_mtp.bench.laps:answer"


@dataclass(frozen=True)
class Plan:
    """What is measured. prompts: (category, text). drafts: besides PLAIN, which is always measured.

    p_mins: the longest draft is measured with each of these too.
    """

    pair: Pair
    prompts: tuple[tuple[str, str], ...]
    drafts: tuple[int, ...]
    engines: tuple[str, ...] = ("python",)
    tokens: int = 128
    repeats: int = 3
    p_mins: tuple[float, ...] = ()

    def tasks(self) -> list[Task]:
        """All tasks in their order. Every other repeat goes backwards, so that a drift cancels.

        Neighbours differ in the engine, then in the draft length, then in the prompt. An engine of FIXED loads anew for
        each length, so with one of them all prompts are run before the next length.
        """
        drafts = [(draft, 0.0) for draft in (PLAIN, *self.drafts)]
        drafts += [(self.pair.draft_max, p_min) for p_min in self.p_mins]
        if FIXED.isdisjoint(self.engines):
            turns = [(prompt, draft) for prompt in self.prompts for draft in drafts]
        else:
            turns = [(prompt, draft) for draft in drafts for prompt in self.prompts]
        return [
            Task(engine, category, text, draft, repeat, self.tokens, p_min)
            for repeat in range(self.repeats)
            for (category, text), (draft, p_min) in there_and_back(turns, repeat)
            for engine in there_and_back(self.engines, repeat)
            if not (draft == AUTO and engine in FIXED)
        ]


def measure(plan: Plan) -> Iterator[Lap]:
    """The laps as they are run, each engine in a child process of its own.

    Raises what `laps.answer` raises, and NativeCrash.
    """
    with ExitStack() as stack:
        children = {
            engine: stack.enter_context(closing(converse(ANSWER, engine, plan.pair, files=plan.pair.files)))
            for engine in plan.engines
        }
        for child in children.values():
            next(child)
        for task in plan.tasks():
            yield children[task.engine].send(task)


def there_and_back(items: Sequence[Item], repeat: int) -> Sequence[Item]:
    return items if repeat % 2 == 0 else items[::-1]
