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
    """say: called when a stop is asked for, while everything still runs; it may take its time.

    hurried: a second signal has come meanwhile. (No threading.Event: a handler may interrupt who holds its lock.)
    """

    say: Callable[[], None] = lambda: None
    hurried: bool = False


@contextmanager
def stop_signals() -> Iterator[Farewell]:
    """In the block the first signal raises Stop after the farewell; further ones hurry the farewell."""
    farewell = Farewell()
    stopping = False

    def stop(number: int, frame: Any) -> None:
        nonlocal stopping
        if stopping:
            farewell.hurried = True
            return
        stopping = True
        farewell.say()
        raise Stop

    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield farewell
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
