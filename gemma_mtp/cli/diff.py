"""`gemma-mtp diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from gemma_mtp.cli.options import Json


def diff(
    left: Annotated[str, typer.Argument(help="A GGUF, a checkpoint's folder, or a place on the Hub.", metavar="A")],
    right: Annotated[str, typer.Argument(help="Another.", metavar="B")],
    json: Json = False,
) -> None:
    """Tell how two models differ: keys, tensors, types, and whose bytes are not the same.

    Exit code 0: they don't. 1: they do. Of files on the Hub only the headers are read.

    - `gemma-mtp diff mtp-old.gguf mtp-new.gguf`
    """
    from gemma_mtp.cli.output import line, print_json, print_note, results
    from gemma_mtp.validate.differences import differences

    found = differences(left, right)
    if json:
        print_json(found.to_dict())
    else:
        for one in found.found:
            for mark, side, style in (("-", one.left, "red"), ("+", one.right, "green")):
                if side is not None:
                    results.print(line((f"{mark} {one.what} {one.name}", style), f": {side}"))
        print_note(f"the same: {found.keys} keys, {found.tensors} tensors")
        if found.not_compared:
            print_note(f"not compared, because their bytes are not here: {found.not_compared} tensors")
    raise typer.Exit(1 if found.found else 0)
