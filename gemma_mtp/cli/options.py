"""Options that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Force = Annotated[bool, typer.Option("--force", "-f", help="Replace output files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Threads = Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Threads. Default: all cores.")]
