"""The measuring side: a child process with a loaded engine, which answers each task with a lap."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gemma_mtp.bench.results import NONE, PLAIN
from gemma_mtp.bench.ways import Way, assistant_way
from gemma_mtp.errors import UsageError
from gemma_mtp.native.methods import MTP
from gemma_mtp.native.settings import NO_DRAFTS, ContextSettings, Drafting, ModelSettings
from gemma_mtp.native.stats import Statistics, peak_memory
from gemma_mtp.sources.pairing import check_runnable

if TYPE_CHECKING:
    from gemma_mtp.native.cpp import CppEngine

#: Tokens of a warm-up: the first passes read the weights from the disk and find the caches cold.
WARM_UP = 16


@dataclass(frozen=True)
class Pair:
    """What an engine loads. draft_max: the longest draft. model None: what works on this machine.

    ways: how is drafted beside the assistant's way, each loaded anew. assistant None: these alone. alone: it is loaded
    for one way, so that what it takes of memory is that way's.
    """

    target: Path
    assistant: Path | None
    draft_max: int
    context: ContextSettings = field(default_factory=ContextSettings)
    model: ModelSettings | None = None
    ways: tuple[Way, ...] = ()
    alone: bool = False

    @property
    def files(self) -> tuple[Path, Path | None]:
        """For advice: the target, and the first drafter."""
        return self.target, next((way.drafter for way in self.all_ways if way.drafter is not None), None)

    @property
    def all_ways(self) -> tuple[Way, ...]:
        own = () if self.assistant is None else (assistant_way(self.assistant, (self.draft_max,)),)
        return (*own, *self.ways)

    def way(self, label: str) -> Way:
        """Raises StopIteration: there is none."""
        return next(way for way in self.all_ways if way.label == label)


@dataclass(frozen=True)
class Task:
    """Continue `prompt` with `tokens` tokens, greedily, ignoring end tokens. draft: PLAIN, a length, or AUTO.

    p_min: a draft ends where the drafter is less sure. method: a way's label. size: cut the prompt to so many tokens,
    0: as it is.
    """

    engine: str
    category: str
    prompt: str
    draft: int
    repeat: int
    tokens: int
    p_min: float = 0.0
    method: str = MTP
    size: int = 0

    @property
    def turn(self) -> tuple[str, int, float, int]:
        """The same for all prompts that are continued in one way in one repeat."""
        return self.method, self.draft, self.p_min, self.repeat

    def prompt_for(self, tokenize: Callable[[str], list[int]]) -> str | list[int]:
        """Raises UsageError: it has not so many tokens."""
        if not self.size:
            return self.prompt
        tokens = tokenize(self.prompt)
        if len(tokens) < self.size:
            raise UsageError(f"the prompt of {self.category} has {len(tokens):,} tokens, {self.size:,} are needed")
        return tokens[: self.size]


@dataclass(frozen=True)
class Lap:
    """A task that is done. memory: bytes that the engine's process had at most, its devices' included; 0 where it was
    loaded for several ways."""

    task: Task
    text: str
    tokens: tuple[int, ...]
    statistics: Statistics
    memory: int = 0


class Runner(AbstractContextManager["Runner"], Protocol):
    """A loaded engine."""

    def run(self, task: Task) -> Lap: ...


class PythonRunner:
    """This package's loop, with one drafter: the assistant, or that of the one way."""

    def __init__(self, pair: Pair):
        from gemma_mtp.mtp_runtime import MtpEngine

        self._pair, self._free = pair, free_memory("python") if pair.alone else 0
        way = next(iter(pair.all_ways), None)
        self._engine = MtpEngine(
            pair.target,
            way.drafter if way else None,
            context=pair.context,
            model=pair.model,
            draft_max=max(way.longest if way else 0, pair.draft_max),
            method=(way and way.model) or MTP,
        )
        self._warm_up(way)

    def _warm_up(self, way: Way | None) -> None:
        """Every length has a round: a GPU loads its kernels for so many tokens when it meets them first."""
        self.run(Task("", "", "def", PLAIN, 0, WARM_UP, method=NONE))
        if way:
            own = range(1, self._pair.draft_max + 1) if self._pair.assistant else ()
            for length in sorted({*own, *way.lengths}):
                self.run(Task("", "", "def", length, 0, length + 2, method=way.label))

    def run(self, task: Task) -> Lap:
        drafting = NO_DRAFTS
        if task.draft != PLAIN:
            drafting = self._pair.way(task.method).drafting(task.draft, task.p_min, self._pair.draft_max)
        prompt = task.prompt_for(self._engine.tokenize)
        running = self._engine.generate(prompt, max_tokens=task.tokens, drafting=drafting, ignore_end=True)
        for _ in running:
            pass
        memory = taken_memory("python", self._free) if self._pair.alone else 0
        return Lap(task, running.text, tuple(running.tokens), running.statistics, memory)

    def __enter__(self) -> PythonRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        self._engine.close()


class CppRunner:
    """llama.cpp's server in xllamacpp. It drafts in one way for life: another one is another server, loaded anew."""

    def __init__(self, pair: Pair):
        check_runnable(pair.target, pair.assistant)
        self._pair, self._free = pair, free_memory("cpp") if pair.alone else 0
        self._drafting: Drafting | None = None
        self._engine: CppEngine | None = None

    def run(self, task: Task) -> Lap:
        way = None if task.draft == PLAIN else self._pair.way(task.method)
        engine = self._loaded(way.drafting(task.draft, task.p_min) if way else NO_DRAFTS, way)
        result = engine.complete(task.prompt_for(engine.tokenize), max_tokens=task.tokens, ignore_end=True)
        memory = taken_memory("cpp", self._free) if self._pair.alone else 0
        return Lap(task, result.text, tuple(result.tokens), result.statistics, memory)

    def _loaded(self, drafting: Drafting, way: Way | None) -> CppEngine:
        from gemma_mtp.native.cpp import CppEngine, Loading

        if self._engine is None or drafting != self._drafting:
            self.close()
            pair, model = self._pair, self._pair.model or ModelSettings()
            drafter = way.drafter if way else pair.assistant
            self._engine = CppEngine(Loading(pair.target, drafter, drafting, pair.context, model))
            self._drafting = drafting
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


def free_memory(engine: str) -> int:
    """Bytes that are free on the devices beside the CPU that an engine uses."""
    if engine == "cpp":
        from gemma_mtp.native.cpp import free_device_memory

        return free_device_memory()
    from gemma_mtp.native.llama import DEVICE_KINDS, devices

    return sum(device.memory_free for device in devices() if device.kind != DEVICE_KINDS[0])


def taken_memory(engine: str, free: int) -> int:
    """Bytes that this process took at most, and that the devices lack of those that were `free`."""
    return peak_memory() + max(free - free_memory(engine), 0)


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
