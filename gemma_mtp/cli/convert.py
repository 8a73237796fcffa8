"""`gemma-mtp convert`."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import Force, Json, Threads

if TYPE_CHECKING:
    from gemma_mtp.convert import Conversion, Origin
    from gemma_mtp.hub.source import Source
    from gemma_mtp.model.dialects import Dialect


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
    dialect: Annotated[str, typer.Option(help="GGUF dialect: mainline, ik or atomic.")] = "mainline",
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Convert weights that are NaN or Inf as they are.")
    ] = False,
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

        gemma-mtp convert hf://owner/repo/mtp-gemma-4-E2B-it-Q8_0.gguf --dialect ik
    """
    from gemma_mtp.cli.output import print_json
    from gemma_mtp.convert import dialect_named
    from gemma_mtp.hub.source import parse_source

    start = perf_counter()
    spelling, place = dialect_named(dialect), parse_source(source)
    if place.file is not None or (place.path is not None and place.path.is_file()):
        done = _respell(place, output, spelling, types, force)
    else:
        done = _convert(place, output, types or ["BF16"], spelling, allow_nonfinite, force, threads)
    seconds = perf_counter() - start
    if json:
        files = [{"path": str(path), "bytes": size} for path, size in done.files.items()]
        print_json(
            {
                "architecture": done.architecture,
                "dialect": dialect,
                "files": files,
                "left_out": list(done.left_out),
                "nonfinite": list(done.nonfinite),
                "notes": list(done.notes),
                "seconds": seconds,
            }
        )
    else:
        _report(done, seconds)


def _respell(place: Source, output: Path | None, dialect: Dialect, types: list[str] | None, force: bool) -> Conversion:
    from gemma_mtp.cli.output import byte_progress
    from gemma_mtp.convert import convert_dialect, respelled_name
    from gemma_mtp.errors import UsageError
    from gemma_mtp.files.gguf_reader import require_gguf_file
    from gemma_mtp.hub.download import fetch_file

    if place.path is not None:
        require_gguf_file(place.path)
    if types:
        raise UsageError("a GGUF keeps its types when its dialect changes", hint="use gemma-mtp quantize for --type")
    name = respelled_name(place.file or str(place.path), dialect)
    path = output / name if output is not None and output.is_dir() else output or Path(name)
    return convert_dialect(fetch_file(place, progress=byte_progress), path, dialect, force=force)


def _convert(
    place: Source,
    output: Path | None,
    types: list[str],
    dialect: Dialect,
    allow_nonfinite: bool,
    force: bool,
    threads: int | None,
) -> Conversion:
    from gemma_mtp.cli.output import byte_progress
    from gemma_mtp.convert import convert_checkpoint, outputs_for
    from gemma_mtp.files.safetensors_file import SafetensorsCheckpoint

    folder, name, origin = _checkpoint(place)
    outputs = outputs_for(folder, name, types, output, dialect.name)
    size = sum(tensor.nbytes for tensor in SafetensorsCheckpoint(folder).values())
    with byte_progress("converting", size * len(outputs)) as advance:
        return convert_checkpoint(
            folder,
            outputs,
            name=name,
            dialect=dialect,
            origin=origin,
            allow_nonfinite=allow_nonfinite,
            force=force,
            threads=threads,
            advance=advance,
        )


def _checkpoint(place: Source) -> tuple[Path, str, Origin]:
    """The checkpoint's folder, downloaded if need be, its name and where it is from."""
    from gemma_mtp.convert import Origin

    if place.path is not None:  # what is here needs no client of the Hub, which takes a tenth of a second to load
        return place.path, place.path.resolve().name, Origin()
    from gemma_mtp.cli.output import byte_progress
    from gemma_mtp.hub.download import fetch_checkpoint

    fetched = fetch_checkpoint(place, progress=byte_progress)
    origin = Origin(fetched.repo, fetched.revision, fetched.hashes)
    return fetched.folder, str(fetched.repo).split("/")[1], origin


def _report(done: Conversion, seconds: float) -> None:
    from gemma_mtp.cli.output import human_size, print_note, print_warning, results

    for path, size in done.files.items():
        results.print(f"{path}  {human_size(size)}", soft_wrap=True)
    if done.nonfinite:
        print_warning(f"{len(done.nonfinite)} tensors hold NaN or Inf: {', '.join(done.nonfinite[:4])}")
    if done.left_out:
        print_note(f"{len(done.left_out)} vision and audio tensors were left out: a text GGUF has no place for them")
    for note in done.notes:
        print_warning(note)
    print_note(f"{done.architecture} converted in {seconds:.1f} s")
