"""How much the program says beside its results: set by the options before the command, for the whole run."""

from __future__ import annotations

import logging

from gemma_mtp.errors import UsageError

LOGGER = logging.getLogger("gemma_mtp")
_state = {"quiet": False}


def is_quiet() -> bool:
    """Whether notes and progress are left out. Warnings and errors are always told."""
    return _state["quiet"]


def set_volume(verbose: bool, quiet: bool) -> None:
    """verbose: what the library logs is shown on stderr. quiet: no notes, no progress. Raises UsageError: both."""
    if verbose and quiet:
        raise UsageError("--verbose and --quiet are opposites", hint="choose one of the two")
    _state["quiet"] = quiet
    for handler in [one for one in LOGGER.handlers if isinstance(one, _Shown)]:
        LOGGER.removeHandler(handler)
    LOGGER.setLevel(logging.DEBUG if verbose else logging.NOTSET)
    if verbose:
        LOGGER.addHandler(_Shown())


class _Shown(logging.Handler):
    """Shows a record as a line on stderr, in which nothing acts on a terminal and nothing secret stands."""

    def emit(self, record: logging.LogRecord) -> None:
        from gemma_mtp.cli.output import line, notes
        from gemma_mtp.redaction import redact

        name = record.name.removeprefix("gemma_mtp.")
        notes.print(line((f"{record.levelname.lower()} {name}: {redact(record.getMessage())}", "dim")))
