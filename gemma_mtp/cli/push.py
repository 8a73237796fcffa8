"""`gemma-mtp push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_mtp.cli.options import Json

if TYPE_CHECKING:
    from gemma_mtp.publish import Outcome, Plan


def push(
    files: Annotated[list[Path], typer.Argument(help="Assistants: mtp-<target>-<TYPE>.gguf.", metavar="FILES...")],
    repo: Annotated[str, typer.Option(help="The repo on the Hub, owner/name; made if needed.")],
    collection: Annotated[
        str | None, typer.Option(help="A collection to put the repo into, by title or slug; made if needed.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repo or collection private.")] = False,
    target: Annotated[
        str | None, typer.Option(help="Check the files against this target: a path, or hf://owner/repo/file.gguf.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option(help="Results of `gemma-mtp bench --json`, for the card.", metavar="RESULTS.json")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="The checkpoint's repo, for the card, where the files don't name it.")
    ] = None,
    skip_verify: Annotated[
        bool, typer.Option("--skip-verify", help="Publish without checks; the card says so.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and the card.")] = False,
    json: Json = False,
) -> None:
    """Publish assistants to a Hugging Face repo, with a model card, and put it into a collection.

    Broken files are refused. What the repo has already is not sent again; a push that was interrupted is run again.

    Examples:

        gemma-mtp push mtp-gemma-4-31B-it-*.gguf --repo alice/gemma-4-31B-it-assistant-GGUF --dry-run

        gemma-mtp push mtp-gemma-4-31B-it-Q8_0.gguf --repo alice/drafters --target hf://ggml-org/repo/target.gguf
    """
    from gemma_mtp.cli.output import notes, print_json, print_note, results
    from gemma_mtp.hub.client import hide_progress_bars
    from gemma_mtp.publish import PushRequest, plan_push
    from gemma_mtp.publish import push as carry_out

    plan = plan_push(PushRequest(files, repo, collection, private, target, bench, base_model, skip_verify))
    if dry_run:
        if json:
            print_json(_plan_as_json(plan))
        else:
            _print_plan(plan)
            results.print(plan.card, markup=False, soft_wrap=True)
        return
    if not notes.is_terminal:
        hide_progress_bars()
    outcome = carry_out(plan)
    if json:
        print_json({**_plan_as_json(plan), **_outcome_as_json(outcome)})
        return
    _print_plan(plan)
    print_note("nothing was new" if outcome.commit is None else f"commit {outcome.commit}")
    for url in filter(None, (outcome.url, outcome.collection_url)):
        results.print(url, soft_wrap=True)


def _print_plan(plan: Plan) -> None:
    from gemma_mtp.cli.output import human_size, print_note

    for name, report in plan.reports.items():
        for result in report.warnings:
            print_note(f"warning: {name}: {result.finding.message}")
    kind = "private" if plan.private else "public"
    print_note(f"repo {plan.repo}: {'exists' if plan.head else f'new, {kind}'}")
    for upload in plan.uploads:
        print_note(f"  {upload.state:9}  {upload.name}  {human_size(upload.size)}  {upload.etag}")
    if plan.shelf:
        print_note(f"collection {plan.shelf.name}: {'exists' if plan.collection_exists else 'new'}; note: {plan.note}")


def _plan_as_json(plan: Plan) -> dict[str, Any]:
    return {
        "repo": plan.repo,
        "repo_is_new": plan.head is None,
        "private": plan.private,
        "files": [
            {"name": upload.name, "bytes": upload.size, "hash": upload.etag, "state": upload.state}
            for upload in plan.uploads
        ],
        "collection": plan.shelf.name if plan.shelf else None,
        "collection_note": plan.note if plan.shelf else None,
        "card": plan.card,
        "checks": {name: report.to_json() for name, report in plan.reports.items()},
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    return {"url": outcome.url, "commit": outcome.commit, "collection_url": outcome.collection_url}
