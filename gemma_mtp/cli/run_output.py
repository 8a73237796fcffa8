"""What `gemma-mtp run` prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gemma_mtp.cli.output import human_size, print_json, print_note
from gemma_mtp.cli.terminal import harmless

if TYPE_CHECKING:
    from gemma_mtp.mtp_runtime.session import Result

#: Why a generation ended, in words.
FINISHES = {
    "end": "the model ended it",
    "length": "-n reached",
    "stop": "--stop text reached",
    "context": "the context is full: a larger --ctx gives it more room",
    "stopped": "interrupted",
}


def print_text(text: str) -> None:
    """Generated text as it comes: as it is in a pipe or file; on a terminal nothing acts in it but lines and tabs.

    A model can be made to write escape sequences: there they are shown as `\\x1b`, and carriage returns are left out.
    """
    sys.stdout.write(harmless(text.replace("\r", "")) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_result(result: Result, json: bool = False) -> None:
    """The end of a text that was printed already, and its statistics; or all of it as JSON."""
    if json:
        print_json(result.as_dict())
        return
    print_text("\n")
    for line in summary(result):
        print_note(line)


def summary(result: Result) -> list[str]:
    """The statistics in a few lines."""
    s = result.statistics
    kept = f" ({s.reused_tokens} of them kept from before)" if s.reused_tokens else ""
    speed = f", {s.prompt_tokens_per_second:.0f} tokens/s" if s.prompt_tokens_per_second else ""
    lines = [
        f"{s.prompt_tokens} prompt tokens{kept} in {s.prompt_seconds:.2f} s{speed}",
        f"{s.tokens} generated ({FINISHES[result.finish]}), the first after {s.first_token_seconds:.2f} s",
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
    return lines
