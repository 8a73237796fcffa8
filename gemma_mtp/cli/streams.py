"""Standard output and standard error on which no character, full disk or closed pipe is a crash.

What the encoding of a stream lacks (on Windows any pipe is cp1252) is written as an escape such as `\\u2581`. Output
that cannot be written ends the program: a closed pipe silently, with the exit code of a process that SIGPIPE ended,
anything else (a full disk) with a sentence. Messages on standard error that nobody can receive are dropped.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

from gemma_mtp.errors import EnvironmentProblem

#: 128 + SIGPIPE, which is what a shell shows for a program that ended because its reader had gone.
PIPE_CLOSED = 141
#: Windows has no EPIPE: writing into a closed pipe is an invalid argument there.
CLOSED = (errno.EPIPE, errno.EINVAL) if os.name == "nt" else (errno.EPIPE,)


class Outlet(io.FileIO):
    """The descriptor of a standard stream. After its first failure it takes everything and writes nothing.

    needed: whether the program ends when it cannot be written.
    """

    def __init__(self, descriptor: int, needed: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._needed, self._broken = needed, False

    def write(self, data: Any, /) -> int:
        """Raises EnvironmentProblem, and SystemExit for a closed pipe."""
        if self._broken:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._broken = True
            if not self._needed:
                return memoryview(data).nbytes
            if error.errno in CLOSED:
                raise SystemExit(PIPE_CLOSED) from None
            raise EnvironmentProblem(
                f"writing failed: {error.strerror}", where="standard output", hint="make room, or send it elsewhere"
            ) from error


def prepare() -> None:
    """Make both standard streams of this process such ones."""
    sys.stdout = _prepared(sys.stdout, needed=True)
    sys.stderr = _prepared(sys.stderr, needed=False)


def finish() -> None:
    """Write what still waits; the exit code is decided by now, so failures are nobody's concern any more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, EnvironmentProblem, SystemExit):
            if stream is not None:
                stream.flush()


def _prepared(stream: TextIO | None, needed: bool) -> TextIO:
    """The stream with an outlet below it. A terminal keeps its own: it is never full, and Windows' is no file."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # type: ignore[return-value]  # None: the descriptor is closed, and print() knows
    stream.reconfigure(errors="backslashreplace")
    if stream.isatty():
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(stream.fileno(), needed)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
