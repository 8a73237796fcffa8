"""How a server is asked to stop: Ctrl-C, or SIGTERM from whoever supervises it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class Stop(BaseException):
    """Raised in the main thread at the first SIGINT or SIGTERM. No Exception: nothing shall take it for a failure."""


@dataclass
class Farewell:
    """say: called when a stop is asked for, while everything still runs."""

    say: Callable[[], None] = lambda: None


@contextmanager
def stop_signals() -> Iterator[Farewell]:
    """In the block the first signal raises Stop, later ones are ignored: the end is on its way."""
    farewell = Farewell()

    def stop(number: int, frame: Any) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        farewell.say()
        raise Stop

    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield farewell
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
