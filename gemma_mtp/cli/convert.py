"""`gemma-mtp convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_mtp.cli.options import Force, Json, Threads


def convert(
    source: Annotated[str, typer.Argument(help="A checkpoint: a folder, or owner/repo[@revision]; or an assistant GGUF.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The GGUF to write, or a folder for several.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Type of the weights; may be given several times. Default: BF16."),
    ] = None,
    dialect: Annotated[str, typer.Option(help="GGUF dialect: mainline, ik or atomic.")] = "mainline",
    allow_nonfinite: Annotated[bool, typer.Option(help="Go on in spite of NaN or Inf in the weights.")] = False,
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert a Gemma 4 assistant (or target) to GGUF, or an assistant GGUF to another dialect.

    The checkpoint is read once for all types. A file appears complete or not at all.

    Examples:

        gemma-mtp convert google/gemma-4-26B-A4B-it-assistant --type Q8_0 --type Q4_0

        gemma-mtp convert ./gemma-4-E2B-it-assistant -o mtp-gemma-4-E2B-it-BF16.gguf

        gemma-mtp convert old-atomic-assistant.gguf -o mtp-gemma-4-31B-it-Q8_0.gguf
    """
