"""Writing a large file from start to end past the page cache, where the system allows it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from gemma_mtp.errors import EnvironmentProblem

#: Bytes that are written at once.
ROOM = 4 << 20
#: What to do about an error.
HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room on the disk, or choose another folder"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ESTALE), "the folder is gone: choose one that stays"),
    **dict.fromkeys((errno.EIO, errno.EROFS), "choose another disk"),
}


def writing_problem(error: OSError, path: Path) -> EnvironmentProblem:
    """Which output failed, and what to do, instead of an OSError's terse text."""
    hint = HINTS.get(error.errno or 0, "check the folder's permissions")
    return EnvironmentProblem(f"writing failed: {error.strerror}; nothing was left behind", where=path, hint=hint)


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Any OSError inside is about the output `path`."""
    try:
        yield
    except OSError as error:
        raise writing_problem(error, path) from error


class DirectFile:
    """An empty file, by its descriptor, to be written from start to end. A context manager that flushes it to disk.

    A finished file has to reach the disk anyway. Going there straight (Linux's O_DIRECT) spares the copy into the page
    cache and its pages, which cost as much as quantizing to Q4_0 does, and writing goes on while others compute.
    O_DIRECT wants whole pages: data is collected in a page-aligned room, and the last part goes the usual way. Where
    the system or the file system doesn't know it, everything does; small files always do.
    """

    def __init__(self, handle: int, path: Path, size: int):
        """path: for errors. size: what is to come, in bytes. Raises EnvironmentProblem."""
        self._handle, self._path = handle, path
        self._filled = 0
        with translate_os_errors(path):
            self._room = np.frombuffer(mmap.mmap(-1, ROOM), np.uint8)
            self._set_direct(size > ROOM)

    def write(self, data: bytes | memoryview) -> int:
        """All of it. Returns the number of bytes. Raises EnvironmentProblem."""
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
        with translate_os_errors(self._path):
            os.lseek(self._handle, position, os.SEEK_SET)
        self.write(data)
        self._end()

    def _end(self) -> None:
        self._set_direct(False)
        self._flush()

    def _flush(self) -> None:
        done = 0
        with translate_os_errors(self._path):
            while done < self._filled:
                done += self._write_some(self._room[done : self._filled].data)
        self._filled = 0

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._handle, data)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._direct:
                raise
            self._set_direct(False)
            return 0

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
            with translate_os_errors(self._path):
                os.fsync(self._handle)
