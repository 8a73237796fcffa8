"""The measuring side: a child process with a loaded engine, which answers each task with a lap."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gemma_mtp.bench.results import AUTO, PLAIN
from gemma_mtp.native.settings import ContextSettings, Drafting, ModelSettings
from gemma_mtp.native.stats import Statistics
from gemma_mtp.sources.pairing import check_runnable

if TYPE_CHECKING:
    from gemma_mtp.native.cpp import CppEngine

#: Tokens of a warm-up: the first passes read the weights from the disk and find the caches cold.
WARM_UP = 16


@dataclass(frozen=True)
class Pair:
    """What an engine loads. draft_max: the longest draft. model None: what works on this machine."""

    target: Path
    assistant: Path
    draft_max: int
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings | None = None

    @property
    def files(self) -> tuple[Path, Path]:
        return self.target, self.assistant


@dataclass(frozen=True)
class Task:
    """Continue `prompt` with `tokens` tokens, greedily, ignoring end tokens. draft: PLAIN, a length, or AUTO.

    p_min: a draft ends where the drafter is less sure.
    """

    engine: str
    category: str
    prompt: str
    draft: int
    repeat: int
    tokens: int
    p_min: float = 0.0


@dataclass(frozen=True)
class Lap:
    """A task that is done."""

    task: Task
    text: str
    tokens: tuple[int, ...]
    statistics: Statistics


class Runner(AbstractContextManager["Runner"], Protocol):
    """A loaded engine."""

    def run(self, task: Task) -> Lap: ...


class PythonRunner:
    """This package's loop."""

    def __init__(self, pair: Pair):
        from gemma_mtp.mtp_runtime import MtpEngine

        self._pair = pair
        self._engine = MtpEngine(
            pair.target, pair.assistant, context=pair.context, model=pair.model, draft_max=pair.draft_max
        )
        for draft in (PLAIN, pair.draft_max):
            self.run(Task("", "", "def", draft, 0, WARM_UP))

    def run(self, task: Task) -> Lap:
        auto = task.draft == AUTO
        drafting = Drafting(self._pair.draft_max if auto else task.draft, p_min=task.p_min, auto=auto)
        running = self._engine.generate(task.prompt, max_tokens=task.tokens, drafting=drafting, ignore_end=True)
        for _ in running:
            pass
        return Lap(task, running.text, tuple(running.tokens), running.statistics)

    def __enter__(self) -> PythonRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        self._engine.close()


class CppRunner:
    """llama.cpp's server in xllamacpp. It has one draft length for life: another one is another server, loaded anew."""

    def __init__(self, pair: Pair):
        check_runnable(pair.target, pair.assistant)
        self._pair = pair
        self._drafting: Drafting | None = None
        self._engine: CppEngine | None = None

    def run(self, task: Task) -> Lap:
        result = self._loaded(Drafting(task.draft, p_min=task.p_min)).complete(
            task.prompt, max_tokens=task.tokens, ignore_end=True
        )
        return Lap(task, result.text, tuple(result.tokens), result.statistics)

    def _loaded(self, drafting: Drafting) -> CppEngine:
        from gemma_mtp.native.cpp import CppEngine, Loading

        if self._engine is None or drafting != self._drafting:
            self.close()
            pair, model = self._pair, self._pair.model or ModelSettings()
            loading = Loading(pair.target, pair.assistant, drafting, pair.context, model)
            self._engine, self._drafting = CppEngine(loading), drafting
            self._engine.complete("def", max_tokens=WARM_UP, ignore_end=True)
        return self._engine

    def close(self) -> None:
        if self._engine:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> CppRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


#: What `--engine` may name.
ENGINES: dict[str, Callable[[Pair], Runner]] = {"python": PythonRunner, "cpp": CppRunner}
#: Engines that load anew for another draft length, and cannot adapt it.
FIXED = frozenset({"cpp"})


def answer(engine: str, pair: Pair) -> Generator[Lap | None, Task, None]:
    """Runs in the child of a conversation: None when the engine is loaded, then a lap for each task that is sent.

    Raises what the engine raises: LlamaError, BadFileError, MissingExtra, EnvironmentProblem.
    """
    with ENGINES[engine](pair) as runner:
        lap = None
        while True:
            task = yield lap
            lap = runner.run(task)
