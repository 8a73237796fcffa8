"""A push as people and machines read it."""

from __future__ import annotations

from collections.abc import Mapping

from gemma_mtp.cli.output import human_size, line, print_note, print_warning, results
from gemma_mtp.errors import EnvironmentProblem
from gemma_mtp.publish import Outcome, Plan, require_login
from gemma_mtp.validate import Report


def print_plan(plan: Plan) -> None:
    kind = "private" if plan.private else "public"
    print_note(f"repo {plan.repo}: {'exists' if plan.head else 'new'}, {kind}")
    for upload in plan.uploads:
        print_note(f"  {upload.state:9}  {upload.name}  {human_size(upload.size)}  {upload.etag}")
    if plan.shelf:
        print_note(f"collection {plan.shelf.name}: {'exists' if plan.collection_exists else 'new'}; note: {plan.note}")
    if plan.preset:
        print_plan(plan.preset)


def print_warnings(reports: Mapping[str, Report]) -> None:
    """What verification has against each file, by name."""
    for name, report in reports.items():
        for result in report.warnings:
            print_warning(f"{name}: {result.finding.message}")


def print_dry_run(plan: Plan) -> None:
    """All that a push would do, the card on stdout, and whether this account could."""
    print_warnings(plan.reports)
    print_plan(plan)
    try:
        print_note(f"signed in as {require_login()}")
    except EnvironmentProblem as problem:
        print_warning(f"a push would fail: {problem}; {problem.hint}")
    results.print(plan.card)


def print_outcome(outcome: Outcome) -> None:
    print_note("nothing was new" if outcome.commit is None else f"commit {outcome.commit}")
    for url in filter(None, (outcome.url, outcome.collection_url, outcome.preset_url)):
        results.print(line(url))
