"""Carrying out a schedule: action by action, each noted when it is begun and when it is done, then the push."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from gemma_mtp.files.direct import translate_os_errors
from gemma_mtp.make.actions import ACTIONS, Workshop
from gemma_mtp.make.manifest import Record, Stamp
from gemma_mtp.make.schedule import Schedule
from gemma_mtp.make.steps import Step
from gemma_mtp.progress import Progress, silent
from gemma_mtp.publish import Outcome, Plan, PushRequest, plan_push, push, require_login
from gemma_mtp.validate import Report


@dataclass(frozen=True)
class StepResult:
    """reason: why the step was taken; empty if it was done already.

    seconds: what the action took for all steps that it took together; they stand with the last of these, 0 with the
    others. together: how many these were.
    """

    step: Step
    reason: str
    seconds: float = 0.0
    together: int = 1


@dataclass(frozen=True)
class Made:
    """What came of a job. reports: of the files that were verified now, by name.

    notes: what the checkpoint says and was not heeded, if it was converted now.
    push_plan, outcome: None if nothing was to be pushed.
    """

    name: str
    files: tuple[Path, ...]
    steps: tuple[StepResult, ...]
    reports: Mapping[str, Report]
    push_plan: Plan | None = None
    outcome: Outcome | None = None
    notes: tuple[str, ...] = ()


def make(
    plan: Schedule,
    *,
    threads: int | None = None,
    deep: bool = False,
    progress: Progress = silent,
    tell: Callable[[StepResult], None] = lambda _: None,
    tell_push: Callable[[Plan], None] = lambda _: None,
) -> Made:
    """Carry out a schedule. deep: hash files of the Hub's cache again that were hashed before.

    tell: hears of each step as soon as it is done; tell_push: of the push before it begins.

    Raises what the steps raise (see `convert_checkpoint`, `quantize_file`, `plan_push`, `push`), and BadFileError for a
    file that fails its verification. What was done before stays done.
    """
    if plan.repo is not None:
        require_login()
    with translate_os_errors(plan.job.folder):
        plan.job.folder.mkdir(parents=True, exist_ok=True)
    shop = Workshop(plan, threads, progress, deep)
    results: list[StepResult] = []
    for action in ACTIONS:
        for result in _take(shop, action):
            tell(result)
            results.append(result)
    if plan.manifest.sources != plan.material.stamps:
        _note(shop, {})  # the same content at another time
    done = Made(plan.material.name, tuple(plan.files), tuple(results), shop.reports, notes=shop.notes)
    if plan.repo is None:
        return done
    push_plan = plan_push(push_request(plan, shop), progress=progress)
    tell_push(push_plan)
    return replace(done, push_plan=push_plan, outcome=push(push_plan))


def push_request(plan: Schedule, shop: Workshop | None = None) -> PushRequest:
    """The push of the job's files, all of which exist. shop: where they were verified just now."""
    assert plan.repo is not None
    return PushRequest(
        files=plan.files,
        repo=plan.repo,
        collection=plan.job.collection,
        private=plan.job.private,
        target=plan.job.target,
        bench=Path(plan.job.bench) if plan.job.bench else None,
        base_model=plan.material.place.repo if plan.material.dialect is None else None,
        reports=shop.reports if shop else {},
    )


def _take(shop: Workshop, action: str) -> list[StepResult]:
    """Take the steps of one action that have to be taken; `shop.made` learns the hashes of all of its files."""
    plan = shop.plan
    steps = [step for step in plan.steps if step.action == action]
    inputs = {step.id: plan.inputs(step, shop.made) for step in steps}
    reasons = {step.id: plan.reason(step, inputs[step.id]) for step in steps}
    pending = [step for step in steps if reasons[step.id]]
    start = perf_counter()
    if pending:
        _note(shop, {step.id: Record(inputs[step.id], step.settings) for step in pending})
        ACTIONS[action](shop, pending)
        stamps = {step.id: Stamp.of(plan.job.folder / step.file) if step.makes_file else None for step in pending}
        _note(shop, {step.id: Record(inputs[step.id], step.settings, True, stamps[step.id]) for step in pending})
    for step in steps:
        shop.made |= plan.made_by(step)
    seconds = perf_counter() - start
    return [
        StepResult(step, reasons[step.id], seconds if step in pending[-1:] else 0.0, len(pending)) for step in steps
    ]


def _note(shop: Workshop, records: dict[str, Record]) -> None:
    manifest = shop.plan.manifest
    manifest.records.update(records)
    manifest.sources = dict(shop.plan.material.stamps)
    manifest.save()
