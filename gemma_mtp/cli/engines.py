"""The engine that a command decodes with, told where nobody chose it."""

from __future__ import annotations

from gemma_mtp.cli.output import print_note
from gemma_mtp.native import engines


def choose_engine(named: str | None, *, loop: str | None = None) -> str:
    """As `engines.choose`; a line on stderr where the C++ engine stands in for the Python loop. Raises MissingExtra."""
    engine = engines.choose(named, loop=loop)
    if named is None and engine == engines.CPP:
        print_note(engines.announcement(engine))
    return engine
