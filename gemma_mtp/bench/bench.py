"""The whole measurement: laps, rows, recommendation, and what a reader must know about machine and files."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from gemma_mtp import __version__
from gemma_mtp.bench.laps import Lap
from gemma_mtp.bench.measure import Plan, measure
from gemma_mtp.bench.recommendation import recommend
from gemma_mtp.bench.results import (
    AUTO,
    NONE,
    PLAIN,
    BenchResults,
    Machine,
    MeasuredMethod,
    ModelFile,
    Recommendation,
    Settings,
)
from gemma_mtp.bench.summary import confidence_rows, rows
from gemma_mtp.bench.ways import Way
from gemma_mtp.cores import decoding_threads
from gemma_mtp.errors import UsageError
from gemma_mtp.mtp_runtime.experience import Experience
from gemma_mtp.mtp_runtime.memory import Memory, Winner
from gemma_mtp.native import backend, cpp
from gemma_mtp.native.child import in_child
from gemma_mtp.native.engines import TITLE
from gemma_mtp.native.methods import MTP
from gemma_mtp.native.settings import ModelSettings
from gemma_mtp.native.stats import Statistics
from gemma_mtp.progress import Progress, silent
from gemma_mtp.sources.drafting import check_drafting
from gemma_mtp.sources.opening import open_model
from gemma_mtp.sources.pairing import check_runnable


def run_bench(plan: Plan, *, progress: Progress = silent) -> BenchResults:
    """Measure. progress: counts the laps.

    Raises BadFileError (no pair), UsageError, MissingExtra, LlamaError, NativeCrash, EnvironmentProblem.
    """
    plan = replace(plan, pair=replace(plan.pair, context=plan.pair.context.with_threads()))
    pair, context = plan.pair, plan.pair.context
    _check_sizes(plan, check_runnable(pair.target, pair.assistant, pair.model).context)
    _check_ways(plan)
    machine = _machine(plan.engines)
    laps = []
    with progress("measuring", len(plan.tasks()), "laps") as advance:
        for lap in measure(plan):
            laps.append(lap)
            advance(1)
    found, confidence = rows(laps), confidence_rows(laps)
    model = pair.model or ModelSettings()
    recommendations = {
        engine: recommend(
            found,
            engine,
            target=pair.target,
            assistant=pair.assistant,
            context=context,
            model=model,
            confidence=confidence,
            ways=pair.ways,
        )
        for engine in plan.engines
    }
    if pair.assistant is not None:
        remember(Memory(pair.target, pair.assistant, context, model), laps, recommendations)
    return BenchResults(
        gemma_mtp=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        target=model_file(pair.target),
        assistant=None if pair.assistant is None else model_file(pair.assistant),
        settings=Settings(
            draft_max=pair.draft_max,
            tokens=plan.tokens,
            repeats=plan.repeats,
            threads=context.threads or decoding_threads(),
            context=context.size,
            batch=context.batch,
            cache_type=context.cache_k,
            flash_attention=context.flash_attention,
            gpu_layers=model.gpu_layers,
            prompts=dict(Counter(category for category, _ in plan.prompts)),
        ),
        rows=tuple(found),
        recommendation=recommendations[plan.engines[0]],
        confidence=tuple(confidence),
        methods=tuple(_measured(way) for way in pair.all_ways),
    )


def _check_sizes(plan: Plan, trained: int) -> None:
    """Raises UsageError: a prompt is cut to more tokens than the target was trained for, beside those to generate."""
    for category, size in plan.sizes.items():
        if size + plan.tokens > trained:
            raise UsageError(
                f"{category}: {size:,} tokens and {plan.tokens:,} to generate are more than the {trained:,} that the "
                "target was trained for (context_length)",
                where=plan.pair.target,
                hint=f"--context-sizes {trained - plan.tokens} is the most" if trained > plan.tokens else "take fewer",
            )


def _check_ways(plan: Plan) -> None:
    """Raises BadFileError (a file that cannot draft so for this target), UsageError (no engine for a way)."""
    for way in plan.pair.ways:
        if way.engines.isdisjoint(plan.engines):
            raise UsageError(
                f"{TITLE[plan.engines[0]]} does not draft by {way.label}",
                hint=f"--engine {sorted(way.engines)[0]} does, if it is installed",
            )
        if way.drafter is not None and way.model is not None:
            check_drafting(plan.pair.target, way.drafter, way.model)


def _measured(way: Way) -> MeasuredMethod:
    """Raises GGUFError."""
    return MeasuredMethod(
        name=way.label,
        types=",".join(use.method.spec_type for use in way.uses),
        title=" before ".join(use.method.title for use in way.uses),
        file=None if way.drafter is None else model_file(way.drafter),
        table=way.table_bytes,
        at_most=way.longest,
    )


def remember(memory: Memory, laps: Sequence[Lap], recommendations: Mapping[str, Recommendation]) -> None:
    """Keep for the next start what was found of the assistant: the winners, if no other way was better, and for
    `control.Auto` what rounds cost."""
    for engine, one in recommendations.items():
        if one.method not in (MTP, NONE):
            continue
        memory.keep_winner(engine, Winner(one.draft, one.p_min, one.speedup))
    told = [
        lap
        for lap in laps
        if lap.task.engine == "python"
        and lap.task.draft != AUTO
        and not lap.task.p_min
        and (lap.task.method == MTP or lap.task.draft == PLAIN)
    ]
    costs: dict[int, tuple[float, ...]] = {}
    for lap in told:
        if rounds := lap.statistics.rounds:
            seconds = (lap.statistics.draft_seconds + lap.statistics.verify_seconds) / rounds
            costs[lap.task.draft] = (*costs.get(lap.task.draft, ()), seconds)
    drafted = sum(judged(lap.statistics) for lap in told)
    if drafted:
        change = (memory.experience() or Experience()).change
        share = sum(lap.statistics.accepted for lap in told) / drafted
        memory.keep_experience(Experience(costs, change, share))


def judged(statistics: Statistics) -> int:
    """Drafts that the target had its say about: those accepted, and the first in a round that was not."""
    return sum(map(min, statistics.drafted_at, (statistics.rounds, *statistics.accepted_at)))


def model_file(path: Path) -> ModelFile:
    """Raises GGUFError."""
    with open_model(path) as model:
        return ModelFile(
            name=model.text("general.name") or path.stem, file=path.name, bytes=model.header.size, type=model.type
        )


def _machine(engines: tuple[str, ...]) -> Machine:
    """Raises EnvironmentProblem, MissingExtra. An engine that is not measured need not be installed."""
    known = {engine: ENGINES[engine]() for engine in engines}
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=backend.cpu_name(),
        devices=known[engines[0]][1],
        engines={engine: version for engine, (version, _) in known.items()},
    )


def _python() -> tuple[str, tuple[str, ...]]:
    report = backend.remembered() or backend.probe()
    devices = tuple(f"{one['name']}: {one['description']}" for one in report.devices)
    return f"gemma-mtp {__version__} on {backend.PACKAGE} {report.package} ({report.build})", devices


def _cpp() -> tuple[str, tuple[str, ...]]:
    version = cpp.package_version()
    return f"{cpp.PACKAGE} {version} (portable CPU code)", next(iter(in_child(f"{cpp.__name__}:devices")))


#: What an engine is, and the devices that it uses.
ENGINES: dict[str, Callable[[], tuple[str, tuple[str, ...]]]] = {"python": _python, "cpp": _cpp}
