"""`gemma-mtp edit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_mtp.cli.options import Force, Json


def edit(
    file: Annotated[Path, typer.Argument(help="A target or an assistant, a GGUF file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The new file.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE, in the key's own type; for a new key KEY=TYPE:VALUE (int, float, bool, str ...)."
        ),
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(help="A key to leave out. May be given several times.")] = None,
    chat_template: Annotated[Path | None, typer.Option(help="A file with the chat template (Jinja).")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace the file itself.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Change the metadata of a GGUF, or its chat template, and nothing of its weights.

    The new file goes through the checks of `verify` first; one that llama.cpp could not use is not written.

    Examples:

    - `gemma-mtp edit gemma-4-31B-it-Q4_K_M.gguf -o new.gguf --chat-template chat_template.jinja`

    - `gemma-mtp edit mtp-x.gguf -o mtp-y.gguf --set general.name=y --unset general.url`
    """
    from gemma_mtp.cli.output import human_size, print_json, print_note, print_warning
    from gemma_mtp.convert.edit import Changes, edit_file
    from gemma_mtp.errors import UsageError

    if in_place == (output is not None):
        raise UsageError("say where the new file goes", hint="-o OUT, or --in-place and no -o")
    changes = Changes(tuple(set or ()), tuple(unset or ()), chat_template)
    if changes == Changes():
        raise UsageError("nothing is to be changed", hint="--set, --unset or --chat-template")
    done = edit_file(file, output or file, changes, force=force or in_place)
    for message in done.warnings:
        print_warning(message)
    if json:
        changed = {key: {"was": was, "is": now} for key, (was, now) in done.changed.items()}
        print_json({"file": str(done.output), "size": done.size, "changed": changed})
        return
    for key, (was, now) in done.changed.items():
        print_note(f"{key}: {'nothing' if was is None else was} -> {'nothing' if now is None else now}")
    print_note(f"{done.output}: {human_size(done.size)}")
