"""`gemma-mtp imatrix`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_mtp.cli.adapt import HereOptions, number
from gemma_mtp.cli.options import Force, Json, Log, Verbose, takes_groups


@takes_groups
def imatrix(
    target: Annotated[str, typer.Argument(help="The target, a GGUF of any type.", metavar="TARGET.gguf")],
    assistant: Annotated[str, typer.Argument(help="Its assistant: a GGUF or a checkpoint's folder.")],
    text: Annotated[list[Path], typer.Option(help="JSONL, .txt, llama-server's log, or a folder. Repeatable.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("mtp-imatrix.gguf"),
    tokens: Annotated[str, typer.Option(help="Tokens to record at most.")] = "50k",
    length: Annotated[int, typer.Option(min=32, help="Tokens of a piece of text at most.")] = 2048,
    *,
    here: HereOptions,
    force: Force = False,
    verbose: Verbose = False,
    log: Log = None,
    json: Json = False,
) -> None:
    """Measure which columns of an assistant's weights matter while it drafts, for `quantize --imatrix`.

    llama-imatrix cannot do this: an assistant does not run alone. The file has llama.cpp's form, and llama-quantize
    takes it too.

    Examples:

    - `gemma-mtp imatrix target.gguf mtp-target-BF16.gguf --text chats.jsonl -o mtp-imatrix.gguf`

    - `gemma-mtp quantize mtp-target-BF16.gguf IQ3_S --imatrix mtp-imatrix.gguf`
    """
    from gemma_mtp.adapt.adapt import brought
    from gemma_mtp.adapt.adapt import imatrix as make
    from gemma_mtp.cli.adapt_table import Stages
    from gemma_mtp.cli.output import native_log, print_json, print_note, progress_bar
    from gemma_mtp.model.part import Part
    from gemma_mtp.sources.opening import local_gguf

    teacher, stock = local_gguf(target, Part.TARGET, progress=progress_bar), brought(assistant, progress_bar)
    context, model = here.settings()
    with native_log(verbose, log):
        found = make(
            teacher, stock, tuple(text), output, number(tokens), length, context, model, force=force, tell=Stages()
        )
    if json:
        print_json({"file": str(output), "tokens": found.tokens, "rows": dict(found.counts)})
    else:
        print_note(f"written: {output}, {len(found.sums)} weights over {found.tokens:,} tokens")
