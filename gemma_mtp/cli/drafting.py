"""How drafts are made where the command line does not say: as `gemma-mtp bench` found best with this pair."""

from __future__ import annotations

from gemma_mtp.cli.options import FIXED
from gemma_mtp.cli.output import print_note
from gemma_mtp.mtp_runtime.memory import Memory
from gemma_mtp.native.settings import Drafting


def as_bench_found(usual: Drafting, memory: Memory | None, *engines: str) -> Drafting:
    """The best that is known of the first of these engines that bench measured, which is told; else the usual."""
    winner = next((found for engine in engines if memory and (found := memory.winner(engine))), None)
    if winner is None:
        return usual
    print_note(f"drafting as gemma-mtp bench found best here: {winner}; --draft-max {FIXED} if you want another")
    return Drafting(winner.draft_max, p_min=winner.p_min)
