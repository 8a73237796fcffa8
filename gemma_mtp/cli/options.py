"""Options that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Force = Annotated[bool, typer.Option("--force", "-f", help="Replace output files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Threads = Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Threads. Default: all cores.")]

#: Draft lengths where nobody says or knows better: fixed ones, and at most with --draft auto.
FIXED, ADAPTIVE = 3, 8

ENGINE = "Engine"
Ctx = Annotated[int, typer.Option("--ctx", "-c", min=1, help="Tokens of context.", rich_help_panel=ENGINE)]
Batch = Annotated[
    int, typer.Option("--batch", "-b", min=1, help="Prompt tokens decoded in one call.", rich_help_panel=ENGINE)
]
GpuLayers = Annotated[
    int,
    typer.Option("--gpu-layers", "-ngl", min=-1, help="Layers kept in GPU memory, -1: all.", rich_help_panel=ENGINE),
]
FlashAttention = Annotated[
    Literal["auto", "on", "off"], typer.Option(help="llama.cpp's flash attention.", rich_help_panel=ENGINE)
]
CacheType = Annotated[str, typer.Option(help="Type of the KV cache: f16, q8_0, q4_0, ...", rich_help_panel=ENGINE)]
