"""A command's target and assistant as files on this machine, with what people are told on the way."""

from __future__ import annotations

from gemma_mtp.cli.output import print_note, progress_bar
from gemma_mtp.sources.pairs import PairFiles, pair_files


def pair_of(target: str, assistant: str | None, *, drafting: bool = True, deep: bool = False) -> PairFiles:
    """Downloads what is missing. Says which drafter was taken if nobody named one. Raises as `pair_files` does."""
    pair = pair_files(target, assistant, drafting=drafting, progress=progress_bar, deep=deep)
    if pair.found and pair.assistant is not None:
        print_note(f"drafting with {pair.assistant.name}, which lies beside the target")
    return pair
