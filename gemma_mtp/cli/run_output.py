"""What `gemma-mtp run` prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gemma_mtp.cli.output import human_size, print_json, print_note
from gemma_mtp.cli.terminal import harmless
from gemma_mtp.native.settings import more_context

if TYPE_CHECKING:
    from gemma_mtp.native.result import Result

#: Why a generation ended, in words.
FINISHES = {
    "end": "the model ended it",
    "length": "-n reached",
    "stop": "--stop text reached",
    "stopped": "interrupted",
}


def print_text(text: str) -> None:
    """Generated text as it comes: as it is in a pipe or file; on a terminal nothing acts in it but lines and tabs.

    A model can be made to write escape sequences: there they are shown as `\\x1b`, and carriage returns are left out.
    """
    sys.stdout.write(harmless(text.replace("\r", "")) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_result(result: Result, json: bool = False, asked: int = 0) -> None:
    """The end of a text that was printed already, and its statistics; or all of it as JSON. asked: see `summary`."""
    if json:
        print_json(result.to_dict())
        return
    print_text("\n")
    for line in summary(result, asked):
        print_note(line)


def finish(result: Result) -> str:
    """Why a generation ended, in words."""
    if result.finish != "context":
        return FINISHES[result.finish]
    larger = min(2 * result.context, result.trained) if result.context < result.trained else 2 * result.context
    return f"the context is full: {more_context(result.context, result.trained, larger)}"


def summary(result: Result, asked: int = 0) -> list[str]:
    """The statistics in a few lines. asked: the tokens of context that were wanted."""
    s = result.statistics
    kept = f" ({s.reused_tokens} of them kept from before)" if s.reused_tokens else ""
    speed = f", {s.prompt_tokens_per_second:.0f} tokens/s" if s.prompt_tokens_per_second else ""
    lines = [
        f"{s.prompt_tokens} prompt tokens{kept} in {s.prompt_seconds:.2f} s{speed}",
        f"{s.tokens} generated ({finish(result)}), the first after {s.first_token_seconds:.2f} s",
    ]
    if s.tokens_per_second:
        lines.append(
            f"{s.tokens_per_second:.1f} tokens/s, {s.rounds} target passes, {s.tokens_per_pass:.2f} tokens each"
        )
    if s.drafted:
        shares = " ".join(f"{share:.0%}" for share in s.acceptance_by_position)
        where = f"; by position {shares}" if shares else ""
        lines.append(f"{s.drafted} drafted, {s.accepted} accepted ({s.acceptance:.1%}){where}")
    times = {"draft": s.draft_seconds, "verify": s.verify_seconds, "sampling": s.sampling_seconds}
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
    times_told = f"{told} (in both), " if s.verify_seconds else ""  # the C++ engine keeps its own to itself
    seed = "" if result.seed is None else f", seed {result.seed}"
    lines.append(f"{times_told}peak memory {human_size(s.peak_memory)}{seed}")
    if asked > result.context > 0:
        lines.append(
            f"the context was cut from {asked:,} to {result.context:,} tokens: the model was trained for no more"
        )
    return lines
