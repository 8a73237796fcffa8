"""`gemma-mtp convert`."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import Force, Json, Threads

if TYPE_CHECKING:
    from gemma_mtp.convert import Conversion


def convert(
    source: Annotated[
        str, typer.Argument(help="A checkpoint (a folder, or owner/repo[@revision]) or an assistant GGUF.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The GGUF to write, or a folder for several.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Type of the weights; may be given several times. Default: BF16."),
    ] = None,
    dialect: Annotated[str, typer.Option(help="GGUF dialect: mainline, ik or atomic.")] = "mainline",
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
    from gemma_mtp.cli.output import print_json
    from gemma_mtp.convert import dialect_named
    from gemma_mtp.hub.source import parse_source

    start = perf_counter()
    spelling, place = dialect_named(dialect), parse_source(source)
    if place.path is not None and place.path.is_file():
        done = _respell(place.path, output, spelling.name, types, force)
    else:
        done = _convert(source, output, types or ["BF16"], spelling.name, force, threads)
    seconds = perf_counter() - start
    if json:
        files = [{"path": str(path), "bytes": size} for path, size in done.files.items()]
        print_json(
            {
                "architecture": done.architecture,
                "dialect": dialect,
                "files": files,
                "left_out": list(done.left_out),
                "seconds": seconds,
            }
        )
    else:
        _report(done, seconds)


def _respell(source: Path, output: Path | None, dialect: str, types: list[str] | None, force: bool) -> Conversion:
    from gemma_mtp.convert import convert_dialect, dialect_named
    from gemma_mtp.errors import UsageError

    if types:
        raise UsageError("a GGUF keeps its types when its dialect changes", hint="use gemma-mtp quantize for --type")
    path = output or Path(f"{source.stem}-{dialect}.gguf")
    return convert_dialect(source, path, dialect_named(dialect), force=force)


def _convert(
    source: str, output: Path | None, types: list[str], dialect: str, force: bool, threads: int | None
) -> Conversion:
    from gemma_mtp.cli.output import byte_progress
    from gemma_mtp.convert import convert_checkpoint, dialect_named, outputs_for
    from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint
    from gemma_mtp.hub.download import fetch_checkpoint

    fetched = fetch_checkpoint(source, progress=byte_progress)
    name = fetched.repo.split("/")[1] if fetched.repo else fetched.folder.resolve().name
    outputs = outputs_for(fetched.folder, name, types, output, dialect)
    size = sum(tensor.nbytes for tensor in SafetensorsCheckpoint(fetched.folder).values())
    with byte_progress("converting", size * len(outputs)) as advance:
        return convert_checkpoint(
            fetched.folder,
            outputs,
            name=name,
            dialect=dialect_named(dialect),
            force=force,
            threads=threads,
            advance=advance,
        )


def _report(done: Conversion, seconds: float) -> None:
    from gemma_mtp.cli.output import human_size, print_note, results

    for path, size in done.files.items():
        results.print(f"{path}  {human_size(size)}", soft_wrap=True)
    if done.left_out:
        print_note(f"{len(done.left_out)} vision and audio tensors were left out: a text GGUF has no place for them")
    print_note(f"{done.architecture} converted in {seconds:.1f} s")
