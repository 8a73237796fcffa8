"""How long work tells how far it is: one protocol for downloads, conversions, quantizing and hashing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

#: Called with the number of bytes that were just done.
Advance = Callable[[int], None]
#: Opens a display for (what is done, total bytes); in its block bytes are told as they are done.
Progress = Callable[[str, int], AbstractContextManager[Advance]]


def ignore(_: int) -> None:
    """An `Advance` that nobody looks at."""


def silent(_: str, __: int) -> AbstractContextManager[Advance]:
    """A `Progress` that shows nothing."""
    return nullcontext(ignore)
