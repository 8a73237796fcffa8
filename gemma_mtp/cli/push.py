"""`gemma-mtp push`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import Json, takes_groups

if TYPE_CHECKING:
    from gemma_mtp.publish import Plan


@dataclass(frozen=True)
class PublishingOptions:
    """What is published where, by the names that `push_files` has for it."""

    collection: Annotated[
        str | None, typer.Option(help="A collection to put the repo into, by title or slug; made if needed.")
    ] = None
    private: Annotated[bool, typer.Option("--private", help="Make a new repo or collection private.")] = False
    target: Annotated[
        str | None,
        typer.Option(
            help="Check the files against this target: a path, owner/repo[:TYPE] or hf://owner/repo/file.gguf."
        ),
    ] = None
    bench: Annotated[
        Path | None, typer.Option(help="Results of `gemma-mtp bench --json`, for the card.", metavar="RESULTS.json")
    ] = None
    base_model: Annotated[
        str | None, typer.Option(help="The checkpoint's repo, for the card, where the files don't name it.")
    ] = None
    preset_repo: Annotated[
        str | None,
        typer.Option(
            help="A repo of its own for a preset.ini: `llama-server -hf` on it drafts. Needs --target on the Hub."
        ),
    ] = None
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="What the files were made of, a checkpoint or a 16-bit GGUF, here or on the Hub: each tensor is made "
            "anew from it and compared, and the card says whose bytes they are.",
        ),
    ] = None
    imatrix: Annotated[
        str | None, typer.Option(help="With --from: the importance matrix of those that were made with one.")
    ] = None
    skip_verify: Annotated[bool, typer.Option("--skip-verify", help="Publish without checks; the card says so.")] = (
        False
    )
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and the card.")] = False


@takes_groups
def push(
    files: Annotated[list[str], typer.Argument(help="Assistants: `mtp-<target>-<TYPE>.gguf`.", metavar="FILES...")],
    repo: Annotated[str, typer.Option(help="The repo on the Hub, owner/name; made if needed.")],
    *,
    options: PublishingOptions,
    json: Json = False,
) -> None:
    """Publish assistants to a Hugging Face repo, with a model card, and put it into a collection.

    Broken files are refused. What the repo has already is not sent again; a push that was interrupted is run again.

    Examples:

        gemma-mtp push mtp-gemma-4-31B-it-*.gguf --repo alice/gemma-4-31B-it-assistant-GGUF --dry-run

        gemma-mtp push mtp-gemma-4-31B-it-Q8_0.gguf --repo alice/drafters --target hf://ggml-org/repo/target.gguf

        gemma-mtp push mtp-gemma-4-31B-it-Q8_0.gguf --repo alice/drafters --from google/gemma-4-31B-it-assistant
    """
    from gemma_mtp.cli.output import print_json, progress_bar
    from gemma_mtp.cli.push_table import print_dry_run, print_outcome
    from gemma_mtp.publish import push_files

    done = push_files(files, repo, **asdict(options), on_plan=show, progress=progress_bar)
    if json:
        print_json(done.to_dict())
    elif done.outcome is None:
        print_dry_run(done.plan)
    else:
        print_outcome(done.outcome)


def show(plan: Plan) -> None:
    """What will be done, before it is."""
    from gemma_mtp.cli.output import notes
    from gemma_mtp.cli.push_table import print_plan, print_warnings
    from gemma_mtp.hub.client import hide_progress_bars

    if not notes.is_terminal:
        hide_progress_bars()
    print_warnings(plan.reports)
    print_plan(plan)
