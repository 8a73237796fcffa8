"""How much the program says beside its results: set by the options before the command, for the whole run."""

from __future__ import annotations

_state = {"quiet": False}


def is_quiet() -> bool:
    """Whether notes and progress are left out. Warnings and errors are always told."""
    return _state["quiet"]


def set_quiet(quiet: bool) -> None:
    _state["quiet"] = quiet
