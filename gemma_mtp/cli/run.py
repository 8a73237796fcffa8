"""`gemma-mtp run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemma_mtp.cli.options import Json, Threads

if TYPE_CHECKING:
    from gemma_mtp.mtp_runtime.session import Result


def run(
    target: Annotated[Path, typer.Argument(help="The target model, a GGUF file.")],
    assistant: Annotated[Path | None, typer.Argument(help="Its assistant. Not needed with --no-draft.")] = None,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The text to continue.")] = "",
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=1, help="Tokens to generate at most.")] = 256,
    draft_max: Annotated[int, typer.Option(min=1, max=64, help="Tokens to draft in a round.")] = 3,
    temp: Annotated[float, typer.Option(min=0, help="Temperature. 0: always the most probable token.")] = 0.0,
    no_draft: Annotated[bool, typer.Option("--no-draft", help="Decode plainly: the baseline.")] = False,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Never choose an end token.")] = False,
    ctx: Annotated[int, typer.Option("--ctx", "-c", min=1, help="Tokens of context.")] = 4096,
    batch: Annotated[int, typer.Option(min=1, help="Prompt tokens decoded in one call.")] = 512,
    threads: Threads = None,
    gpu_layers: Annotated[int, typer.Option(help="Layers kept in GPU memory, -1: all.")] = -1,
    flash_attention: Annotated[str, typer.Option(help="auto, on or off.")] = "auto",
    cache_type: Annotated[str, typer.Option(help="Type of the KV cache: f16, q8_0, q4_0, ...")] = "f16",
    json: Json = False,
) -> None:
    """Generate text with a target and its assistant, and say what drafting gained.

    The text goes to stdout, the statistics to stderr.

    Examples:

        gemma-mtp run target.gguf mtp-target.gguf -p "def main():" -n 100 --draft-max 3

        gemma-mtp run target.gguf --no-draft -p "def main():" -n 100
    """
    from dataclasses import replace

    from gemma_mtp.cli.output import print_json, print_note
    from gemma_mtp.errors import UsageError
    from gemma_mtp.mtp_runtime import session
    from gemma_mtp.mtp_runtime.backend import settings_for_this_machine
    from gemma_mtp.mtp_runtime.settings import ContextSettings

    if assistant is None and not no_draft:
        raise UsageError("an assistant is missing", hint="name it after the target, or add --no-draft")
    if temp:
        raise UsageError(f"temperature {temp} is not on offer yet", hint="--temp 0")
    request = session.Request(
        target,
        assistant,
        prompt,
        max_tokens=tokens,
        draft_max=0 if no_draft else draft_max,
        ignore_end=ignore_eos,
        context=ContextSettings(
            ctx, batch, threads=threads, cache_k=cache_type, cache_v=cache_type, flash_attention=flash_attention
        ),
        model=replace(settings_for_this_machine(), gpu_layers=gpu_layers),
    )
    result = session.run(request, on_text=(lambda _: None) if json else print_text)
    if json:
        print_json(result.as_dict())
        return
    print_text("\n")
    for line in summary(result):
        print_note(line)


def print_text(text: str) -> None:
    """Generated text as it comes. What the terminal's encoding lacks becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


#: Why a generation ended, in words.
FINISHES = {
    "end": "the model ended it",
    "length": "-n reached",
    "context": "the context is full (--ctx)",
    "stopped": "stopped",
}


def summary(result: Result) -> list[str]:
    """The statistics in a few lines."""
    s = result.statistics
    prompt = f"{s.prompt_tokens} prompt tokens in {s.prompt_seconds:.2f} s"
    lines = [f"{prompt}, {s.tokens} generated ({FINISHES[result.finish]})"]
    if s.tokens_per_second:
        lines.append(
            f"{s.tokens_per_second:.1f} tokens/s, {s.rounds} target passes, {s.tokens_per_pass:.2f} tokens each"
        )
    if s.drafted:
        shares = " ".join(f"{share:.0%}" for share in s.acceptance_by_position)
        lines.append(f"{s.drafted} drafted, {s.accepted} accepted ({s.acceptance:.1%}); by position {shares}")
    return lines
