"""`gemma-mtp quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_mtp.cli.options import Force, Json, Threads


def quantize(
    source: Annotated[Path | None, typer.Argument(help="A GGUF in BF16, F16 or F32.", metavar="IN.gguf")] = None,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(help="Types or recipes; with one, an output may stand before it.", metavar="[OUT.gguf] TYPE..."),
    ] = None,
    tensor: Annotated[
        list[str] | None,
        typer.Option("--tensor", metavar="ROLE=TYPE", help="A type for one role, e.g. head=Q4_0. Repeatable."),
    ] = None,
    imatrix: Annotated[Path | None, typer.Option("--imatrix", help="Importance matrix, GGUF or .dat.")] = None,
    allow_requantize: Annotated[
        bool, typer.Option("--allow-requantize", help="Take a quantized file as input.")
    ] = False,
    list_kinds: Annotated[
        bool, typer.Option("--list", help="List types and recipes, with IN.gguf's size in each.")
    ] = False,
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Quantize a GGUF: exactly as llama.cpp does (TYPE), or by a recipe made for drafters.

    Without an output's name the files are put beside the input. Several types cost one reading.

    - `gemma-mtp quantize mtp-gemma-4-26B-A4B-it-BF16.gguf Q8_0 Q4_0 draft-q4`
    - `gemma-mtp quantize in.gguf out.gguf Q4_K_M --imatrix imatrix.gguf`
    - `gemma-mtp quantize in.gguf Q4_0 --tensor head=IQ4_NL --tensor projections=Q8_0`
    - `gemma-mtp quantize --list in.gguf`
    """
    from gemma_mtp.cli.output import byte_progress, print_json
    from gemma_mtp.cli.quantize_table import print_offers, print_report
    from gemma_mtp.quantize import parse_override, quantize_file, read_imatrix
    from gemma_mtp.quantize.catalogue import offers, parse_outputs

    if list_kinds:
        on_offer = offers(source)
        print_json([offer.to_json() for offer in on_offer]) if json else print_offers(on_offer)
        return
    if source is None:
        raise typer.BadParameter("name a GGUF to quantize", param_hint="IN.gguf")
    outputs = parse_outputs(source, wanted or [])
    overrides = [parse_override(text) for text in tensor or []]
    importance = read_imatrix(imatrix) if imatrix else None
    total = source.stat().st_size * len(outputs) if source.is_file() else 0
    with byte_progress("quantizing", total) as progress:
        report = quantize_file(
            source,
            outputs,
            overrides=overrides,
            importance=importance,
            allow_requantize=allow_requantize,
            force=force,
            threads=threads,
            progress=progress,
        )
    print_json(report.to_json()) if json else print_report(report)
