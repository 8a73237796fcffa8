"""`gemma-mtp inspect`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from gemma_mtp.cli.options import Json


def inspect(
    file: Annotated[str, typer.Argument(help="A GGUF file or a checkpoint's folder or repo, local or on the Hub.")],
    key: Annotated[str | None, typer.Argument(help="A key: print its value and nothing else.")] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="Show the tensors and what each layer takes.")] = False,
    sort: Annotated[Literal["file", "name", "size"], typer.Option(help="The order of the tensors.")] = "file",
    json: Json = False,
) -> None:
    """Print the metadata and the tensors of a GGUF file. Of a file on the Hub only the header is read.

    A checkpoint is shown as the GGUF that it converts to. In a pipe the lines are whole, to be searched in.

    - `gemma-mtp inspect model.gguf | grep sliding_window`
    - `gemma-mtp inspect hf://owner/repo/model-Q4_0.gguf --json`
    - `gemma-mtp inspect mtp-gemma-4-26B-A4B-it-Q4_0.gguf --tensors --sort size`
    - `gemma-mtp inspect model.gguf tokenizer.chat_template > chat_template.jinja`
    """
    from gemma_mtp.cli.inspect_table import print_description, print_tensors, print_value
    from gemma_mtp.cli.output import print_json, print_note
    from gemma_mtp.sources.describe import inspect_model, value_of

    if key is not None:
        found = value_of(file, key)
        if json:
            print_json(found.to_dict(), "KEY")
        else:
            print_value(found)
        return
    description = inspect_model(file).sorted_by(sort)
    if description.note:
        print_note(description.note)
    if json:
        print_json(description.to_dict())
    elif tensors:
        print_tensors(description)
    else:
        print_description(description)
