"""`gemma-mtp demo`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from gemma_mtp.cli.options import DecodingThreads, Engine, Json


def demo(
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FOLDER", help="Leave the files there, instead of in a temporary one."),
    ] = None,
    engine: Engine = None,
    threads: DecodingThreads = None,
    json: Json = False,
) -> None:
    """Show the whole toolkit at work on a small trained pair that is shipped with it.

    Converts the two checkpoints, quantizes, verifies, generates without and with drafting and compares the outputs;
    then once more with a target that inert layers have made heavy enough for drafting to pay.

    Examples:

    - `gemma-mtp demo`

    - `gemma-mtp demo --keep demo-files --json`
    """
    from gemma_mtp.cli.chosen import choose_engine
    from gemma_mtp.cli.demo_table import print_demo
    from gemma_mtp.cli.output import print_json, print_note
    from gemma_mtp.demo.demo import run_demo
    from gemma_mtp.files.scratch import scratch_folder

    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with nullcontext(keep) if keep is not None else scratch_folder() as folder:
        result = run_demo(folder, print_note, threads=threads, engine=choose_engine(engine))
    if json:
        print_json(result.to_dict())
    else:
        print_demo(result)
    if not result.identical_output:
        raise typer.Exit(1)
