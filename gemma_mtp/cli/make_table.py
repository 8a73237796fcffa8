"""The jobs of `make` one after another, and what came of them, for people and machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gemma_mtp.cli.boundary import as_problem
from gemma_mtp.cli.output import line, notes, print_error, print_json, print_note, print_warning, progress_bar, results
from gemma_mtp.cli.push_table import print_dry_run, print_outcome, print_plan, print_warnings
from gemma_mtp.errors import GemmaMtpError
from gemma_mtp.hub.client import hide_progress_bars
from gemma_mtp.make import Job, Made, Schedule, StepResult, make, push_request, schedule
from gemma_mtp.publish import plan_push


def carry_out(jobs: Sequence[Job], *, dry_run: bool, threads: int | None, force: bool, deep: bool, json: bool) -> int:
    """Do, or show, every job. Of several, one that fails does not keep the others back; its exit code is returned."""
    if not notes.is_terminal:
        hide_progress_bars()
    exit_code, reports = 0, []
    for job in jobs:
        try:
            plan = schedule(job, force=force, progress=progress_bar)
            report = _show(plan, json) if dry_run else _make(plan, threads, deep, json)
        except (GemmaMtpError, OSError) as error:
            if len(jobs) == 1:
                raise
            problem = as_problem(error)
            print_error(problem)
            exit_code = exit_code or problem.exit_code
            report = {"source": job.source, "error": str(problem), "hint": problem.hint}
        reports.append(report)
    if json:
        print_json({"jobs": reports}, "--dry-run" if dry_run else "")
    elif len(jobs) > 1:
        failed = sum("error" in report for report in reports)
        print_note(f"{len(jobs)} assistants, {failed} failed" if failed else f"{len(jobs)} assistants")
    return exit_code


def _make(plan: Schedule, threads: int | None, deep: bool, json: bool) -> dict[str, Any]:
    print_note(f"{plan.material.name} from {plan.job.source}")
    made = make(plan, threads=threads, deep=deep, progress=progress_bar, tell=_tell, tell_push=print_plan)
    if not json:
        for note in made.notes:
            print_warning(note)
        for path in made.files:
            results.print(line(str(path)))
        print_warnings(made.reports)
        if made.outcome:
            print_outcome(made.outcome)
    return _as_json(plan, made)


def _tell(result: StepResult) -> None:
    state = "done" if result.reason else "was done"
    if result.seconds:
        state += f", {result.seconds:.1f} s" + (f" for all {result.together}" if result.together > 1 else "")
    print_note(f"  {result.step.action:8}  {result.step.file}: {state}")


def _show(plan: Schedule, json: bool) -> dict[str, Any]:
    """A dry run: which steps would be taken and why, and of the push what can be said yet."""
    reasons = plan.reasons()
    to_do = {step.id: reasons[step.id] for step in plan.steps}
    push_plan = plan_push(push_request(plan), progress=progress_bar) if plan.repo and not any(to_do.values()) else None
    if not json:
        print_note(f"{plan.material.name} from {plan.job.source}, to {plan.job.folder.resolve()}")
        for step in plan.steps:
            reason = to_do[step.id]
            state = f"to do: {reason}" if reason else "done"
            results.print(line(f"{step.action:8}  {step.file}  {state}"))
        if plan.repo:
            into = f", into the collection {plan.job.collection}" if plan.job.collection else ""
            results.print(line(f"{'push':8}  {plan.repo}{into}"))
    if push_plan and not json:
        print_dry_run(push_plan)
    return {
        "source": plan.job.source,
        "name": plan.material.name,
        "steps": [
            {"action": step.action, "file": step.file, "inputs": list(step.inputs), "to_do": to_do[step.id] or None}
            for step in plan.steps
        ],
        "repo": plan.repo,
        "push": push_plan.to_dict() if push_plan else None,
    }


def _as_json(plan: Schedule, made: Made) -> dict[str, Any]:
    return {
        "source": plan.job.source,
        "name": made.name,
        "files": [str(path) for path in made.files],
        "notes": list(made.notes),
        "steps": [
            {
                "action": result.step.action,
                "file": result.step.file,
                "done_because": result.reason or None,
                "seconds": result.seconds,
            }
            for result in made.steps
        ],
        "checks": {name: report.to_dict() for name, report in made.reports.items()},
        "push": {**made.push_plan.to_dict(), **made.outcome.to_dict()} if made.push_plan and made.outcome else None,
    }
