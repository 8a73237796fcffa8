"""Writing a large file from start to end past the page cache, where the system allows it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from types import TracebackType

import numpy as np

#: Bytes that are written at once.
ROOM = 4 << 20


class DirectFile:
    """An empty file, by its descriptor, to be written from start to end. A context manager that flushes it to disk.

    A finished file has to reach the disk anyway. Going there straight (Linux's O_DIRECT) spares the copy into the page
    cache and its pages, which cost as much as quantizing to Q4_0 does, and writing goes on while others compute.
    O_DIRECT wants whole pages: data is collected in a page-aligned room, and the last part goes the usual way. Where
    the system or the file system doesn't know it, everything does.
    """

    def __init__(self, handle: int):
        self._handle = handle
        self._room = np.frombuffer(mmap.mmap(-1, ROOM), np.uint8)
        self._filled = 0
        self._set_direct(True)

    def write(self, data: bytes | memoryview) -> int:
        """All of it. Returns the number of bytes. Raises OSError."""
        rest = np.frombuffer(data, np.uint8) if len(data) else self._room[:0]
        while len(rest):
            count = min(len(rest), ROOM - self._filled)
            self._room[self._filled : self._filled + count] = rest[:count]
            self._filled += count
            rest = rest[count:]
            if self._filled == ROOM:
                self._flush()
        return len(data)

    def replace(self, position: int, data: bytes) -> None:
        """Other bytes in the place of earlier ones. Whoever knows them no earlier does this at the end."""
        self._end()
        os.lseek(self._handle, position, os.SEEK_SET)
        self.write(data)
        self._end()

    def _end(self) -> None:
        self._set_direct(False)
        self._flush()

    def _flush(self) -> None:
        done = 0
        while done < self._filled:
            try:
                done += os.write(self._handle, self._room[done : self._filled].data)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._set_direct(False)
        self._filled = 0

    def _set_direct(self, wanted: bool) -> None:
        self._direct = False
        if not hasattr(os, "O_DIRECT"):
            return
        import fcntl

        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL) & ~os.O_DIRECT
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags | (os.O_DIRECT if wanted else 0))
            self._direct = wanted

    def __enter__(self) -> DirectFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._end()
            os.fsync(self._handle)
