"""`gemma-mtp inspect`."""

from __future__ import annotations

from typing import Annotated

import typer

from gemma_mtp.cli.options import Json


def inspect(
    file: Annotated[str, typer.Argument(help="A GGUF file or a checkpoint's folder or repo, local or on the Hub.")],
    json: Json = False,
) -> None:
    """Print the metadata and the tensors of a GGUF file. Of a file on the Hub only the header is read.

    A checkpoint is shown as the GGUF that it converts to. In a pipe the lines are whole, to be searched in.

    - `gemma-mtp inspect model.gguf | grep sliding_window`
    - `gemma-mtp inspect hf://owner/repo/model-Q4_0.gguf --json`
    - `gemma-mtp inspect mtp-gemma-4-26B-A4B-it-Q4_0.gguf`
    """
    from gemma_mtp.cli.inspect_table import print_description
    from gemma_mtp.cli.output import print_json, print_note
    from gemma_mtp.sources.describe import inspect_model

    description = inspect_model(file)
    if description.note:
        print_note(description.note)
    if json:
        print_json(description.to_dict())
    else:
        print_description(description)
