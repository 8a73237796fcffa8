"""The program: what it is called with, how it ends. What needs a library is imported when the start is guarded."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from gemma_mtp.cli import streams
from gemma_mtp.errors import INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    import typer

#: The commands in the order of `--help`; each is the function of that name in gemma_mtp.cli.<name>.
COMMANDS = (
    "convert",
    "quantize",
    "verify",
    "fit",
    "inspect",
    "diff",
    "edit",
    "run",
    "bench",
    "serve",
    "export",
    "adapt",
    "imatrix",
    "push",
    "make",
    "demo",
    "doctor",
    "explain",
)


def application(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """The program, with these of its commands."""
    from gemma_mtp.cli.group import build

    return build(tuple(commands))


def stop(_: int, __: FrameType | None) -> NoReturn:
    """What is unfinished is removed on the way out, as after an error."""
    print("terminated", file=sys.stderr)
    raise SystemExit(TERMINATED)


def leave(_: int, __: FrameType | None) -> NoReturn:
    """Ctrl-C while libraries are imported: there is nothing to clean up, and many things that would print a trace."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    attended = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so after nohup
    if attended:
        signal.signal(signal.SIGINT, leave)
    streams.prepare()
    try:
        program = application()
        if attended:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        program()
    except KeyboardInterrupt:  # in one of the moments in which the program does not answer itself
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    finally:
        if attended:  # no trace of a second Ctrl-C while the interpreter ends
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        streams.finish()
