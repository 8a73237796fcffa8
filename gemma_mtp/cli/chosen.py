"""What a command works with where its line leaves that open: the files of the pair, the engine, the drafts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemma_mtp.cli.options import FIXED
from gemma_mtp.cli.output import print_note, progress_bar
from gemma_mtp.extras import command
from gemma_mtp.native import engines

if TYPE_CHECKING:
    from gemma_mtp.mtp_runtime.memory import Memory
    from gemma_mtp.native.settings import Drafting
    from gemma_mtp.sources.pairs import PairFiles


def pair_of(target: str, assistant: str | None, *, drafting: bool = True, deep: bool = False) -> PairFiles:
    """The files on this machine; downloads what is missing. Raises as `pair_files` does."""
    from gemma_mtp.sources.pairs import pair_files

    pair = pair_files(target, assistant, drafting=drafting, progress=progress_bar, deep=deep)
    if pair.found and pair.assistant is not None:
        print_note(f"drafting with {pair.assistant.name}, which lies beside the target")
    return pair


def choose_engine(named: str | None, *, loop: str | None = None) -> str:
    """As `engines.choose`; told is where the C++ engine stands in for the Python loop. Raises MissingExtra."""
    engine = engines.choose(named, loop=loop)
    if named is None and engine == engines.CPP:
        needed = command(engines.EXTRA[engines.PYTHON])
        print_note(f"{engines.TITLE[engine]} is used ({engines.TITLE[engines.PYTHON]} is not installed: {needed})")
    return engine


def as_bench_found(usual: Drafting, memory: Memory | None, *measured: str) -> Drafting:
    """The best that is known of the first of these engines that `gemma-mtp bench` measured; else the usual."""
    from gemma_mtp.native.settings import Drafting

    winner = next((found for engine in measured if memory and (found := memory.winner(engine))), None)
    if winner is None:
        return usual
    print_note(f"drafting as gemma-mtp bench found best here: {winner}; --draft-max {FIXED} if you want another")
    return Drafting(winner.draft_max, p_min=winner.p_min)
