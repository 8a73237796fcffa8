"""`gemma-mtp make`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_mtp.cli.options import Deep, Force, Json, Threads, takes_groups

if TYPE_CHECKING:
    from gemma_mtp.make import Job


@dataclass(frozen=True)
class JobOptions:
    """What stands in a file of jobs, where there is one."""

    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Type or recipe; may be given several times. Default: Q8_0."),
    ] = None
    dialects: Annotated[
        list[str] | None, typer.Option("--dialect", help="mainline, ik or atomic; may be given several times.")
    ] = None
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder for the files. Default: this one.")
    ] = None
    name: Annotated[
        str | None, typer.Option(help="The assistant's name, for files and repo. Default: the source's.")
    ] = None
    imatrix: Annotated[Path | None, typer.Option(help="Importance matrix for the quantized types.")] = None
    target: Annotated[
        str | None,
        typer.Option(help="Check against this target: a path, owner/repo:TYPE or hf://owner/repo/file.gguf."),
    ] = None
    push: Annotated[
        str | None, typer.Option(metavar="REPO", help="Publish there: owner/name, or an owner for owner/{name}-GGUF.")
    ] = None
    collection: Annotated[str | None, typer.Option(help="Put the repo into this collection; made if needed.")] = None
    private: Annotated[bool, typer.Option("--private", help="Make a new repo or collection private.")] = False
    bench: Annotated[
        str | None, typer.Option(help="Results of `gemma-mtp bench --json`, for the card.", metavar="RESULTS.json")
    ] = None

    def given(self) -> dict[str, Any]:
        """Those that were said, as fields of `Job`."""
        return {
            "folder" if name == "output" else name: tuple(value) if isinstance(value, list) else value
            for name, value in asdict(self).items()
            if value
        }


@takes_groups
def make(
    source: Annotated[
        str | None,
        typer.Argument(help="A checkpoint (folder or owner/repo), an assistant's GGUF, or jobs (.toml, .yaml)."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            "--all",
            metavar="OWNER",
            help="All assistants of OWNER, OWNER/PATTERN or a collection's slug; with --target DFlash drafters, too.",
        ),
    ] = None,
    *,
    job: JobOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")] = False,
    deep: Deep = False,
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert, quantize, verify and push in one go, from one reading of the checkpoint.

    What is done already is not done again: run it again after a failure or a change. In --target, --push,
    --collection and --bench, {name} stands for the assistant's name and {target} for its target's.

    - `gemma-mtp make google/gemma-4-31B-it-assistant --type Q8_0 --type draft-q4 --push alice`
    - `gemma-mtp make ./checkpoint --type BF16 --dialect mainline --dialect ik --target target.gguf -o out`
    - `gemma-mtp make --all "google/gemma-4-E*" --type Q8_0 --push alice --collection "Gemma 4 drafters" --dry-run`
    - `gemma-mtp make jobs.toml`
    """
    from gemma_mtp.cli.make_table import carry_out

    jobs = wanted(source, every, job.given())
    raise typer.Exit(carry_out(jobs, dry_run=dry_run, threads=threads, force=force, deep=deep, json=json))


def wanted(source: str | None, every: str | None, given: dict[str, Any]) -> list[Job]:
    """The jobs that the command line means. Raises BadParameter, and as `read_jobs` and `jobs_of` do."""
    from gemma_mtp.make import Entry, jobs_of, read_jobs
    from gemma_mtp.make.jobs_file import ENDINGS

    if (source is None) == (every is None):
        raise typer.BadParameter("name a source or --all, one of the two", param_hint="SOURCE")
    in_file = source is not None and source.endswith(ENDINGS)
    if in_file and given:
        raise typer.BadParameter(
            f"{', '.join(given)}: with a file of jobs these stand in the file", param_hint="SOURCE"
        )
    return jobs_of(read_jobs(Path(source or "")) if in_file else [Entry(source, every, given)])
