"""Which quantization a drafter should have: each candidate is made, run with the target and measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_mtp.bench.comparison import Comparison, Visit, compared
from gemma_mtp.bench.laps import FIXED, Pair, Task
from gemma_mtp.bench.measure import ANSWER, there_and_back
from gemma_mtp.bench.results import PLAIN
from gemma_mtp.files.scratch import scratch_folder
from gemma_mtp.model.family import FAMILY
from gemma_mtp.native.child import converse
from gemma_mtp.native.engines import PYTHON
from gemma_mtp.native.settings import ContextSettings, ModelSettings
from gemma_mtp.progress import Advance, Progress, silent
from gemma_mtp.quantize import ImportanceMatrix, Output, Override, Written, quantize_file
from gemma_mtp.sources.pairing import check_runnable

#: What is compared where nothing is asked for: llama.cpp's usual types, and the recipes.
USUAL = ("Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "draft-mixed", "draft-q4", "draft-iq4")


@dataclass(frozen=True)
class Candidates:
    """Files to be made of one assistant. The fields after `kinds` are those of `quantize_file`."""

    source: Path
    kinds: tuple[str, ...]
    overrides: tuple[Override, ...] = ()
    importance: ImportanceMatrix | None = None
    allow_requantize: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Course:
    """What each candidate has to do. prompts: (category, text), each continued plainly and with drafts of `draft_max`.

    tokens: for each prompt. repeats: how often every candidate gets its turn.
    """

    target: Path
    prompts: tuple[tuple[str, str], ...]
    draft_max: int = 3
    tokens: int = 64
    repeats: int = 3
    context: ContextSettings | None = None
    model: ModelSettings | None = None
    engine: str = PYTHON

    def tasks(self, repeat: int) -> list[Task]:
        """Of one candidate's turn: neighbours are the same prompt without and with drafts.

        An engine of FIXED loads anew for each length, so with it all prompts are run before the next length.
        """
        drafts = there_and_back((PLAIN, self.draft_max), repeat)
        if self.engine in FIXED:
            turns = [(prompt, draft) for draft in drafts for prompt in self.prompts]
        else:
            turns = [(prompt, draft) for prompt in self.prompts for draft in drafts]
        return [Task(self.engine, category, text, draft, repeat, self.tokens) for (category, text), draft in turns]

    def laps(self, candidates: Candidates) -> int:
        return len(candidates.kinds) * sum(len(self.tasks(repeat)) for repeat in range(self.repeats))


def compare(candidates: Candidates, course: Course, *, progress: Progress = silent) -> Comparison:
    """Make the candidates in a temporary folder, measure them in turns, and say which one is best.

    Raises BadFileError (no pair), UsageError, LlamaError, NativeCrash, EnvironmentProblem.
    """
    check_runnable(course.target, candidates.source)
    course = replace(course, context=(course.context or ContextSettings()).with_threads())
    with scratch_folder() as folder:
        with progress("quantizing", candidates.source.stat().st_size * len(candidates.kinds)) as advance:
            made = _make(candidates, folder, advance)
        with progress("comparing", course.laps(candidates), "laps") as advance:
            visits = list(_visits(made, course, advance))
        return compared(course.target, candidates.source, made, visits, course.engine)


def _make(candidates: Candidates, folder: Path, advance: Advance) -> list[Written]:
    report = quantize_file(
        candidates.source,
        [Output(folder / f"{FAMILY.prefix}{kind}.gguf", kind) for kind in candidates.kinds],
        overrides=candidates.overrides,
        importance=candidates.importance,
        allow_requantize=candidates.allow_requantize,
        threads=candidates.threads,
        advance=advance,
    )
    return list(report.outputs)


def _visits(made: list[Written], course: Course, advance: Advance) -> Iterator[Visit]:
    """Every candidate's turns. One pair is loaded at a time: a large target must not be in memory for each candidate.

    Every other repeat goes backwards, and each turn has its own plain decoding, so that a machine's drift cancels.
    """
    for repeat in range(course.repeats):
        for one in there_and_back(made, repeat):
            pair = Pair(course.target, one.path, course.draft_max, course.context or ContextSettings(), course.model)
            laps = []
            with closing(converse(ANSWER, course.engine, pair, files=pair.files)) as child:
                next(child)
                for task in course.tasks(repeat):
                    laps.append(child.send(task))
                    advance(1)
            yield Visit(one.kind, repeat, tuple(laps))
