"""`gemma-mtp verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_mtp.cli.options import Json


def verify(
    target: Annotated[Path, typer.Argument(help="The target's GGUF.", metavar="TARGET")],
    assistant: Annotated[Path, typer.Argument(help="The assistant's GGUF.", metavar="ASSISTANT")],
    json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as failures.")] = False,
) -> None:
    """Tell whether a target and an assistant will work together, and if not, why exactly and what to do.

    Exit code 0: they will. 1: they won't, or a file is damaged.

    - `gemma-mtp verify gemma-4-26B-A4B-it-Q4_0.gguf mtp-gemma-4-26B-A4B-it-Q8_0.gguf`
    - `gemma-mtp verify TARGET.gguf ASSISTANT.gguf --json`
    """
    from gemma_mtp.cli.output import print_json
    from gemma_mtp.cli.verify_table import print_report
    from gemma_mtp.validate import verify_pair

    report = verify_pair(target, assistant, strict=strict)
    if json:
        print_json(report.to_json())
    else:
        print_report(report)
    raise typer.Exit(0 if report.ok else 1)
