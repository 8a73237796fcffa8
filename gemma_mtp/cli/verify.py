"""`gemma-mtp verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from gemma_mtp.cli.options import Json


def verify(
    target: Annotated[str, typer.Argument(help="The target: a GGUF, a checkpoint's folder, or a place on the Hub.")],
    assistant: Annotated[str, typer.Argument(help="Its assistant, likewise.")],
    json: Json = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every weight instead of a sample.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as failures.")] = False,
) -> None:
    """Tell whether a target and an assistant will work together, and if not, why exactly and what to do.

    Exit code 0: they will. 1: they won't, or a file is damaged. Of files on the Hub only the headers are read.

    - `gemma-mtp verify gemma-4-26B-A4B-it-Q4_0.gguf mtp-gemma-4-26B-A4B-it-Q8_0.gguf`
    - `gemma-mtp verify hf://owner/repo/target-Q4_0.gguf owner/assistant-GGUF:Q8_0`
    - `gemma-mtp verify TARGET.gguf ASSISTANT.gguf --deep --json`
    """
    from gemma_mtp.cli.output import print_json
    from gemma_mtp.cli.verify_table import print_report
    from gemma_mtp.validate import verify_pair

    report = verify_pair(target, assistant, deep=deep, strict=strict)
    if json:
        print_json(report.to_json())
    else:
        print_report(report)
    raise typer.Exit(0 if report.ok else 1)
