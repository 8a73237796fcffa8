"""`gemma-mtp convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import Deep, Force, Json, Threads

if TYPE_CHECKING:
    from gemma_mtp.convert import Conversion


def convert(
    source: Annotated[
        str, typer.Argument(help="A checkpoint (a folder, or owner/repo[@revision]) or an assistant GGUF (also hf://).")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The GGUF to write, or a folder for several.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Type of the weights; may be given several times. Default: BF16."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A DFlash drafter's target, whose tokenizer it takes: a GGUF or checkpoint."
        ),
    ] = None,
    dialect: Annotated[str, typer.Option(help="mainline, ik or atomic; of DFlash mainline or lucebox.")] = "mainline",
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Convert weights that are NaN or Inf as they are.")
    ] = False,
    deep: Deep = False,
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert a Gemma 4 assistant (or target) to GGUF, or an assistant GGUF to another dialect.

    The checkpoint is read once for all types. A file appears complete or not at all. Examples:

        gemma-mtp convert google/gemma-4-26B-A4B-it-assistant --type Q8_0 --type Q4_0

        gemma-mtp convert ./gemma-4-E2B-it-assistant -o mtp-gemma-4-E2B-it-BF16.gguf

        gemma-mtp convert old-atomic-assistant.gguf -o mtp-gemma-4-31B-it-Q8_0.gguf

        gemma-mtp convert z-lab/gemma-4-31B-it-DFlash --target gemma-4-31B-it-Q4_K_M.gguf
    """
    from gemma_mtp.cli.output import print_json, progress_bar
    from gemma_mtp.convert import convert_model

    done = convert_model(
        source,
        output,
        types=types or (),
        target=target,
        dialect=dialect,
        allow_nonfinite=allow_nonfinite,
        force=force,
        threads=threads,
        progress=progress_bar,
        deep=deep,
    )
    if json:
        print_json(done.to_dict())
    else:
        _report(done)


def _report(done: Conversion) -> None:
    from gemma_mtp.cli.output import human_size, line, print_note, print_warning, results

    for path, size in done.files.items():
        results.print(line(f"{path}  {human_size(size)}"))
    if done.nonfinite:
        print_warning(f"{len(done.nonfinite)} tensors hold NaN or Inf: {', '.join(done.nonfinite[:4])}")
    if done.left_out:
        print_note(f"{len(done.left_out)} vision and audio tensors were left out: a text GGUF has no place for them")
    for note in done.notes:
        print_warning(note)
    print_note(f"{done.architecture} converted in {done.seconds:.1f} s")
