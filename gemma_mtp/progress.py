"""How long work tells how far it is: one protocol for downloads, conversions, quantizing, hashing, measuring."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

#: Called with how much was just done: a number of bytes, or of what else is counted.
Advance = Callable[[int], None]
BYTES = "bytes"


class Progress(Protocol):
    """Opens a display for work that begins; in its block it is told what is done."""

    def __call__(self, what: str, total: int, unit: str = BYTES, /) -> AbstractContextManager[Advance]:
        """what: as people read it, "quantizing" for instance. total: how much there is of it, counted in `unit`s."""


def ignore(_: int) -> None:
    """An `Advance` that nobody looks at."""


def silent(_what: str, _total: int, _unit: str = BYTES) -> AbstractContextManager[Advance]:
    """A `Progress` that shows nothing."""
    return nullcontext(ignore)
